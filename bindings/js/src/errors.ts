/** The one error class of Magnetar. */

/**
 * What kind of thing went wrong. Match on this; the message is for people.
 *
 * Beside the codes of the engine: `crashed` (the engine ended while it worked on this call, several times over),
 * `unavailable` (this runtime has no durable storage, or no worker for it; the message says what is missing).
 */
export type ErrorCode =
  | 'job_not_found'
  | 'chunk_not_found'
  | 'invalid_input'
  | 'invalid_manifest'
  | 'source'
  | 'duplicate_chunk'
  | 'unknown_dependency'
  | 'dependency_cycle'
  | 'too_large'
  | 'content_conflict'
  | 'superseded'
  | 'result_conflict'
  | 'checksum_mismatch'
  | 'blocked'
  | 'refused'
  | 'locked'
  | 'backend_missing'
  | 'unsupported'
  | 'corrupt'
  | 'newer_format'
  | 'busy'
  | 'full'
  | 'io'
  | 'poisoned'
  | 'outcome_unknown'
  | 'closed'
  | 'moved'
  | 'shadow'
  | 'feed_truncated'
  | 'internal'
  | 'crashed'
  | 'unavailable'

/**
 * Whether the same call may succeed when it is made again: `never`, `later` as it is, or `after_reopen`: what became of
 * it is not known, the store was opened anew; look, then call again.
 */
export type Retry = 'never' | 'later' | 'after_reopen'

/** An error as it crosses from the engine. */
export interface Failure {
  code: ErrorCode
  retry: Retry
  message: string
  jobId?: number
  chunk?: number
  conflicts?: number[]
}

/**
 * Every error of Magnetar.
 *
 * ```js
 * try {
 *   await store.complete(chunk)
 * } catch (error) {
 *   if (error instanceof MagnetarError && error.code === 'superseded') return // somebody else has it
 *   throw error
 * }
 * ```
 */
export class MagnetarError extends Error {
  /** What kind of thing went wrong. */
  readonly code: ErrorCode
  /** Whether calling again can help. */
  readonly retry: Retry
  /** The job that the error is about, where it is about one. */
  readonly jobId: number | undefined
  /** The chunk that the error is about, where it is about one. */
  readonly chunk: number | undefined
  /** The chunks that stood in the way of an import, the first thousand of them. */
  readonly conflicts: readonly number[]

  constructor(failure: Failure, options?: ErrorOptions) {
    super(failure.message, options)
    this.code = failure.code
    this.retry = failure.retry
    this.jobId = failure.jobId
    this.chunk = failure.chunk
    this.conflicts = failure.conflicts ?? []
  }
}
MagnetarError.prototype.name = 'MagnetarError'

/** An error of the face's own. */
export function failure(code: ErrorCode, message: string, retry: Retry = 'never'): Failure {
  return { code, retry, message }
}

/** The file is not the one that was opened. */
export function anotherStore(): Failure {
  const why = 'another store stands where this one was opened, whose file was deleted or replaced'
  return failure('corrupt', `${why}: put it back, or close this one and open the other`)
}

/** What was thrown, as an error that can cross. */
export function failureOf(thrown: unknown): Failure {
  if (thrown instanceof MagnetarError) {
    const { code, retry, message, jobId, chunk, conflicts } = thrown
    return { code, retry, message, jobId, chunk, conflicts: [...conflicts] }
  }
  if (typeof thrown === 'string' && thrown.startsWith('{')) return JSON.parse(thrown) as Failure
  const { name = 'Error', message = String(thrown), code } = Object(thrown) as { name?: string; message?: string; code?: unknown }
  // The code of a system error. That of a DOMException is a number from before they had names.
  const kind = typeof code === 'string' ? code : name
  // Node says the code in its message as well.
  const text = `${kind}: ${message}`.replace(`${kind}: ${kind}: `, `${kind}: `)
  switch (kind) {
    case 'QuotaExceededError':
    // Firefox.
    case 'NS_ERROR_FILE_NO_DEVICE_SPACE':
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return failure('full', `the file cannot grow: ${text}; free some space, then call again`, 'later')
    case 'NoModificationAllowedError':
      return failure('locked', text, 'later')
    case 'SecurityError':
    case 'NotAllowedError':
      return failure('unavailable', `${text}; this window may keep no files, as a private one: use another, or ':memory:'`)
    default:
      return failure('io', text)
  }
}

/** An argument that is none. */
export function invalid(message: string): MagnetarError {
  return new MagnetarError(failure('invalid_input', message))
}

/** The text of whatever was thrown, in whole characters: the engine takes no half of one, as a cut leaves it. */
export function textOf(error: unknown): string {
  try {
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
    return text.toWellFormed()
  } catch {
    return 'an error that has no text'
  }
}

/** What is read of a caller's value, most often its JSON. Whatever the value throws at that is said to be the caller's. */
export function given<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof MagnetarError) throw error
    const code = error instanceof RangeError ? 'too_large' : 'invalid_input'
    throw new MagnetarError(failure(code, `what was given cannot be taken: ${textOf(error)}`), { cause: error })
  }
}

/** Whatever it is, as text: not everything has one. */
export function described(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  return typeof value === 'object' || typeof value === 'function' ? `a value of type ${typeof value}` : String(value)
}
