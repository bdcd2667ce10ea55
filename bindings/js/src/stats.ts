/** How the chunks of a job stand, and the job itself. */

/** What a manifest says of all chunks of a job, with a manifest's names. */
export interface JobSpec {
  /** A name for people, of at most 256 bytes. */
  name?: string | undefined
  /** Claims that may end in an error before a chunk is failed; 0 is no limit. */
  max_attempts?: number | undefined
  /** Claims whose owner may vanish before a chunk is failed; 0 is no limit. */
  max_losses?: number | undefined
  /** How long a claim is held without a heartbeat, in milliseconds: 1,000 to 604,800,000. Default: 60,000. */
  lease?: number | undefined
  /** The wait after a failed attempt, doubled at each further one, in milliseconds. */
  backoff?: { initial_ms: number; max_ms: number } | undefined
  /** What becomes of a chunk whose dependency fails. */
  on_dependency_failure?: 'wait' | 'cancel' | 'ignore' | undefined
}

/** How many chunks of a job stand where. */
export class Stats {
  /** The job. */
  readonly jobId: number
  /** All chunks. */
  readonly total: number
  /** Waiting, whatever for. */
  readonly pending: number
  /** Claimed. */
  readonly processing: number
  /** Finished. */
  readonly done: number
  /** Given up. */
  readonly failed: number
  /** Not wanted any more. */
  readonly cancelled: number
  /** Of the pending ones: those that wait for a dependency. */
  readonly blocked: number
  /** Of the pending ones: those that wait out a delay. */
  readonly delayed: number
  /** Whether chunks are still being told what became of those that they depend on: then `blocked` may be out of date. */
  readonly settling: boolean

  /** @internal */
  constructor(jobId: number, counts: number[]) {
    const [total = 0, pending = 0, processing = 0, done = 0, failed = 0, cancelled = 0, blocked = 0, delayed = 0, settling = 0] = counts
    this.jobId = jobId
    this.total = total
    this.pending = pending
    this.processing = processing
    this.done = done
    this.failed = failed
    this.cancelled = cancelled
    this.blocked = blocked
    this.delayed = delayed
    this.settling = settling > 0
  }

  /** Done chunks in percent of all; a job without chunks is at 0. */
  get percent(): number {
    return this.total === 0 ? 0 : (this.done * 100) / this.total
  }

  /** Pending chunks that a claim could take now. */
  get ready(): number {
    return this.pending - this.blocked - this.delayed
  }

  /** Whether every chunk is done. */
  get isComplete(): boolean {
    return this.done === this.total
  }

  /** Whether every chunk is done, failed or cancelled. */
  get isFinished(): boolean {
    return this.pending === 0 && this.processing === 0
  }

  /** Whether work is left and none of it will ever start by itself. */
  get isStalled(): boolean {
    return !this.isFinished && this.ready === 0 && this.processing === 0 && this.delayed === 0 && !this.settling
  }
}

/** A job. */
export interface Job {
  readonly jobId: number
  /** What its manifest says of all chunks. */
  readonly spec: JobSpec
  /** How many chunks stand where. */
  readonly stats: Stats
  /** When it was created, in milliseconds since 1970. */
  readonly createdAtMs: number
  /** The store's revision when the job itself was last changed. */
  readonly revision: number
}

/** What an import did. Running it again reports everything as unchanged. */
export interface ImportReport {
  readonly added: number
  readonly updated: number
  readonly unchanged: number
  readonly kept: number
  readonly reset: number
  readonly cancelled: number
  readonly deleted: number
}
