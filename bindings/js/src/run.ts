/** Working a job off with a function per chunk. */

import type { Chunk } from './chunk.js'
import { finish, Held, type HeldChunk, somethingToCome, textOf } from './claims.js'
import type { JobStore } from './store.js'

/** Does the work of one chunk; what it gives is the chunk's output. What it throws fails the chunk. */
export type Handler<Payload = unknown, Output = unknown> = (
  chunk: HeldChunk<Payload, Output>,
  context: { signal: AbortSignal },
) => Output | void | Promise<Output | void>

/** How a job is worked off. */
export interface RunOptions {
  /** So many chunks at the same time. Default: 1. */
  concurrency?: number
  /** Ends the run: handlers see it on their own signals, and what they have not done is given back. */
  signal?: AbortSignal
  /** How long each claim is held without a heartbeat, in milliseconds. Default: the job's. */
  leaseMs?: number
}

/** What a run came to. */
export interface RunReport {
  /** Chunks that this run completed. */
  readonly completed: number
  /** Claims of this run that ended in an error; a chunk may have several. */
  readonly failed: number
  /** Chunks that were given back because the run was ended. */
  readonly released: number
}

export async function run<P, O>(store: JobStore<P, O>, job: number, handler: Handler<P, O>, options: RunOptions): Promise<RunReport> {
  const { concurrency = 1, signal, leaseMs } = options
  if (!Number.isInteger(concurrency) || concurrency < 1) throw new RangeError(`a concurrency of ${concurrency}: use 1 or more`)
  const report = { completed: 0, failed: 0, released: 0 }

  const work = async (claimed: Chunk<P, O>) => {
    const held = new Held(store, claimed, signal)
    const { chunk } = held
    try {
      const output = await handler(chunk, { signal: chunk.signal })
      if (output !== undefined) chunk.complete(output)
    } catch (error) {
      if (signal?.aborted) chunk.release()
      else chunk.fail(error)
    }
    report[held.said.as === 'complete' ? 'completed' : held.said.as === 'fail' ? 'failed' : 'released']++
    await finishOrFail(store, held)
  }

  const lane = async () => {
    while (!signal?.aborted) {
      const claimed = await store.claimPending(job, { leaseMs })
      if (claimed !== undefined) await work(claimed)
      else if (!(await somethingToCome(store, job, signal))) return
    }
  }
  await Promise.all(Array.from({ length: concurrency }, lane))
  return report
}

/** A result that is refused is the chunk's failure. */
async function finishOrFail<P, O>(store: JobStore<P, O>, held: Held<P, O>): Promise<void> {
  try {
    await finish(store, held)
  } catch (error) {
    if (held.said.as !== 'complete') throw error
    held.said = { as: 'fail', error: textOf(error) }
    await finish(store, held)
  }
}
