/** Where a server in any thread of Node has its bytes and its module. */

import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { WasmSource } from './engine.js'
import { openFile } from './files-node.js'
import type { Place } from './seat-inline.js'

/** A file, and the module that is given, or else had by `module`. */
export function placeOf(module: () => WasmSource | Promise<WasmSource>): Place {
  return {
    persistence: 'file',
    open: (name) => openFile(name!),
    wasm: (given) => {
      if (given === undefined) return module()
      if (typeof given !== 'string') return given
      return given.startsWith('file:') ? readFile(fileURLToPath(given)) : fetch(given)
    },
  }
}
