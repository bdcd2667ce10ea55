/** What the package exports beside `open`. */

export { type Chunk, Chunks, type Claim, type Status } from './chunk.js'
export { type Ending, type HeldChunk } from './claims.js'
export { type ErrorCode, MagnetarError, type Retry } from './errors.js'
export { type Change } from './feed.js'
export { type ImportOptions, type Manifest, type ManifestChunk, type ManifestSource } from './manifest.js'
export { JobProgress, type ProgressEvents } from './progress.js'
export { type Handler, type RunOptions, type RunReport } from './run.js'
export { type ImportReport, type Job, type JobSpec, Stats } from './stats.js'
export {
  type Bytes,
  type ByteStream,
  type CallOptions,
  type ClaimOptions,
  type ClaimRequest,
  type Compiled,
  type Completion,
  type FailOptions,
  type ReleaseOptions,
  JobStore,
  type OpenOptions,
  type Outcome,
  type Page,
  type Persistence,
  type Selection,
  type StoreEvents,
  type Update,
} from './store.js'
