// Counts how often a worker has its files flushed.

let flushes = 0
const { prototype } = FileSystemSyncAccessHandle
const { flush } = prototype
prototype.flush = function () {
  flushes++
  return flush.call(this)
}

export const syncs = () => flushes

// For a worker that is not ours to ask.
const asked = new BroadcastChannel('syncs')
asked.onmessage = ({ data }) => {
  if (data === 'how many?') asked.postMessage(flushes)
}
