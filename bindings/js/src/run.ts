/** Working a job off with a function per chunk. */

import { signalled } from './arguments.js'
import type { Chunk, Chunks } from './chunk.js'
import { type Ending, endingOf, finishAndClaim, finishOrFail, Held, type HeldChunk, rest, UNSAID } from './claims.js'
import { described, invalid } from './errors.js'
import { follow } from './leaving.js'
import type { JobStore } from './store.js'

/**
 * Does the work of one chunk; what it gives is the chunk's output, and what it throws fails the chunk, where it has not said
 * by `chunk.complete`, `chunk.fail` or `chunk.release` what becomes of it.
 */
export type Handler<Payload = unknown, Output = unknown> = (
  chunk: HeldChunk<Payload, Output>,
  context: { signal: AbortSignal },
) => Output | void | Promise<Output | void>

/** How a job is worked off. */
export interface RunOptions {
  /** So many chunks at the same time, up to 10,000. Default: 1. */
  concurrency?: number | undefined
  /**
   * Ends the run: handlers see it on their own signals, and what they have not done is given back. The run waits for
   * them, so a handler that takes long is to look at its signal.
   */
  signal?: AbortSignal | undefined
  /** How long each claim is held without a heartbeat, in milliseconds: 1,000 to 604,800,000. Default: the job's. */
  leaseMs?: number | undefined
}

/** What a run came to: how many of its claims ended in which way. */
export interface RunReport {
  /**
   * Why it ended: `finished`, where every chunk is done, failed or cancelled; `stalled`, where chunks are left that will not
   * start by themselves, because they wait for others that failed or were cancelled; `stopped`, by its signal.
   */
  readonly ending: Ending
  /** Chunks that this run completed. */
  readonly completed: number
  /** Claims of this run that ended in an error, or whose result was refused; a chunk may have several. */
  readonly failed: number
  /** Claims that were given back: by their handlers, or because the run was ended. */
  readonly released: number
  /** Claims that somebody else ended meanwhile: the chunk was cancelled, reset or deleted, or another worker has it. */
  readonly superseded: number
}

/** So many claims of one run are held at the same time at most. */
const LANES_MAX = 10_000

export async function run<P, O>(store: JobStore<P, O>, job: number, handler: Handler<P, O>, options: RunOptions): Promise<RunReport> {
  const { concurrency = 1, leaseMs } = options
  const signal = signalled(options.signal)
  if (typeof handler !== 'function') throw invalid(`the handler is ${described(handler)}: give a function, which does the work of one chunk`)
  if (!(Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= LANES_MAX)) {
    throw invalid(`concurrency is ${described(concurrency)}: use a whole number from 1 to ${LANES_MAX}`)
  }
  let ending: Ending | undefined
  const report = { completed: 0, failed: 0, released: 0, superseded: 0 }
  // What ends one lane ends them all: nobody works on for a caller who was told that the run is over.
  let broken: { error: unknown } | undefined
  const over = new AbortController()
  const ended = over.signal
  const forget = follow(signal, over)

  const work = async (claimed: Chunk<P, O>) => {
    const held = new Held(store, claimed, ended)
    const { chunk } = held
    try {
      // Claimed while the run was ended.
      if (chunk.signal.aborted) chunk.release()
      else {
        const output = await handler(chunk, { signal: chunk.signal })
        if (output !== undefined && held.said === UNSAID) chunk.complete(output)
      }
    } catch (error) {
      // What the handler said holds, as in a loop.
      if (held.said === UNSAID) {
        if (ended.aborted) chunk.release()
        else chunk.fail(error)
      }
    } finally {
      held.end()
    }
    const finished = ended.aborted ? { became: await finishOrFail(store, held), claimed: undefined } : await finishAndClaim(store, held, job, leaseMs)
    report[finished.became]++
    return { ...finished, comesBackAtOnce: finished.became === 'released' && held.comesBackAtOnce }
  }

  let coming: Promise<Ending | undefined> | undefined
  const lane = async () => {
    let releases = 0
    let next: Chunks<P, O> | undefined
    try {
      // What came with a completion is worked on, or given back where the run was ended meanwhile.
      while (!ended.aborted || next?.length) {
        const claimed = next === undefined ? await store.claimPending(job, { leaseMs }) : next.at(0)
        next = undefined
        if (claimed !== undefined) {
          const finished = await work(claimed)
          next = finished.claimed
          if (finished.comesBackAtOnce) await rest(store, releases++, ended)
          else releases = 0
        } else {
          coming ??= endingOf(store, job, ended).finally(() => (coming = undefined))
          ending = await coming
          if (ending !== undefined) return
        }
      }
    } catch (error) {
      broken ??= { error }
      over.abort(error)
    }
  }
  // A handler that waits for nothing but its signal is to be told.
  const leave = store.watching()
  await Promise.all(Array.from({ length: concurrency }, lane))
  leave()
  forget()
  if (broken !== undefined) throw broken.error
  return { ending: ending ?? 'stopped', ...report }
}
