/** The worker thread of a Node process: has the file, so that waiting for the disk does not stop the program. */

import { parentPort } from 'node:worker_threads'
import { moduleBeside } from './module-node.js'
import type { FromSeat, ToSeat } from './protocol.js'
import { serveInline } from './seat-inline.js'
import { placeOf } from './seat-node.js'

const port = parentPort!
/** Deno's port has no end of its own. */
const end = () => (port.close === undefined ? (globalThis as { close?(): void }).close?.() : port.close())
const seat = serveInline(placeOf(moduleBeside), (message: FromSeat, transfer?: Transferable[]) => {
  port.postMessage(message, (transfer ?? []) as ArrayBuffer[])
  // Nothing more is to be had from here.
  if (message.t === 'dead' || message.t === 'failed' || message.t === 'shut') end()
})
port.on('message', (message: ToSeat) => seat.post(message))
