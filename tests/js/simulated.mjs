// One origin of a browser, in this process: its pages, workers, Web Locks, broadcast channels, files, timers and clock.
//
// Nothing here happens by itself. Whatever is to happen waits in one queue with a moment of virtual time, which is drawn
// from the seed, so that a run is a function of its seed. One turn of a page or a worker is one entry of the queue with
// all microtasks that follow from it.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Files } from './simulated-files.mjs'
import { Channels, Locks } from './simulated-locks.mjs'

/** What scripts of the package may name of their surroundings, beside the language and what is the same everywhere. */
const GLOBALS = [
  'globalThis', 'navigator', 'location', 'document', 'crypto', 'performance', 'Date', 'fetch', 'setTimeout', 'clearTimeout', 'setInterval',
  'BroadcastChannel', 'Worker', 'MessageChannel', 'addEventListener', 'removeEventListener', 'FinalizationRegistry',
]
/** When a run begins, in milliseconds since 1970. */
const BEGIN_MS = 1_800_000_000_000

/** Reads the package's scripts as functions of their surroundings: each call of one is a page, or a worker, of its own. */
export function scripts(folder) {
  const script = (name) => {
    const text = readFileSync(join(folder, 'dist', name), 'utf8').replaceAll('import.meta.url', `"https://simulated/${name}"`)
    const body = text.replace(/export\s*\{([^}]*)\};?\s*$/, (_, names) => {
      const pairs = names.split(',').map((pair) => pair.trim().split(' as '))
      return `return {${pairs.map(([from, to = from]) => `${to}: ${from}`)}}`
    })
    return new Function(...GLOBALS, `"use strict";${body}`)
  }
  const module = new WebAssembly.Module(readFileSync(join(folder, 'dist', 'magnetar.wasm')))
  return { page: script('browser.js'), worker: script('worker-browser.js'), module }
}

/** Numbers that look random, of a seed. Neighbouring seeds give unlike ones, which the numbers of `package.mjs` need not. */
function numbers(seed) {
  let state = BigInt.asUintN(64, BigInt(seed))
  const words = Array.from({ length: 4 }, () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n)
    let mixed = BigInt.asUintN(64, (state ^ (state >> 30n)) * 0xbf58476d1ce4e5b9n)
    mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn)
    return Number((mixed ^ (mixed >> 31n)) & 0xffffffffn)
  })
  let [a, b, c, count] = words
  return (below) => {
    const sum = (a + b + count) >>> 0
    count = (count + 1) >>> 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) >>> 0
    c = (((c << 21) | (c >>> 11)) + sum) >>> 0
    return sum % below
  }
}

export class World {
  now = 0
  trace = []
  realms = []
  /** How scripts of workers are served now: `served`, `missing`, `hanging`, `late`, `refused`, or of each another one: `mixed`. */
  serving = 'served'
  isModuleMissing = false
  /** Workers load this package by `import()`, so that they do not hear what they are told before. */
  isImported = false
  /** The worker that is made next ends at this write. */
  nextEndsAt = Infinity
  /** So many workers have ended. */
  ended = 0
  /** What the process reads, which takes none of this world's time. */
  reads = []
  /** What was found wrong first. */
  fault
  #queue = []
  #order = 0
  #last = new Map()
  /** Workers that said in this turn that they are done. */
  #closing = []

  constructor(seed, scripts) {
    this.below = numbers(seed)
    this.scripts = scripts
    this.lag = [1, 30, 300, 3_000][this.below(4)]
    this.locks = new Locks(this)
    this.channels = new Channels(this)
    this.files = new Files(this)
  }

  /** The time of day. */
  get time() {
    return Math.floor(BEGIN_MS + this.now)
  }

  chance(percent) {
    return this.below(100) < percent
  }

  pick(list) {
    return list[this.below(list.length)]
  }

  /** How long something takes to get from one to another: mostly nothing, at times as long as a run's slowest. */
  latency() {
    const draw = this.below(100)
    if (draw < 70) return this.below(1_000) / 1_000
    return draw < 97 ? this.below(30) : this.below(this.lag)
  }

  say(where, what) {
    this.trace.push(`${this.now.toFixed(2).padStart(10)} ${(where?.name ?? '').padEnd(6)} ${what}`)
  }

  failed(what) {
    this.say(undefined, `WRONG: ${what}`)
    this.fault ??= what
  }

  /** Has something happen in a realm, or in the browser itself. What is on one line happens in its order. */
  at(ms, realm, what, run, line) {
    let due = this.now + ms
    if (line !== undefined) {
      due = Math.max(due, this.#last.get(line) ?? 0)
      this.#last.set(line, due)
    }
    return this.#put({ due, order: this.#order++, realm, what, run })
  }

  #put(event) {
    const queue = this.#queue
    let [low, high] = [0, queue.length]
    while (low < high) {
      const middle = (low + high) >> 1
      const other = queue[middle]
      if (other.due > event.due || (other.due === event.due && other.order > event.order)) low = middle + 1
      else high = middle
    }
    queue.splice(low, 0, event)
    return event
  }

  /** What leaves a realm is on its way for a while, and may not arrive where the realm is ended meanwhile. */
  leaves(realm, line, what, run) {
    const leaving = () => {
      if (!(realm.isDead && realm.losesWhatLeaves)) run()
    }
    this.at(this.latency(), undefined, `${realm.name}: ${what}`, leaving, `${realm.name}>${line}`)
  }

  /** A promise of the browser's: it does something, and then the realm hears of it. */
  answers(realm, what, work) {
    return new Promise((resolve, reject) => {
      if (realm.isDead) return
      this.leaves(realm, what, what, () => {
        if (realm.isDead) return
        let settle
        try {
          const value = work()
          settle = () => resolve(value)
        } catch (error) {
          settle = () => reject(error)
        }
        this.at(this.latency(), realm, `has ${what}`, settle)
      })
    })
  }

  /** Lets so much time pass, or what was going to happen until then. */
  async advance(ms, isOver = () => false) {
    const until = this.now + ms
    await this.drained()
    for (;;) {
      const event = this.#queue.at(-1)
      if (event === undefined || event.due > until || this.fault !== undefined || isOver()) break
      this.#queue.pop()
      if (event.run === undefined || event.realm?.isDead) continue
      this.now = Math.max(this.now, event.due)
      if (event.realm?.isFrozen) event.realm.held.push(event)
      else await this.turn(event.realm, event.what, event.run)
    }
    if (!isOver()) this.now = until
  }

  /** One turn. */
  async turn(realm, what, run) {
    this.say(realm, what)
    try {
      run()
    } catch (error) {
      this.#uncaught(realm, error)
    }
    await this.drained()
  }

  /** Until no microtask is left. */
  async drained() {
    await new Promise(setImmediate)
    await Promise.all(this.reads.splice(0))
    for (const realm of this.#closing.splice(0)) realm.end(false)
  }

  #uncaught(realm, error) {
    if (realm?.isDead) return
    if (realm?.page === undefined) return this.failed(`uncaught in ${realm?.name ?? 'the browser'}: ${error?.stack}`)
    realm.tellsPage('error', () => realm.handle.onerror?.({ message: String(error), preventDefault() {} }))
  }

  close(realm) {
    if (!realm.isDead) this.#closing.push(realm)
  }

  /** A page that was hidden goes on where it stood. */
  thaw(realm) {
    realm.isFrozen = false
    for (const event of realm.held.splice(0)) this.#put({ ...event, due: this.now })
  }

  page() {
    const page = new Realm(this, `p${this.realms.length}`)
    page.package = page.load(this.scripts.page)
    return page
  }
}

/** A page, or a worker of one. */
export class Realm {
  isDead = false
  isFrozen = false
  held = []
  workers = []
  /** What was sent last before the end is lost. */
  losesWhatLeaves = false
  /** Ends at this write to its file from now. */
  writesLeft = Infinity
  /** Traps when the engine asks for the time. */
  traps = false
  #listeners = new Map()

  constructor(world, name, page) {
    this.world = world
    this.name = name
    this.page = page
    world.realms.push(this)
  }

  load(script) {
    const { world } = this
    const globals = {
      globalThis: { CustomEvent, Event },
      navigator: { locks: world.locks.of(this), storage: world.files.of(this) },
      location: { href: 'https://simulated/' },
      crypto: { getRandomValues: (bytes) => bytes.map((_, at) => (bytes[at] = world.below(256))) },
      performance: { now: () => world.now },
      Date: { now: () => this.#time() },
      fetch: () => this.#fetch(),
      setTimeout: (run, ms = 0) => this.isDead ? undefined : world.at(Math.max(ms, 1), this, `timer of ${ms} ms`, run, `${this.name}#${ms}`),
      clearTimeout: (timer) => {
        if (timer !== undefined) timer.run = undefined
      },
      BroadcastChannel: world.channels.of(this),
      addEventListener: (type, listener) => this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]),
      removeEventListener: (type, listener) => this.#listeners.set(type, (this.#listeners.get(type) ?? []).filter((one) => one !== listener)),
      // What a dead instance of the engine had is freed by nobody.
      FinalizationRegistry: class {
        register() {}
        unregister() {}
      },
    }
    if (this.page === undefined) globals.Worker = workerOf(this)
    else globals.globalThis = this.scope
    return script(...GLOBALS.map((name) => globals[name]))
  }

  /** An event of the page. */
  dispatch(type, event) {
    for (const listener of this.#listeners.get(type) ?? []) listener({ type, ...event })
  }

  #time() {
    if (this.traps) {
      this.traps = false
      throw new WebAssembly.RuntimeError('unreachable')
    }
    return this.world.time
  }

  #fetch() {
    return this.world.answers(this, 'the module', () => {
      if (this.world.isModuleMissing) throw new TypeError('Failed to fetch')
      return this.world.scripts.module
    })
  }

  tellsPage(what, run) {
    const { page, world } = this
    const told = () => {
      // What a worker said that was terminated is not told any more.
      if (!this.isTerminated && !(this.isDead && this.losesWhatLeaves)) run()
    }
    if (!this.isDead) world.at(world.latency(), page, `hears of ${this.name}: ${what}`, told, `${this.name}>${page.name}`)
  }

  /** Ended, at once and without notice. Whatever it had is free some time later. */
  end(isLossy = this.world.chance(50)) {
    if (this.isDead) return
    const { world } = this
    world.say(this, 'ENDS')
    this.isDead = true
    if (this.page !== undefined) world.ended++
    this.losesWhatLeaves = isLossy
    for (const worker of this.workers) world.at(world.latency(), undefined, `${worker.name} goes with its page`, () => worker.end())
    world.locks.ended(this)
    world.channels.ended(this)
    world.files.ended(this)
  }
}

/** The class `Worker` of a page. */
function workerOf(page) {
  const { world } = page
  return class Worker {
    onmessage = null
    onmessageerror = null
    onerror = null
    #realm

    constructor() {
      const serving = world.serving === 'mixed' ? world.pick(['served', 'missing', 'hanging', 'late']) : world.serving
      if (serving === 'refused') throw new DOMException('the policy of this page forbids it', 'SecurityError')
      const realm = new Realm(world, `w${world.realms.length}`, page)
      this.#realm = realm
      realm.handle = this
      realm.writesLeft = world.nextEndsAt
      world.nextEndsAt = Infinity
      page.workers.push(realm)
      world.say(page, `makes ${realm.name}, ${serving}`)
      /** What came before its script. */
      let inbox = []
      const hears = (data) => realm.scope.onmessage?.({ data })
      realm.receives = (data) => {
        if (inbox === undefined) hears(data)
        else if (!world.isImported) inbox.push(data)
      }
      realm.scope = {
        onmessage: null,
        postMessage: (message, transfer) => {
          if (realm.isDead) return
          const data = structuredClone(message, { transfer })
          realm.tellsPage(short(data), () => this.onmessage?.({ data }))
        },
        close: () => world.close(realm),
      }
      const load = () => {
        const waiting = inbox
        inbox = undefined
        realm.load(world.scripts.worker)
        for (const data of waiting) world.at(0, realm, `hears ${short(data)}`, () => hears(data))
      }
      const missing = () => {
        realm.tellsPage('error', () => this.onerror?.({ preventDefault() {} }))
        realm.end(false)
      }
      if (serving === 'served') world.at(5 + world.latency(), realm, 'is loaded', load)
      else if (serving === 'late') world.at(world.below(20_000), realm, 'is loaded late', load)
      else if (serving === 'missing') world.at(world.latency(), realm, 'is missing', missing)
    }

    postMessage(message, transfer) {
      const realm = this.#realm
      if (page.isDead) return
      const data = structuredClone(message, { transfer })
      world.at(world.latency(), realm, `hears ${short(data)}`, () => realm.receives(data), `${page.name}>${realm.name}`)
    }

    terminate() {
      if (page.isDead) return
      this.#realm.isTerminated = true
      this.#realm.end()
    }
  }
}

/** What a message says, for the trace. */
export function short(data) {
  return JSON.stringify(data, (key, value) => (ArrayBuffer.isView(value) ? `${value.length} bytes` : typeof value === 'string' && value.length > 160 ? `${value.slice(0, 160)}...` : value))
}
