/** Bytes in memory: a file's stand-in, which can be filled from a file and read out as one. */

import type { Bytes } from './storage.js'

export class MemoryBytes implements Bytes {
  #buffer: Uint8Array
  #len: number

  /** Takes what it is given; the caller does not touch it again. */
  constructor(content: Uint8Array = new Uint8Array()) {
    this.#buffer = content
    this.#len = content.length
  }

  len(): number {
    return this.#len
  }

  read(offset: number, bytes: Uint8Array): number {
    const read = this.#buffer.subarray(offset, Math.min(offset + bytes.length, this.#len))
    bytes.set(read)
    return read.length
  }

  write(offset: number, bytes: Uint8Array): number {
    this.#reach(offset + bytes.length)
    this.#buffer.set(bytes, offset)
    this.#len = Math.max(this.#len, offset + bytes.length)
    return bytes.length
  }

  setLen(len: number): void {
    this.#reach(len)
    // What is cut off reads as zeros when it grows again.
    if (len < this.#len) this.#buffer.fill(0, len, this.#len)
    this.#len = len
  }

  sync(): void {}

  close(): void {}

  #reach(len: number): void {
    if (len <= this.#buffer.length) return
    const grown = new Uint8Array(Math.max(len, this.#buffer.length * 2))
    grown.set(this.#buffer.subarray(0, this.#len))
    this.#buffer = grown
  }
}
