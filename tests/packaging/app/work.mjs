// What every project does with the package: work on a job, close the store, and go on with it later.

const JOB = 7

/** Imports a job, does its first chunk, closes. */
export async function begin(open, name) {
  const store = await open(name)
  const chunks = [{ id: 1, payload: { text: 'é' } }, { id: 2, depends_on: [1] }, { id: 3 }]
  const { added } = await store.importManifest(JOB, { chunks })
  const chunk = await store.claimPending(JOB)
  await store.complete(chunk, { output: { seen: chunk.payload.text } })
  const { persistence } = store
  await store.close()
  return { persistence, added, claimed: chunk.chunk }
}

/** Opens the store again, looks at what was done, does the rest. */
export async function goOn(open, name) {
  const store = await open(name)
  const { status, output } = await store.getChunk(JOB, 1)
  const rest = []
  for await (const { chunk } of store.claims(JOB)) rest.push(chunk)
  const { done, total } = await store.getStats(JOB)
  await store.close()
  return { status, output, rest, done, total }
}

/** What the two give, wherever the store is. */
export const expected = (persistence) => ({
  begun: { persistence, added: 3, claimed: 1 },
  finished: { status: 'done', output: { seen: 'é' }, rest: [2, 3], done: 3, total: 3 },
})
