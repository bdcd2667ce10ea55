/** Bytes in memory. They end with the store. */

import type { Bytes } from './storage.js'

/** Grows by half, so that a store that grows is not copied for each page. */
export class MemoryBytes implements Bytes {
  #bytes = new Uint8Array(1 << 17)
  #len = 0

  len(): number {
    return this.#len
  }

  read(offset: number, bytes: Uint8Array): number {
    const part = this.#bytes.subarray(offset, Math.min(this.#len, offset + bytes.length))
    bytes.set(part)
    return part.length
  }

  write(offset: number, bytes: Uint8Array): number {
    this.#bytes.set(bytes, offset)
    return bytes.length
  }

  setLen(len: number): void {
    if (len > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(len, Math.ceil(this.#bytes.length * 1.5)))
      grown.set(this.#bytes.subarray(0, this.#len))
      this.#bytes = grown
    }
    if (len < this.#len) this.#bytes.fill(0, len, this.#len)
    this.#len = len
  }

  sync(): void {}

  close(): void {}
}
