/** What an opening is told, checked. */

import { kindOf, whole } from './arguments.js'
import { described, failure, invalid, MagnetarError, textOf } from './errors.js'
import type { Target } from './protocol.js'
import type { Bytes, OpenOptions } from './store.js'

/** What every open store needs to know. */
export async function startOf(name: string, options: OpenOptions): Promise<Target> {
  if (typeof name !== 'string' || name === '') throw invalid('a store has a name: a text that is not empty')
  if (typeof options !== 'object' || options === null) throw invalid(`options is ${described(options)}: give an object, or nothing`)
  const { wasm, cacheBytes } = options
  if (cacheBytes !== undefined) whole(cacheBytes, 'cacheBytes', CACHE_BYTES_MAX)
  return {
    name: name === ':memory:' ? undefined : name,
    wasm: wasm instanceof URL ? wasm.href : wasm,
    cacheBytes,
    // Whoever names it means it: a file that was not there is no new store.
    from: 'from' in options ? await copied(options.from) : undefined,
  }
}

/** The engine's memory has 4 GiB in all. */
const CACHE_BYTES_MAX = 1 << 30

async function copied(from: Blob | Bytes | undefined): Promise<Uint8Array> {
  const kind = kindOf(from)
  if (kind === 'Blob' || kind === 'File') {
    try {
      return new Uint8Array(await (from as Blob).arrayBuffer())
    } catch (error) {
      throw new MagnetarError(failure('source', `the file that from is cannot be read: ${textOf(error)}`), { cause: error })
    }
  }
  if (ArrayBuffer.isView(from)) return new Uint8Array(from.buffer, from.byteOffset, from.byteLength).slice()
  if (kind === 'ArrayBuffer') return new Uint8Array(from as ArrayBuffer).slice()
  throw invalid(`from is ${described(from)}: a store is made of the bytes of a file, a Blob, an ArrayBuffer, or a view of one`)
}
