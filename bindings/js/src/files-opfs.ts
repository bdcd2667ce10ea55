/** Files of the origin's private file system, for a dedicated worker. */

import { failure, given, MagnetarError } from './errors.js'
import type { Bytes } from './storage.js'

/** What a worker has of a file, and nobody else at the same time. */
interface SyncAccessHandle {
  getSize(): number
  read(bytes: Uint8Array, options: { at: number }): number
  write(bytes: Uint8Array, options: { at: number }): number
  truncate(len: number): void
  flush(): void
  close(): void
}

interface SyncFileHandle extends FileSystemFileHandle {
  createSyncAccessHandle?(): Promise<SyncAccessHandle>
}

const FOLDER = 'magnetar'
/** A handle of a worker that was ended lingers for a moment: it is asked for again, after waits that double. */
const TRIES = 12
const FIRST_WAIT_MS = 5

/** The folder that all stores of the origin are in. */
export async function folder(): Promise<FileSystemDirectoryHandle> {
  if (typeof navigator === 'undefined' || navigator.storage?.getDirectory === undefined) {
    throw new MagnetarError(
      failure('unavailable', 'this context has no origin private file system; it needs a secure context (https or localhost)'),
    )
  }
  return (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true })
}

/** The file that a store of a name is in, by which its locks and channels go. */
export function fileName(name: string): string {
  const encoded = given(() => encodeURIComponent(name)).replaceAll('*', '%2A')
  return encoded.endsWith('.redb') ? encoded : `${encoded}.redb`
}

/** Opens a store's file for one worker alone. */
export async function openFile(file: string): Promise<Bytes> {
  const handle: SyncFileHandle = await (await folder()).getFileHandle(file, { create: true })
  if (handle.createSyncAccessHandle === undefined) {
    throw new MagnetarError(failure('unavailable', 'this browser has no synchronous file access; it needs a dedicated worker'))
  }
  const access = await taken(() => handle.createSyncAccessHandle!())
  if (typeof (access.getSize() as unknown) !== 'number') {
    access.close()
    throw new MagnetarError(failure('unavailable', 'the file access of this browser is not yet synchronous; update it'))
  }
  return new OpfsFile(access)
}

/** Whether a file that was opened is still what its name leads to: its user may clear the data of the origin. */
export async function isThere(file: string): Promise<boolean> {
  try {
    await (await folder()).getFileHandle(file)
    return true
  } catch {
    return false
  }
}

async function taken(open: () => Promise<SyncAccessHandle>): Promise<SyncAccessHandle> {
  let wait = FIRST_WAIT_MS
  for (let tried = 1; ; tried++) {
    try {
      return await open()
    } catch (error) {
      const { name, message } = error as DOMException
      if (name !== 'NoModificationAllowedError' && name !== 'InvalidStateError') throw error
      if (tried === TRIES) {
        throw new MagnetarError(failure('locked', `${name}: ${message}; another worker has the file open`, 'later'))
      }
    }
    await new Promise((done) => setTimeout(done, wait))
    wait = Math.min(wait * 2, 500)
  }
}

class OpfsFile implements Bytes {
  readonly #access: SyncAccessHandle

  constructor(access: SyncAccessHandle) {
    this.#access = access
  }

  len(): number {
    return this.#access.getSize()
  }

  read(offset: number, bytes: Uint8Array): number {
    return this.#access.read(bytes, { at: offset })
  }

  write(offset: number, bytes: Uint8Array): number {
    return this.#access.write(bytes, { at: offset })
  }

  setLen(len: number): void {
    this.#access.truncate(len)
  }

  sync(): void {
    this.#access.flush()
  }

  close(): void {
    this.#access.close()
  }
}
