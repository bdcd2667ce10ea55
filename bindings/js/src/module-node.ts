/** The engine's module, from the file beside this script. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Read at once, in a millisecond: in turns of the loop it takes longer than a thread needs to begin compiling. */
export function moduleBeside(): BufferSource {
  return readFileSync(fileURLToPath(new URL('./magnetar.wasm', import.meta.url)))
}
