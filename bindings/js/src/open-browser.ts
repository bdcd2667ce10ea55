/** The package's entry for browsers, with its worker and its module beside it. */

import type { Bytes, JobStore, OpenOptions } from './store.js'
import { openIn, type Parts } from './tab.js'

export * from './public.js'

/**
 * Opens a store, creating it where it does not exist.
 *
 * In a browser it is kept in the origin's private file system. Any number of tabs and workers may have it open: one of them
 * has the file, the others' calls go through it, and when it ends the next takes over.
 *
 * In Node, Deno and Bun the name is a path; `.redb` is put behind one that does not end so. One process may have the file
 * open, another gets the error `locked`, also beside a native program.
 *
 * `':memory:'` is a store in memory.
 *
 * ```js
 * await using store = await open('uploads')
 * ```
 */
export async function open<Payload = unknown, Output = unknown>(
  name: string,
  options: OpenOptions = {},
): Promise<JobStore<Payload, Output>> {
  return openIn(beside, name, options)
}

/**
 * Makes a new store of a file's bytes, and opens it; the same as `open` with `from`.
 *
 * ```js
 * const store = await importFile('uploads', file) // as a native program wrote it
 * ```
 */
export function importFile<Payload = unknown, Output = unknown>(
  name: string,
  from: Blob | Bytes,
  options: OpenOptions = {},
): Promise<JobStore<Payload, Output>> {
  return open(name, { ...options, from })
}

/** Written as bundlers look for it: each takes the two files along by itself. */
const beside: Parts = {
  worker: () => new Worker(new URL('./worker-browser.js', import.meta.url), { type: 'module', name: 'magnetar' }),
  module: () => fetch(new URL('./magnetar.wasm', import.meta.url)),
}
