import { Worker } from 'node:worker_threads'
import { caller } from '../workers/log.mjs'

export async function open(name) {
  const worker = new Worker(new URL('../workers/log-node.mjs', import.meta.url), { workerData: name })
  const { store, hear } = caller((batch) => worker.postMessage(batch))
  let resolve
  worker.on('message', (data) => (typeof data === 'string' ? hear(data) : resolve(Object.values(data)[0])))
  const ask = (what) =>
    new Promise((answered) => {
      resolve = answered
      worker.postMessage(what)
    })
  return { ...store, syncs: () => ask('syncs'), close: () => ask('close') }
}
