// What a user's TypeScript may say, and what it may not. It is checked and never run.

import { type Chunk, type ErrorCode, type HeldChunk, type JobSpec, JobStore, MagnetarError, open, type Page, type Persistence, type ProgressEvents, type Stats, type Status, type StoreEvents } from 'magnetar-jobs'
import { open as openInlined } from 'magnetar-jobs/inline'

interface Upload {
  path: string
  bytes: number
}

interface Receipt {
  etag: string
}

export async function typed(signal: AbortSignal): Promise<void> {
  await using store: JobStore<Upload, Receipt> = await open<Upload, Receipt>('uploads', { cacheBytes: 1 << 20 })
  const persistence: Persistence = store.persistence
  await store.importManifest(1, { job: { name: persistence }, chunks: [{ id: 1, payload: { path: 'a', bytes: 1 } }] }, { signal })
  // @ts-expect-error: another payload
  await store.importManifest(1, { chunks: [{ id: 1, payload: { path: 1 } }] })

  const claimed: Chunk<Upload, Receipt> | undefined = await store.claimPending(1, { leaseMs: 60_000 })
  if (claimed !== undefined) {
    const bytes: number = claimed.payload.bytes
    await store.complete(claimed, { output: { etag: String(bytes) } })
    // @ts-expect-error: another output
    await store.complete(claimed, { output: { etag: bytes } })
    // @ts-expect-error: what was claimed stays as it is
    claimed.fence = 0
  }

  for await (const chunk of store.claims(1, { signal })) {
    const held: HeldChunk<Upload, Receipt> = chunk
    held.complete({ etag: held.payload.path })
  }
  await store.run(1, async (chunk, context) => ({ etag: chunk.payload.path + String(context.signal.aborted) }), { concurrency: 4 })
  for await (const stats of store.progress(1)) {
    const known: Stats = stats
    if (known.isFinished) break
  }
  for await (const chunk of store.chunks(1, 'done')) {
    const receipt: Receipt | null = chunk.output
    // @ts-expect-error: a completion may report nothing
    receipt.etag.trim()
  }
  store.addEventListener('change', ({ detail }) => detail.toFixed())
  store.removeEventListener('leader', ({ detail }: CustomEvent<boolean>) => !detail)
  store.progress(1).addEventListener('progress', ({ detail }) => detail.percent)
  const onChange = ({ detail }: StoreEvents['change']): number => detail
  const onProgress = ({ detail }: ProgressEvents['progress']): number => detail.percent
  store.addEventListener('change', onChange)
  store.progress(1).addEventListener('progress', onProgress)
  // @ts-expect-error: a revision
  store.addEventListener('change', (event) => event.detail.trim())
  const lines = async function* () { yield '{"id":1}\n' }
  await store.importManifest(2, lines(), { format: 'jsonl' })
  const csv: ReadableStream<Uint8Array> = store.exportCsv(1)
  await csv.cancel()
  const page: Page = { after: 1, limit: 100 }
  await store.listJobs(page)
}

/** What the caller has not got is handed on as it is. */
export async function handedOn(given: { signal?: AbortSignal; leaseMs?: number; delayMs?: number; output?: string; format?: 'csv' }): Promise<void> {
  const { signal, leaseMs, delayMs, output, format } = given
  const store = await open<string, string>('handed-on', { cacheBytes: undefined, worker: undefined })
  await store.importManifest(1, '{}', { signal, format })
  const chunk = await store.claimPending(1, { signal, leaseMs })
  if (chunk !== undefined) await store.complete(chunk, { output }, { signal })
  for await (const held of store.claims(1, { signal, leaseMs, wait: undefined })) held.release({ delayMs })
  await store.run(1, (held) => held.fail('no', { delayMs }), { signal, leaseMs, concurrency: undefined })
  if (chunk !== undefined) await store.fail(chunk, 'no', { delayMs, permanent: undefined })
  const [job, status, checksum]: [number?, Status?, string?] = []
  for (const left of await store.claim({ job, count: job, leaseMs })) {
    await store.applyBatchUpdates(1, [{ complete: left, output, checksum }, { fail: left, error: 'no', delayMs, permanent: undefined }, { release: left, delayMs }])
    await store.completeAndClaim(left, { output, checksum }, { job, leaseMs })
  }
  await store.pageByStatus(1, { status, after: job, limit: job })
  await store.listJobs({ after: job, limit: job })
  const spec: JobSpec = { name: checksum, lease: leaseMs, backoff: undefined }
  await store.importManifest(1, { job: spec, chunks: [{ id: 1, checksum, depends_on: undefined, priority: job, not_before: undefined, payload: output }] })
  // @ts-expect-error: whoever names a file means it
  await open('handed-on', { from: undefined })
}

export async function untyped(): Promise<unknown> {
  const store = await openInlined(':memory:')
  try {
    return (await store.getChunk(1, 1))?.payload
  } catch (error) {
    if (!(error instanceof MagnetarError)) throw error
    const code: ErrorCode = error.code
    // @ts-expect-error: there is no such code
    if (code === 'no_such_code') return undefined
    return error.retry
  } finally {
    await store.close()
  }
}
