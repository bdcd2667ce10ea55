/** What goes between a client and the server that has the file. */

import { type Failure, failure } from './errors.js'
import type { Persistence } from './store.js'

/**
 * Which messages, calls and rows these are. Raised with each change of any of them: tabs of one origin may have loaded
 * different versions of the package, and what they do not name alike they would misread.
 */
export const PROTOCOL = 2

/** To the server. Calls are JSON text, `[[id, seq, name, fields], ...]`: text is what crosses fastest. */
export type ToServer =
  | { t: 'hello'; client: string }
  | { t: 'calls'; client: string; batch: string }
  | { t: 'export'; client: string; id: number }
  | { t: 'bye'; client: string }

/** To a client. Answers are lines of JSON, see `answers.ts`. */
export type ToClient =
  | { t: 'answers'; lines: string | Uint8Array }
  | { t: 'file'; id: number; bytes?: Uint8Array | Blob; failure?: Failure }
  | { t: 'changed'; revision: number }
  /** The engine is ending, and why. Another leader follows. */
  | { t: 'ending'; failure: Failure }

/** From the thread that may come to have the file, to whoever started it. */
export type FromSeat =
  /** The worker's script was loaded too late to hear how it is started. */
  | { t: 'ready' }
  /** The thread has begun, and holds this lock for as long as it lives. */
  | { t: 'here'; lock: string }
  | ({ t: 'leading' } & Leading)
  /** The file could not be opened. */
  | { t: 'failed'; failure: Failure }
  /** The engine has ended. */
  | { t: 'dead'; failure: Failure }
  /** The file was released in good order. */
  | { t: 'shut'; failure?: Failure }
  | ToClient

/** Who leads, and with what. */
export interface Leading {
  leader: string
  persistence: Persistence
  /** Which store it has: no other file has this id but copies. */
  store: string
}

/** To that thread. */
export type ToSeat = { t: 'start'; start: Start } | { t: 'shut' } | ToServer

/** What is to be opened, and how. */
export interface Target {
  /** The store's file; none is memory. */
  name: string | undefined
  wasm: WebAssembly.Module | BufferSource | string | undefined
  cacheBytes: number | undefined
  /** What a new file is made of. */
  from: Uint8Array | undefined
  /** Which store it is, once that is known: what opens the file anew takes no other one for it. */
  store?: string
}

/** What a thread is started with. */
export interface Start extends Target {
  protocol: number
  client: string
  /** The thread's own id, also while it leads. Made by whoever starts it: in Node the first random number takes 3 ms. */
  seat: string
}

/** What tabs tell each other on the store's own channel. */
export type Broadcast = { t: 'who' } | ({ t: 'leader'; protocol: number; client: string } & Leading)

/** The names of a store's locks and channels within its origin. */
export const names = {
  tabs: (store: string) => `magnetar:${store}`,
  leaderLock: (store: string) => `magnetar:${store}:leader`,
  clientLock: (store: string, client = '') => `magnetar:${store}:client:${client}`,
  seatLock: (store: string, seat: string) => `magnetar:${store}:seat:${seat}`,
  toLeader: (store: string, leader: string) => `magnetar:${store}:to:${leader}`,
  toClient: (store: string, client: string) => `magnetar:${store}:for:${client}`,
}

/** Whoever speaks another protocol. */
export function otherVersion(who: string): Failure {
  return failure('unsupported', `${who} runs another version of magnetar-jobs: reload it, or this page, then call again`, 'later')
}

/** An id that nobody had before. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
