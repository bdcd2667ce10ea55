import { statSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { looping, peer } from './ours.mjs'

const dist = pathToFileURL(join(process.env.MAGNETAR_PACKAGE, 'dist', '/')).href
const { open: openStore } = await import(`${dist}node.js`)

const counted = new Int32Array(new SharedArrayBuffer(4))
const workerData = { syncs: counted, worker: `${dist}worker-node.js` }
const worker = () => new Worker(new URL('../workers/magnetar-node.mjs', import.meta.url), { workerData })
const syncs = async () => Atomics.load(counted, 0)

/** What opening takes is measured with the worker that everybody has. */
export async function open(name, isCounted = false, isLoop = false) {
  const store = await openStore(name, isCounted ? { worker } : {})
  const made = peer(store, syncs, async () => statSync(`${name}.redb`).size)
  return isLoop ? looping(made, store) : made
}
