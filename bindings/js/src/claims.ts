/** The loop of a worker: claims chunk after chunk, with heartbeats, until the job has nothing left. */

import { delayed, failed, signalled } from './arguments.js'
import type { Chunk, Chunks } from './chunk.js'
import { closed } from './client.js'
import { MagnetarError, textOf } from './errors.js'
import { follow, leavable } from './leaving.js'
import type { ClaimOptions, Completion, JobStore } from './store.js'

/** A chunk that a loop holds. */
export interface HeldChunk<Payload = unknown, Output = unknown> extends Chunk<Payload, Output> {
  /** Aborted when the claim is lost: somebody else has the chunk, or will; and when the loop's own signal is. */
  readonly signal: AbortSignal
  /**
   * Gives the result that the end of the body reports, also where that is left by `break`. Without it the chunk is done
   * with nothing to report. A result that is refused fails the chunk.
   */
  complete(output?: Output, checksum?: string): void
  /**
   * Has the end of the body report an error: the chunk comes back after its backoff, or after so long (`delayMs`, in
   * milliseconds), or is failed when its attempts are used up; or at once, where no further attempt would go well
   * (`permanent`).
   */
  fail(error: unknown, options?: { permanent?: boolean | undefined; delayMs?: number | undefined }): void
  /**
   * Has the end of the body give the chunk back; it costs the chunk nothing. With `delayMs` nobody gets it for so many
   * milliseconds. Without it may come back at once, so whoever gives back several in a row gets the next after ever longer
   * pauses, up to a second.
   */
  release(options?: { delayMs?: number | undefined }): void
}

/** What the body has said. */
type Said<Output> =
  | { as: 'complete'; result: Completion<Output> }
  | { as: 'fail'; error: string; how?: { permanent?: boolean; delayMs?: number } }
  | { as: 'release'; delayMs?: number }

/**
 * Why a run ended: every chunk is done, failed or cancelled; or chunks are left that will not start by themselves, because
 * they wait for others that failed or were cancelled; or it was told to by its signal.
 */
export type Ending = 'finished' | 'stalled' | 'stopped'

/** What the end of a body means that has said nothing. */
export const UNSAID = { as: 'complete', result: {} } as const

/** While others work, the next look comes with a change, or after this at the latest: what falls due is not told. */
const LOOK_AGAIN_MS = 1_000

/** A claim that is kept alive by heartbeats. */
export class Held<P, O> {
  readonly chunk: HeldChunk<P, O>
  said: Said<O> = UNSAID
  readonly #store: JobStore<P, O>
  /** By itself, and told of the loop's: a signal made of both would live as long as the loop's does. */
  readonly ended = new AbortController()
  readonly #forget: () => void
  #timer: ReturnType<typeof setTimeout> | undefined
  #leaseMs: number
  /** All that are held of the store, and where this one is among them. */
  readonly #all: Held<any, any>[]
  #place: number

  constructor(store: JobStore<P, O>, claimed: Chunk<P, O>, signal: AbortSignal | undefined) {
    this.#store = store
    this.#all = heldOf(store)
    this.#leaseMs = Math.max(1_000, (claimed.leaseEndsMs ?? 0) - claimed.updatedAtMs)
    this.#forget = follow(signal, this.ended)
    // Claimed in the last batch before the closing.
    if (store.isClosed) this.ended.abort(closed())
    this.chunk = Object.assign(claimed, {
      signal: this.ended.signal,
      complete: (output?: O, checksum?: string) => {
        this.said = { as: 'complete', result: { output, checksum } }
      },
      fail: (error: unknown, options?: { permanent?: boolean; delayMs?: number }) => {
        const how = { permanent: options?.permanent, delayMs: options?.delayMs }
        // What is wrong with it the body is to hear, and not whoever ends the claim.
        failed(claimed, error, how)
        this.said = { as: 'fail', error: textOf(error), how }
      },
      release: (options?: { delayMs?: number }) => {
        this.said = { as: 'release', delayMs: delayed(options?.delayMs) }
      },
    })
    this.#place = this.#all.push(this) - 1
    this.#beat()
  }

  /** Not any more once it is ended, whatever was asked before that is answered then. */
  get #isHeld(): boolean {
    return this.#all[this.#place] === this
  }

  #lose(why: unknown): void {
    if (this.#isHeld) this.ended.abort(why)
  }

  /** Whether the very next chunk may be this one again. */
  get comesBackAtOnce(): boolean {
    return this.said.as === 'release' && !this.said.delayMs
  }

  /** Nothing keeps it alive any more. */
  end(): void {
    clearTimeout(this.#timer)
    // The last takes its place. It may be ended already.
    if (this.#isHeld) {
      const last = this.#all.pop()!
      if (last !== this) this.#all[(last.#place = this.#place)] = last
    }
    this.#forget()
  }

  /** Looks whether the chunk is as it was claimed. If not, a heartbeat at once tells what that means for the claim. */
  async look(): Promise<void> {
    const { jobId, chunk, fence } = this.chunk
    try {
      const found = await this.#store.getChunk(jobId, chunk)
      if (found?.fence !== fence || found.status !== 'processing') await this.#store.heartbeat(this.chunk)
    } catch (error) {
      if (isLost(error)) this.#lose(error)
    }
  }

  #beat(): void {
    if (!this.#isHeld) return
    this.#timer = setTimeout(() => {
      this.#store.heartbeat(this.chunk).then(
        () => this.#beat(),
        (error: unknown) => {
          if (error instanceof MagnetarError && error.retry === 'never') this.#lose(error)
          else this.#beat()
        },
      )
    }, this.#leaseMs / 3)
    // A process that has nothing else to do may end.
    ;(this.#timer as { unref?: () => void }).unref?.()
  }
}

/** What a claim came to. */
export type Became = 'completed' | 'failed' | 'released' | 'superseded'

/** Ends a claim as its body has said, and says what it came to. A claim that was lost meanwhile is nothing to do. */
async function finish<P, O>(store: JobStore<P, O>, held: Held<P, O>): Promise<Became> {
  held.end()
  try {
    if (held.said.as === 'complete') {
      await store.complete(held.chunk, held.said.result)
      return 'completed'
    }
    if (held.said.as === 'fail') {
      await store.fail(held.chunk, held.said.error, held.said.how)
      return 'failed'
    }
    await store.release(held.chunk, { delayMs: held.said.delayMs })
    return 'released'
  } catch (error) {
    if (isLost(error)) return 'superseded'
    throw error
  }
}

/** The same, where a result that is refused is the chunk's failure. */
export async function finishOrFail<P, O>(store: JobStore<P, O>, held: Held<P, O>): Promise<Became> {
  try {
    return await finish(store, held)
  } catch (error) {
    if (held.said.as !== 'complete') throw error
    return refuse(store, held, error)
  }
}

/** The same; a completion has the next claim in its commit. Gives what was claimed, where something was asked for. */
export async function finishAndClaim<P, O>(
  store: JobStore<P, O>,
  held: Held<P, O>,
  job: number,
  leaseMs: number | undefined,
): Promise<{ became: Became; claimed?: Chunks<P, O> }> {
  if (held.said.as !== 'complete') return { became: await finish(store, held) }
  held.end()
  try {
    const claimed = await store.completeAndClaim(held.chunk, held.said.result, { job, leaseMs })
    return { became: 'completed', claimed }
  } catch (error) {
    return { became: isLost(error) ? 'superseded' : await refuse(store, held, error) }
  }
}

/** Fails a chunk for its result, which can never be kept; or gives it back where it cannot be kept now. */
async function refuse<P, O>(store: JobStore<P, O>, held: Held<P, O>, error: unknown): Promise<Became> {
  const isFinal = error instanceof MagnetarError && error.retry === 'never'
  held.said = isFinal ? { as: 'fail', error: error.message } : { as: 'release' }
  const ended = finish(store, held)
  if (isFinal) return ended
  await ended.catch(() => {})
  throw error
}

const LOST: readonly string[] = ['superseded', 'result_conflict', 'chunk_not_found', 'job_not_found']

/** Whether somebody else has the chunk, or nobody is to have it: its worker has nothing more to say. */
export function isLost(error: unknown): boolean {
  return error instanceof MagnetarError && LOST.includes(error.code)
}

/** All held claims are looked at so long after a change of the store, not after each by itself, and so many at once. */
const LOOK_MS = 500
const LOOKS_MAX = 64

/**
 * Claims of a store whose bodies are to hear of it when they are lost, and not only by their next heartbeats. No `Set`,
 * for the reason that `waiting.ts` has.
 */
const heldByStore = new WeakMap<object, Held<any, any>[]>()

function heldOf(store: JobStore<any, any>): Held<any, any>[] {
  const known = heldByStore.get(store)
  if (known !== undefined) return known
  const all: Held<any, any>[] = []
  heldByStore.set(store, all)
  let isLooking = false
  let isDue = false
  const look = async () => {
    isLooking = true
    while (isDue) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
      isDue = false
      const due = [...all]
      while (due.length > 0) await Promise.all(due.splice(0, LOOKS_MAX).map((one) => one.look()))
    }
    isLooking = false
  }
  store.waiting.add(() => {
    if (store.isClosed) return [...all].forEach((one) => one.ended.abort(closed()))
    isDue = all.length > 0
    if (isDue && !isLooking) void look()
  })
  return all
}

type Options = ClaimOptions & { wait?: boolean }
type Loop<P, O> = AsyncGenerator<HeldChunk<P, O>, void, undefined>

export function claims<P, O>(store: JobStore<P, O>, job: number, options: Options): Loop<P, O> {
  const over = new AbortController()
  return leavable(loop(store, job, options, over), over)
}

async function* loop<P, O>(store: JobStore<P, O>, job: number, options: Options, over: AbortController): Loop<P, O> {
  const { wait = true, leaseMs } = options
  const signal = signalled(options.signal)
  let held: Held<P, O> | undefined
  let releases = 0
  let isEarly = true
  // A body that waits for nothing but its signal is to be told.
  const leave = store.watching()
  const forget = follow(signal, over)
  try {
    while (!over.signal.aborted) {
      const ending: Held<P, O> | undefined = held
      // What becomes of a result that is refused is said there.
      if (ending?.said.as === 'complete') held = undefined
      const ended = ending && (await finishAndClaim(store, ending, job, leaseMs))
      held = undefined
      if (ended?.became === 'released' && ending?.comesBackAtOnce) await rest(store, releases++, over.signal)
      else releases = 0
      const claimed = ended?.claimed === undefined ? await store.claimPending(job, { leaseMs }) : ended.claimed.at(0)
      if (claimed === undefined) {
        if (!wait || (await endingOf(store, job, over.signal)) !== undefined) break
        continue
      }
      held = new Held(store, claimed, signal)
      // Claimed while the loop was ended.
      if (held.chunk.signal.aborted || over.signal.aborted) held.said = { as: 'release' }
      else yield held.chunk
    }
    isEarly = false
  } finally {
    leave()
    forget()
    if (held !== undefined) {
      // A body that was left before its end, and that has said nothing, has not done its work.
      if (isEarly && held.said === UNSAID) held.said = { as: 'release' }
      await finishOrFail(store, held)
    }
  }
}

/** Waits until there may be something to claim; or says why there will be nothing more. */
export async function endingOf(store: JobStore<any, any>, job: number, signal?: AbortSignal): Promise<Ending | undefined> {
  const changed = nextChange(store, signal)
  try {
    const stats = await store.getStats(job)
    if (stats.isFinished) return 'finished'
    if (stats.isStalled) return 'stalled'
    await changed.promise
  } finally {
    changed.forget()
  }
  return signal?.aborted ? 'stopped' : undefined
}

/** After a chunk was given back, which may come back at once: longer for each in a row. */
export async function rest(store: JobStore<any, any>, releases: number, signal?: AbortSignal): Promise<void> {
  await nextChange(store, signal, 8 << Math.min(releases, 7), false).promise
}

/** Resolves with the next change of the store, its closing, the signal, or after a while: deadlines are not told. */
function nextChange(
  store: JobStore<any, any>,
  signal?: AbortSignal,
  ms = LOOK_AGAIN_MS,
  isForChanges = true,
): { promise: Promise<void>; forget: () => void } {
  let forget = () => {}
  const promise = new Promise<void>((resolve) => {
    const note = () => {
      if (isForChanges || store.isClosed) forget()
    }
    const timer = setTimeout(() => forget(), ms)
    forget = () => {
      clearTimeout(timer)
      store.waiting.delete(note)
      signal?.removeEventListener('abort', forget)
      resolve()
    }
    store.waiting.add(note)
    signal?.addEventListener('abort', forget)
    if (signal?.aborted) forget()
  })
  return { promise, forget: () => forget() }
}
