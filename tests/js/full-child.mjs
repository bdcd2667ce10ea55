// Works on a store whose file may not grow any further, and says what was acknowledged and what was refused.

import { load } from './package.mjs'

const { open } = await load()
const [path, inline] = process.argv.slice(2)
const store = await open(path, { inline: inline === 'inline' })
const refusals = []
const done = []

const refused = async (what, call) => {
  try {
    await call
    return false
  } catch (error) {
    refusals.push({ what, name: error.name, code: error.code, retry: error.retry, message: error.message })
    return true
  }
}
const work = async () => {
  const chunk = await store.claimPending(1)
  if (await refused('complete', store.complete(chunk, { output: 'kept' }))) return
  done.push(chunk.chunk)
}

await store.importManifest(1, { chunks: Array.from({ length: 50 }, (_, id) => ({ id })) })
for (let count = 0; count < 5; count++) await work()

const payload = 'x'.repeat(1000)
const large = { chunks: Array.from({ length: 1_000 }, (_, id) => ({ id, payload })) }
let imported = 0
while (!(await refused('import', store.importManifest(100 + imported, large)))) imported++

// What is asked for in one go, some of it too large.
const [together] = await Promise.allSettled([work(), refused('import beside others', store.importManifest(99, large))])
if (together.reason?.code !== 'full') await together

const lines = new ReadableStream({
  pull(controller) {
    controller.enqueue(`${JSON.stringify({ id: this.at++, path: payload })}\n`)
    if (this.at === 20_000) controller.close()
  },
  at: 0,
})
await refused('stream', store.importManifest(98, lines, { format: 'jsonl' }))
for (let count = 0; count < 5; count++) await work().catch(({ code }) => refusals.push({ what: 'work', code, retry: 'later' }))
const { processing } = await store.getStats(1)
await store.verify()
await store.close()
console.log(JSON.stringify({ refusals, done, imported, processing }))
