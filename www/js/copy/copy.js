/**
 * One copy on its way: claims chunks through the store, has the workers read, hash and write each, reports checksums.
 *
 * Everything that must survive a crash is in the store; what is here can be lost at any moment.
 */

import { nameOf } from '../text.js'
import { jobsWithParts, partName, removeCopy, sweep } from './parts.js'
import { Picture } from './picture.js'
import { chunkBytesFor, planOf } from './plan.js'
import { Pool } from './pool.js'

/** Held by every tab that works on a job, shared; and by the one that removes what was copied, alone. */
const lockOf = (job) => `magnetar-demo:copy:${job}`

/** Removes what was copied by a job that is no more, once no tab works on it. */
async function clear(store, job) {
  await navigator.locks.request(lockOf(job), async () => {
    // The same file may have been picked anew meanwhile.
    const isThere = await store.getJob(job).then(() => true, ({ code }) => code !== 'job_not_found')
    if (!isThere) await removeCopy(job)
  })
}

/** Removes what a tab left behind that was ended between removing a job and removing what it copied. */
export async function clearStale(store) {
  // In this order: a job is there before its folder.
  const jobs = await jobsWithParts()
  const known = new Set((await store.listJobs()).map(({ jobId }) => jobId))
  await Promise.all(jobs.filter((job) => !known.has(job)).map((job) => clear(store, job)))
}

/** Dispatches `change` with each new state, `error` with what went wrong, `removed` when another tab has removed the job. */
export class Copy extends EventTarget {
  /** `idle`, `running`, `paused`, `finished`, or `stuck`: what is left was given up. */
  state = 'idle'
  /** The file, where this tab has it. */
  file
  /** Whether the job was removed, here or in another tab. */
  isRemoved = false
  #store
  #stop
  #run
  /** Ends a verification when nobody looks any more. */
  #over = new AbortController()

  constructor(store, job) {
    super()
    this.#store = store
    this.job = job
    this.picture = new Picture(store, job)
    this.picture.addEventListener('change', () => this.#settle())
    this.picture.addEventListener('error', ({ detail }) => this.#failed(detail))
    this.picture.addEventListener('removed', () => this.#removed())
  }

  /** Puts a file's job into the store, where it may be already. */
  static async create(store, file) {
    const { job, manifest } = await planOf(file)
    await store.importManifest(job, manifest)
    return job
  }

  /** How many bytes of a file are still to be copied. */
  static async left(store, file) {
    const { job } = await planOf(file)
    const done = await store.getStats(job).then(
      ({ done }) => done,
      (error) => {
        if (error.code !== 'job_not_found') throw error
        return 0
      },
    )
    return Math.max(0, file.size - done * chunkBytesFor(file.size))
  }

  /** Reads how the job stands. */
  async open() {
    await this.picture.open()
    this.described = this.picture.chunks[0].payload.file
    this.name = nameOf(this.described, `job ${this.job}`)
  }

  /** Works until nothing is left, with so many chunks at a time. */
  async start(lanes) {
    if (this.state === 'running' || this.file === undefined || this.picture.isComplete) return
    this.#stop = new AbortController()
    this.#run = this.#work(lanes, this.#stop.signal)
    await this.#run
  }

  async #work(lanes, signal) {
    this.#set('running')
    try {
      await navigator.locks.request(lockOf(this.job), { mode: 'shared', signal }, () => this.#copyAll(lanes, signal))
    } catch (error) {
      if (error.code === 'job_not_found') this.#removed()
      else if (!signal.aborted) this.#failed(error)
    }
    if (this.isRemoved) return
    await this.picture.refresh()
    if (this.state === 'running' && !this.picture.isComplete && !this.picture.isStuck) this.#set('paused')
    this.#settle()
  }

  async #copyAll(lanes, signal) {
    const pool = new Pool(lanes)
    try {
      await this.#store.run(this.job, (chunk, held) => this.#copy(pool, chunk, held.signal), { concurrency: lanes, signal })
    } finally {
      pool.end()
    }
  }

  /** Gives back what is in work, at once. */
  async pause() {
    this.#stop?.abort(new Error('paused'))
    await this.#run
  }

  /** Brings chunks back that were given up. */
  async retry() {
    const retried = await this.#store.retryFailed(this.job)
    await this.picture.refresh()
    return retried
  }

  /** The names of the parts that count, in the order of the file. */
  get parts() {
    return this.picture.chunks.map((chunk) => chunk.output.part)
  }

  /** Hashes every part again, and gives the chunks whose bytes are not the ones that were read; after `close` it says nothing. */
  async verify(lanes, tell) {
    const pool = new Pool(lanes)
    const wrong = []
    let checked = 0
    const check = async ({ chunk, observedChecksum, output }) => {
      const sha256 = await pool.do({ kind: 'hash', job: this.job, part: output.part }, this.#over.signal).catch(() => 'unreadable')
      if (sha256 !== observedChecksum) wrong.push(chunk)
      tell(++checked)
    }
    try {
      await Promise.all(this.picture.chunks.map(check))
    } finally {
      pool.end()
    }
    return wrong.sort((a, b) => a - b)
  }

  /** Takes the results of chunks back, so that they are copied again. */
  async reset(chunks) {
    await this.#store.reset(this.job, chunks)
    await this.picture.refresh()
  }

  /** Every checksum, in the form that `sha256sum --check` reads. */
  checksums() {
    const { chunks } = this.picture
    const bytes = chunks[0].payload.bytes
    const digits = Math.max(2, String(chunks.length - 1).length)
    const head = [
      `# SHA-256 of ${this.name.replace(/[\r\n]+/g, ' ')}, in ${chunks.length} pieces of ${bytes} bytes. To check a file against it:`,
      `#   split -b ${bytes} -d -a ${digits} FILE part. && sha256sum --check THIS-LIST`,
    ]
    const line = (chunk) => `${chunk.observedChecksum}  part.${String(chunk.chunk).padStart(digits, '0')}`
    return `${[...head, ...chunks.map(line)].join('\n')}\n`
  }

  /** Removes the job and everything that was copied. */
  async remove() {
    await this.pause()
    this.isRemoved = true
    this.close()
    await this.#store.deleteJob(this.job)
    await clear(this.#store, this.job)
  }

  close() {
    this.picture.close()
    this.#over.abort(new Error('closed'))
  }

  #removed() {
    if (this.isRemoved) return
    this.isRemoved = true
    this.close()
    this.#stop?.abort(new Error('removed'))
    this.dispatchEvent(new Event('removed'))
  }

  async #copy(pool, chunk, signal) {
    const { offset, bytes } = chunk.payload
    const part = partName(chunk.chunk, chunk.fence)
    const sha256 = await pool.do({ kind: 'copy', file: this.file, job: this.job, part, offset, bytes }, signal)
    chunk.complete({ part }, sha256)
  }

  #settle() {
    if (this.picture.isComplete && this.state !== 'finished') {
      void sweep(this.job, this.parts).catch(() => {})
      this.#set('finished')
    } else if (!this.picture.isComplete && this.state === 'finished') this.#set('paused')
    else if (this.picture.isStuck && this.state !== 'stuck') this.#set('stuck')
    else if (this.state === 'stuck' && !this.picture.isStuck) this.#set('paused')
  }

  #set(state) {
    this.state = state
    this.dispatchEvent(new CustomEvent('change', { detail: state }))
  }

  #failed(error) {
    this.dispatchEvent(new CustomEvent('error', { detail: error }))
  }
}
