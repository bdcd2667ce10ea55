/** A job file to try the view with: a film that is cut into scenes, rendered and put together, with something gone wrong. */

const SCENES = 8

function manifest() {
  const chunks = [{ id: 1, priority: 9, payload: { step: 'unpack the footage' } }]
  const mixes = []
  for (let scene = 0; scene < SCENES; scene++) {
    const id = 10 * (scene + 1)
    chunks.push({ id, depends_on: [1], payload: { step: 'stabilise', scene } })
    chunks.push({ id: id + 1, depends_on: [id], payload: { step: 'grade', scene } })
    chunks.push({ id: id + 2, depends_on: [id], payload: { step: 'sound', scene }, max_attempts: 1 })
    chunks.push({ id: id + 3, depends_on: [id + 1, id + 2], payload: { step: 'mix', scene } })
    mixes.push(id + 3)
  }
  chunks.push({ id: 200, depends_on: mixes, payload: { step: 'join' } })
  chunks.push({ id: 201, depends_on: [200], payload: { step: 'encode 4K' } })
  chunks.push({ id: 202, depends_on: [200], payload: { step: 'encode 1080p' } })
  chunks.push({ id: 203, depends_on: [1, 200], payload: { step: 'check against the footage' } })
  return { job: { name: 'Film, first cut', max_attempts: 3, backoff: { initial_ms: 60_000, max_ms: 60_000 } }, chunks }
}

/** Fills a store with two jobs. */
export async function fill(store) {
  await store.importManifest(1, manifest())
  for (let turn = 0; turn < 17; turn++) {
    const chunk = await store.claimPending(1)
    if (chunk.chunk === 32) await store.fail(chunk, 'DecodingError: track 2 has no samples after 00:04:17')
    else if (chunk.chunk === 51) await store.fail(chunk, 'TimeoutError: the renderer did not answer within 120 s')
    else await store.complete(chunk, { output: { seconds: 3 + ((chunk.chunk * 7) % 11) } })
  }
  await store.claimPendingBatch(1, 2)
  const chunks = Array.from({ length: 24 }, (_, id) => ({ id, payload: { path: `reel-${id + 1}.mov` } }))
  await store.importManifest(2, { job: { name: 'Archive to tape' }, chunks })
  for (const chunk of await store.claimPendingBatch(2, 24)) await store.complete(chunk)
}
