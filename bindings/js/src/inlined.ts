/** The engine's module out of the text that it travels in, compiled once. */

import { failure, MagnetarError, textOf } from './errors.js'
import { packed } from './packed.js'

let compiled: Promise<WebAssembly.Module> | undefined

/** The engine's module. What fails, as under a policy that forbids it, is tried again the next time. */
export function moduleInlined(): Promise<WebAssembly.Module> {
  compiled ??= compile().catch((error: unknown) => {
    compiled = undefined
    throw new MagnetarError(failure('unavailable', `the engine's module cannot be loaded: ${textOf(error)}`), { cause: error })
  })
  return compiled
}

async function compile(): Promise<WebAssembly.Module> {
  const bytes = Uint8Array.from(atob(packed.module), (char) => char.charCodeAt(0))
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))
  return WebAssembly.compile(await new Response(unpacked).arrayBuffer())
}
