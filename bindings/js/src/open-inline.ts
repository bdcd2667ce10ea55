/** The same in one script, for those who cannot load a file beside it: a third larger, and compiled anew by each page. */

import { wasm, worker } from './inline-data.js'
import { open as openWith } from './open-browser.js'
import type { JobStore, OpenOptions } from './store.js'

export * from './public.js'

/** Opens a store; see `open` of the package itself. */
export function open<Payload = unknown, Output = unknown>(
  name: string,
  options: OpenOptions = {},
): Promise<JobStore<Payload, Output>> {
  return openWith(name, { wasm: module(), worker: thread, ...options })
}

/** Makes a new store of a file's bytes, and opens it. */
export function importFile<Payload = unknown, Output = unknown>(
  name: string,
  from: Blob | BufferSource,
  options: OpenOptions = {},
): Promise<JobStore<Payload, Output>> {
  return open(name, { ...options, from })
}

function module(): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(wasm), (letter) => letter.charCodeAt(0))
}

function thread(): Worker {
  return new Worker(URL.createObjectURL(new Blob([worker], { type: 'text/javascript' })), { type: 'module', name: 'magnetar' })
}
