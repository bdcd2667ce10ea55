import { open as openStore } from '/package/dist/browser.js'
import { looping, peer } from './ours.mjs'

const worker = () => new Worker(new URL('../workers/magnetar.mjs', import.meta.url), { type: 'module' })

const channel = new BroadcastChannel('syncs')
const syncs = () =>
  new Promise((resolve) => {
    channel.onmessage = ({ data }) => resolve(data)
    channel.postMessage('how many?')
  })

export async function open(name, isLoop = false) {
  const store = await openStore(name, { worker })
  return isLoop ? looping(peer(store, syncs), store) : peer(store, syncs)
}
