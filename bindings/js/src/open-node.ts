/** Opening a store in Node, Bun or Deno. */

import { Worker } from 'node:worker_threads'
import { Client, type Seat, type Surroundings } from './client.js'
import { MemoryBytes } from './files-memory.js'
import type { FromSeat } from './protocol.js'
import { serveInline } from './seat-inline.js'
import { place, serveFile } from './seat-node.js'
import { JobStore, type OpenOptions, startOf } from './store.js'

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
  const start = await startOf(name, options)
  const around: Surroundings = {
    seat: (hear, died) => {
      if (start.name === undefined) return inline(memory, hear)
      return options.inline ? inline(undefined, hear) : thread(options, hear, died)
    },
  }
  return new JobStore(await Client.open(around, start))
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
  from: Blob | BufferSource,
  options: OpenOptions = {},
): Promise<JobStore<Payload, Output>> {
  return open(name, { ...options, from })
}

const memory = { ...place, persistence: 'memory' as const, open: () => new MemoryBytes() }

function inline(where: typeof memory | undefined, hear: (message: FromSeat) => void): Seat {
  const later = (message: FromSeat) => queueMicrotask(() => hear(message))
  const post = where === undefined ? serveFile(later) : serveInline(where, later)
  return { post, end: () => {} }
}

function thread(options: OpenOptions, hear: (message: FromSeat) => void, died: (why: string) => void): Seat {
  const worker = (options.worker?.() as Worker | undefined) ?? new Worker(new URL('./worker-node.js', import.meta.url))
  worker.on('message', hear)
  worker.on('error', (error) => died(String(error)))
  worker.on('exit', (code) => died(`the worker thread ended with code ${code}`))
  worker.unref()
  return {
    post: (message, transfer) => worker.postMessage(message, (transfer ?? []) as ArrayBuffer[]),
    hold: (isHeld) => (isHeld ? worker.ref() : worker.unref()),
    end: () => void worker.terminate(),
  }
}
