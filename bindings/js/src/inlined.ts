/** The engine's module out of the text that it travels in, compiled once. */

import { packed } from './packed.js'

let compiled: Promise<WebAssembly.Module> | undefined

/** The engine's module. */
export function moduleInlined(): Promise<WebAssembly.Module> {
  compiled ??= compile()
  return compiled
}

async function compile(): Promise<WebAssembly.Module> {
  const bytes = Uint8Array.from(atob(packed.module), (char) => char.charCodeAt(0))
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))
  return WebAssembly.compile(await new Response(unpacked).arrayBuffer())
}
