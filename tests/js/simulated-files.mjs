// The origin's private file system of a simulated origin: one synchronous access handle per file, whose bytes are certain
// only once they were flushed.

/** What a disk writes as a whole, at least. */
const SECTOR_BYTES = 512

export class Files {
  /** Whether no file can grow. */
  isFull = false
  #files = new Map()

  constructor(world) {
    this.world = world
  }

  /** `navigator.storage` of a realm. */
  of(realm) {
    const { world } = this
    const file = (name) => ({ createSyncAccessHandle: () => world.answers(realm, 'the file', () => this.#taken(realm, name)) })
    const directory = {
      getDirectoryHandle: () => world.answers(realm, 'the folder', () => directory),
      getFileHandle: (name) => world.answers(realm, 'the name of the file', () => file(name)),
    }
    return { getDirectory: () => world.answers(realm, 'the root', () => directory), persist: async () => true }
  }

  #taken(realm, name) {
    const file = this.#files.get(name) ?? new File()
    this.#files.set(name, file)
    if (file.holder !== undefined) {
      throw new DOMException('Access Handles cannot be created if there is another open Access Handle', 'NoModificationAllowedError')
    }
    file.holder = new Access(this, file, realm)
    realm.files ??= []
    realm.files.push(file.holder)
    return file.holder
  }

  /** Its handles linger for a moment; what was not flushed is there, or not, or in parts. */
  ended(realm) {
    const { world } = this
    for (const access of realm.files ?? []) {
      if (!access.isOpen) continue
      world.at(world.latency() % 1_000, undefined, `the file of ${realm.name} is free`, () => {
        access.file.crash(world)
        access.file.holder = undefined
      })
    }
  }
}

/** Bytes that grow. */
class Content {
  length = 0
  #room = new Uint8Array(1 << 16)

  get bytes() {
    return this.#room.subarray(0, this.length)
  }

  apply({ at, bytes, length }) {
    const end = length ?? Math.max(this.length, at + bytes.length)
    if (end > this.#room.length) {
      const larger = new Uint8Array(Math.max(end, this.#room.length * 2))
      larger.set(this.bytes)
      this.#room = larger
    }
    if (end < this.length) this.#room.fill(0, end, this.length)
    this.length = end
    if (bytes !== undefined) this.#room.set(bytes, at)
  }
}

class File {
  holder
  content = new Content()
  /** What was there at the last flush, and what was done since. */
  #flushed = new Content()
  #unsure = []

  apply(change) {
    this.content.apply(change)
    this.#unsure.push(change)
  }

  flush() {
    for (const change of this.#unsure.splice(0)) this.#flushed.apply(change)
  }

  /** Mostly the system has what a process wrote that was ended; where it ends as well, any part may be missing. */
  crash(world) {
    const all = this.#unsure
    const kind = world.below(4)
    this.#unsure = all.filter((_, at) => kind < 2 || (kind === 2 ? at < all.length / 2 : world.chance(50)))
    if (this.#unsure.length < all.length) world.say(undefined, `of ${all.length} writes ${this.#unsure.length} are there`)
    this.flush()
    this.content = new Content()
    this.content.apply({ at: 0, bytes: this.#flushed.bytes })
  }
}

/** A synchronous access handle. */
class Access {
  isOpen = true

  constructor(files, file, realm) {
    this.files = files
    this.file = file
    this.realm = realm
  }

  #check() {
    if (!this.isOpen || this.realm.isDead) throw new DOMException('the access handle was closed', 'InvalidStateError')
    return this.file
  }

  getSize() {
    return this.#check().content.length
  }

  read(bytes, { at }) {
    const part = this.#check().content.bytes.subarray(at, at + bytes.length)
    bytes.set(part)
    return part.length
  }

  write(bytes, { at }) {
    const file = this.#check()
    const change = { at, bytes: bytes.slice() }
    if (this.realm.writesLeft-- <= 0) {
      // A part of what is being written may be there, but of a sector all or nothing.
      const isOneSector = Math.floor(at / SECTOR_BYTES) === Math.floor((at + bytes.length - 1) / SECTOR_BYTES)
      const part = this.realm.world.below(bytes.length)
      if (!isOneSector) file.apply({ at, bytes: change.bytes.subarray(0, part) })
      this.realm.end()
      this.#check()
    }
    if (this.files.isFull && at + bytes.length > file.content.length) this.#full()
    file.apply(change)
    return bytes.length
  }

  truncate(length) {
    const file = this.#check()
    if (this.files.isFull && length > file.content.length) this.#full()
    file.apply({ length })
  }

  flush() {
    const file = this.#check()
    if (this.realm.writesLeft-- <= 0) {
      // What was written may be certain, though nobody is told of it.
      if (this.realm.world.chance(50)) file.flush()
      this.realm.end()
      this.#check()
    }
    file.flush()
  }

  close() {
    if (!this.isOpen || this.realm.isDead) return
    this.isOpen = false
    this.file.flush()
    const { world } = this.realm
    world.at(world.latency() % 100, undefined, `${this.realm.name} has closed the file`, () => (this.file.holder = undefined))
  }

  #full() {
    this.realm.world.say(this.realm, 'finds no space')
    throw new DOMException('no space is left', 'QuotaExceededError')
  }
}
