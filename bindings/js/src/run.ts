/** Working a job off with a function per chunk. */

import type { Chunk } from './chunk.js'
import { finishOrFail, Held, type HeldChunk, somethingToCome } from './claims.js'
import { described, invalid } from './errors.js'
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
  /**
   * Ends the run: handlers see it on their own signals, and what they have not done is given back. The run waits for
   * them, so a handler that takes long is to look at its signal.
   */
  signal?: AbortSignal
  /** How long each claim is held without a heartbeat, in milliseconds. Default: the job's. */
  leaseMs?: number
}

/** What a run came to: how many of its claims ended in which way. */
export interface RunReport {
  /** Chunks that this run completed. */
  readonly completed: number
  /** Claims of this run that ended in an error, or whose result was refused; a chunk may have several. */
  readonly failed: number
  /** Claims that were given back: by their handlers, or because the run was ended. */
  readonly released: number
  /** Claims that somebody else ended meanwhile: the chunk was cancelled, reset or deleted, or another worker has it. */
  readonly superseded: number
}

export async function run<P, O>(store: JobStore<P, O>, job: number, handler: Handler<P, O>, options: RunOptions): Promise<RunReport> {
  const { concurrency = 1, signal, leaseMs } = options
  if (typeof handler !== 'function') throw invalid(`the handler is ${described(handler)}: give a function, which does the work of one chunk`)
  if (!Number.isInteger(concurrency) || concurrency < 1) throw invalid(`concurrency is ${described(concurrency)}: use a whole number from 1`)
  const report = { completed: 0, failed: 0, released: 0, superseded: 0 }
  // What ends one lane ends them all: nobody works on for a caller who was told that the run is over.
  const broken = new AbortController()
  const ended = signal === undefined ? broken.signal : AbortSignal.any([signal, broken.signal])

  const work = async (claimed: Chunk<P, O>) => {
    const held = new Held(store, claimed, ended)
    const { chunk } = held
    try {
      const output = await handler(chunk, { signal: chunk.signal })
      if (output !== undefined) chunk.complete(output)
    } catch (error) {
      // What the handler said of its failure holds.
      if (held.said.as !== 'fail') {
        if (ended.aborted) chunk.release()
        else chunk.fail(error)
      }
    } finally {
      held.end()
    }
    report[await finishOrFail(store, held)]++
  }

  let coming: Promise<boolean> | undefined
  const lane = async () => {
    try {
      while (!ended.aborted) {
        const claimed = await store.claimPending(job, { leaseMs })
        if (claimed !== undefined) await work(claimed)
        else {
          coming ??= somethingToCome(store, job, ended).finally(() => (coming = undefined))
          if (!(await coming)) return
        }
      }
    } catch (error) {
      broken.abort(error)
    }
  }
  // A handler that waits for nothing but its signal is to be told.
  const leave = store.watching()
  await Promise.all(Array.from({ length: concurrency }, lane))
  leave()
  if (broken.signal.aborted) throw broken.signal.reason
  return report
}
