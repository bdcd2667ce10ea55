// The floor, in a file of the origin.

import { syncs } from './count.mjs'
import { log } from './log.mjs'

let file
let run
globalThis.onmessage = async ({ data }) => {
  if (data.open !== undefined) {
    const folder = await navigator.storage.getDirectory()
    file = await (await folder.getFileHandle(`log-${data.open}`, { create: true })).createSyncAccessHandle()
    let end = file.getSize()
    const bytes = new Uint8Array(end)
    file.read(bytes, { at: 0 })
    const encoder = new TextEncoder()
    const append = (text) => {
      end += file.write(encoder.encode(text), { at: end })
    }
    run = log(new TextDecoder().decode(bytes), append, () => file.flush())
    postMessage({ isOpen: true })
  } else if (data === 'syncs') postMessage({ syncs: syncs() })
  else if (data === 'close') postMessage({ closed: file.close() ?? true })
  else postMessage(run(data))
}
