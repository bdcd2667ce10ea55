/** How a job goes on, as an async iterable and as events. */

import { signalled } from './arguments.js'
import { follow, leavable } from './leaving.js'
import type { Stats } from './stats.js'
import type { JobStore, Listener, ListenerOptions, Listeners, Told } from './store.js'

/** Of the same making as the class below, as in `store.ts`. */
const { CustomEvent } = globalThis

/** The events of a job's progress. */
export interface ProgressEvents {
  progress: Told<Stats>
  /** Why nothing more is told. */
  error: Told<unknown>
}

/**
 * Tells how a job stands, now and after each change, until nothing more comes by itself: it is finished, as a job
 * without chunks is at once, or stalled (`isStalled`: what is left waits for failed dependencies). As an async iterable,
 * and as events `progress` with the statistics in `detail`, for as long as somebody listens; an event `error` tells why
 * it broke off. Many changes at once are told as one; the last state is always told. It ends as well when the store is
 * closed, and tells nothing of one that is.
 *
 * ```js
 * for await (const stats of store.progress(42)) console.log(`${stats.percent.toFixed(1)} %`)
 * ```
 */
export class JobProgress extends EventTarget implements AsyncIterable<Stats> {
  readonly #store: JobStore<any, any>
  readonly #job: number
  readonly #signal: AbortSignal | undefined
  /** With what takes each away again. */
  readonly #listeners = new Map<Listener, () => void>()
  /** Ends the events when nobody listens to them any more. */
  #heard: AbortController | undefined

  /** @internal */
  constructor(store: JobStore<any, any>, job: number, signal: AbortSignal | undefined) {
    super()
    this.#store = store
    this.#job = job
    this.#signal = signalled(signal)
  }

  override addEventListener: Listeners<ProgressEvents> = (type: string, listener: Listener, options?: ListenerOptions) => {
    super.addEventListener(type, listener, options)
    // One that is there is not added again, with whatever options.
    if (type !== 'progress' || this.#listeners.has(listener)) return
    const { once = false, signal = undefined } = Object(options) as AddEventListenerOptions
    const leave = () => {
      // It may have been taken away, and added anew.
      if (this.#listeners.get(listener) === leave) this.removeEventListener(type, listener)
    }
    this.#listeners.set(listener, leave)
    if (once) super.addEventListener(type, leave, { once })
    if (signal?.aborted) leave()
    else signal?.addEventListener('abort', leave, { once: true })
    if (this.#heard === undefined && this.#listeners.size > 0) void this.#tell((this.#heard = new AbortController()))
  }

  override removeEventListener: Listeners<ProgressEvents> = (type: string, listener: Listener, options?: ListenerOptions) => {
    super.removeEventListener(type, listener, options)
    if (type !== 'progress') return
    this.#listeners.delete(listener)
    if (this.#listeners.size > 0) return
    this.#heard?.abort()
    this.#heard = undefined
  }

  [Symbol.asyncIterator](): AsyncGenerator<Stats, void, undefined> {
    const over = new AbortController()
    return leavable(this.#states(over), over)
  }

  async *#states(over: AbortController): AsyncGenerator<Stats, void, undefined> {
    const { signal } = over
    const forget = follow(this.#signal, over)
    let changed = true
    let wake = () => {}
    const note = () => {
      changed = true
      wake()
    }
    this.#store.waiting.add(note)
    this.#store.losing.add(note)
    signal.addEventListener('abort', note)
    let told = ''
    try {
      while (!signal.aborted && !this.#store.isClosed) {
        if (!changed) {
          const leave = this.#store.watching()
          await new Promise<void>((resolve) => (wake = resolve))
          leave()
          continue
        }
        changed = false
        const stats = await this.#store.getStats(this.#job)
        const now = JSON.stringify(stats)
        if (now !== told) yield stats
        told = now
        if (stats.isFinished || stats.isStalled) return
      }
    } finally {
      this.#store.waiting.delete(note)
      this.#store.losing.delete(note)
      forget()
    }
  }

  async #tell(heard: AbortController): Promise<void> {
    const { signal } = heard
    try {
      for await (const stats of this.#states(heard)) {
        if (!signal.aborted) this.dispatchEvent(new CustomEvent('progress', { detail: stats }))
      }
    } catch (error) {
      this.dispatchEvent(new CustomEvent('error', { detail: error }))
    } finally {
      if (this.#heard === heard) this.#heard = undefined
    }
  }
}
