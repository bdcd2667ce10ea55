/** What a file becomes: a job, always the same one for the same file. */

/** Chunks are no smaller, */
const CHUNK_BYTES_MIN = 1 << 20
/** and there are no more of them. */
const CHUNKS_MAX = 4096
/** A job's name has at most so many bytes. */
const NAME_BYTES_MAX = 256
/** A tab that froze is taken for dead after this. One that ended is noticed at once, by its lock. */
const LEASE_MS = 30_000

/** How large the chunks of a file of a size are. */
export function chunkBytesFor(size) {
  let bytes = CHUNK_BYTES_MIN
  while (size > bytes * CHUNKS_MAX) bytes *= 2
  return bytes
}

/** The job that a file is copied by: its id, from what tells files apart without reading them, and its manifest. */
export async function planOf({ name, size, lastModified }) {
  const chunkBytes = chunkBytesFor(size)
  const identity = new TextEncoder().encode(JSON.stringify([name, size, lastModified, chunkBytes]))
  const digest = new DataView(await crypto.subtle.digest('SHA-256', identity))
  // Half of the safe integers: an id never repeats by chance.
  const job = digest.getUint32(0) * 2 ** 20 + (digest.getUint32(4) >>> 12)
  const chunks = []
  for (let offset = 0; offset < size; offset += chunkBytes) {
    chunks.push({ id: chunks.length, payload: { offset, bytes: Math.min(chunkBytes, size - offset) } })
  }
  // The first chunk tells what the job is about, so that the job file explains itself.
  if (chunks.length > 0) chunks[0].payload.file = { name, size, lastModified }
  const spec = { name: shortened(name), max_attempts: 5, lease: LEASE_MS, backoff: { initial_ms: 200, max_ms: 5_000 } }
  return { job, manifest: { job: spec, chunks } }
}

/** The file's whole name stands in the first chunk. */
function shortened(name) {
  const bytes = new TextEncoder().encode(name)
  if (bytes.length <= NAME_BYTES_MAX) return name
  // Of a character that is cut nothing stays.
  return `${new TextDecoder().decode(bytes.subarray(0, NAME_BYTES_MAX - 3), { stream: true })}…`
}

/** Whether a file is, as far as can be told without reading it, the one that was described. */
export function isSame(file, { name, size, lastModified }) {
  return file.name === name && file.size === size && file.lastModified === lastModified
}
