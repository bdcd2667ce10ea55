/** Files of Node, Bun and Deno, and the lock that one process holds on each. */

import {
  closeSync, existsSync, fdatasyncSync, fstatSync, fsyncSync, ftruncateSync, openSync, readSync, realpathSync, statSync, unlinkSync, writeSync,
  type Stats,
} from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { described, failure, invalid, MagnetarError } from './errors.js'
import type { Bytes } from './storage.js'

/** The file that a store of a name is in; its ending in whichever case, as a native program takes it. */
export function fileName(name: string): string {
  if (/(^|[\\/])\.{0,2}$/.test(name)) throw invalid(`${described(name)} is a folder: name a file in it`)
  return resolve(/\.(redb|magnetar)$/i.test(name) ? name : `${name}.redb`)
}

/** Opens a store's file for this process alone. */
export function openFile(named: string): Bytes {
  const path = real(named)
  refuseUnsynced()
  const lock = new Lock(path)
  try {
    return new NodeFile(path, lock)
  } catch (error) {
    lock.release()
    throw error
  }
}

/** Node's permission model denies what makes a file durable, whatever else it allows: said before anything is made. */
function refuseUnsynced(): void {
  try {
    // No file has this number.
    if (process.permission !== undefined) fdatasyncSync(-1)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_ACCESS_DENIED') return
    const why = "Node's permission model (--permission) lets nobody have a file made durable, with fsync: here ':memory:' alone can be had"
    throw new MagnetarError(failure('unavailable', why), { cause: error })
  }
}

/** The one path of a file, whichever links lead there: the lock goes by it. */
function real(path: string): string {
  return existsSync(path) ? realpathSync(path) : join(realpathSync(dirname(path)), basename(path))
}

interface Connection {
  exec(sql: string): void
  close(): void
}

/**
 * The lock of a process: an exclusive transaction on an empty SQLite file beside the store, because that is the only
 * lock of the operating system that Node can take, and which therefore ends with the process, however it ends.
 */
class Lock {
  readonly #connection: Connection

  constructor(path: string) {
    this.#connection = connect(`${path}.lock`)
    try {
      this.#connection.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
    } catch (error) {
      this.#connection.close()
      throw locked(path, error)
    }
    try {
      refuseSecondName(path)
      refuseNative(path)
    } catch (error) {
      this.release()
      throw error
    }
  }

  release(): void {
    this.#connection.close()
  }
}

function connect(path: string): Connection {
  const { DatabaseSync } = sqlite()
  try {
    return new DatabaseSync(path, { timeout: 0 })
  } catch (error) {
    throw new MagnetarError(failure('io', `${path} cannot be opened: ${(error as Error).message}`), { cause: error })
  }
}

interface Sqlite {
  DatabaseSync: new (path: string, options: { timeout: number }) => Connection
}

/** Asked for by name and only now: a runtime that lacks it can still have stores in memory. */
function sqlite(): Sqlite {
  // Node 22 warns whoever loads it that it is young. Who opens a store has not asked for it, and can do nothing about it.
  const { emitWarning } = process
  process.emitWarning = () => {}
  try {
    const found = process.getBuiltinModule?.('node:sqlite') as Sqlite | undefined
    if (found !== undefined) return found
  } finally {
    process.emitWarning = emitWarning
  }
  const why = `this runtime (${process.version}) has no node:sqlite, which locks a store's file: use Node 22.13 or newer`
  throw new MagnetarError(failure('unavailable', why))
}

/** SQLITE_BUSY, whatever its extension. Deno has only the words. */
function isBusy(error: unknown): boolean {
  const { errcode, message } = error as { errcode?: number; message: string }
  return errcode === undefined ? message.includes('database is locked') : (errcode & 0xff) === 5
}

function locked(path: string, cause: unknown): MagnetarError {
  const { message } = cause as Error
  if (!isBusy(cause)) return new MagnetarError(failure('io', `${path}.lock cannot be locked: ${message}`), { cause })
  return new MagnetarError(failure('locked', `${path} is open in another process or thread: close it there`, 'later'), { cause })
}

/** Hard links are names of equal rank, each of which would have a lock of its own. */
function refuseSecondName(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found?.isDirectory()) throw new MagnetarError(failure('io', `${path} is a folder: give the store another name`))
  const { nlink = 0 } = found ?? {}
  if (nlink < 2) return
  const why = `${path} has ${nlink} names (hard links), and the lock goes by the name, so that two programs could open it at once`
  throw new MagnetarError(failure('refused', `${why}: remove the others, or open a copy`))
}

/**
 * A native program holds a lock on the file itself. SQLite asks for one on the same bytes before it finds that this is
 * no database of its own.
 */
function refuseNative(path: string): void {
  if (!existsSync(path)) return
  const connection = connect(path)
  try {
    connection.exec('PRAGMA schema_version')
  } catch (error) {
    if (isBusy(error)) throw locked(path, error)
  } finally {
    connection.close()
  }
}

class NodeFile implements Bytes {
  readonly #path: string
  readonly #isNew: boolean
  readonly #fd: number
  readonly #file: Stats
  readonly #lock: Lock
  #isClosed = false

  constructor(path: string, lock: Lock) {
    this.#path = path
    this.#isNew = !existsSync(path)
    this.#fd = openSync(path, this.#isNew ? 'wx+' : 'r+', 0o600)
    this.#lock = lock
    try {
      if (this.#isNew) syncFolder(path)
      this.#file = fstatSync(this.#fd)
    } catch (error) {
      closeSync(this.#fd)
      if (this.#isNew) unlinkSync(path)
      throw error
    }
  }

  len(): number {
    return fstatSync(this.#fd).size
  }

  read(offset: number, bytes: Uint8Array): number {
    return readSync(this.#fd, bytes, 0, bytes.length, offset)
  }

  write(offset: number, bytes: Uint8Array): number {
    return writeSync(this.#fd, bytes, 0, bytes.length, offset)
  }

  setLen(len: number): void {
    ftruncateSync(this.#fd, len)
  }

  /**
   * Whoever writes to a file that has lost its name is told nothing of it, so that is looked at, behind the sync: the
   * answer is of then. What opens the file anew says what stands there now.
   */
  sync(): void {
    fdatasyncSync(this.#fd)
    const named = statSync(this.#path, { throwIfNoEntry: false })
    if (named?.ino !== this.#file.ino || named.dev !== this.#file.dev) throw new Error(`${this.#path} was removed, moved or replaced while the store was open`)
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    try {
      const isFutile = this.#isNew && this.len() === 0
      closeSync(this.#fd)
      if (isFutile) unlinkSync(this.#path)
    } finally {
      this.#lock.release()
    }
  }
}

/** Syncing a file does not keep its name. Windows has no such thing. */
function syncFolder(path: string): void {
  if (process.platform === 'win32') return
  const folder = openSync(dirname(path), 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
