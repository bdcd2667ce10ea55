/** A store as a tab, or a worker of one, reaches it: through the thread that has the file, here or in another tab. */

import { Client, type Seat, type Surroundings } from './client.js'
import type { WasmSource } from './engine.js'
import { type ErrorCode, failure, given, MagnetarError, textOf } from './errors.js'
import { MemoryBytes } from './files-memory.js'
import { fileName } from './files-opfs.js'
import { type Broadcast, type FromSeat, names, otherVersion, PROTOCOL, type ToSeat } from './protocol.js'
import { type Place, serveInline } from './seat-inline.js'
import { startOf } from './start.js'
import { JobStore, type OpenOptions } from './store.js'
import { inTurns } from './turns.js'

/** What the package is made of beside this script, and how it is had. */
export interface Parts {
  worker(): Worker
  module(): WasmSource | Promise<WasmSource>
}

/** Opens a store with the parts of one entry of the package. */
export async function openIn<Payload, Output>(
  parts: Parts,
  name: string,
  options: OpenOptions,
): Promise<JobStore<Payload, Output>> {
  const start = await startOf(name, options)
  // The worker, which loads it, is elsewhere.
  const { wasm } = start
  if (typeof wasm === 'string') start.wasm = given(() => new URL(wasm, globalThis.document?.baseURI ?? location.href).href)
  if (start.name === undefined) {
    return new JobStore(await Client.open({ seat: (hear) => inline(parts, hear) }, start))
  }
  if (navigator.locks === undefined || typeof BroadcastChannel === 'undefined') {
    const why = 'this context has no Web Locks, or no BroadcastChannel; it needs a secure context (https or localhost)'
    throw new MagnetarError(failure('unavailable', why))
  }
  start.name = fileName(start.name)
  // Where that cannot be asked, whether there is a store at all shows next.
  if (options.persist) await navigator.storage.persist?.().catch(() => {})
  return new JobStore(await Client.open(tab(parts, start.name, options), start))
}

function inline(parts: Parts, hear: (message: FromSeat) => void): Seat {
  const memory: Place = {
    persistence: 'memory',
    open: () => new MemoryBytes(),
    wasm: (given) => {
      if (given === undefined) return parts.module()
      return typeof given === 'string' ? fetch(given) : given
    },
  }
  return serveInline(memory, inTurns(hear))
}

function tab(parts: Parts, store: string, options: OpenOptions): Surroundings {
  return {
    seat: (hear, died) => thread(parts, options, hear, died),
    live: (client, signal) =>
      new Promise((alive, dead) => {
        const held = () =>
          new Promise<void>((release) => {
            alive(release)
          })
        navigator.locks.request(names.clientLock(store, client), { signal }, held).catch((error) => {
          const why = `this context may keep nothing, as a sandboxed frame: use another, or ':memory:' (${textOf(error)})`
          dead(new MagnetarError(failure('unavailable', why)))
        })
      }),
    watch: (lock, gone, signal) => {
      // One page that stands still is not in the way of others.
      navigator.locks.request(lock, { mode: 'shared', signal }, gone).catch(() => {})
    },
    listen: (client, found, hear) => {
      const answers = new BroadcastChannel(names.toClient(store, client))
      answers.onmessage = ({ data }: MessageEvent<FromSeat>) => hear(data)
      const tabs = new BroadcastChannel(names.tabs(store))
      tabs.onmessage = ({ data }: MessageEvent<Broadcast>) => {
        // Its own worker tells a client directly, before or after this.
        if (data.t !== 'leader' || data.client === client) return
        found(data, () => {
          const lock = names.seatLock(store, data.leader)
          if (data.protocol !== PROTOCOL) {
            // In place of every answer.
            const lines = `${JSON.stringify([0, 1, otherVersion('another tab')])}\n`
            return { lock, post: () => hear({ t: 'answers', lines }), close: () => {} }
          }
          const channel = new BroadcastChannel(names.toLeader(store, data.leader))
          return { lock, post: (message) => channel.postMessage(message), close: () => channel.close() }
        })
      }
      return {
        ask: () => tabs.postMessage({ t: 'who' } satisfies Broadcast),
        end: () => {
          answers.close()
          tabs.close()
        },
      }
    },
    still: (stop, goOn) => {
      // What is no page, and no worker of one, has no workers either, and says so next.
      if (typeof addEventListener === 'undefined') return () => {}
      const told = ({ type, persisted = true }: Event & { persisted?: boolean }) => {
        // One that is left for good has nothing to go on with.
        if (!persisted) return
        if (type === 'freeze' || type === 'pagehide') stop(type === 'pagehide')
        else goOn()
      }
      // Out of its cache a page is resumed first, then shown.
      const events = ['pagehide', 'pageshow', 'freeze', 'resume']
      for (const type of events) addEventListener(type, told, true)
      return () => {
        for (const type of events) removeEventListener(type, told, true)
      }
    },
  }
}

function thread(
  parts: Parts,
  options: OpenOptions,
  hear: (message: FromSeat) => void,
  died: (why: string, code?: ErrorCode) => void,
): Seat {
  const worker = (options.worker?.() as Worker | undefined) ?? parts.worker()
  /** What a worker that is loaded by `import()` was told too early, its end perhaps as well as its start. */
  const unheard: ToSeat[] = []
  let isLoaded = false
  worker.onmessage = ({ data }: MessageEvent<FromSeat>) => {
    isLoaded = true
    const early = unheard.splice(0)
    if (data.t === 'ready') for (const message of early) worker.postMessage(message)
    else hear(data)
  }
  worker.onmessageerror = () => died('a message of the worker cannot be read')
  worker.onerror = (event) => {
    event.preventDefault()
    died(event.message || 'the worker cannot be started: is its script served?', isLoaded ? 'crashed' : 'unavailable')
  }
  return {
    post: (message, transfer) => {
      if (!isLoaded) unheard.push(message)
      worker.postMessage(message, transfer ?? [])
    },
    // What was given as a worker may be none.
    end: () => worker.terminate?.(),
  }
}
