import Dexie from '../node_modules/dexie/dist/dexie.mjs'

export async function open(name) {
  const db = new Dexie(`dexie-${name}`, { chromeTransactionDurability: 'strict' })
  db.version(1).stores({ chunks: '[job+chunk], [job+status+chunk]' })
  await db.open()
  const pending = (job) => db.chunks.where('[job+status+chunk]').between([job, 0, Dexie.minKey], [job, 0, Dexie.maxKey])
  return {
    importChunks: (job, chunks) =>
      db.chunks.bulkAdd(chunks.map(({ id, payload }) => ({ job, chunk: id, status: 0, fence: 0, leaseEndsMs: 0, payload }))),
    claim: (job) =>
      db.transaction('rw', db.chunks, async () => {
        const row = await pending(job).first()
        if (row === undefined) return undefined
        Object.assign(row, { status: 1, fence: row.fence + 1, leaseEndsMs: Date.now() + 60_000 })
        await db.chunks.put(row)
        return row
      }),
    complete: ({ job, chunk, fence }, output) =>
      db.transaction('rw', db.chunks, async () => {
        const row = await db.chunks.get([job, chunk])
        if (row.fence !== fence || row.status !== 1) throw new Error(`chunk ${chunk} is no longer held`)
        await db.chunks.put({ ...row, status: 2, output })
      }),
    list: (job) => pending(job).toArray(),
    syncs: async () => undefined,
    close: async () => db.close(),
  }
}
