/**
 * The calls that wait for their answers, by their numbers, which count upwards from 1.
 *
 * No `Map`: V8 makes a new table of one every few insertions, and the table before, which points to it, may have grown old
 * already. So each table keeps the next alive, with all calls that were ever in it, until the whole heap is collected.
 */
export class Waiting<T extends { readonly id: number }> {
  /** From the number `#first` on, one after the other. */
  readonly #calls: (T | undefined)[] = []
  #first = 1
  /** So many in front are gone: answers come in the order of the calls, mostly. */
  #gone = 0
  size = 0

  /** Adds what is made for the next number. */
  add(make: (id: number) => T): T {
    const call = make(this.#first + this.#calls.length)
    this.#calls.push(call)
    this.size++
    return call
  }

  get(id: number): T | undefined {
    return this.#calls[id - this.#first]
  }

  /** Takes one out, if it is there. */
  delete(id: number): void {
    const calls = this.#calls
    if (this.get(id) === undefined) return
    calls[id - this.#first] = undefined
    this.size--
    while (this.#gone < calls.length && calls[this.#gone] === undefined) this.#gone++
    if (this.#gone < TRIM || this.#gone * 2 < calls.length) return
    calls.splice(0, this.#gone)
    this.#first += this.#gone
    this.#gone = 0
  }

  /** All of them, in their order. */
  values(): T[] {
    return this.#calls.filter((call) => call !== undefined)
  }
}

/** Fewer are left where they are. */
const TRIM = 1_024
