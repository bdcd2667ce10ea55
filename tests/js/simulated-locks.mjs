// Web Locks and broadcast channels of a simulated origin, as specified: locks are granted in the order in which they were
// asked for, and are free when their holder ends; a message goes to whoever has the channel open when it passes.

import { short } from './simulated.mjs'

export class Locks {
  #names = new Map()

  constructor(world) {
    this.world = world
  }

  /** `navigator.locks` of a realm. */
  of(realm) {
    return { request: (...given) => this.#request(realm, ...given), query: () => this.world.answers(realm, 'query', () => this.#query()) }
  }

  /** Requests of a realm that are waiting, or about to wait. */
  waiting(realm) {
    return [...realm.requests ?? []].filter((request) => request.state === 'asked').map(({ name }) => name)
  }

  /** Locks that a realm has, but for those that it is about to free. */
  held(realm) {
    return [...realm.requests ?? []].filter((request) => request.state === 'held').map(({ name }) => name)
  }

  /** Who has a lock. */
  holder(name) {
    return this.#names.get(name)?.held[0]?.realm
  }

  #request(realm, name, ...rest) {
    const callback = rest.pop()
    const { mode = 'exclusive', signal } = rest[0] ?? {}
    return new Promise((resolve, reject) => {
      if (realm.isDead) return
      if (signal?.aborted) return reject(signal.reason)
      const { world } = this
      const request = { realm, name, mode, state: 'asked' }
      realm.requests ??= new Set()
      realm.requests.add(request)
      const free = () => {
        realm.requests.delete(request)
        world.leaves(realm, 'locks', `frees ${name}`, () => this.#drop(request))
      }
      const aborted = () => {
        request.state = 'aborted'
        free()
        reject(signal.reason)
      }
      signal?.addEventListener('abort', aborted, { once: true })
      request.grant = () => {
        if (request.state !== 'asked') return
        signal?.removeEventListener('abort', aborted)
        request.state = 'held'
        let result
        try {
          result = Promise.resolve(callback({ name, mode }))
        } catch (error) {
          result = Promise.reject(error)
        }
        result.finally(free).then(resolve, reject)
      }
      world.leaves(realm, 'locks', `asks for ${name}`, () => {
        if (request.state === 'aborted') return
        const lock = this.#lock(name)
        lock.waiting.push(request)
        this.#grant(lock)
      })
    })
  }

  #lock(name) {
    if (!this.#names.has(name)) this.#names.set(name, { held: [], waiting: [] })
    return this.#names.get(name)
  }

  #grant(lock) {
    const { world } = this
    for (;;) {
      const [next] = lock.waiting
      const isFree = lock.held.length === 0 || (next?.mode === 'shared' && lock.held.every(({ mode }) => mode === 'shared'))
      if (next === undefined || !isFree) return
      lock.held.push(lock.waiting.shift())
      world.at(world.latency(), next.realm, `is granted ${next.name}`, next.grant, `locks>${next.realm.name}`)
    }
  }

  #drop(request) {
    const lock = this.#lock(request.name)
    lock.held = lock.held.filter((one) => one !== request)
    lock.waiting = lock.waiting.filter((one) => one !== request)
    this.#grant(lock)
  }

  #query() {
    const of = (which) => [...this.#names.values()].flatMap((lock) => lock[which].map(({ name, mode, realm }) => ({ name, mode, clientId: realm.name })))
    return { held: of('held'), pending: of('waiting') }
  }

  ended(realm) {
    const { world } = this
    world.at(world.latency(), undefined, `the locks of ${realm.name} are free`, () => {
      for (const lock of this.#names.values()) {
        lock.held = lock.held.filter((request) => request.realm !== realm)
        lock.waiting = lock.waiting.filter((request) => request.realm !== realm)
        this.#grant(lock)
      }
    }, `${realm.name}>locks`)
  }
}

export class Channels {
  #open = new Set()
  #count = 0

  constructor(world) {
    this.world = world
  }

  /** The channels of a realm on which it can still hear something. */
  heard(realm) {
    return [...realm.channels ?? []].filter(({ onmessage }) => onmessage !== null).map(({ name }) => name)
  }

  /** The class `BroadcastChannel` of a realm. */
  of(realm) {
    const all = this
    const { world } = this
    return class BroadcastChannel {
      onmessage = null
      #number = all.#count++
      #isClosed = false

      constructor(name) {
        this.name = name
        this.realm = realm
        this.deliver = (data, from) => {
          const hears = () => {
            if (!this.#isClosed) this.onmessage?.({ data: structuredClone(data) })
          }
          world.at(world.latency(), realm, `hears on ${name}: ${short(data)}`, hears, `${from.name}>channel ${this.#number}`)
        }
        if (realm.isDead) return
        realm.channels ??= new Set()
        realm.channels.add(this)
        world.leaves(realm, 'channels', `opens ${name}`, () => {
          if (!this.#isClosed) all.#open.add(this)
        })
      }

      postMessage(message) {
        if (this.#isClosed) throw new DOMException('the channel is closed', 'InvalidStateError')
        const data = structuredClone(message)
        if (realm.isDead) return
        world.leaves(realm, 'channels', `says on ${this.name}: ${short(data)}`, () => {
          for (const other of all.#open) if (other !== this && other.name === this.name) other.deliver(data, realm)
        })
      }

      close() {
        this.#isClosed = true
        all.#open.delete(this)
        realm.channels?.delete(this)
      }
    }
  }

  ended(realm) {
    for (const channel of realm.channels ?? []) this.#open.delete(channel)
  }
}
