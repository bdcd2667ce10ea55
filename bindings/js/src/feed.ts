/** The change feed. */

import { type Chunk, chunkOf } from './chunk.js'
import { type Job, type JobSpec, Stats } from './stats.js'

/**
 * One entry of the change feed: the newest state of something that changed. A chunk's `revision` here is above its own
 * where what changed last is whether its dependencies are met.
 */
export type Change<Payload = unknown, Output = unknown> =
  | { kind: 'chunk'; chunk: Chunk<Payload, Output>; dependsOn: number[]; revision: number }
  | { kind: 'chunkDeleted'; jobId: number; chunk: number; revision: number }
  | { kind: 'job'; job: Job; revision: number }
  | { kind: 'jobDeleted'; jobId: number; revision: number }

/** A job as it crosses. */
export interface PlainJob {
  jobId: number
  spec: JobSpec
  stats: number[]
  createdAtMs: number
  revision: number
}

export function jobOf(plain: PlainJob): Job {
  return { ...plain, stats: new Stats(plain.jobId, plain.stats) }
}

type Told = [string, ...unknown[]]

/** The order of an entry's parts is the one of `call.rs`. */
export function changeOf<P, O>(told: Told): Change<P, O> {
  switch (told[0]) {
    case 'chunk': {
      const chunk = chunkOf<P, O>(told[1] as Parameters<typeof chunkOf>[0])
      return { kind: 'chunk', chunk, dependsOn: told[2] as number[], revision: told[3] as number }
    }
    case 'chunkDeleted':
      return { kind: 'chunkDeleted', jobId: told[1] as number, chunk: told[2] as number, revision: told[3] as number }
    case 'job':
      return { kind: 'job', job: jobOf(told[1] as PlainJob), revision: told[2] as number }
    default:
      return { kind: 'jobDeleted', jobId: told[1] as number, revision: told[2] as number }
  }
}
