/**
 * The six functions through which the engine reaches its bytes, and the handles behind them.
 *
 * The engine knows a handle by its number, so that nothing of JavaScript lives inside it.
 */

/** Bytes that a host keeps: a file, or memory. All calls are synchronous. */
export interface Bytes {
  len(): number
  /** Gives how many bytes were read; fewer at the end. */
  read(offset: number, bytes: Uint8Array): number
  /** Gives how many bytes were taken. */
  write(offset: number, bytes: Uint8Array): number
  setLen(len: number): void
  /** Returns once everything that was written is durable. */
  sync(): void
  close(): void
}

const handles = new Map<number, Bytes>()
let lastHandle = 0

/** Names a handle for the engine. Opening it again under the same number, after a close, goes on with the same bytes. */
export function register(bytes: Bytes): number {
  handles.set(++lastHandle, bytes)
  return lastHandle
}

/** Forgets a handle. */
export function unregister(handle: number): void {
  handles.delete(handle)
}

function bytesOf(handle: number): Bytes {
  const bytes = handles.get(handle)
  if (bytes === undefined) throw new DOMException('the handle was given up', 'InvalidStateError')
  return bytes
}

export function storage_len(handle: number): number {
  return bytesOf(handle).len()
}

export function storage_read(handle: number, offset: number, bytes: Uint8Array): number {
  return bytesOf(handle).read(offset, bytes)
}

export function storage_write(handle: number, offset: number, bytes: Uint8Array): number {
  return kept(() => bytesOf(handle).write(offset, bytes))
}

export function storage_set_len(handle: number, len: number): void {
  kept(() => bytesOf(handle).setLen(len))
}

export function storage_sync(handle: number): void {
  kept(() => bytesOf(handle).sync())
}

export function storage_close(handle: number): void {
  bytesOf(handle).close()
}

let lastThrown: unknown

/** The engine says that a write failed, not why. */
function kept<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    lastThrown = error
    throw error
  }
}

/** Why the last write failed; once. */
export function takeThrown(): unknown {
  const thrown = lastThrown
  lastThrown = undefined
  return thrown
}

let lastPanic: string | undefined

/** Keeps what the engine says before it traps. */
export function panicked(text: string): void {
  lastPanic = text
}

/** What the engine said before it trapped; once. */
export function takePanic(): string | undefined {
  const panic = lastPanic
  lastPanic = undefined
  return panic
}
