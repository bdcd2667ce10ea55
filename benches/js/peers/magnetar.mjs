import { open as openStore } from '/package/dist/browser.js'
import { looping, peer } from './ours.mjs'

const worker = () => new Worker(new URL('../workers/magnetar.mjs', import.meta.url), { type: 'module' })

const channel = new BroadcastChannel('syncs')
const syncs = () =>
  new Promise((resolve) => {
    channel.onmessage = ({ data }) => resolve(data)
    channel.postMessage('how many?')
  })

async function bytesOf(name) {
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('magnetar')
  return (await (await folder.getFileHandle(`${name}.redb`)).getFile()).size
}

/** What opening takes is measured with the worker that everybody has. */
export async function open(name, isCounted = false, isLoop = false) {
  const store = await openStore(name, isCounted ? { worker } : {})
  const made = peer(store, syncs, () => bytesOf(name))
  return isLoop ? looping(made, store) : made
}
