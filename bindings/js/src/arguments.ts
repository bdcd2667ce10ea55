/** Arguments of calls, as the engine takes them: whatever is none is refused in words. */

import type { Claim, Status } from './chunk.js'
import { described, given, invalid, textOf } from './errors.js'
import type { Completion, Selection, Update } from './store.js'

/** An id as the engine takes it: exact. */
export function whole(value: number, name: string, max = Number.MAX_SAFE_INTEGER): number {
  if (Number.isSafeInteger(value) && value >= 0 && value <= max) return value
  throw invalid(`${name} is ${described(value)}: use a whole number from 0 to ${max}`)
}

/** A page, and what is claimed at once, has at most so many chunks. */
const COUNT_MAX = 10_000

/** A signal, before anything is done. A controller, which has one, is none. */
export function signalled(signal: AbortSignal | null | undefined): AbortSignal | undefined {
  if (signal === null || signal === undefined) return undefined
  if (typeof signal.aborted === 'boolean' && typeof signal.addEventListener === 'function') return signal
  throw invalid(`signal is ${described(signal)}: give an AbortSignal, as an AbortController has in its signal`)
}

/** What kind of object the host says that it is: its class would be another one in each frame. */
export function kindOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1)
}

/**
 * What is kept has a JSON form that says what it is. `JSON.stringify` drops functions and symbols, makes `null` of what is no
 * number, and of an instance of a class whatever it shows by accident: `{}` of a Map, an Error, a Response.
 */
export function jsonOf(value: unknown, name: () => string): unknown {
  const made = typeof Object(value).toJSON === 'function' ? (value as { toJSON(key: string): unknown }).toJSON('') : value
  const isNone = made === undefined || (typeof made === 'number' && !Number.isFinite(made))
  if (!isNone && typeof made !== 'function' && typeof made !== 'symbol' && isPlain(made)) return made
  throw invalid(`${name()} is no JSON (${typeof made === 'number' ? made : kindOf(made)}): give a text, a finite number, true, false, null, a plain object, an array, or what has toJSON`)
}

function output(value: unknown): unknown {
  return value === undefined ? undefined : given(() => jsonOf(value, () => 'the output'))
}

function isPlain(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return true
  const prototype: unknown = Object.getPrototypeOf(value)
  // Of this realm or of another one.
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** What `JSON.stringify` leaves out or makes `null` of, so that a default would stand in its place, is refused. */
export function something<T>(value: T, key: string, of: () => string): T {
  const isNone = typeof value === 'number' ? !Number.isFinite(value) : typeof value === 'function' || typeof value === 'symbol'
  const isNoDate = typeof value === 'object' && kindOf(value) === 'Date' && Number.isNaN((value as Date).getTime())
  if (!isNone && !isNoDate) return value
  const text = isNoDate ? 'no date' : typeof value === 'number' ? String(value) : `a ${typeof value}`
  throw invalid(`${key} of ${of()} is ${text}: give a value, or leave it out`)
}

function checked(checksum: string | undefined): string | undefined {
  return something(checksum, 'checksum', () => 'the result')
}

export function one<T extends string>(value: T, name: string, choices: readonly T[]): T {
  if (choices.includes(value)) return value
  throw invalid(`${name} is ${described(value)}: use one of ${choices.join(', ')}`)
}

export const STATUSES: readonly Status[] = ['pending', 'processing', 'done', 'failed', 'cancelled']

/** A status that is set. What is said of a failure is a text for people; a checksum is taken as it is. */
export function standing(status: Status, detail: string | undefined): object {
  const isText = typeof detail === 'string' && status !== 'done'
  return { status: one(status, 'status', STATUSES), detail: isText ? textOf(detail) : something(detail, 'detail', () => 'a status') }
}

export function fenced(claim: Claim): [number, number, number] {
  if (typeof claim !== 'object' || claim === null) throw invalid('a claim is what was claimed: { jobId, chunk, fence }')
  return [whole(claim.jobId, 'jobId'), whole(claim.chunk, 'chunk'), whole(claim.fence, 'fence')]
}

/** A result as a worker reports it. One that was meant as an output is not thrown away in silence. */
export function reported(result: Completion): Completion {
  let stranger = typeof result === 'object' && result !== null ? undefined : ''
  for (const key in result) if (key !== 'output' && key !== 'checksum' && Object.hasOwn(result, key)) stranger = key
  if (stranger !== undefined) throw invalid(`a result is { output, checksum }, with your own inside of output, and has no ${stranger || described(result)}`)
  return { output: output(result.output), checksum: checked(result.checksum) }
}

export function ids(chunks: readonly number[], name: string): number[] {
  if (Array.isArray(chunks)) return chunks.map((chunk) => whole(chunk, name))
  throw invalid(`${name} is ${described(chunks)}: use a list of chunk ids`)
}

export function chosen(chunks: Selection): readonly number[] | undefined {
  return chunks === 'all' ? undefined : ids(chunks, 'chunks')
}

export function place(job: number, chunk: number): { job: number; chunk: number } {
  return { job: whole(job, 'job'), chunk: whole(chunk, 'chunk') }
}

export function asked({ job, count, leaseMs }: { job?: number; count?: number; leaseMs?: number }): object {
  return {
    job: job === undefined ? undefined : whole(job, 'job'),
    count: count === undefined ? undefined : whole(count, 'count', COUNT_MAX),
    leaseMs: leaseMs === undefined ? undefined : whole(leaseMs, 'leaseMs'),
  }
}

export function paged({ after, limit }: { after?: number; limit?: number }): object {
  return {
    after: after === undefined ? undefined : whole(after, 'after'),
    limit: limit === undefined ? undefined : whole(limit, 'limit', COUNT_MAX),
  }
}

const DELAY_MS_MAX = 604_800_000

/** How long nobody gets a chunk, where a caller says so. */
export function delayed(delayMs: number | undefined): number | undefined {
  return delayMs === undefined ? undefined : whole(delayMs, 'delayMs', DELAY_MS_MAX)
}

export function failed(claim: Claim, error: unknown, { permanent, delayMs }: { permanent?: boolean; delayMs?: number } = {}): object {
  if (permanent === true && delayMs !== undefined) throw invalid('an error that is permanent has no delayMs: leave one of the two out')
  return { claim: fenced(claim), error: textOf(error), permanent: permanent === true, delayMs: delayed(delayMs) }
}

export function released(claim: Claim, delayMs?: number): object {
  return { claim: fenced(claim), delayMs: delayed(delayMs) }
}

export function updateOf(update: Update): [string, object] {
  if ('complete' in update) return ['complete', { claim: fenced(update.complete), output: output(update.output), checksum: checked(update.checksum) }]
  if ('fail' in update) return ['fail', failed(update.fail, update.error, update)]
  if ('release' in update) return ['release', released(update.release, update.delayMs)]
  if ('heartbeat' in update) return ['heartbeat', { claim: fenced(update.heartbeat) }]
  if (!('mark' in update)) throw invalid('an update has one of complete, fail, release, heartbeat and mark')
  return ['markStatus', { chunk: whole(update.mark, 'chunk'), ...standing(update.status, update.detail) }]
}
