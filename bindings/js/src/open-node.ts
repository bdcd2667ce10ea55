/** The package's entry for Node, Bun and Deno, with its worker and its module beside it. */

import { Worker } from 'node:worker_threads'
import { moduleBeside } from './module-node.js'
import { inherited, openIn } from './process.js'
import type { Bytes, JobStore, OpenOptions } from './store.js'

export * from './public.js'

/**
 * Opens a store, creating it where it does not exist.
 *
 * The name is a path; where it does not end in `.redb` or `.magnetar`, `.redb` is added. One process at a time has a file:
 * another gets the code `locked`. `':memory:'` is a store in memory.
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

const beside = {
  worker: () => new Worker(new URL('./worker-node.js', import.meta.url), inherited()),
  module: moduleBeside,
}
