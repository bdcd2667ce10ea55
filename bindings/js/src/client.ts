/**
 * A client: numbers its calls, sends all of one tick at once to whoever leads, and sends again what a leader died over.
 *
 * A call that is sent again is answered with what it did the first time: fenced calls by their fence, claims and new jobs
 * by the client's id and the call's number. What cannot be sent again is rejected as `outcome_unknown`.
 */

import { signalled } from './arguments.js'
import { Chunks } from './chunk.js'
import { anotherStore, type ErrorCode, type Failure, failure, failureOf, given, MagnetarError, textOf } from './errors.js'
import { type FromSeat, type Leading, PROTOCOL, randomId, type Target, type ToSeat, type ToServer } from './protocol.js'
import type { Persistence } from './store.js'
import { Waiting } from './waiting.js'

/** A thread, or this one, that may come to lead. */
export interface Seat {
  post(message: ToSeat, transfer?: Transferable[]): void
  /** Keeps the process alive while somebody waits, where that is a question. */
  hold?(isHeld: boolean): void
  end(): void
}

/** Whoever leads elsewhere, as a tab hears of it. */
export interface Elsewhere {
  /** Its thread holds this lock for as long as it lives. */
  lock: string
  post(message: ToServer): void
  close(): void
}

/** How a client hears of leaders in other tabs. */
export interface Listening {
  /** Has whoever leads say so. */
  ask(): void
  end(): void
}

/** What differs between runtimes. */
export interface Surroundings {
  /** Starts a thread. What comes from it goes to `hear`, and its death by itself to `died`. */
  seat(hear: (message: FromSeat) => void, died: (why: string, code?: ErrorCode) => void): Seat
  /** Makes this client's life visible to others, unless the signal comes first; gives how to end that. */
  live?(client: string, signal?: AbortSignal): Promise<() => void>
  /** Tells when whoever holds a lock has ended, until the signal. */
  watch?(lock: string, gone: () => void, signal: AbortSignal): void
  /** Hears of leaders in other tabs. */
  listen?(
    client: string,
    found: (leading: Leading, connect: () => Elsewhere) => void,
    hear: (message: FromSeat) => void,
  ): Listening
  /** Tells when the page stands still, its threads with it, as one that was left or not, and when it goes on. Gives how to end that. */
  still?(stop: (isLeft: boolean) => void, goOn: () => void): () => void
}

/** Calls whose second answer would not be the first one's. */
const ONCE = new Set(['retryFailed', 'reset', 'cancel', 'importBegin', 'importPiece'])
/** Calls whose answer is to be given back where nobody is there to take it. */
const CLAIMS = new Set(['claim', 'completeAndClaim'])
/** So many leaders may die over a call before it is given up. */
const TRIES_MAX = 8
/** Where there is no space one more shows what became of the call, and that there is still none. */
const TRIES_MAX_FULL = 2

/** Calls of one tick go over together up to this length: what all of them come to may be more than a text can be. */
const BATCH_CHARS_MAX = 16 << 20

/** A thread says within this time that it has begun. */
const BIRTH_MS = 2_000

/** A thread releases its file within this time: Chromium never does where the user has deleted it. */
const SHUT_MS = 5_000

/** A thread that ends while it waits for its turn is replaced after the first of these, twice as late each time up to the second. */
const ANEW_MS = 250
const ANEW_MS_MAX = 30_000

/** Why a thread ended that has not said it. */
const UNSAID = failure('crashed', 'its tab or thread was ended')

interface Pending {
  readonly id: number
  readonly name: string
  /** `[id, seq, name, fields]`, or what is asked of the file as a whole, which is no call. */
  readonly asked: string | ToServer
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
  /** The leader that it was sent to. */
  sentTo: string | undefined
  tries: number
  /** Its caller has gone. */
  isAbandoned: boolean
  /** Has its signal, which may live for long, know nothing of it any more. */
  forget: (() => void) | undefined
}

interface Leader {
  readonly id: string
  /** Whether it is this client's own thread. */
  readonly isHere: boolean
  post(message: ToServer): void
  close(): void
}

/** Talks to the leader of one store. */
export class Client {
  #id: string | undefined
  /** Is told of changes. */
  onchange: (revision: number) => void = () => {}
  /** Is told when all calls were rejected, mostly for want of an engine. */
  onlost: () => void = () => {}
  /** Is told whenever another leader serves this client. */
  onleader: (isHere: boolean) => void = () => {}
  persistence: Persistence = 'memory'

  readonly #around: Surroundings
  readonly #target: Target
  readonly #pending = new Waiting<Pending>()
  #unsent: Pending[] = []
  #isFlushing = false
  #seat: Seat | undefined
  #leader: Leader | undefined
  /** The leader elsewhere that was last found to have ended. */
  #gone: string | undefined
  #unlock: (() => void) | undefined
  #listening: Listening | undefined
  #unstill: (() => void) | undefined
  #isStill = false
  #watches = new AbortController()
  /** No more calls are taken; those on their way are answered. */
  #isClosing = false
  #closing: Promise<void> | undefined
  #isClosed = false
  #watching = 0
  #isHeld = false
  #heldSeat: Seat | undefined
  /** The death of the last thread, and how many there were since the last answer. */
  #deaths = 0
  /** The threads of ours that ended while another tab led, and what begins the next one. */
  #deathsInLine = 0
  #anew: ReturnType<typeof setTimeout> | undefined
  #why = UNSAID
  #shut: ((failure: Failure | undefined) => void) | undefined

  private constructor(around: Surroundings, target: Target) {
    this.#around = around
    this.#target = target
  }

  /** Made when it is needed: in Node the first random number takes 3 ms, in which a thread can begin. */
  get id(): string {
    this.#id ??= randomId()
    return this.#id
  }

  /** Resolves once there is a leader. */
  static async open(around: Surroundings, target: Target): Promise<Client> {
    const client = new Client(around, target)
    try {
      client.#unlock = await around.live?.(client.id)
      client.#listen()
      client.#unstill = around.still?.(
        (isLeft) => client.#stop(isLeft),
        () => void client.#goOn(),
      )
      // The first answer says that there is a leader.
      await client.call('listJobs', () => ({ limit: 1 }))
      return client
    } catch (error) {
      client.#end()
      throw error
    }
  }

  #listen(): void {
    this.#listening = this.#around.listen?.(
      this.id,
      (leading, connect) => this.#found(leading, connect),
      (message) => this.#hear(message),
    )
  }

  /** The page stands still: others get the file, or the place in line. What is under way is sent again, as after a death. */
  #stop(isLeft: boolean): void {
    this.#isStill = true
    clearTimeout(this.#anew)
    // A page in whose cache something happens is thrown out of it, as one that has a lock which others wait for.
    this.#watches.abort()
    this.#leave()
    this.#listening?.end()
    if (isLeft) this.#die()
    this.#shut?.(undefined)
  }

  /** Others take this client for dead. */
  #die(): void {
    this.#unlock?.()
    this.#unlock = undefined
  }

  async #goOn(): Promise<void> {
    const wasTold = !this.#watches.signal.aborted
    if (wasTold || this.#isClosed) return
    const { signal } = (this.#watches = new AbortController())
    try {
      if (this.#unlock === undefined) {
        const unlock = await this.#around.live?.(this.id, signal)
        // It stands still again, or was closed.
        if (signal.aborted) return unlock?.()
        this.#unlock = unlock
      }
      this.#isStill = false
      this.#listen()
      this.#sit()
    } catch (error) {
      if (!signal.aborted) this.#hear({ t: 'failed', failure: failureOf(error) })
    }
  }

  /** Makes a call; an error of its arguments, or of what makes them, rejects it. */
  call<T>(name: string, fields: () => object, signal?: AbortSignal): Promise<T> {
    return this.#isClosing ? Promise.reject(closed()) : this.#call(name, fields, signal)
  }

  #call<T>(name: string, fields: () => object, signal?: AbortSignal): Promise<T> {
    return this.#ask(name, () => given(() => JSON.stringify(fields())), (id, text) => `[${id},${id},"${name}",${text}]`, signal)
  }

  /** First what is asked is made, which may call in its turn, then it gets its number. */
  #ask<T, M>(name: string, make: () => M, asked: (id: number, made: M) => string | ToServer, signal?: AbortSignal): Promise<T> {
    // What is thrown in here rejects.
    return new Promise<T>((resolve, reject) => {
      const leaving = signalled(signal)
      if (leaving?.aborted) return reject(leaving.reason)
      const made = make()
      const pending = this.#pending.add((id) => ({
        id, name, asked: asked(id, made), resolve: resolve as (value: unknown) => void, reject, sentTo: undefined, tries: 0, isAbandoned: false, forget: undefined,
      }))
      this.#hold()
      this.#send(pending)
      if (leaving !== undefined) this.#abortable(pending, leaving)
    })
  }

  /** Somebody waits for changes. Gives how to say that they do not any more. */
  watching(): () => void {
    this.#watching++
    this.#hold()
    return () => {
      this.#watching--
      this.#hold()
    }
  }

  /** Asks for the bytes of the file. */
  exportFile(): Promise<Uint8Array | Blob> {
    if (this.#isClosing) return Promise.reject(closed())
    return this.#ask('export', () => undefined, (id) => ({ t: 'export', client: this.id, id }))
  }

  /** Opens the file anew, where it is here. */
  reopen(): void {
    if (this.#leader?.isHere !== true) return
    if (this.#target.name === undefined) throw new MagnetarError(failure('refused', 'a store in memory has no file that could be opened anew'))
    this.#died(failure('crashed', 'it was to be opened anew'))
  }

  /** Gives back what is held, and releases the file where it is here. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    if (this.#isClosing) return
    this.#isClosing = true
    // To the end, whatever else ends meanwhile.
    this.#watching++
    let late: ReturnType<typeof setTimeout> | undefined
    try {
      await this.#call('releaseAll', () => ({}))
      this.#isClosed = true
      const seat = this.#seat
      if (seat !== undefined) {
        const failed = await new Promise<Failure | undefined>((shut) => {
          this.#shut = shut
          // What is left then is as a crash leaves it.
          if (this.#around.watch !== undefined) late = setTimeout(() => shut(undefined), SHUT_MS)
          this.#leader?.post({ t: 'bye', client: this.id })
          seat.post({ t: 'shut' })
        })
        if (failed !== undefined) throw new MagnetarError(failed)
      }
    } finally {
      clearTimeout(late)
      this.#end()
    }
  }

  #abortable(pending: Pending, signal: AbortSignal): void {
    const leave = () => {
      pending.isAbandoned = true
      if (pending.sentTo === undefined) this.#settle(pending)
      pending.reject(signal.reason)
    }
    signal.addEventListener('abort', leave, { once: true })
    pending.forget = () => signal.removeEventListener('abort', leave)
  }

  #send(pending: Pending): void {
    this.#unsent.push(pending)
    if (this.#isFlushing) return
    this.#isFlushing = true
    // Whoever is answered in the same turn as this caller may be about to ask as well, a few awaits later.
    void hops(4).then(() => {
      this.#isFlushing = false
      this.#flush()
    })
  }

  #flush(): void {
    if (this.#isClosed && this.#pending.size === 0) return
    if (this.#leader === undefined) {
      if (this.#seat === undefined) this.#sit()
      return
    }
    // Those whose callers went before they were sent were settled.
    const unsent = this.#unsent.filter(({ id }) => this.#pending.get(id) !== undefined)
    this.#unsent = []
    const leader = this.#leader
    let batch: Pending[] = []
    let chars = 0
    const post = () => {
      try {
        if (chars > 0) leader.post({ t: 'calls', client: this.id, batch: `[${batch.map(({ asked }) => asked).join(',')}]` })
      } catch (error) {
        for (const pending of batch) this.#reject(pending, failure('too_large', `the call cannot be handed over: ${textOf(error)}`))
      }
      batch = []
      chars = 0
    }
    for (const pending of unsent) {
      const { asked } = pending
      pending.sentTo = leader.id
      if (typeof asked !== 'string') leader.post(asked)
      else {
        if (chars + asked.length > BATCH_CHARS_MAX) post()
        batch.push(pending)
        chars += asked.length
      }
    }
    post()
  }

  /** Where no thread can be had, or told what to do, nobody is left to wait in vain. */
  #sit(): void {
    if (this.#isStill) return
    try {
      // Another tab may lead, and have said so before.
      if (this.#leader === undefined) this.#listening?.ask()
      this.#start()
    } catch (error) {
      this.#hear({ t: 'failed', failure: failure('unavailable', `the engine's worker cannot be started: ${textOf(error)}`) })
    }
  }

  /** Starts a thread of our own, which leads when its turn comes. */
  #start(): void {
    clearTimeout(this.#anew)
    let unborn: ReturnType<typeof setTimeout> | undefined
    const died = (why: string, code: ErrorCode = 'crashed') => {
      clearTimeout(unborn)
      if (this.#seat === seat) this.#died(failure(code, why))
    }
    const seat: Seat = this.#around.seat(
      (message) => {
        if (this.#seat !== seat) return
        if (message.t === 'here') {
          clearTimeout(unborn)
          this.#around.watch?.(message.lock, () => died('the worker was terminated'), this.#watches.signal)
        } else this.#hear(message)
      },
      died,
    )
    this.#seat = seat
    // One that ended before it could say anything has nobody else to tell of it; one that is slow gets longer next time.
    if (this.#around.watch !== undefined) {
      unborn = setTimeout(() => died('the worker did not start', 'unavailable'), BIRTH_MS << this.#deaths)
    }
    this.#hold()
    seat.post({ t: 'start', start: { ...this.#target, protocol: PROTOCOL, client: this.id, seat: randomId() } })
  }

  #hear(message: FromSeat): void {
    switch (message.t) {
      case 'answers':
        this.#deaths = 0
        this.#why = UNSAID
        this.#answers(message.lines)
        break
      case 'file': {
        const pending = this.#pending.get(message.id)
        if (pending === undefined) break
        if (message.failure !== undefined) this.#reject(pending, message.failure)
        else this.#resolve(pending, message.bytes)
        break
      }
      case 'changed':
        this.onchange(message.revision)
        break
      case 'leading': {
        // One that had begun to wait before this client knew which store it is.
        if (this.#isOther(message)) return this.#hear({ t: 'failed', failure: anotherStore() })
        const seat = this.#seat!
        this.#deathsInLine = 0
        // What opens the file anew finds it there, and memory is not opened anew.
        this.#target.from = undefined
        this.#follow({ id: message.leader, isHere: true, post: (sent) => seat.post(sent), close: () => {} }, message)
        break
      }
      case 'failed':
        // Nobody here needs a thread of ours as long as another tab leads; when that has ended, the next one is tried.
        if (this.#leader?.isHere === false) this.#unseat()
        else {
          this.#leave()
          this.#rejectAll(new MagnetarError(message.failure))
        }
        this.#shut?.(undefined)
        break
      case 'ending':
        this.#why = message.failure
        break
      case 'dead':
        this.#died(message.failure)
        break
      case 'shut':
        this.#shut?.(message.failure)
        break
    }
  }

  #found(leading: Leading, connect: () => Elsewhere): void {
    const { leader } = leading
    // As long as our own thread leads nobody else does: what comes late is of one that did before, as is what one says
    // that was gone. (One that holds no lock speaks on where Chromium has cleared the data of an open page.)
    if (this.#leader?.isHere || this.#leader?.id === leader || this.#gone === leader || this.#isClosed) return
    if (this.#target.from !== undefined) {
      const why = 'the store is open in another tab: close it there, or give the file another name'
      return this.#rejectAll(new MagnetarError(failure('locked', why, 'later')))
    }
    const { lock, post, close } = connect()
    const refuse = () => this.#rejectAll(new MagnetarError(anotherStore()))
    this.#follow({ id: leader, isHere: false, post: this.#isOther(leading) ? refuse : post, close }, leading)
    this.#around.watch?.(lock, () => this.#lost(leader), this.#watches.signal)
  }

  #isOther({ store }: Leading): boolean {
    return store !== (this.#target.store ?? store)
  }

  /** Another tab led, and has ended. Our own thread, or another tab's, says so when it leads; where we have none, we try. */
  #lost(leader: string): void {
    this.#gone = leader
    if (this.#leader?.id !== leader || this.#isClosed) return
    // A thread of ours that is about to end has to find that nobody leads.
    this.#leader.close()
    this.#leader = undefined
    if (this.#seat === undefined) this.#sit()
    // It may have been gone before we heard of it, later than of the one that leads now.
    else this.#listening?.ask()
  }

  /** Another leader: it is sent whatever the one before did not answer. */
  #follow(leader: Leader, { persistence, store }: Leading): void {
    this.#leader?.close()
    this.#leader = leader
    this.persistence = persistence
    this.#target.store ??= store
    leader.post({ t: 'hello', client: this.id })
    this.#unsent = []
    for (const pending of this.#pending.values()) {
      if (pending.sentTo === undefined || this.#mayResend(pending)) this.#unsent.push(pending)
    }
    this.#flush()
    // In a tab whose thread waits for its turn, or leads: either way there is one.
    if (this.#seat === undefined && this.#around.listen !== undefined) this.#sit()
    this.onleader(leader.isHere)
  }

  #mayResend(pending: Pending): boolean {
    // What a claim got before the leader died is found out by making it again.
    if (pending.isAbandoned && !CLAIMS.has(pending.name)) {
      this.#settle(pending)
    } else if (ONCE.has(pending.name)) {
      const why = `the store was opened anew while ${pending.name} was under way: look what became of it, then call again`
      this.#reject(pending, this.#isFull ? { ...this.#why, retry: 'after_reopen' } : failure('outcome_unknown', why, 'after_reopen'))
    } else if (++pending.tries >= this.#triesMax) {
      this.#reject(pending, this.#givenUp('over this call'))
    } else {
      return true
    }
    return false
  }

  get #isFull(): boolean {
    return this.#why.code === 'full'
  }

  get #triesMax(): number {
    return this.#isFull ? TRIES_MAX_FULL : TRIES_MAX
  }

  #givenUp(over: string): Failure {
    if (this.#isFull) return this.#why
    const code = this.#why.code === 'unavailable' ? 'unavailable' : 'crashed'
    return failure(code, `${TRIES_MAX} engines ended ${over}: ${this.#why.message}`)
  }

  /** The thread has ended by itself; another takes its place. */
  #died(why: Failure): void {
    this.#why = why
    if (this.#leader?.isHere === false && !this.#isClosed) {
      // Only ours, which waited for its turn. Where none can be had, nobody here needs one as long as another tab leads.
      this.#unseat()
      const wait = Math.min(ANEW_MS << Math.min(this.#deathsInLine++, 10), ANEW_MS_MAX)
      this.#anew = setTimeout(() => this.#seat ?? this.#sit(), wait)
      return
    }
    this.#leave()
    if (this.#shut !== undefined) return this.#shut(undefined)
    if (this.#target.name === undefined) {
      const lost = failure('crashed', `the engine ended, and what was in memory with it: ${why.message}`)
      this.#rejectAll(new MagnetarError(lost))
      return this.#end()
    }
    if (++this.#deaths >= TRIES_MAX) {
      this.#deaths = 0
      this.#rejectAll(new MagnetarError(this.#givenUp('before they answered')))
      return
    }
    if (!this.#isClosed) this.#sit()
  }

  #unseat(): void {
    const wasHere = this.#seat
    this.#seat = undefined
    wasHere?.end()
  }

  #leave(): void {
    this.#unseat()
    this.#leader?.close()
    this.#leader = undefined
  }

  #answers(lines: string | Uint8Array): void {
    const read = lines.length < AT_ONCE_MAX ? readAtOnce(lines) : undefined
    if (read === undefined) return this.#lineByLine(lines)
    for (let at = 0; at < read.length; ) {
      const [id, kind, value, more] = read[at++] as Answer
      const pending = this.#pending.get(id)
      if (kind !== 2) this.#answer(id, pending, kind, value)
      else this.#answer(id, pending, kind, new Chunks(read.slice(at, (at += value as number)) as unknown[][], more))
    }
  }

  #lineByLine(lines: string | Uint8Array): void {
    const next = linesOf(lines)
    for (let line = next(); line !== undefined; line = next()) {
      // Also of a line that cannot be read, so that its call does not wait in vain.
      const pending = this.#pending.get(parseInt(line.slice(1, 20)))
      try {
        const [id, kind, value, more] = JSON.parse(line) as Answer
        let answer = value
        if (kind === 2) {
          const rows = new Array<string>(value as number)
          for (let row = 0; row < rows.length; row++) rows[row] = next()!
          answer = new Chunks(rows, more)
        }
        this.#answer(id, pending, kind, answer)
      } catch (error) {
        if (pending !== undefined) this.#reject(pending, failure('too_large', `the answer cannot be read: ${textOf(error)}`))
      }
    }
  }

  #answer(id: number, pending: Pending | undefined, kind: number, answer: unknown): void {
    if (id === 0) this.#rejectAll(new MagnetarError(answer as Failure))
    else if (pending === undefined) return
    else if (kind === 1) this.#reject(pending, answer as Failure)
    else this.#resolve(pending, answer)
  }

  #resolve(pending: Pending, answer: unknown): void {
    this.#settle(pending)
    if (!pending.isAbandoned) return pending.resolve(answer)
    // A claim that nobody is there to take.
    if (CLAIMS.has(pending.name)) {
      for (const { jobId, chunk, fence } of answer as Chunks) {
        this.call('release', () => ({ claim: [jobId, chunk, fence] })).catch(() => {})
      }
    }
  }

  #reject(pending: Pending, why: Failure): void {
    this.#settle(pending)
    if (!pending.isAbandoned) pending.reject(new MagnetarError(why))
  }

  #rejectAll(error: MagnetarError): void {
    const all = this.#pending.values()
    this.#unsent = []
    for (const pending of all) {
      this.#settle(pending)
      if (!pending.isAbandoned) pending.reject(error)
    }
    this.onlost()
  }

  #settle(pending: Pending): void {
    this.#pending.delete(pending.id)
    pending.forget?.()
    this.#hold()
  }

  /** Whether the process has to stay for this client: somebody waits for an answer, or for a change. */
  #hold(): void {
    const isHeld = this.#pending.size + this.#watching > 0
    if (isHeld === this.#isHeld && this.#heldSeat === this.#seat) return
    this.#isHeld = isHeld
    this.#heldSeat = this.#seat
    this.#seat?.hold?.(isHeld)
  }

  #end(): void {
    clearTimeout(this.#anew)
    this.#watches.abort()
    this.#isClosing = true
    this.#isClosed = true
    this.#rejectAll(closed())
    this.#leave()
    this.#hold()
    this.#listening?.end()
    this.#unstill?.()
    this.#die()
  }
}

export function closed(): MagnetarError {
  return new MagnetarError(failure('closed', 'the store was closed; open it again'))
}

async function hops(count: number): Promise<void> {
  for (let hop = 0; hop < count; hop++) await undefined
}

/** An answer: the number of its call, what it is, that, and of rows whether there are more. See `answer.rs`. */
type Answer = [id: number, kind: number, value: unknown, more?: boolean]

/** Answers that are shorter than this, together, are read at once with all their rows: that is quicker than line by line. */
const AT_ONCE_MAX = 64 << 10

const decoder = new TextDecoder()

/** Gives every line; `undefined` where one of them cannot be read. */
function readAtOnce(lines: string | Uint8Array): unknown[] | undefined {
  try {
    const text = typeof lines === 'string' ? lines : decoder.decode(lines)
    return JSON.parse(`[${text.slice(0, -1).replaceAll('\n', ',')}]`) as unknown[]
  } catch {
    return undefined
  }
}

/** Answers are made text in pieces of this length: what all of them come to may be more than a text can be. */
const PIECE_BYTES = 16 << 20

/** Gives line after line. Of a line that is longer than a text can be only the begin is there. */
function linesOf(lines: string | Uint8Array): () => string | undefined {
  let text = typeof lines === 'string' ? lines : ''
  let bytes = typeof lines === 'string' ? new Uint8Array() : lines
  let at = 0
  return () => {
    if (at === text.length) {
      if (bytes.length === 0) return undefined
      const end = bytes.lastIndexOf(10, PIECE_BYTES) + 1 || bytes.indexOf(10) + 1
      const piece = bytes.subarray(0, end)
      bytes = bytes.subarray(end)
      at = 0
      try {
        text = decoder.decode(piece)
      } catch {
        text = `${decoder.decode(piece.subarray(0, 64))}\n`
      }
    }
    const end = text.indexOf('\n', at)
    const line = text.slice(at, end)
    at = end + 1
    return line
  }
}
