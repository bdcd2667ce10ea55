/** Chunks: rows from the engine with the names of their fields, decoded when they are looked at. */

/** Where a chunk stands. */
export type Status = 'pending' | 'processing' | 'done' | 'failed' | 'cancelled'

/** Names one claim of one chunk. A chunk that was claimed is one. */
export interface Claim {
  readonly jobId: number
  readonly chunk: number
  readonly fence: number
}

/**
 * One chunk as it stands: what its manifest said and what has happened since. `Payload` and `Output` are yours to name:
 * they are JSON, and not checked.
 */
export interface Chunk<Payload = unknown, Output = unknown> extends Claim {
  /** The job. */
  readonly jobId: number
  /** The chunk's number within the job. */
  readonly chunk: number
  /** Where it stands. */
  readonly status: Status
  /**
   * The newest claim's fence, never used again; 0 before the first claim. Hand it to whatever you write to, so that a
   * late worker's effects can be told from a newer one's.
   */
  readonly fence: number
  /** What the manifest gave the worker; `null` where it gave nothing: let `Payload` say so if yours leaves it out. */
  readonly payload: Payload
  /** The expected checksum. */
  readonly checksum: string | null
  /** Higher is claimed first. */
  readonly priority: number
  /** The checksum that the completion reported. */
  readonly observedChecksum: string | null
  /** Why it failed last, was given up or was cancelled. */
  readonly error: string | null
  /** Claims that ended in an error. */
  readonly attempts: number
  /** Claims whose owner vanished. */
  readonly losses: number
  /** The limit of attempts; 0 is none. */
  readonly attemptsMax: number
  /** The limit of losses; 0 is none. */
  readonly lossesMax: number
  /** Who holds it, while it is processing. */
  readonly owner: string | null
  /** Until when it is held without a heartbeat, in milliseconds since 1970. */
  readonly leaseEndsMs: number | null
  /** Until when it waits: after a failure, given back for later, or as its manifest says; in milliseconds since 1970. */
  readonly notBeforeMs: number | null
  /** Dependencies that are not met yet. */
  readonly unmetDependencies: number
  /** What the completion reported; `null` before it, and where it reported nothing. */
  readonly output: Output | null
  /** When it was imported, in milliseconds since 1970. */
  readonly createdAtMs: number
  /** When it last changed, in milliseconds since 1970. */
  readonly updatedAtMs: number
  /** The store's revision at its last change; `unmetDependencies` changes without it. */
  readonly revision: number
}

type Row = [
  number, number, Status, number, unknown, string | null, number, string | null, string | null, number, number,
  number, number, string | null, number | null, number | null, number, unknown, number, number, number,
]

/** The chunk that a row is; the order is the one of `row.rs`. */
export function chunkOf<P, O>(row: Row): Chunk<P, O> {
  return {
    jobId: row[0],
    chunk: row[1],
    status: row[2],
    fence: row[3],
    payload: row[4] as P,
    checksum: row[5],
    priority: row[6],
    observedChecksum: row[7],
    error: row[8],
    attempts: row[9],
    losses: row[10],
    attemptsMax: row[11],
    lossesMax: row[12],
    owner: row[13],
    leaseEndsMs: row[14],
    notBeforeMs: row[15],
    unmetDependencies: row[16],
    output: row[17] as O | null,
    createdAtMs: row[18],
    updatedAtMs: row[19],
    revision: row[20],
  }
}

/** A list of chunks. Each is decoded when it is first looked at, so that a long list costs what is used of it. */
export class Chunks<Payload = unknown, Output = unknown> implements Iterable<Chunk<Payload, Output>> {
  readonly #rows: (string | unknown[] | Chunk<Payload, Output>)[]
  /** Whether a page ended, at its limit or at 16 MiB, before the last chunk: the next one begins after its last. */
  readonly more: boolean

  /** @internal */
  constructor(rows: (string | unknown[])[], more = false) {
    this.#rows = rows
    this.more = more
  }

  /** How many there are. */
  get length(): number {
    return this.#rows.length
  }

  /** One of them; from the end where the index is negative. */
  at(index: number): Chunk<Payload, Output> | undefined {
    const place = index < 0 ? this.#rows.length + index : index
    const row = this.#rows[place]
    if (typeof row !== 'string' && !Array.isArray(row)) return row
    return (this.#rows[place] = chunkOf<Payload, Output>((typeof row === 'string' ? JSON.parse(row) : row) as Row))
  }

  *[Symbol.iterator](): Generator<Chunk<Payload, Output>, void, undefined> {
    for (let index = 0; index < this.#rows.length; index++) yield this.at(index)!
  }

  /** What `make` makes of each. */
  map<T>(make: (chunk: Chunk<Payload, Output>, index: number) => T): T[] {
    return Array.from(this, make)
  }

  /** All of them, decoded. */
  toArray(): Chunk<Payload, Output>[] {
    return Array.from(this)
  }

  /** What `JSON.stringify`, and `console.log` of Node, show. */
  toJSON(): Chunk<Payload, Output>[] {
    return this.toArray()
  }
}
Object.assign(Chunks.prototype, { [Symbol.for('nodejs.util.inspect.custom')]: Chunks.prototype.toJSON })
