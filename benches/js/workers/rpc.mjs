// Calls into a worker, one message each and one back: what people write by hand.

/** The side of the page. */
export function connect(worker) {
  const waiting = new Map()
  let last = 0
  worker.onmessage = ({ data: [id, failed, value] }) => {
    const { resolve, reject } = waiting.get(id)
    waiting.delete(id)
    if (failed) reject(new Error(value))
    else resolve(value)
  }
  worker.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message ?? 'the worker cannot be started'))
  }
  return (op, ...values) =>
    new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject })
      worker.postMessage([last, op, values])
    })
}

/** The side of the worker: `open` first, which gives the rest. One call after the other. */
export function answer(open) {
  let ops
  let turn = Promise.resolve()
  globalThis.onmessage = ({ data: [id, op, values] }) => {
    turn = turn.then(async () => {
      try {
        if (op === 'open') ops = await open(...values)
        globalThis.postMessage([id, false, op === 'open' ? undefined : await ops[op](...values)])
      } catch (error) {
        globalThis.postMessage([id, true, `${error.name}: ${error.message}`])
      }
    })
  }
}

/** A peer whose work is done in such a worker. */
export async function remote(url, name) {
  const worker = new Worker(url, { type: 'module' })
  const call = connect(worker)
  await call('open', name)
  return {
    importChunks: (job, chunks) => call('importChunks', job, chunks),
    claim: (job) => call('claim', job),
    complete: (claimed, output) => call('complete', claimed, output),
    list: (job) => call('list', job),
    syncs: () => call('syncs'),
    async close() {
      await call('close')
      worker.terminate()
    },
  }
}
