/** A store as a process of Node, Bun or Deno reaches it: through a thread of its own, or in the caller's. */

import type { Worker } from 'node:worker_threads'
import { Client, type Seat, type Surroundings } from './client.js'
import { compiled, type WasmSource } from './engine.js'
import { MemoryBytes } from './files-memory.js'
import type { FromSeat, ToSeat } from './protocol.js'
import { serveInline } from './seat-inline.js'
import { placeOf } from './seat-node.js'
import { JobStore, type OpenOptions, startOf } from './store.js'

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
  const around: Surroundings = {
    seat: (hear, died) => {
      const isMemory = start.name === undefined
      return isMemory || options.inline ? inline(parts, isMemory, hear) : thread(parts, options, hear, died)
    },
  }
  return new JobStore(await Client.open(around, start))
}

let own: Promise<WebAssembly.Module> | undefined

/** The package's own module, compiled once in this process. */
function ownModule(parts: Parts): Promise<WebAssembly.Module> {
  if (own === undefined) {
    const made = compiled(parts.module())
    own = made
    made.catch(() => {
      if (own === made) own = undefined
    })
  }
  return own
}

function inline(parts: Parts, isMemory: boolean, hear: (message: FromSeat) => void): Seat {
  const file = placeOf(() => ownModule(parts))
  const place = isMemory ? { ...file, persistence: 'memory' as const, open: () => new MemoryBytes() } : file
  const post = serveInline(place, (message) => queueMicrotask(() => hear(message)))
  return { post, end: () => {} }
}

function thread(parts: Parts, options: OpenOptions, hear: (message: FromSeat) => void, died: (why: string) => void): Seat {
  const worker = (options.worker?.() as Worker | undefined) ?? parts.worker()
  worker.on('message', hear)
  worker.on('error', (error) => died(String(error)))
  worker.on('exit', (code) => died(`the worker thread ended with code ${code}`))
  worker.unref()
  const post = (message: ToSeat, transfer: Transferable[] = []) => worker.postMessage(message, transfer as ArrayBuffer[])
  let isEnded = false
  /** With the module, compiled while the thread begins. What cannot be had or handed over here, the thread has itself. */
  const begin = async (message: ToSeat & { t: 'start' }) => {
    const wasm = await ownModule(parts).catch(() => undefined)
    if (isEnded) return
    try {
      post({ t: 'start', start: { ...message.start, wasm } })
    } catch {
      post(message)
    }
  }
  return {
    post: (message, transfer) => {
      if (message.t !== 'start' || message.start.wasm !== undefined) return post(message, transfer)
      begin(message).catch((error: unknown) => died(String(error)))
    },
    hold: (isHeld) => (isHeld ? worker.ref() : worker.unref()),
    end: () => {
      isEnded = true
      void worker.terminate()
    },
  }
}
