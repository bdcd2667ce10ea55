// What is measured, the same for every peer and in every runtime.
//
// A peer is a module with `open(name, isCounted)`, the second whether syncs will be asked for, which gives:
//   importChunks(job, chunks)   chunks `{ id, payload }` into a new job, on the disk when it resolves
//   claim(job)                  the next chunk of the job, held for this caller, on the disk; or undefined
//   complete(claimed, output)   that chunk done, on the disk
//   list(job)                   what is pending: `{ length, at(index) }` of records with `chunk` and `payload`
//   syncs()                     how often storage was synced so far; undefined where it cannot be counted
//   close()
// and optionally `next(claimed, output)`: both steps of a worker's loop in one; `bytes()`: how long the file is.

const now = () => performance.now()

/** The chunks that every peer gets. */
export function chunksOf(count) {
  return Array.from({ length: count }, (_, index) => ({ id: index + 1, payload: { path: `folder/file-${index}.bin`, bytes: index * 4096 } }))
}

/** Everything but the time to open. */
export async function work(load, name, { count, seconds, oneMax, manyMax }) {
  const { open } = await load()
  const store = await open(name, true)
  const figures = {}

  const chunks = chunksOf(count)
  let from = now()
  await store.importChunks(1, chunks)
  figures.importMs = now() - from

  from = now()
  const list = await store.list(1)
  const ends = list.at(0).chunk + list.at(list.length - 1).chunk
  figures.listMs = now() - from
  let bytes = 0
  for (let index = 0; index < list.length; index++) bytes += list.at(index).payload.bytes
  figures.listReadMs = now() - from
  if (list.length !== count || ends !== count + 1 || bytes !== (4096 * count * (count - 1)) / 2) throw new Error(`${name}: a wrong list`)

  await store.importChunks(2, chunksOf(manyMax + 64))
  Object.assign(figures, named('one', await cycles(store, 1, 1, oneMax, seconds)))
  Object.assign(figures, named('many', await cycles(store, 2, 64, manyMax, seconds)))
  await store.close()
  return figures
}

const named = (prefix, figures) => Object.fromEntries(Object.entries(figures).map(([key, value]) => [prefix + key, value]))

/** Callers that each claim and complete, one chunk after the other. */
async function cycles(store, job, callers, most, seconds) {
  const seen = new Set()
  let done = 0
  const syncsBefore = await store.syncs()
  const from = now()
  const until = from + seconds * 1000
  const goesOn = () => seen.size < most && now() < until
  const caller = async () => {
    let claimed = await store.claim(job)
    while (claimed !== undefined) {
      if (seen.has(claimed.chunk)) throw new Error(`chunk ${claimed.chunk} was claimed twice`)
      seen.add(claimed.chunk)
      const output = { bytes: claimed.payload.bytes }
      if (store.next !== undefined && goesOn()) {
        claimed = await store.next(claimed, output, job)
        done++
        continue
      }
      await store.complete(claimed, output)
      done++
      claimed = goesOn() ? await store.claim(job) : undefined
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  const elapsed = now() - from
  const syncs = syncsBefore === undefined ? undefined : (await store.syncs()) - syncsBefore
  return { PerSecond: (done / elapsed) * 1000, SyncsPerCycle: syncs === undefined ? undefined : syncs / done }
}

/** So many chunks are imported at once. */
const PIECE = 50_000

/** Makes a store of a size, works on it, and leaves it as it is: whoever called this ends the page or the process. */
export async function growing(load, name, { count }) {
  const { open } = await load()
  const store = await open(name, true)
  for (let first = 0; first < count; first += PIECE) {
    const chunks = chunksOf(Math.min(PIECE, count - first))
    await store.importChunks(1, chunks.map((chunk) => ({ ...chunk, id: first + chunk.id })))
  }
  await cycles(store, 1, 8, 200, 10)
  return { bytes: await store.bytes() }
}

/** From nothing loaded to the first claim of a store that exists, which is then left as it is. */
export async function reopening(load, name) {
  return (await opened(load, name)).figures
}

/** The same, and closes it. */
export async function opening(load, name) {
  const { store, figures } = await opened(load, name)
  await store.close()
  return figures
}

async function opened(load, name) {
  const from = now()
  const { open } = await load()
  const store = await open(name)
  const claimed = await store.claim(1)
  const openMs = now() - from
  if (claimed === undefined) throw new Error(`${name}: nothing was left to claim`)
  return { store, figures: { openMs } }
}
