/** Which part of a job's dependency graph is shown: all of a small one, the neighbourhood of a chunk of a large one. */

/** More is not read, and not drawn. */
export const NODES_MAX = 150

/** Gives the chunks and the edges to draw, whether that is all there is, and else what it is about, and whose dependents are left out. */
export async function partOf(store, job, total, around) {
  if (total <= NODES_MAX) {
    const chunks = []
    for await (const chunk of store.chunks(job)) chunks.push(chunk)
    return { chunks, edges: await edgesOf(store, job, chunks), isAll: true }
  }
  const start = around ?? (await startOf(store, job))
  const seen = new Set([start])
  const crowded = []
  /** More than a list may have are left out. */
  const dependentsOf = (chunk) =>
    store.getDependents(job, chunk).catch((error) => {
      if (error.code !== 'too_large') throw error
      crowded.push(chunk)
      return []
    })
  let border = [start]
  while (border.length > 0 && seen.size < NODES_MAX) {
    // Calls of one tick go over as one.
    const found = await Promise.all(border.flatMap((chunk) => [store.getDependencies(job, chunk), dependentsOf(chunk)]))
    border = []
    for (const chunk of found.flat()) {
      if (seen.has(chunk) || seen.size === NODES_MAX) continue
      seen.add(chunk)
      border.push(chunk)
    }
  }
  const chunks = await Promise.all([...seen].sort((a, b) => a - b).map((chunk) => store.getChunk(job, chunk)))
  return { chunks, edges: await edgesOf(store, job, chunks), isAll: false, start, crowded }
}

/** What failed is what people look for; else what waits. */
async function startOf(store, job) {
  for (const status of ['failed', 'pending', undefined]) {
    const [first] = await store.pageByStatus(job, { status, limit: 1 })
    if (first !== undefined) return first.chunk
  }
  return 0
}

/** A chunk may depend on thousands that are not drawn. */
async function edgesOf(store, job, chunks) {
  const drawn = new Set(chunks.map(({ chunk }) => chunk))
  const dependencies = await Promise.all(chunks.map(({ chunk }) => store.getDependencies(job, chunk)))
  return chunks.flatMap(({ chunk }, index) => dependencies[index].filter((from) => drawn.has(from)).map((from) => [from, chunk]))
}
