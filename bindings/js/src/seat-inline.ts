/** The server in the caller's own thread: for memory, and for scripts that do not mind waiting for the disk. */

import type { Seat } from './client.js'
import { Engine, EngineDied, type WasmSource } from './engine.js'
import { type Failure, failureOf } from './errors.js'
import { type FromSeat, type ToSeat } from './protocol.js'
import { Server } from './server.js'
import type { Bytes } from './storage.js'
import type { Persistence } from './store.js'

/** Where a server in this thread has its bytes, and its module. */
export interface Place {
  persistence: Persistence
  open(name: string | undefined): Bytes
  wasm(given: WebAssembly.Module | BufferSource | string | undefined): WasmSource | Promise<WasmSource>
}

/** Starts a server; gives how it is reached, and how it is ended. */
export function serveInline(place: Place, post: (message: FromSeat, transfer?: Transferable[]) => void): Seat {
  let server: Server | undefined
  let isEnded = false
  const died = (failure: Failure) => post({ t: 'dead', failure })
  const start = async (message: ToSeat & { t: 'start' }) => {
    const { name, wasm, client, seat, cacheBytes, from, store } = message.start
    try {
      const engine = await Engine.open({
        wasm: () => place.wasm(wasm),
        bytes: place.open(name),
        from,
        owner: seat,
        // Whoever else had the file open is gone: it has a lock.
        living: [client],
        cacheBytes,
        store,
      })
      server = new Server(engine, died)
      if (isEnded) server.abandon()
      else post({ t: 'leading', leader: seat, persistence: place.persistence, store: engine.id })
    } catch (error) {
      post({ t: error instanceof EngineDied ? 'dead' : 'failed', failure: failureOf(error) })
    }
  }
  const receive = (message: ToSeat) => {
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
  const end = () => {
    isEnded = true
    server?.abandon()
  }
  return { post: receive, end }
}
