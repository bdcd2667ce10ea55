/** The server: has the engine, and carries out what its clients send. */

import { type Engine, EngineDied } from './engine.js'
import { type Failure, failure, failureOf, textOf } from './errors.js'
import type { ToClient, ToServer } from './protocol.js'

/** How the server reaches a client. */
export type Post = (message: ToClient, transfer?: Transferable[]) => void

/** Answers shorter than this cross as text, which is quicker; longer ones are handed over. */
const TEXT_BYTES_MAX = 16 << 10
/** Clients are told of changes at most this often. */
const TELL_EVERY_MS = 25

const decoder = new TextDecoder()

/** As the host has it, like what hands the answers over (`turns.ts`): a `run` waits for what is told. */
const { setTimeout } = globalThis

/** Serves the clients of one open store. */
export class Server {
  readonly #clients = new Map<string, Post>()
  readonly #died: (why: Failure) => void
  #engine: Engine
  #told: number
  #isTelling = false
  #isOver = false

  constructor(engine: Engine, died: (why: Failure) => void) {
    this.#engine = engine
    this.#died = died
    this.#told = engine.revision
  }

  /** A client that lives. It is told how far the store is: what the engine before committed last it may not have told. */
  join(client: string, post: Post): void {
    this.#clients.set(client, post)
    this.#guard(() => {
      this.#engine.lives(client)
      post({ t: 'changed', revision: this.#engine.revision })
    })
  }

  /** A client that died, or said goodbye: what it held is pending again. */
  leave(client: string): void {
    this.#clients.delete(client)
    this.#guard(() => {
      this.#engine.died(client)
      this.#tell()
    })
  }

  receive(message: ToServer): void {
    if (message.t === 'calls') this.#calls(message.client, message.batch)
    else if (message.t === 'export') this.#export(message.client, message.id)
  }

  /** Releases the file in good order. */
  close(): void {
    this.#isOver = true
    this.#engine.close()
  }

  /** Gives the file up as it is, as a thread does that is ended. */
  abandon(): void {
    this.#isOver = true
    this.#engine.abandon()
  }

  #calls(client: string, batch: string): void {
    const post = this.#clients.get(client)
    if (post === undefined) return
    this.#guard(() => {
      const answers = this.#engine.run(client, batch)
      if (answers.length < TEXT_BYTES_MAX) post({ t: 'answers', lines: decoder.decode(answers) })
      else post({ t: 'answers', lines: answers }, [answers.buffer as ArrayBuffer])
      this.#tell()
    })
  }

  #export(client: string, id: number): void {
    const post = this.#clients.get(client)
    if (post === undefined) return
    this.#guard(() => {
      try {
        const bytes = this.#engine.exportFile()
        post({ t: 'file', id, bytes }, [bytes.buffer as ArrayBuffer])
      } catch (error) {
        if (error instanceof EngineDied) throw error
        // The engine has no part in it.
        const why = `the file does not fit into memory: ${textOf(error)}; copy the file itself, where it is closed`
        post({ t: 'file', id, failure: error instanceof RangeError ? failure('too_large', why) : failureOf(error) })
      }
    })
  }

  /** Tells everybody of changes, soon: many at once are told as one. */
  #tell(): void {
    if (this.#isTelling || this.#isOver || this.#engine.revision === this.#told) return
    this.#isTelling = true
    setTimeout(() => {
      this.#isTelling = false
      this.#guard(() => {
        const revision = this.#engine.revision
        this.#told = revision
        for (const post of this.#clients.values()) post({ t: 'changed', revision })
      })
    }, TELL_EVERY_MS)
  }

  #guard(work: () => void): void {
    if (this.#isOver) return
    try {
      work()
    } catch (error) {
      this.#isOver = true
      const failure = failureOf(error)
      for (const post of this.#clients.values()) post({ t: 'ending', failure })
      this.#died(failure)
    }
  }
}
