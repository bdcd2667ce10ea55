/** Opening a store in a browser: a page, or a worker of one. */

import { Client, type Seat, type Surroundings } from './client.js'
import { failure, MagnetarError } from './errors.js'
import { MemoryBytes } from './files-memory.js'
import { type Broadcast, type FromSeat, names, type ToSeat } from './protocol.js'
import { type Place, serveInline } from './seat-inline.js'
import { JobStore, type OpenOptions, startOf } from './store.js'

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
  const start = await startOf(name, options)
  if (start.name === undefined) {
    return new JobStore(await Client.open({ seat: (hear) => inline(hear) }, start))
  }
  if (navigator.locks === undefined) {
    throw new MagnetarError(failure('unavailable', 'this context has no Web Locks; it needs a secure context (https or localhost)'))
  }
  if (options.persist) await navigator.storage.persist?.()
  return new JobStore(await Client.open(tab(start.name, options), start))
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

const memory: Place = {
  persistence: 'memory',
  open: () => new MemoryBytes(),
  wasm: (given) => {
    if (given === undefined) return fetch(new URL('./magnetar.wasm', import.meta.url))
    return typeof given === 'string' ? fetch(given) : given
  },
}

function inline(hear: (message: FromSeat) => void): Seat {
  const post = serveInline(memory, (message) => queueMicrotask(() => hear(message)))
  return { post, end: () => {} }
}

function tab(store: string, options: OpenOptions): Surroundings {
  return {
    seat: (hear, died) => thread(options, hear, died),
    live: (client) =>
      new Promise((alive, dead) => {
        const held = () =>
          new Promise<void>((release) => {
            alive(release)
          })
        navigator.locks.request(names.clientLock(store, client), held).catch(dead)
      }),
    watch: (lock, gone) => {
      navigator.locks.request(lock, gone).catch(() => {})
    },
    listen: (client, found, hear) => {
      const answers = new BroadcastChannel(names.toClient(store, client))
      answers.onmessage = ({ data }: MessageEvent<FromSeat>) => hear(data)
      const tabs = new BroadcastChannel(names.tabs(store))
      tabs.onmessage = ({ data }: MessageEvent<Broadcast>) => {
        if (data.t !== 'leader') return
        found(data.leader, data.persistence, () => {
          const channel = new BroadcastChannel(names.toLeader(store, data.leader))
          return { post: (message) => channel.postMessage(message), close: () => channel.close() }
        })
      }
      tabs.postMessage({ t: 'who' } satisfies Broadcast)
      return () => {
        answers.close()
        tabs.close()
      }
    },
  }
}

function thread(options: OpenOptions, hear: (message: FromSeat) => void, died: (why: string) => void): Seat {
  const worker =
    (options.worker?.() as Worker | undefined) ??
    new Worker(new URL('./worker-browser.js', import.meta.url), { type: 'module', name: 'magnetar' })
  worker.onmessage = ({ data }: MessageEvent<FromSeat>) => hear(data)
  worker.onmessageerror = () => died('a message of the worker cannot be read')
  worker.onerror = (event) => {
    event.preventDefault()
    died(event.message || 'the worker cannot be started: is its script served?')
  }
  return {
    post: (message: ToSeat, transfer) => worker.postMessage(message, transfer ?? []),
    end: () => worker.terminate(),
  }
}
