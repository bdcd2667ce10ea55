import { caller } from '../workers/log.mjs'

export async function open(name) {
  const worker = new Worker(new URL('../workers/log-browser.mjs', import.meta.url), { type: 'module' })
  const { store, hear } = caller((batch) => worker.postMessage(batch))
  const ask = (what, key) =>
    new Promise((resolve) => {
      worker.onmessage = ({ data }) => (typeof data === 'string' ? hear(data) : resolve(data[key]))
      worker.postMessage(what)
    })
  await ask({ open: name }, 'isOpen')
  return { ...store, syncs: () => ask('syncs', 'syncs'), close: () => ask('close', 'closed').then(() => worker.terminate()) }
}
