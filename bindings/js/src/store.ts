/// <reference lib="esnext.disposable" preserve="true" />
/** The store as JavaScript sees it. */

import { asked, chosen, failed, fenced, ids, one, paged, place, released, reported, standing, STATUSES, updateOf, whole } from './arguments.js'
import type { Chunk, Chunks, Claim, Status } from './chunk.js'
import { claims, type HeldChunk } from './claims.js'
import type { Client } from './client.js'
import { HEADER, record } from './csv.js'
import { type Failure, MagnetarError } from './errors.js'
import { type Change, changeOf, jobOf, type PlainJob } from './feed.js'
import { type ImportOptions, importManifest, type ManifestSource, stated } from './manifest.js'
import { JobProgress } from './progress.js'
import { type Handler, run, type RunOptions, type RunReport } from './run.js'
import { type ImportReport, type Job, type JobSpec, Stats } from './stats.js'

/** Where a store keeps its data: the origin's private file system, a file, or memory that ends with the store. */
export type Persistence = 'opfs' | 'file' | 'memory'

/** Bytes in memory. */
export type Bytes = ArrayBuffer | ArrayBufferView

/** A compiled module, where the types of WebAssembly are there: those of Node alone have none. */
export type Compiled = typeof globalThis extends { WebAssembly: { Module: new (...given: any[]) => infer Module } } ? Module : never

/** How a store is opened. Everything has a default that is durable and safe. In options `undefined` is what is not there, but for `from`. */
export interface OpenOptions {
  /** Have the engine in this thread. In Node only; each commit then blocks the thread until it is on the disk. */
  inline?: boolean | undefined
  /** Ask the browser to keep the data also when space is short. It may ask the user. */
  persist?: boolean | undefined
  /** Memory for the pages of the file, in bytes, up to 1 GiB. Default: 8 MiB. */
  cacheBytes?: number | undefined
  /** The engine's module, where it does not lie beside the package's scripts: its URL, as the page sees it, its bytes, or compiled. */
  wasm?: URL | string | Bytes | Compiled | undefined
  /**
   * Makes the new store of a file's bytes: one that `exportFile` gave, or that a native program wrote. Refused where the
   * store exists already, and where it is named and is none. With `':memory:'` a file can be looked into without keeping it.
   */
  from?: Blob | Bytes
  /** Makes the worker, where a bundler does not find it by itself: the module `magnetar-jobs/worker`. */
  worker?: (() => unknown) | undefined
}

/** What every call takes. */
export interface CallOptions {
  /** Has the caller leave; nothing is stranded by that. */
  signal?: AbortSignal | undefined
}

/** How a claim fails. */
export interface FailOptions extends CallOptions {
  /** No further attempt would go well: the chunk is failed, whatever attempts it has left. */
  permanent?: boolean | undefined
  /** When the next attempt may begin, in the place of the job's backoff: in milliseconds, up to 604,800,000; 0 is at once. */
  delayMs?: number | undefined
}

/** How a claim is given back. */
export interface ReleaseOptions extends CallOptions {
  /** For how long nobody gets the chunk, in milliseconds, up to 604,800,000: for work that cannot begin yet. */
  delayMs?: number | undefined
}

/** How a chunk is claimed. */
export interface ClaimOptions extends CallOptions {
  /** How long the claim is held without a heartbeat, in milliseconds: 1,000 to 604,800,000. Default: the job's. */
  leaseMs?: number | undefined
}

/** What is claimed: chunks of one job, or of any; one, or up to `count`. */
export interface ClaimRequest {
  job?: number | undefined
  count?: number | undefined
  leaseMs?: number | undefined
}

/** A part of a list: what is above an id, and how many of it. */
export interface Page {
  after?: number | undefined
  limit?: number | undefined
}

/** What a worker reports when a chunk is done. */
export interface Completion<Output = unknown> {
  /**
   * What to keep as the result, as JSON of at most 1 MiB: a text, a finite number, true, false, null, a plain object, an
   * array, or what has `toJSON`. Anything else is refused.
   */
  output?: Output | undefined
  /** The checksum that was observed; compared with the expected one where there is one. Without it nothing is compared. */
  checksum?: string | undefined
}

/** Whether a call changed anything. Both mean that what was asked for holds now, durably. */
export type Outcome = 'changed' | 'unchanged'

/** Which chunks a bulk operation is about: all that it applies to, or these. */
export type Selection = 'all' | readonly number[]

/** One update of `applyBatchUpdates`. */
export type Update<Output = unknown> =
  | { complete: Claim; output?: Output | undefined; checksum?: string | undefined }
  | { fail: Claim; error: string; permanent?: boolean | undefined; delayMs?: number | undefined }
  | { release: Claim; delayMs?: number | undefined }
  | { heartbeat: Claim }
  | { mark: number; status: Status; detail?: string | undefined }

/** An event that tells something. */
export type Told<Detail> = (typeof globalThis extends { CustomEvent: new (...given: any[]) => infer Made } ? Made : Event) & {
  readonly detail: Detail
}

/** The events of a class, by their names. Another name has an event of which nothing is known. */
export interface Listeners<Events> {
  <Type extends keyof Events & string>(type: Type, listener: (event: Events[Type]) => void, options?: ListenerOptions): void
  (type: string, listener: Listener, options?: ListenerOptions): void
}

export type Listener = Parameters<EventTarget['addEventListener']>[1]
export type ListenerOptions = Parameters<EventTarget['addEventListener']>[2]

/**
 * A stream of bytes, for `Readable.fromWeb` of Node too: where the types of Node and of a browser are there beside each
 * other, these disagree about readers that bring a buffer, and so about whatever a stream is piped through.
 */
export type ByteStream = ReadableStream<Uint8Array> & Record<'getReader' | 'pipeThrough' | 'tee', (...given: any[]) => any>

/** The events of a store. */
export interface StoreEvents {
  /** Somebody changed something: the revision. */
  change: Told<number>
  /** Another tab or thread has the file: whether it is this one's own. */
  leader: Told<boolean>
  close: Event
}

const PAGE = 10_000

/** Of the same making as the class below, whatever a test puts in their place later: a target takes no other one's. */
const { CustomEvent, Event } = globalThis

/**
 * A durable store of jobs.
 *
 * Every call that changes something resolves once its outcome is on the disk. Calls of one tick share one commit. A call
 * that a crashed engine left unanswered is made again by itself, and done once. Errors are `MagnetarError`s.
 *
 * Events: `change` after changes of anybody's, with the revision in `detail`; `leader` when another tab or thread has the
 * file, with whether it is this one's own in `detail`, and a `change` after it, because the last one may be untold; `close`.
 */
export class JobStore<Payload = unknown, Output = unknown> extends EventTarget {
  declare addEventListener: Listeners<StoreEvents>
  declare removeEventListener: Listeners<StoreEvents>
  readonly #client: Client
  #isClosed = false

  /** @internal */
  constructor(client: object) {
    super()
    this.#client = client as Client
    this.#client.onchange = (revision) => {
      this.#note()
      this.dispatchEvent(new CustomEvent('change', { detail: revision }))
    }
    this.#client.onlost = () => {
      for (const note of [...this.losing]) note()
    }
    this.#client.onleader = (isHere) => this.dispatchEvent(new CustomEvent('leader', { detail: isHere }))
  }

  /** Loops that wait for a change, or for the closing, however many: Node takes a dozen listeners for a leak. @internal */
  readonly waiting = new Set<() => void>()

  /** Loops that make no call while they wait, and are to make one where no engine can be had: it is rejected. @internal */
  readonly losing = new Set<() => void>()

  #note(): void {
    for (const note of [...this.waiting]) note()
  }

  /** Keeps the process alive while somebody waits for changes. @internal */
  watching(): () => void {
    return this.#client.watching()
  }

  /** Where the data is: `opfs` and `file` outlive the program, `memory` does not. */
  get persistence(): Persistence {
    return this.#client.persistence
  }

  /** Who claims through this store: random per opening. */
  get owner(): string {
    return this.#client.id
  }

  /** Whether `close` was called. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  // Importing

  /**
   * Upserts a manifest into a job, which is created where it does not exist. Running it again changes nothing.
   *
   * ```js
   * await store.importManifest(42, { chunks: [{ id: 1, payload: { path: 'a.bin' } }, { id: 2, depends_on: [1] }] })
   * await store.importManifest(43, await fetch('jobs.toml'))
   * ```
   */
  async importManifest(job: number, source: ManifestSource<Payload>, options?: ImportOptions): Promise<ImportReport> {
    return importManifest(this, (name, fields, signal) => this.#client.call(name, () => fields, signal), job, source, options ?? {})
  }

  /** Creates an empty job under an id that was never used before. */
  newJob(spec: JobSpec = {}, options?: CallOptions): Promise<number> {
    return this.#call('newJob', () => ({ spec: stated(spec) }), options)
  }

  /** Deletes a job with everything in it. One that does not exist is `unchanged`. */
  deleteJob(job: number, options?: CallOptions): Promise<Outcome> {
    return this.#call('deleteJob', () => ({ job: whole(job, 'job') }), options)
  }

  /** Makes a chunk wait for others of its job. */
  addDependency(job: number, chunk: number, dependsOn: readonly number[], options?: CallOptions): Promise<Outcome> {
    return this.#call('addDependency', () => ({ ...place(job, chunk), chunks: ids(dependsOn, 'dependsOn') }), options)
  }

  // Working

  /**
   * The loop of a worker. Claims chunk after chunk, keeps each alive by heartbeats, and ends when the job has nothing left
   * that could still come. The normal end of the body completes the chunk, in one commit with the next claim. Leaving the
   * body early, by `break` or by an exception, gives a chunk back of which nothing was said yet (`complete`, `fail`): the
   * language does not tell the two apart. To count a failure call `chunk.fail(error)`, or use `run`, which does it by itself.
   *
   * ```js
   * for await (const chunk of store.claims(42, { signal })) {
   *   chunk.complete(await work(chunk.payload))
   * }
   * ```
   */
  claims(job: number, options?: ClaimOptions & { /** Wait for what others hold, or is delayed. Default: true. */ wait?: boolean | undefined }): AsyncGenerator<HeldChunk<Payload, Output>, void, undefined> {
    return claims(this, whole(job, 'job'), options ?? {})
  }

  /**
   * Works a job off with a function per chunk: what it gives is the chunk's output, what it throws fails the chunk.
   * Resolves when the job has nothing left that could still come, or after the signal, and says which it was. A job that is
   * missing, or is deleted meanwhile, is the error `job_not_found`, once its handlers have returned; of `claims` too.
   *
   * ```js
   * await store.run(42, async (chunk, { signal }) => upload(chunk.payload, signal), { concurrency: 4 })
   * ```
   */
  async run(job: number, handler: Handler<Payload, Output>, options?: RunOptions): Promise<RunReport> {
    return run(this, whole(job, 'job'), handler, options ?? {})
  }

  /** Claims the next ready chunk of a job; `undefined` where none is ready now, which need not be the end. */
  claimPending(job: number, options?: ClaimOptions): Promise<Chunk<Payload, Output> | undefined> {
    const fields = () => asked({ job: whole(job, 'job'), leaseMs: options?.leaseMs })
    return this.#call<Chunks<Payload, Output>>('claim', fields, options).then(first)
  }

  /**
   * Claims up to `count` ready chunks of a job, at most 10,000, in one commit, in claim order. Fewer where their payloads come
   * to 16 MiB: none is claimed that is not handed over.
   */
  claimPendingBatch(job: number, count: number, options?: ClaimOptions): Promise<Chunks<Payload, Output>> {
    return this.#call('claim', () => asked({ job: whole(job, 'job'), count: whole(count, 'count'), leaseMs: options?.leaseMs }), options)
  }

  /** Claims chunks of one job, or of any: one, or up to `count` within the bounds of `claimPendingBatch`. */
  claim(
    request: ClaimRequest = {},
    options?: CallOptions,
  ): Promise<Chunks<Payload, Output>> {
    return this.#call('claim', () => asked(request), options)
  }

  /** Ends a claim with its result. The same completion twice is `unchanged`. */
  complete(claim: Claim, result: Completion<Output> = {}, options?: CallOptions): Promise<Outcome> {
    return this.#call('complete', () => ({ claim: fenced(claim), ...reported(result) }), options)
  }

  /** Completes a claim and claims what comes next, in one commit. Where the completion is refused nothing is claimed. */
  completeAndClaim(
    claim: Claim,
    result: Completion<Output> = {},
    next: ClaimRequest = {},
    options?: CallOptions,
  ): Promise<Chunks<Payload, Output>> {
    return this.#call('completeAndClaim', () => ({ claim: fenced(claim), ...reported(result), ...asked(next) }), options)
  }

  /**
   * Ends a claim with an error. The chunk comes back after its backoff, or after a delay of the caller's own, or is failed
   * when its attempts are used up; or at once, where the error is permanent.
   *
   * ```js
   * await store.fail(chunk, '429: too many requests', { delayMs: 30_000 })
   * ```
   */
  fail(claim: Claim, error: string, options?: FailOptions): Promise<Outcome> {
    return this.#call('fail', () => failed(claim, error, options), options)
  }

  /** Gives a claim back, at once or for later; it costs the chunk nothing. */
  release(claim: Claim, options?: ReleaseOptions): Promise<Outcome> {
    return this.#call('release', () => released(claim, options?.delayMs), options)
  }

  /** Extends a claim's lease by its length. */
  heartbeat(claim: Claim, options?: CallOptions): Promise<Outcome> {
    return this.#call('heartbeat', () => ({ claim: fenced(claim) }), options)
  }

  /** Many updates of one job in one commit, each answered by itself: its outcome, or its error. */
  async applyBatchUpdates(job: number, updates: readonly Update<Output>[], options?: CallOptions): Promise<(Outcome | MagnetarError)[]> {
    const fields = () => ({ job: whole(job, 'job'), updates: updates.map(updateOf) })
    const answers = await this.#call<(Outcome | Failure)[]>('applyBatchUpdates', fields, options)
    return answers.map((answer) => (typeof answer === 'string' ? answer : new MagnetarError(answer)))
  }

  // Steering

  /**
   * Sets a chunk's status without a claim; whoever holds it is superseded. `detail`: checksum with done, error with failed.
   * `processing` is refused: claim the chunk.
   */
  markStatus(job: number, chunk: number, status: Status, detail?: string, options?: CallOptions): Promise<Outcome> {
    return this.#call('markStatus', () => ({ ...place(job, chunk), ...standing(status, detail) }), options)
  }

  /** Fails a chunk for good, until it is retried. */
  markFailed(job: number, chunk: number, error: string, options?: CallOptions): Promise<Outcome> {
    return this.markStatus(job, chunk, 'failed', error, options)
  }

  /**
   * Brings failed chunks back to pending, with what their failure had cancelled. Gives how many came back in the first step:
   * of very many dependents the rest is told afterwards, and not counted. Chunks that somebody cancelled come back where
   * they are named, and not with `'all'`.
   */
  retryFailed(job: number, chunks: Selection = 'all', options?: CallOptions): Promise<number> {
    return this.#call('retryFailed', () => ({ job: whole(job, 'job'), chunks: chosen(chunks) }), options)
  }

  /**
   * Takes the results of done chunks back; `through` those of what was built on them too. Gives how many in the first step,
   * as `retryFailed` does.
   */
  reset(job: number, chunks: Selection, through = false, options?: CallOptions): Promise<number> {
    return this.#call('reset', () => ({ job: whole(job, 'job'), chunks: chosen(chunks), through: Boolean(through) }), options)
  }

  /**
   * Cancels chunks that are not done, and what depends on them where it is to be. Gives how many in the first step, as
   * `retryFailed` does.
   */
  cancel(job: number, chunks: Selection = 'all', options?: CallOptions): Promise<number> {
    return this.#call('cancel', () => ({ job: whole(job, 'job'), chunks: chosen(chunks) }), options)
  }

  // Recovering

  /**
   * Puts back every claim whose lease is over or whose owner has died, then lists what is pending: up to 100,000 chunks and
   * 128 MiB, past that use `chunks`; what was put back stays so.
   */
  resumePending(job: number, options?: CallOptions): Promise<Chunks<Payload, Output>> {
    return this.#call('resumePending', () => ({ job: whole(job, 'job') }), options)
  }

  /** Gives back everything that this store holds. */
  releaseAll(options?: CallOptions): Promise<number> {
    return this.#call('releaseAll', () => ({}), options)
  }

  /**
   * Has the file opened anew, where it is here: what another tab has open stays so. It happens by itself when a write
   * fails; what waits goes on. In memory it is refused.
   */
  async reopen(): Promise<void> {
    this.#client.reopen()
    await this.listJobs({ limit: 1 })
  }

  /** Checks everything that is stored; an error of code `corrupt` names the first thing found. */
  async verify(options?: CallOptions): Promise<void> {
    await this.#call('verify', () => ({}), options)
  }

  /**
   * Gives back what this store holds, and releases the file. Later calls are refused. Handlers are told by their signals,
   * and a `run` that is under way is rejected as `closed` once they have returned.
   */
  async close(): Promise<void> {
    const isFirst = !this.#isClosed
    this.#isClosed = true
    if (isFirst) this.#note()
    try {
      await this.#client.close()
    } finally {
      if (isFirst) this.dispatchEvent(new Event('close'))
    }
  }

  /** The same as `close`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // Looking

  /** One chunk; `undefined` where the job has no such chunk. */
  getChunk(job: number, chunk: number, options?: CallOptions): Promise<Chunk<Payload, Output> | undefined> {
    return this.#call<Chunks<Payload, Output>>('getChunk', () => place(job, chunk), options).then(first)
  }

  /** Every chunk of a status, by id; up to 100,000 and 128 MiB, past that use `chunks`. */
  getByStatus(job: number, status: Status, options?: CallOptions): Promise<Chunks<Payload, Output>> {
    return this.#call('getByStatus', () => ({ job: whole(job, 'job'), status: one(status, 'status', STATUSES) }), options)
  }

  /**
   * Up to `limit` chunks (default and at most 10,000) above an id, by id; of one status, or of all. Fewer where they come
   * to 16 MiB: the page's `more` says whether there are others.
   */
  pageByStatus(
    job: number,
    page: Page & { status?: Status | undefined } = {},
    options?: CallOptions,
  ): Promise<Chunks<Payload, Output>> {
    return this.#call('page', () => ({ job: whole(job, 'job'), status: page.status, ...paged(page) }), options)
  }

  /** All chunks of a job, or all of a status, by id, however many. */
  async *chunks(job: number, status?: Status, options?: CallOptions): AsyncGenerator<Chunk<Payload, Output>, void, undefined> {
    let after: number | undefined
    for (;;) {
      const page = await this.pageByStatus(job, { status, after, limit: PAGE }, options)
      yield* page
      if (!page.more) return
      after = page.at(-1)!.chunk
    }
  }

  /** How many chunks stand where. */
  async getStats(job: number, options?: CallOptions): Promise<Stats> {
    return new Stats(job, await this.#call('getStats', () => ({ job: whole(job, 'job') }), options))
  }

  /** One job. */
  async getJob(job: number, options?: CallOptions): Promise<Job> {
    return jobOf(await this.#call('getJob', () => ({ job: whole(job, 'job') }), options))
  }

  /** Up to `limit` jobs (default and at most 10,000) above an id, by id. */
  async listJobs(page: Page = {}, options?: CallOptions): Promise<Job[]> {
    return (await this.#call<PlainJob[]>('listJobs', () => paged(page), options)).map(jobOf)
  }

  /** The chunks that a chunk depends on. */
  getDependencies(job: number, chunk: number, options?: CallOptions): Promise<number[]> {
    return this.#call('getDependencies', () => place(job, chunk), options)
  }

  /** The chunks that depend on a chunk. */
  getDependents(job: number, chunk: number, options?: CallOptions): Promise<number[]> {
    return this.#call('getDependents', () => place(job, chunk), options)
  }

  /** The ids of chunks that could be claimed now, in claim order. */
  topoSortReady(job: number, options?: CallOptions): Promise<number[]> {
    return this.#call('topoSortReady', () => ({ job: whole(job, 'job') }), options)
  }

  /** All chunk ids of a job, each after everything that it depends on. */
  topoOrder(job: number, options?: CallOptions): Promise<number[]> {
    return this.#call('topoOrder', () => ({ job: whole(job, 'job') }), options)
  }

  /** The dependency graph with each chunk's status, as text for Mermaid or Graphviz. */
  graph(job: number, format: 'mermaid' | 'dot' = 'mermaid', options?: CallOptions): Promise<string> {
    return this.#call('graph', () => ({ job: whole(job, 'job'), format: one(format, 'format', ['mermaid', 'dot']) }), options)
  }

  /**
   * The newest state of everything that changed after a revision. Begin with 0; hand `next` back. What was pruned is the
   * code `feed_truncated`, a revision that the store has not come to `invalid_input`.
   */
  async changes(
    since: number,
    limit = PAGE,
    options?: CallOptions,
  ): Promise<{ changes: Change<Payload, Output>[]; next: number; more: boolean }> {
    const fields = () => ({ since: whole(since, 'since'), limit: whole(limit, 'limit') })
    const [changes, next, more] = await this.#call<[[string], number, boolean]>('changes', fields, options)
    return { changes: changes.map((told) => changeOf<Payload, Output>(told as never)), next, more }
  }

  /** How a job goes on until it is finished or stalled, as an async iterable and as events. */
  progress(job: number, options?: CallOptions): JobProgress {
    return new JobProgress(this, whole(job, 'job'), options?.signal)
  }

  /** A job's chunks as CSV in UTF-8, in memory bounded by a page. A cell that a spreadsheet would run is defused. */
  exportCsv(job: number, options?: CallOptions): ByteStream {
    const encoder = new TextEncoder()
    let after: number | undefined
    let isFirst = true
    return new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        const page = await this.pageByStatus(job, { after, limit: 1_000 }, options)
        controller.enqueue(encoder.encode((isFirst ? HEADER : '') + page.map(record).join('')))
        isFirst = false
        after = page.at(-1)?.chunk
        if (!page.more) controller.close()
      },
    })
  }

  /**
   * The bytes of the store's file, as `importFile` and a native `RedbStore::open` take them; what is damaged in them later
   * is found. (`RedbStore::open_read_only` wants a file that was closed.) It is one commit. `too_large` where there is no
   * memory for them.
   */
  async exportFile(): Promise<Blob> {
    const bytes = await this.#client.exportFile()
    return new Blob([bytes as Blob | Uint8Array<ArrayBuffer>], { type: 'application/octet-stream' })
  }

  /** No function that waits: each would add a promise and three turns of the microtasks to every call. */
  #call<T>(name: string, fields: () => object, options?: CallOptions): Promise<T> {
    return this.#client.call<T>(name, fields, options?.signal)
  }
}

function first<Payload, Output>(chunks: Chunks<Payload, Output>): Chunk<Payload, Output> | undefined {
  return chunks.at(0)
}
