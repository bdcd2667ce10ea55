/**
 * The dedicated worker of a tab. Each waits for its turn to have the store's file: the one that holds the leader's lock
 * opens it and serves all tabs; when it ends, however it ends, the lock goes to the next.
 */

import { compiled, Engine, EngineDied, type WasmSource } from './engine.js'
import { type Failure, failureOf } from './errors.js'
import { isThere, openFile } from './files-opfs.js'
import { type Broadcast, type FromSeat, type Leading, names, otherVersion, PROTOCOL, type Start, type ToClient, type ToSeat, type ToServer } from './protocol.js'
import { Server } from './server.js'

interface WorkerScope {
  postMessage(message: FromSeat, transfer?: Transferable[]): void
  onmessage: ((event: MessageEvent<ToSeat>) => void) | null
  close(): void
}

const scope = globalThis as unknown as WorkerScope

/** Answers what the tab that started this worker says. */
let receive: (message: ToServer) => void = () => {}
let shut: () => unknown = () => {
  scope.postMessage({ t: 'shut' })
  scope.close()
}

let isStarted = false
scope.onmessage = ({ data }) => {
  if (data.t === 'start') {
    if (isStarted) return
    isStarted = true
    if (data.start.protocol !== PROTOCOL) return scope.postMessage({ t: 'failed', failure: otherVersion("the engine's worker") })
    live(data.start)
    void wait(data.start)
  } else if (data.t === 'shut') shut()
  else receive(data)
}
// A worker that loads this by `import()` has not heard what it was told before.
setTimeout(() => {
  if (!isStarted) scope.postMessage({ t: 'ready' })
})

/** Has whoever started this worker know when it is gone: nothing else tells of a worker that was terminated. */
function live(start: Start): void {
  const lock = names.seatLock(start.name!, start.seat)
  void navigator.locks.request(lock, () => {
    scope.postMessage({ t: 'here', lock })
    return new Promise(() => {})
  })
}

async function wait(start: Start): Promise<void> {
  await navigator.locks.request(names.leaderLock(start.name!), async () => {
    try {
      await lead(start)
    } catch (error) {
      if (error instanceof EngineDied) die(failureOf(error))
      else scope.postMessage({ t: 'failed', failure: failureOf(error) })
    }
  })
}

/** Has the file until it is told to release it. */
async function lead(start: Start): Promise<void> {
  const store = start.name!
  // While the file is opened; whether it can be had shows below.
  const module = compiled(wasm(start.wasm))
  module.catch(() => {})
  const prefix = names.clientLock(store)
  // Everybody holds a lock of their own before they send anything: who is not here now, and claimed, is dead.
  const { held = [] } = await navigator.locks.query()
  const living = held.flatMap(({ name }) => (name?.startsWith(prefix) ? [name.slice(prefix.length)] : []))
  const engine = await Engine.open({
    wasm: () => module,
    bytes: await openFile(store),
    from: start.from,
    owner: start.seat,
    living,
    cacheBytes: start.cacheBytes,
    store: start.store,
  })
  // As large as the file, and kept by what began this.
  start.from = undefined
  const server = new Server(engine, die)
  const leader = start.seat
  const channels = new Map<string, BroadcastChannel>()
  const watched = new Set<string>()

  /** Is told when the client's lock is free, which is when the client has ended. */
  const watch = (client: string) => {
    if (watched.has(client)) return
    watched.add(client)
    void navigator.locks.request(names.clientLock(store, client), () => {
      watched.delete(client)
      channels.get(client)?.close()
      channels.delete(client)
      server.leave(client)
    })
  }
  living.forEach(watch)

  const fromOthers = new BroadcastChannel(names.toLeader(store, leader))
  fromOthers.onmessage = ({ data }: MessageEvent<ToServer>) => {
    if (data.t === 'hello') {
      channels.get(data.client)?.close()
      const channel = new BroadcastChannel(names.toClient(store, data.client))
      channels.set(data.client, channel)
      server.join(data.client, (message: ToClient) => {
        // Of a Blob only its name crosses: the bytes of a whole file between two tabs take seconds.
        if (message.t !== 'file' || message.bytes === undefined) channel.postMessage(message)
        else channel.postMessage({ ...message, bytes: new Blob([message.bytes as Uint8Array<ArrayBuffer>]) } satisfies ToClient)
      })
      watch(data.client)
    } else server.receive(data)
  }
  receive = (message) => {
    if (message.t === 'hello') {
      server.join(message.client, (answer, transfer) => scope.postMessage(answer, transfer ?? []))
      watch(message.client)
    } else server.receive(message)
  }

  const tabs = new BroadcastChannel(names.tabs(store))
  const leading: Leading = { leader, persistence: 'opfs', store: engine.id }
  const announcement: Broadcast = { t: 'leader', protocol: PROTOCOL, client: start.client, ...leading }
  tabs.onmessage = ({ data }: MessageEvent<Broadcast>) => {
    if (data.t === 'who') tabs.postMessage(announcement)
  }
  scope.postMessage({ t: 'leading', ...leading })
  tabs.postMessage(announcement)

  await new Promise<void>((release) => {
    shut = async () => {
      let failure
      try {
        // Chromium never ends the closing of a file that was deleted, of which nobody has anything any more.
        if (await isThere(store)) server.close()
      } catch (error) {
        failure = failureOf(error)
      }
      release()
      scope.postMessage({ t: 'shut', failure })
      scope.close()
    }
  })
}

/** The engine is of no use any more, and with it this worker: its file and its lock go to the next one. */
function die(failure: Failure): void {
  scope.postMessage({ t: 'dead', failure })
  scope.close()
}

function wasm(given: Start['wasm']): WasmSource | Promise<WasmSource> {
  if (given === undefined) return fetch(new URL('./magnetar.wasm', import.meta.url))
  return typeof given === 'string' ? fetch(given) : given
}
