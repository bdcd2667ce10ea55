/** How every chunk of a job stands, kept current by the store's change feed, whichever tab does the work. */

/** What a chunk can be, as the map shows it. */
export const KINDS = ['pending', 'here', 'elsewhere', 'done', 'failed']
const PAGE = 2_000

/** Dispatches `change` after each change, `removed` when the job is no more. */
export class Picture extends EventTarget {
  /** Chunks by number, as the store gives them. */
  chunks = []
  /** How many chunks are of each kind. */
  counts = Object.fromEntries(KINDS.map((kind) => [kind, 0]))
  bytesDone = 0
  bytesAll = 0
  #store
  #job
  #since = 0
  #pulling
  #isStale = false
  #note = () => void this.refresh()

  constructor(store, job) {
    super()
    this.#store = store
    this.#job = job
  }

  /** Reads everything, then follows. */
  async open() {
    this.#store.addEventListener('change', this.#note)
    await this.#scan()
    await this.refresh()
  }

  /** Resolves once the picture has everything that is in the store by now. */
  refresh() {
    this.#isStale = true
    this.#pulling ??= this.#pull().finally(() => (this.#pulling = undefined))
    return this.#pulling
  }

  close() {
    this.#store.removeEventListener('change', this.#note)
  }

  get total() {
    return this.chunks.length
  }

  get isComplete() {
    return this.total > 0 && this.counts.done === this.total
  }

  /** Whether chunks are left, and only ones that were given up. */
  get isStuck() {
    return this.counts.failed > 0 && this.counts.failed + this.counts.done === this.total
  }

  /** The kind of a chunk. */
  kind(chunk) {
    const { status, owner } = chunk
    if (status === 'processing') return owner === this.#store.owner ? 'here' : 'elsewhere'
    return status === 'cancelled' ? 'failed' : status
  }

  /** One page is one snapshot, and a job of this page has no more chunks than fit. */
  async #scan() {
    const page = await this.#store.pageByStatus(this.#job, { limit: 10_000 })
    this.chunks = []
    this.#since = 0
    for (const chunk of page) {
      this.chunks[chunk.chunk] = chunk
      this.#since = Math.max(this.#since, chunk.revision)
    }
    this.#count()
  }

  async #pull() {
    try {
      while (this.#isStale && !this.#store.isClosed) {
        this.#isStale = false
        await this.#take()
      }
    } catch (error) {
      if (error.code === 'job_not_found') this.#removed()
      else if (error.code !== 'closed') this.dispatchEvent(new CustomEvent('error', { detail: error }))
    }
  }

  async #take() {
    const page = await this.#store.changes(this.#since, PAGE).catch((error) => {
      if (error.code !== 'feed_truncated') throw error
    })
    if (page === undefined) return this.#scan()
    this.#since = page.next
    this.#isStale ||= page.more
    let changed = false
    for (const { kind, chunk, jobId } of page.changes) {
      if (kind === 'jobDeleted' && jobId === this.#job) return this.#removed()
      if (kind !== 'chunk' || chunk.jobId !== this.#job) continue
      this.chunks[chunk.chunk] = chunk
      changed = true
    }
    if (changed) this.#count()
  }

  /** What was shown last stays. */
  #removed() {
    this.close()
    this.#isStale = false
    this.dispatchEvent(new Event('removed'))
  }

  #count() {
    for (const kind of KINDS) this.counts[kind] = 0
    this.bytesDone = 0
    this.bytesAll = 0
    for (const chunk of this.chunks) {
      const kind = this.kind(chunk)
      this.counts[kind]++
      this.bytesAll += chunk.payload.bytes
      if (kind === 'done') this.bytesDone += chunk.payload.bytes
    }
    this.dispatchEvent(new Event('change'))
  }
}
