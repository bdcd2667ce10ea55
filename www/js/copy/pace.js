/** How fast it goes, over the last few seconds. */

const WINDOW_MS = 8_000

export class Pace {
  #samples = []

  /** Notes how many bytes are done by now. */
  note(nowMs, bytes) {
    const last = this.#samples.at(-1)
    // Fewer than before: chunks were taken back, and the count begins anew.
    if (last !== undefined && bytes < last.bytes) this.#samples = []
    this.#samples.push({ nowMs, bytes })
    while (this.#samples.length > 2 && nowMs - this.#samples[0].nowMs > WINDOW_MS) this.#samples.shift()
  }

  /** Begins anew, after a pause. */
  reset() {
    this.#samples = []
  }

  /** Bytes per second; nothing until there are two moments to compare. */
  get bytesPerSecond() {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)]
    if (first === undefined || last.nowMs - first.nowMs < 200) return undefined
    return ((last.bytes - first.bytes) * 1000) / (last.nowMs - first.nowMs)
  }

  /** Seconds until so many more bytes are done. */
  secondsFor(bytes) {
    const speed = this.bytesPerSecond
    return speed ? bytes / speed : Infinity
  }
}
