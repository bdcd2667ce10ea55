/** What an opening is told, checked. */

import { whole } from './arguments.js'
import { invalid } from './errors.js'
import type { Target } from './protocol.js'
import type { Bytes, OpenOptions } from './store.js'

/** What every open store needs to know. */
export async function startOf(name: string, options: OpenOptions): Promise<Target> {
  if (typeof name !== 'string' || name === '') throw invalid('a store has a name: a text that is not empty')
  const { wasm, cacheBytes } = options
  if (cacheBytes !== undefined) whole(cacheBytes, 'cacheBytes')
  return {
    name: name === ':memory:' ? undefined : name,
    wasm: wasm instanceof URL ? wasm.href : wasm,
    cacheBytes,
    from: options.from && (await copied(options.from)),
  }
}

async function copied(from: Blob | Bytes): Promise<Uint8Array> {
  const bytes = from instanceof Blob ? await from.arrayBuffer() : from
  if (ArrayBuffer.isView(bytes)) return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength).slice()
  if (bytes instanceof ArrayBuffer) return new Uint8Array(bytes)
  throw invalid('a store is made of the bytes of a file: a Blob, an ArrayBuffer, or a view of one')
}
