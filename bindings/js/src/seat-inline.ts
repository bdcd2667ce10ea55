/** The server in the caller's own thread: for memory, and for scripts that do not mind waiting for the disk. */

import { Engine, EngineDied, type WasmSource } from './engine.js'
import { failure, failureOf } from './errors.js'
import { type FromSeat, type Persistence, randomId, type Start, type ToSeat } from './protocol.js'
import { MemoryBytes } from './memory.js'
import { Server } from './server.js'
import type { Bytes } from './storage.js'

/** Where a server in this thread has its bytes, and its module. */
export interface Place {
  persistence: Persistence
  open(name: string | undefined): Bytes | undefined
  wasm(given: WebAssembly.Module | BufferSource | string | undefined): WasmSource | Promise<WasmSource>
}

/** Starts a server; gives how it is reached. */
export function serveInline(place: Place, post: (message: FromSeat, transfer?: Transferable[]) => void): (message: ToSeat) => void {
  let server: Server | undefined
  const died = (why: string) => post({ t: 'dead', why })
  let started: Start
  const opened = (bytes: Bytes | undefined) =>
    Engine.open({
      wasm: () => place.wasm(started.wasm),
      bytes,
      owner: randomId(),
      // Whoever else had the file open is gone: it has a lock.
      living: [started.client],
      cacheBytes: started.cacheBytes,
    })
  const start = async (message: ToSeat & { t: 'start' }) => {
    started = message.start
    try {
      server = new Server(await opened(place.open(started.name)), died)
      post({ t: 'leading', leader: randomId(), persistence: place.persistence })
    } catch (error) {
      if (error instanceof EngineDied) died(error.message)
      else post({ t: 'failed', failure: failureOf(error) })
    }
  }
  /** A store in memory gets a file's content in place of its own, which stays where the file cannot be opened. */
  const take = async ({ id, bytes, client }: ToSeat & { t: 'import' }) => {
    try {
      const engine = await opened(new MemoryBytes(bytes))
      server?.close()
      server = new Server(engine, died)
      server.join(client, post)
      post({ t: 'file', id })
    } catch (error) {
      if (error instanceof EngineDied) post({ t: 'file', id, failure: failure('corrupt', `the engine ended over the file: ${error.message}`) })
      else post({ t: 'file', id, failure: failureOf(error) })
    }
  }
  return (message) => {
    switch (message.t) {
      case 'start':
        void start(message)
        break
      case 'hello':
        server?.join(message.client, post)
        break
      case 'bye':
        server?.leave(message.client)
        break
      case 'import':
        void take(message)
        break
      case 'shut':
        try {
          server?.close()
          post({ t: 'shut' })
        } catch (error) {
          post({ t: 'shut', failure: failureOf(error) })
        }
        break
      default:
        server?.receive(message)
    }
  }
}
