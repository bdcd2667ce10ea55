/** How a job goes on, as an async iterable and as events. */

import { signalled } from './arguments.js'
import type { Stats } from './stats.js'
import type { JobStore, Listeners, Told } from './store.js'

/** The events of a job's progress. */
export interface ProgressEvents {
  progress: Told<Stats>
  /** Why nothing more is told. */
  error: Told<unknown>
}

/**
 * Tells how a job stands, now and after each change, until it is finished: as an async iterable, and as events
 * `progress` with the statistics in `detail`. Many changes at once are told as one; the last state is always told.
 *
 * ```js
 * for await (const stats of store.progress(42)) console.log(`${stats.percent.toFixed(1)} %`)
 * ```
 */
export class JobProgress extends EventTarget implements AsyncIterable<Stats> {
  readonly #store: JobStore<any, any>
  readonly #job: number
  readonly #signal: AbortSignal | undefined
  #isTelling = false

  /** @internal */
  constructor(store: JobStore<any, any>, job: number, signal: AbortSignal | undefined) {
    super()
    this.#store = store
    this.#job = job
    this.#signal = signalled(signal)
  }

  override addEventListener: Listeners<ProgressEvents> = (...given: Parameters<EventTarget['addEventListener']>) => {
    super.addEventListener(...given)
    if (this.#isTelling) return
    this.#isTelling = true
    void this.#tell()
  }

  declare removeEventListener: Listeners<ProgressEvents>

  async *[Symbol.asyncIterator](): AsyncGenerator<Stats, void, undefined> {
    let changed = true
    let wake = () => {}
    const note = () => {
      changed = true
      wake()
    }
    this.#store.waiting.add(note)
    this.#signal?.addEventListener('abort', note)
    let told = ''
    const leave = this.#store.watching()
    try {
      while (!this.#signal?.aborted && !this.#store.isClosed) {
        if (!changed) {
          await new Promise<void>((resolve) => (wake = resolve))
          continue
        }
        changed = false
        const stats = await this.#store.getStats(this.#job)
        const now = JSON.stringify(stats)
        if (now !== told) yield stats
        told = now
        if (stats.isFinished) return
      }
    } finally {
      leave()
      this.#store.waiting.delete(note)
      this.#signal?.removeEventListener('abort', note)
    }
  }

  async #tell(): Promise<void> {
    try {
      for await (const stats of this) this.dispatchEvent(new CustomEvent('progress', { detail: stats }))
    } catch (error) {
      this.dispatchEvent(new CustomEvent('error', { detail: error }))
    } finally {
      this.#isTelling = false
    }
  }
}
