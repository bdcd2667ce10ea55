/** The server of a file, in whatever thread of Node this runs. */

import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { fileName, openFile } from './files-node.js'
import { type Place, serveInline } from './seat-inline.js'
import type { FromSeat, ToSeat } from './protocol.js'

export const place: Place = {
  persistence: 'file',
  open: (name) => openFile(fileName(name!)),
  wasm: (given) => {
    if (given === undefined) return readFile(fileURLToPath(new URL('./magnetar.wasm', import.meta.url)))
    if (typeof given !== 'string') return given
    return given.startsWith('file:') ? readFile(fileURLToPath(given)) : fetch(given)
  },
}

/** Starts a server of a file. */
export function serveFile(post: (message: FromSeat, transfer?: Transferable[]) => void): (message: ToSeat) => void {
  return serveInline(place, post)
}
