/** The engine in this thread: the module, the open store in it, and what a trap leaves behind. */

import init, { JobStore, __wbg_reset_state, initSync } from './magnetar.js'
import { anotherStore, type Failure, failure, failureOf, MagnetarError } from './errors.js'
import { MemoryBytes } from './files-memory.js'
import { register, takePanic, takeThrown, unregister, type Bytes } from './storage.js'

/** What the module can be made of. */
export type WasmSource = WebAssembly.Module | BufferSource | Response | Promise<Response>

let loading: Promise<unknown> | undefined
let generation = 0

/** The module, which can be handed to another thread. */
export async function compiled(source: WasmSource | Promise<WasmSource>): Promise<WebAssembly.Module> {
  const given = await source
  return given instanceof WebAssembly.Module ? given : compile(given)
}

async function load(source: () => WasmSource | Promise<WasmSource>): Promise<void> {
  loading ??= (async () => {
    const module = await compiled(source())
    // Browsers of 2023 make no large instance at once where a page is drawn. Node loads all of `fetch` for the other way.
    if (typeof document === 'undefined') initSync({ module })
    else await init({ module_or_path: module })
  })()
  try {
    await loading
  } catch (error) {
    loading = undefined
    throw new MagnetarError(failure('unavailable', `the engine's module cannot be loaded: ${String(error)}`), {
      cause: error,
    })
  }
}

async function compile(given: BufferSource | Response): Promise<WebAssembly.Module> {
  // Not by its class: Node loads all of `fetch`, for 20 ms, where that is named.
  if (!('headers' in given)) return WebAssembly.compile(given)
  if (!given.ok) throw new Error(`${given.url}: HTTP ${given.status}`)
  // Servers that do not know the type of a module are common.
  const isTyped = given.headers.get('content-type')?.startsWith('application/wasm')
  return isTyped ? WebAssembly.compileStreaming(given) : WebAssembly.compile(await given.arrayBuffer())
}

/** Ends the instance in this thread: whatever it held is gone, and the next store gets a fresh one. */
function renew(): void {
  generation++
  __wbg_reset_state()
}

/** So much of a file is copied at once. */
const PORTION_BYTES = 1 << 20
/** What a file begins with until all of it is there. Shorter than a sector, which a disk writes as a whole. */
const UNFINISHED = new TextEncoder().encode('magnetar: an import that was not finished\n')

function isUnfinished(bytes: Bytes): boolean {
  const begin = new Uint8Array(UNFINISHED.length)
  return bytes.len() >= begin.length && bytes.read(0, begin) === begin.length && UNFINISHED.every((byte, at) => byte === begin[at])
}

/** Opens a copy of a file in memory: what is no store, or a damaged one, is refused. */
function tryOut(from: Uint8Array, owner: string): void {
  // The engine would take nothing, zeros, or a part of what stands in front, for a store that was about to be made.
  const isWhole = from.subarray(24, 32).some((byte) => byte !== 0)
  if (!isWhole || !/^(magnetar\r\n|redb)/.test(new TextDecoder().decode(from.subarray(0, 10)))) {
    throw new MagnetarError(failure('corrupt', 'these bytes are not the file of a store: use what exportFile gave, or a native program wrote'))
  }
  const bytes = new MemoryBytes()
  begin(bytes)
  fill(bytes, from)
  const handle = register(bytes)
  try {
    const store = JobStore.open(JSON.stringify({ storage: handle, owner, living: [] }))
    store.close()
    store.free()
  } catch (error) {
    if (!(error instanceof WebAssembly.RuntimeError)) throw error
    renew()
    throw new MagnetarError(failure('corrupt', `the file is damaged: ${takePanic() ?? error.message}; use another copy`))
  } finally {
    unregister(handle)
  }
}

/** Marks a file that is to be made. One that is not empty is refused, but for a part that a crash left. */
function begin(bytes: Bytes): void {
  if (bytes.len() > 0 && !isUnfinished(bytes)) {
    throw new MagnetarError(failure('refused', 'the store exists already: give the file another name'))
  }
  bytes.setLen(0)
  put(bytes, 0, UNFINISHED)
}

/** Makes a file of another one's bytes: what belongs in the place of the mark last, so that a part is never taken for all. */
function fill(bytes: Bytes, from: Uint8Array): void {
  bytes.setLen(Math.max(from.length, UNFINISHED.length))
  put(bytes, UNFINISHED.length, from.subarray(UNFINISHED.length))
  put(bytes, 0, from.subarray(0, UNFINISHED.length))
}

function put(bytes: Bytes, start: number, part: Uint8Array): void {
  for (let at = 0; at < part.length; ) {
    const written = bytes.write(start + at, part.subarray(at, at + PORTION_BYTES))
    if (written === 0) throw new MagnetarError(failure('io', 'the file took none of the bytes'))
    at += written
  }
  bytes.sync()
}

/** Makes the file of a new store, or leaves an empty one. It is marked before anything that takes its time. */
async function make(bytes: Bytes, from: Uint8Array, owner: string, loaded: () => Promise<void>): Promise<void> {
  begin(bytes)
  try {
    await loaded()
    tryOut(from, owner)
    fill(bytes, from)
  } catch (error) {
    // What did not fit takes no space.
    bytes.setLen(0)
    throw error
  }
}

/** How a store is opened in this thread. */
export interface EngineOptions {
  wasm: () => WasmSource | Promise<WasmSource>
  bytes: Bytes
  /** What a new file is made of, where it is not to be empty. */
  from?: Uint8Array
  /** The store's own id, and a new file's. */
  owner: string
  /** Clients that are known to live. */
  living: string[]
  cacheBytes?: number
  /** Which store it is to be, where it was open before. */
  store?: string
}

/** The engine trapped or gave its file up: it is of no use any more. */
export class EngineDied extends MagnetarError {
  constructor(why: Failure | string, options?: ErrorOptions) {
    super(typeof why === 'string' ? failure('crashed', why) : why, options)
  }
}

/** Why the last write failed, as the host said it; once. */
function lastFailure(): Failure | undefined {
  const thrown = takeThrown()
  return thrown === undefined ? undefined : failureOf(thrown)
}

/** A write failed. What became of it shows when the file is opened anew. */
function failed(text: string): EngineDied {
  const why = lastFailure()
  return new EngineDied(why?.code === 'full' ? why : `a write failed: ${why?.message ?? text}`)
}

/** An open store in this thread. */
export class Engine {
  readonly #store: JobStore
  readonly #handle: number
  readonly #bytes: Bytes
  readonly #generation: number
  #isOver = false

  private constructor(store: JobStore, handle: number, bytes: Bytes) {
    this.#store = store
    this.#handle = handle
    this.#bytes = bytes
    this.#generation = generation
  }

  /** Opens a store. What was opened for it is closed again where that fails. */
  static async open(options: EngineOptions): Promise<Engine> {
    const { bytes, from, owner, living, cacheBytes, store } = options
    try {
      const loaded = () => load(options.wasm)
      if (from !== undefined) await make(bytes, from, owner, loaded)
      else await loaded()
      if (store !== undefined && bytes.len() === 0) throw new MagnetarError(anotherStore())
      if (isUnfinished(bytes)) {
        throw new MagnetarError(failure('corrupt', 'the import that was to make this store was not finished: import the file again'))
      }
    } catch (error) {
      bytes.close()
      throw error
    }
    const handle = register(bytes)
    // What another store of this thread has left is none of this one's.
    takeThrown()
    try {
      const config = JSON.stringify({ storage: handle, owner, living, cacheBytes })
      const opened = JobStore.open(config)
      if (opened.id === (store ?? opened.id)) return new Engine(opened, handle, bytes)
      opened.close()
      opened.free()
      throw new MagnetarError(anotherStore())
    } catch (error) {
      unregister(handle)
      try {
        bytes.close()
      } catch {
        // The engine has closed it.
      }
      if (error instanceof WebAssembly.RuntimeError) {
        renew()
        throw new EngineDied(takePanic() ?? error.message)
      }
      // There is no store yet whose reopening could show what became of a write.
      const why = lastFailure()
      throw why?.code === 'full' ? new MagnetarError(why, { cause: error }) : error
    }
  }

  /** Which store it is. */
  get id(): string {
    return this.#store.id
  }

  /** The revision of the newest change. */
  get revision(): number {
    return this.#isOver ? 0 : this.#guarded(() => this.#store.revision)
  }

  /** Carries out a batch of calls of one client. */
  run(client: string, batch: string): Uint8Array {
    return this.#guarded(() => {
      const answers = this.#store.call(client, batch)
      // What was refused before the write failed is answered; the rest is asked for again of the next engine.
      if (this.#store.isPoisoned) throw failed(new TextDecoder().decode(answers))
      return answers
    })
  }

  lives(client: string): void {
    this.#guarded(() => this.#store.lives(client))
  }

  died(client: string): void {
    this.#guarded(() => {
      const why = this.#store.died(client)
      if (this.#store.isPoisoned) throw failed(why ?? '')
    })
  }

  /** A copy of the file, as it is between two commits. Where it is damaged later that is found. */
  exportFile(): Uint8Array {
    return this.#guarded(() => {
      const why = this.#store.checkpoint()
      if (this.#store.isPoisoned) throw failed(why ?? '')
      // Where there is no space for that, the copy is as a crash leaves the file.
      if (why !== undefined && JSON.parse(why).code !== 'full') throw new MagnetarError(lastFailure() ?? JSON.parse(why))
      const bytes = this.#bytes
      const copy = new Uint8Array(bytes.len())
      for (let at = 0; at < copy.length; ) {
        const read = bytes.read(at, copy.subarray(at, at + PORTION_BYTES))
        if (read === 0) throw new EngineDied('the file ended before its length')
        at += read
      }
      return copy
    })
  }

  /** Releases the file in good order. */
  close(): void {
    if (this.#isOver) return
    const why = this.#guarded(() => this.#store.close())
    this.#store.free()
    if (why !== undefined) {
      // What could not be written is left as a crash leaves it, and whoever comes next gets the file.
      this.abandon()
      throw new MagnetarError(lastFailure() ?? JSON.parse(why))
    }
    this.#isOver = true
    unregister(this.#handle)
  }

  /** Gives the file up as it is, as a crash would. */
  abandon(): void {
    if (this.#isOver) return
    this.#isOver = true
    unregister(this.#handle)
    try {
      this.#bytes.close()
    } catch {
      // It may be closed already; nothing is lost by that.
    }
  }

  #guarded<T>(work: () => T): T {
    if (this.#isOver || this.#generation !== generation) {
      this.abandon()
      throw new EngineDied('the engine in this thread has crashed')
    }
    try {
      return work()
    } catch (error) {
      if (!(error instanceof EngineDied || error instanceof WebAssembly.RuntimeError)) throw error
      this.abandon()
      if (error instanceof EngineDied) throw error
      renew()
      throw new EngineDied(takePanic() ?? error.message, { cause: error })
    }
  }
}
