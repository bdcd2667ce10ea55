/** Manifests: what a job consists of, from wherever it comes. */

import { jsonOf, kindOf, signalled, something, whole } from './arguments.js'
import { closed } from './client.js'
import { described, failure, given, invalid, MagnetarError, textOf } from './errors.js'
import type { ImportReport, JobSpec } from './stats.js'
import type { JobStore } from './store.js'

/**
 * One chunk as a manifest states it: the same keys as in TOML and JSON text, where any further key is kept in the payload
 * and one that is nearly one of these is an error.
 * Here write `payload`: a key that is misspelt is then told from one that is yours.
 */
export interface ManifestChunk<Payload = unknown> {
  /** The chunk's number within its job. */
  id: number
  /** The checksum that a completion's is compared with. */
  checksum?: string | undefined
  /** Chunks of the same job that must be done first. */
  depends_on?: number[] | undefined
  /** Higher is claimed first. */
  priority?: number | undefined
  /** Claims that may end in an error, where it differs from the job's; 0 is no limit. */
  max_attempts?: number | undefined
  /** Claims whose owner may vanish, where it differs from the job's; 0 is no limit. */
  max_losses?: number | undefined
  /** What becomes of it when a dependency fails, where it differs from the job's. What was ignored stays so until a reset. */
  on_dependency_failure?: 'wait' | 'cancel' | 'ignore' | undefined
  /**
   * Nobody gets it before this moment: a `Date`, or text of RFC 3339 (`2026-12-01T08:00:00Z`). Importing again moves it, for
   * as long as nobody has had the chunk.
   */
  not_before?: Date | string | undefined
  /** What the worker gets, as JSON of at most 1 MiB. */
  payload?: Payload | undefined
}

/** What a job consists of. */
export interface Manifest<Payload = unknown> {
  /** What holds for all chunks. */
  job?: JobSpec | undefined
  chunks: ManifestChunk<Payload>[]
}

/**
 * Where a manifest comes from: an object, its text (not its path), a `Response` or `Blob` of such text, or a stream of bytes
 * or text, one of Node too. A text is TOML, JSON, JSON Lines or CSV; where neither a content type nor a file's name says
 * which of the last two it is, `format` has to. JSON Lines are read as they come, in memory bounded by a slice; everything
 * else is read whole.
 */
export type ManifestSource<Payload = unknown> =
  | Manifest<Payload>
  | string
  | Response
  | Blob
  | ReadableStream<Uint8Array | string>
  | AsyncIterable<Uint8Array | string>

/** How an import is done. */
export interface ImportOptions {
  /** The form of a text. Told from its content type, its file's name or its first character (`{`, or `[` before one, is JSON, any other TOML) where it is not given. */
  format?: 'toml' | 'json' | 'jsonl' | 'csv' | undefined
  /** What holds for all chunks, for CSV, which has no place for it. JSON Lines may have it as well; in TOML and JSON it stands in the manifest, and is refused here. */
  job?: JobSpec | undefined
  /** Changed content of chunks that are processing or done: refuse the import (default), keep what is there, or reset. */
  onConflict?: 'refuse' | 'keep' | 'reset' | undefined
  /** Chunks that the manifest no longer has: keep them (default), cancel or delete. */
  onMissing?: 'keep' | 'cancel' | 'delete' | undefined
  /** Let a large import into an existing job go in slices: restartable, but not one atomic step. */
  inSlices?: boolean | undefined
  /**
   * Ends the import; what was imported of a new job is taken back. One that was handed over to its end by then may be done
   * all the same: running it again changes nothing.
   */
  signal?: AbortSignal | undefined
}

/** Makes a call of the store. */
export type Call = <T>(name: string, fields: object, signal?: AbortSignal) => Promise<T>

/** Text of this length makes a piece. */
const PIECE_CHARS = 1 << 20
/** What goes on for longer without an end is no line of a manifest. */
const LINE_CHARS_MAX = 4 << 20

export async function importManifest(store: JobStore<any, any>, call: Call, job: number, source: ManifestSource, options: ImportOptions): Promise<ImportReport> {
  const { format, job: spec, signal: leaving, onConflict, onMissing, inSlices, ...others } = options
  const isObject = given(() => isManifest(source))
  const found = isObject || (typeof source === 'string' && format !== 'jsonl') ? undefined : opened(source as Exclude<ManifestSource, Manifest>, format)
  try {
    const [stranger] = Object.keys(others)
    if (stranger !== undefined) throw invalid(`importManifest has no option ${stranger}`)
    const signal = signalled(leaving)
    const choices = { job: whole(job, 'job'), spec: given(() => stated(spec)), onConflict, onMissing, inSlices }
    if (isObject) {
      given(() => isRight(source as Manifest))
      refuse(spec)
      return await call('import', { ...choices, format: 'json', manifest: source }, signal)
    }
    let text = found === undefined ? (source as string) : ''
    if (found !== undefined) {
      if (found.why !== undefined) throw invalid(found.why)
      const pieces = texts(store, found.stream, signal)
      if (found.type === 'jsonl') return await inPieces(call, choices, pieces, signal)
      for await (const piece of pieces) text = given(() => text + piece)
    }
    const form: Format = found?.type ?? format ?? guessed(text)
    if (form !== 'csv') refuse(spec)
    return await call('import', { ...choices, format: form, text }, signal)
  } finally {
    // What is refused before it is read has a file or a connection open all the same.
    found?.stream.cancel().catch(() => {})
  }
}

/** What holds for all chunks, where it would not be heeded. */
function refuse(spec: JobSpec | undefined): void {
  if (spec) throw invalid('job is an option for CSV and JSON Lines: here it stands in the manifest')
}

/** The form of a text of which nothing says what it is. */
function guessed(text: string): Format {
  if (/^[\s\uFEFF]*\{.*\}\s*\n\s*\{/.test(text)) throw invalid("the manifest has an object in each line: for JSON Lines say format: 'jsonl'")
  // A line without what either form has at least.
  if (/^[^\s#=[{][^\n=[{]*$/.test(text)) {
    throw invalid(`${described(text.slice(0, 100))} is no manifest; is it a path? Give the text itself, or await fetch(url), or a stream of the file`)
  }
  // A list of JSON is no manifest either: as JSON it is told so.
  return /^[\s\uFEFF]*(\[\s*)?\{/.test(text) ? 'json' : 'toml'
}

function isManifest(source: ManifestSource): source is Manifest {
  return typeof source === 'object' && source !== null && Array.isArray((source as Manifest).chunks)
}

/** Whether there is no value of which JSON makes nothing, which is an error. */
function isRight({ job, chunks }: Manifest): true {
  stated(job)
  for (const chunk of chunks) {
    if (typeof chunk !== 'object' || chunk === null) continue
    const { checksum, depends_on, priority, max_attempts, max_losses, on_dependency_failure, not_before, payload } = chunk
    const of = () => `chunk ${chunk.id}`
    something(checksum, 'checksum', of)
    something(depends_on, 'depends_on', of)
    something(priority, 'priority', of)
    something(max_attempts, 'max_attempts', of)
    something(max_losses, 'max_losses', of)
    something(on_dependency_failure, 'on_dependency_failure', of)
    something(not_before, 'not_before', of)
    if (payload !== undefined) jsonOf(payload, () => `the payload of chunk ${chunk.id}`)
  }
  return true
}

/** What holds for all chunks of a job, and has no value of which JSON makes nothing. */
export function stated(job: JobSpec | undefined): JobSpec | undefined {
  for (const part of [job, job?.backoff]) {
    for (const [key, value] of Object.entries(Object(part) as object)) something(value, key, () => 'the job')
  }
  return job
}

type Format = NonNullable<ImportOptions['format']>
type Stream = ReadableStream<Uint8Array | string>

/** A source with its form, where that is known, or why it is of no use. */
function opened(source: Exclude<ManifestSource, Manifest>, format: Format | undefined): { stream: Stream; type: Format | undefined; why?: string | undefined } {
  if (typeof source === 'string') return { stream: streamOf([source]), type: format }
  const kind = kindOf(source)
  if (kind === 'Response') {
    const { ok, url, status, body, headers } = source as Response
    const why = ok ? undefined : `the manifest cannot be fetched: ${url}: HTTP ${status}`
    return { stream: body ?? streamOf([]), type: format ?? typed(headers.get('content-type') ?? '', url.replace(/[?#].*/, '')), why }
  }
  if (kind === 'Blob' || kind === 'File') {
    const file = source as File
    return { stream: file.stream(), type: format ?? typed(file.type, file.name ?? '') }
  }
  if (kind === 'ReadableStream') return { stream: source as Stream, type: format }
  if (typeof Object(source)[Symbol.asyncIterator] === 'function') return { stream: streamOf(source as AsyncIterable<string>), type: format }
  throw invalid('a manifest is an object with chunks, a text, a Response, a Blob or a stream')
}

function typed(type: string, name: string): Format | undefined {
  const path = name.toLowerCase()
  if (/json(l|-?lines|-seq)|ndjson/.test(type) || /\.(jsonl|ndjson)$/.test(path)) return 'jsonl'
  if (/csv/.test(type) || path.endsWith('.csv')) return 'csv'
  if (/toml/.test(type) || path.endsWith('.toml')) return 'toml'
  if (/json/.test(type) || path.endsWith('.json')) return 'json'
  return undefined
}

/** Unlike what it is made of it can be left while it says nothing. */
function streamOf(source: AsyncIterable<Uint8Array | string> | string[]): Stream {
  // What fails before it is read is told when it is read: a stream of Node ends the program over what nobody hears.
  ;(source as { on?(event: string, heard: () => void): void }).on?.('error', () => {})
  const parts = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = await parts.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
      async cancel() {
        // A stream of Node that was not begun, or says nothing, is not ended by its iterator.
        ;(source as { destroy?(): void }).destroy?.()
        await parts.return?.()
      },
    },
    { highWaterMark: 0 },
  )
}

/** A source that says nothing more does not keep an import that its caller, or the store, has ended. */
async function* texts(store: JobStore<any, any>, stream: Stream, signal?: AbortSignal): AsyncGenerator<string, void, undefined> {
  const reader = given(() => stream.getReader())
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const why = () => (store.isClosed ? closed() : signal?.reason)
  const leave = () => {
    if (store.isClosed || signal?.aborted) reader.cancel(why()).catch(() => {})
  }
  store.waiting.add(leave)
  signal?.addEventListener('abort', leave)
  try {
    for (;;) {
      leave()
      const { done, value } = await reader.read().catch((error: unknown) => {
        if (store.isClosed || signal?.aborted) throw why()
        throw new MagnetarError(failure('source', `the manifest's source failed: ${textOf(error)}`), { cause: error })
      })
      if (store.isClosed || signal?.aborted) throw why()
      if (done) break
      yield typeof value === 'string' ? value : decoded(decoder, value)
    }
    yield decoded(decoder)
  } finally {
    store.waiting.delete(leave)
    signal?.removeEventListener('abort', leave)
    // One that never ends is waited for by nobody.
    reader.cancel().catch(() => {})
  }
}

function decoded(decoder: TextDecoder, bytes?: Uint8Array): string {
  try {
    return decoder.decode(bytes, { stream: bytes !== undefined })
  } catch (error) {
    throw invalid(`the manifest is not text in UTF-8: ${(error as Error).message}`)
  }
}

/** Whole lines go over as they come; the import waits between them, other calls do not. */
async function inPieces(call: Call, choices: object, texts: AsyncIterable<string>, signal: AbortSignal | undefined): Promise<ImportReport> {
  const id = await call<number>('importBegin', choices)
  try {
    let rest = ''
    /** So much of it is whole lines. */
    let lines = 0
    for await (const text of texts) {
      // A text may come as one, and other calls are to have their turn.
      for (let at = 0; at < text.length; at += PIECE_CHARS) {
        const part = text.slice(at, at + PIECE_CHARS)
        const end = part.lastIndexOf('\n') + 1
        if (end > 0) lines = rest.length + end
        rest += part
        // The engine is to say that this is none.
        if (rest.length - lines > LINE_CHARS_MAX) lines = rest.length
        if (lines < PIECE_CHARS) continue
        await call('importPiece', { import: id, text: rest.slice(0, lines) }, signal)
        rest = rest.slice(lines)
        lines = 0
      }
    }
    return await call<ImportReport>('importPiece', { import: id, text: rest, last: true }, signal)
  } catch (error) {
    await call('importAbort', { import: id }).catch(() => {})
    throw error
  }
}
