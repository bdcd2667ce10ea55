/** The package's entry for browsers in one script, for whoever cannot have files beside it. */

import { moduleInlined } from './inlined.js'
import { packed } from './packed.js'
import type { Bytes, JobStore, OpenOptions } from './store.js'
import { openIn, type Parts } from './tab.js'

export * from './public.js'

/**
 * Opens a store, creating it where it does not exist.
 *
 * It is kept in the origin's private file system. Any number of tabs and workers may have it open: one of them has the
 * file, the others' calls go through it, and when it ends the next takes over. `':memory:'` is a store in memory.
 *
 * ```js
 * await using store = await open('uploads')
 * ```
 */
export async function open<Payload = unknown, Output = unknown>(
  name: string,
  options: OpenOptions = {},
): Promise<JobStore<Payload, Output>> {
  // What are no options is said there.
  const given = Object(options) === options ? { ...options, wasm: options.wasm ?? (await moduleInlined()) } : options
  return openIn(inlined, name, given)
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

const inlined: Parts = {
  worker: () => {
    const url = URL.createObjectURL(new Blob([packed.worker], { type: 'text/javascript' }))
    try {
      return new Worker(url, { type: 'module', name: 'magnetar' })
    } finally {
      URL.revokeObjectURL(url)
    }
  },
  module: moduleInlined,
}
