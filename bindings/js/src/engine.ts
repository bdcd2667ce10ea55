/** The engine in this thread: the module, the open store in it, and what a trap leaves behind. */

import init, { JobStore, __wbg_reset_state } from './magnetar.js'
import { failure, MagnetarError } from './errors.js'
import { register, takePanic, unregister, type Bytes } from './storage.js'

/** What the module can be made of. */
export type WasmSource = WebAssembly.Module | BufferSource | Response | Promise<Response>

/** So much is read at once when a file is exported. */
const EXPORT_PIECE_BYTES = 4 << 20

let loading: Promise<unknown> | undefined
let compiled: WebAssembly.Module | undefined
let generation = 0

async function load(source: () => WasmSource | Promise<WasmSource>): Promise<void> {
  loading ??= (async () => {
    const given = await source()
    compiled = given instanceof WebAssembly.Module ? given : await compile(given)
    await init({ module_or_path: compiled })
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
  if (!(given instanceof Response)) return WebAssembly.compile(given)
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

/** How a store is opened in this thread. */
export interface EngineOptions {
  wasm: () => WasmSource | Promise<WasmSource>
  /** The file; none is memory. */
  bytes?: Bytes
  /** The store's own id, and a new file's. */
  owner: string
  /** Clients that are known to live. */
  living: string[]
  cacheBytes?: number
}

/** The engine trapped or gave its file up: it is of no use any more. */
export class EngineDied extends Error {
  override readonly name = 'EngineDied'
}

/** An open store in this thread. */
export class Engine {
  readonly #store: JobStore
  readonly #handle: number | undefined
  readonly #bytes: Bytes | undefined
  readonly #generation: number
  #isOver = false

  private constructor(store: JobStore, handle: number | undefined, bytes: Bytes | undefined) {
    this.#store = store
    this.#handle = handle
    this.#bytes = bytes
    this.#generation = generation
  }

  /** Opens a store. What was opened for it is closed again where that fails. */
  static async open(options: EngineOptions): Promise<Engine> {
    const { bytes, owner, living, cacheBytes } = options
    try {
      await load(options.wasm)
    } catch (error) {
      bytes?.close()
      throw error
    }
    const handle = bytes && register(bytes)
    try {
      const config = JSON.stringify({ storage: handle, owner, living, cacheBytes })
      return new Engine(JobStore.open(config), handle, bytes)
    } catch (error) {
      if (handle !== undefined) unregister(handle)
      try {
        bytes?.close()
      } catch {
        // The engine has closed it.
      }
      if (error instanceof WebAssembly.RuntimeError) {
        renew()
        throw new EngineDied(takePanic() ?? error.message)
      }
      throw error
    }
  }

  /** The revision of the newest change that was committed here. */
  get revision(): number {
    return this.#isOver ? 0 : this.#guarded(() => this.#store.revision)
  }

  /** Carries out a batch of calls of one client. */
  run(client: string, batch: string): Uint8Array {
    return this.#guarded(() => {
      const answers = this.#store.call(client, batch)
      // What was refused before the write failed is answered; the rest is asked for again of the next engine.
      if (this.#store.isPoisoned) throw new EngineDied(`a write failed: ${new TextDecoder().decode(answers)}`)
      return answers
    })
  }

  lives(client: string): void {
    this.#guarded(() => this.#store.lives(client))
  }

  died(client: string): void {
    this.#guarded(() => {
      const failed = this.#store.died(client)
      if (this.#store.isPoisoned) throw new EngineDied(failed)
    })
  }

  /** The file as a crash at this moment would leave it: with everything that was acknowledged. */
  file(): Uint8Array {
    return this.#guarded(() => {
      if (this.#bytes === undefined) throw new MagnetarError(failure('unsupported', 'this store has no bytes of its own'))
      const file = new Uint8Array(this.#bytes.len())
      for (let at = 0; at < file.length; ) {
        const read = this.#bytes.read(at, file.subarray(at, at + EXPORT_PIECE_BYTES))
        if (read === 0) throw new MagnetarError(failure('io', `the file ends at ${at} of its ${file.length} bytes`))
        at += read
      }
      return file
    })
  }

  /** Releases the file in good order. */
  close(): void {
    if (this.#isOver) return
    const failed = this.#guarded(() => this.#store.close())
    this.#isOver = true
    this.#store.free()
    if (this.#handle !== undefined) unregister(this.#handle)
    if (failed !== undefined) throw new MagnetarError(JSON.parse(failed))
  }

  /** Gives the file up as it is, as a crash would. */
  abandon(): void {
    if (this.#isOver) return
    this.#isOver = true
    if (this.#handle !== undefined) unregister(this.#handle)
    try {
      this.#bytes?.close()
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
