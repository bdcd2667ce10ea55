/** The engine's module, from the file beside this script. */

import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

export function moduleBeside(): Promise<BufferSource> {
  return readFile(fileURLToPath(new URL('./magnetar.wasm', import.meta.url)))
}
