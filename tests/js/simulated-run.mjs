// A run of a simulated origin: people do this and that, time passes, and what must hold is looked at.

import { CANCELLED, COPIES, isUnfinished, JOB, Users } from './simulated-users.mjs'

/** Jobs of single tabs. */
const OWN = 1_000_000
/** After so long everything has been answered: eight workers that hang, each twice as long as the one before, take nine minutes. */
const PATIENCE_MS = 3_600_000

export class Run extends Users {
  async go() {
    const { world } = this
    const steps = 20 + world.below(60)
    this.open()
    for (let step = 0; step < steps && world.fault === undefined; step++) {
      if (step === 3 || (step > 3 && world.chance(5))) this.import()
      else if (step > 3 || world.chance(50)) await this.act()
      await world.advance(world.pick([0, 0, 1, 5, 30, 30, 300, world.lag]))
    }
    await this.#settled('though nobody does anything any more')
    if (world.fault === undefined) await this.#heal()
    this.counts['workers ended'] = world.ended
    this.counts['copies made'] = this.ledger.copies.size
  }

  /** Lets time pass until everything was answered that a living page asked. */
  async #settled(when) {
    const open = () => [...this.calls].filter(({ tab }) => !tab.page.isDead && !tab.page.isFrozen)
    await this.world.advance(PATIENCE_MS, () => open().length === 0)
    if (this.world.fault !== undefined) return
    for (const { tab, name, at } of open()) this.world.failed(`${tab.name} waits for ${name} since ${at.toFixed(2)} ${when}`)
  }

  /** Makes a call that has to be answered well. The last worker that hung may be given up over it, and then it is made again. */
  async #must(tab, name, make, isAgain = false) {
    let answer
    this.call(tab, name, make, (value) => (answer = { value }), (error, isLeft) => {
      if (isLeft || (error.code === 'unavailable' && !isAgain)) return
      this.world.failed(`${tab.name} cannot ${name} though nothing is wrong any more: ${error.code} ${error.message}`)
    })
    await this.#settled('though nothing is wrong any more')
    if (tab.page.isDead) this.world.failed(`${tab.name} has ended before its ${name}, though nothing is wrong any more`)
    if (answer === undefined && this.world.fault === undefined) return this.#must(tab, name, make, true)
    return answer?.value
  }

  /** Nothing is wrong any more: whoever is left goes on. */
  async #heal() {
    const { world } = this
    world.say(undefined, 'nothing is wrong any more')
    this.isHealed = true
    Object.assign(world, { serving: 'served', isModuleMissing: false, nextEndsAt: Infinity })
    world.files.isFull = false
    for (const realm of world.realms) Object.assign(realm, { writesLeft: Infinity, traps: false })
    for (const tab of this.tabs.filter(({ page }) => page.isFrozen && !page.isDead)) {
      if (world.chance(30)) this.leave(tab)
      else await this.show(tab)
    }
    await this.#settled('though nothing is wrong any more')
    if (this.tabs.every(({ page }) => page.isDead)) this.open()
    for (const tab of this.tabs) if (!tab.page.isDead && tab.store === undefined && !tab.isOpening) this.reopen(tab)
    await this.#settled('though nothing is wrong any more')
    if (world.fault !== undefined) return
    const left = this.usable()
    if (left.length === 0) return world.failed('nobody could open the store, though nothing is wrong any more')
    for (const tab of left) await this.#goesOn(tab)
    if (world.fault === undefined) await this.#check(left)
    const last = left.pop()
    for (const tab of left) {
      if (world.fault !== undefined) return
      if (world.chance(50)) this.leave(tab)
      else await this.#closes(tab)
    }
    if (world.fault === undefined) await this.#drain(last)
    if (world.fault === undefined) await this.#closes(last)
    await world.advance(PATIENCE_MS)
    if (world.fault === undefined) await this.#look(this.open())
  }

  #closed(tab) {
    tab.isClosing = true
    return tab.store.close()
  }

  /** Closes a store, of which nothing is left then. */
  async #closes(tab) {
    await this.#must(tab, 'close', () => this.#closed(tab))
    const left = this.left(tab.page)
    if (left.length > 0) this.world.failed(`${tab.name} has closed its store, and still has ${left}`)
  }

  /** A chunk of its own, claimed and completed. */
  async #goesOn(tab) {
    const job = OWN + tab.page.world.realms.indexOf(tab.page)
    const { store } = tab
    await this.#must(tab, 'importManifest', () => store.importManifest(job, { chunks: [{ id: 1 }] }))
    if (this.world.fault !== undefined) return
    const chunk = await this.#must(tab, 'claimPending', () => store.claimPending(job))
    if (this.world.fault !== undefined) return
    if (chunk === undefined) return this.world.failed(`${tab.name} finds nothing to claim in a job of its own`)
    await this.#must(tab, 'complete', () => store.complete(chunk))
  }

  /** What must hold once all is quiet. */
  async #check(tabs) {
    const { world } = this
    await world.advance(PATIENCE_MS)
    const revisions = tabs.map(({ revision }) => revision)
    if (new Set(revisions).size > 1) world.failed(`${tabs.map(({ name }) => name)} were told last of the revisions ${revisions}`)
    // Where no engine is to be had, or none that can write, nobody can give anything back before its lease ends.
    if (this.ledger.imported.size === 0 || !this.isSpared) return
    const [{ store }] = tabs
    const processing = await this.#must(tabs[0], 'getByStatus', () => store.getByStatus(JOB, 'processing'))
    this.ledger.check(processing ?? [], (owner) => this.tabs.find(({ page, store }) => !page.isDead && store?.owner === owner))
  }

  /** All that is left to do is done by one. */
  async #drain(tab) {
    if (this.ledger.imported.size === 0) return
    const { world } = this
    const { store } = tab
    await this.#must(tab, 'releaseAll', () => store.releaseAll())
    await this.#must(tab, 'resumePending', () => store.resumePending(JOB))
    this.ledger.holders.clear()
    const report = await this.#must(tab, 'run', () => store.run(JOB, (chunk) => {
      this.ledger.claimed(tab, [chunk])
      this.ledger.completed({ tab, chunk: chunk.chunk, fence: chunk.fence })
      this.ledger.holders.delete(chunk.chunk)
      return chunk.fence
    }, { concurrency: 3 }))
    if (world.fault === undefined && report?.ending !== 'finished') world.failed(`the rest was not finished: ${JSON.stringify(report)}`)
  }

  /** Looks with the eyes of one who comes anew. */
  async #look(tab) {
    await this.#settled('though nothing is wrong any more')
    if (this.world.fault !== undefined) return
    await this.#must(tab, 'verify', () => tab.store.verify())
    const jobs = await this.#must(tab, 'listJobs', () => tab.store.listJobs())
    const done = jobs?.every(({ jobId }) => jobId !== JOB) ? [] : await this.#must(tab, 'getByStatus', () => tab.store.getByStatus(JOB, 'done'))
    if (this.world.fault !== undefined) return
    for (const name of COPIES) {
      if (this.world.fault === undefined) await this.#lookAtCopy(tab, name)
    }
    if (this.world.fault !== undefined) return
    this.ledger.compare(jobs.map(({ jobId }) => jobId).filter((id) => id !== JOB && id !== CANCELLED && id < OWN), done)
  }

  /** A copy that somebody made is as it was made; half of one is no store, and can be made again. */
  async #lookAtCopy(tab, name) {
    const { world, ledger } = this
    const made = ledger.copies.has(name)
    const open = () => tab.page.package.open(name).catch((error) => {
      if (made || !isUnfinished(error)) throw error
    })
    const copy = await this.#must(tab, 'open', open)
    if (world.fault !== undefined) return
    if (copy === undefined) this.importCopy(tab, name)
    else this.look(tab, copy, (jobs) => !made || ledger.isCopy(name, jobs))
    await this.#settled('though nothing is wrong any more')
    if (world.fault === undefined && copy === undefined && !ledger.copies.has(name)) world.failed(`${tab.name} cannot make ${name}, of which there is a half`)
  }
}
