/** A store as a process of Node, Bun or Deno reaches it: through a thread of its own, or in the caller's. */

import { availableParallelism } from 'node:os'
import { type Worker, workerData } from 'node:worker_threads'
import { Client, type Seat, type Surroundings } from './client.js'
import type { ErrorCode } from './errors.js'
import { MemoryBytes } from './files-memory.js'
import { fileName } from './files-node.js'
import type { FromSeat, ToSeat } from './protocol.js'
import { serveInline } from './seat-inline.js'
import { placeOf } from './seat-node.js'
import type { Bytes } from './storage.js'
import { startOf } from './start.js'
import { JobStore, type OpenOptions } from './store.js'
import { inTurns } from './turns.js'
import { warm } from './warm.js'

/** What the package is made of beside this script, and how it is had. */
export interface Parts {
  worker(): Worker
  module(): BufferSource
}

/** Opens a store with the parts of one entry of the package. */
export async function openIn<Payload, Output>(
  parts: Parts,
  name: string,
  options: OpenOptions,
): Promise<JobStore<Payload, Output>> {
  const start = await startOf(name, options)
  // Once: whatever opens the file anew finds it there, wherever the program is by then.
  if (start.name !== undefined) start.name = fileName(start.name)
  const around: Surroundings = {
    seat: (hear, died) => {
      if (start.name === undefined) return inline(parts, hear, new MemoryBytes())
      return options.inline ? inline(parts, hear) : thread(parts, options, hear, died)
    },
  }
  return new JobStore(await Client.open(around, start))
}

/**
 * What a thread has of the program's options. A program that was given as text may say what language it is in, which a
 * thread, whose program is a file, refuses. Without that it takes the rest by itself; of what is handed to it, it refuses
 * the options of V8 and of the whole process, so then it has none.
 */
export function inherited(): { workerData?: unknown; execArgv?: string[]; env?: NodeJS.ProcessEnv } {
  const { execArgv, env, versions } = process
  // Deno would ask the user whether the environment may be looked at, of which the thread needs nothing.
  if (versions.deno !== undefined) return { env: {} }
  return {
    workerData: STORE_THREAD,
    ...(execArgv.some((option) => option.startsWith('--input-type')) && { execArgv: [] }),
    ...(env.NODE_OPTIONS?.includes('--input-type') && { env: { ...env, NODE_OPTIONS: '' } }),
  }
}

/** Tells a store's thread from others, where something else runs in it as well. */
const STORE_THREAD = 'magnetar: a store'

let own: Promise<WebAssembly.Module> | undefined

/** The package's own module, compiled once in this process. */
function ownModule(parts: Parts): Promise<WebAssembly.Module> {
  if (own === undefined) {
    const made = (async () => new WebAssembly.Module(parts.module()))()
    own = made
    made.catch(() => {
      if (own === made) own = undefined
    })
  }
  return own
}

let isWarm = false

/** Once in this process, in the caller's thread, which waits for the other one to begin: on a second processor. */
function warmOnce(parts: Parts): void {
  if (isWarm || availableParallelism() === 1) return
  isWarm = true
  const memory = new MemoryBytes()
  const around: Surroundings = { seat: (hear) => inline(parts, hear, memory) }
  const open = async () => new JobStore(await Client.open(around, await startOf(':memory:', {})))
  // Nothing hangs on what this comes to.
  warm(open()).catch(() => {})
}

/** In the caller's thread: in a file, or in memory that is given. */
function inline(parts: Parts, hear: (message: FromSeat) => void, memory?: Bytes): Seat {
  const file = placeOf(() => ownModule(parts))
  const place = memory === undefined ? file : { ...file, persistence: 'memory' as const, open: () => memory }
  return serveInline(place, inTurns(hear))
}

function thread(parts: Parts, options: OpenOptions, hear: (message: FromSeat) => void, died: (why: string, code: ErrorCode) => void): Seat {
  // Each would begin the next one.
  if (workerData === STORE_THREAD) throw new Error('what is preloaded (--import, --require) runs in the thread of a store too: open stores where isMainThread')
  const worker = (options.worker?.() as Worker | undefined) ?? parts.worker()
  let isLoaded = false
  worker.on('message', (message: FromSeat) => {
    isLoaded = true
    hear(message)
  })
  const ended = (why: string) => died(why, isLoaded ? 'crashed' : 'unavailable')
  worker.on('error', (error) => ended(String(error)))
  worker.on('exit', (code) => ended(`the worker thread ended with code ${code}`))
  worker.unref()
  // Compiled while the thread begins.
  const module = options.wasm === undefined ? ownModule(parts) : undefined
  const post = (message: ToSeat, transfer: Transferable[] = []) => worker.postMessage(message, transfer as ArrayBuffer[])
  let isEnded = false
  /** With the module. What cannot be had or handed over here, the thread has itself. */
  const begin = async (message: ToSeat & { t: 'start' }) => {
    const wasm = await module?.catch(() => undefined)
    if (isEnded) return
    try {
      post({ t: 'start', start: { ...message.start, wasm } })
    } catch {
      post(message)
    }
    if (wasm !== undefined) warmOnce(parts)
  }
  return {
    post: (message, transfer) => {
      if (message.t !== 'start' || module === undefined) return post(message, transfer)
      begin(message).catch((error: unknown) => ended(String(error)))
    },
    hold: (isHeld) => (isHeld ? worker.ref() : worker.unref()),
    end: () => {
      isEnded = true
      void worker.terminate()
    },
  }
}
