// What people do to a simulated origin, and what happens to them.

import { World } from './simulated.mjs'
import { Ledger } from './simulated-ledger.mjs'

const STORE = 'jobs'
/** Far above those of new jobs that were made before it. */
export const JOB = 900_000
/** The job whose chunks are cancelled, each by itself. Below the other, so that no new job is given one of the two ids. */
export const CANCELLED = 400
/** Claims last for longer than a run. */
const LEASE_MS = 604_800_000
/** Names under which copies of the store are made. */
export const COPIES = ['copy-1', 'copy-2', 'copy-3']
/** Calls that a page may be hidden over with a worker still there, which only then ends. */
const OPENING = ['open', 'close', 'importFile', 'openCopy', 'leaveCopy']
/** Calls that may be told that nobody knows what became of them. */
const ONCE = ['retryFailed', 'cancel', 'importPieces']

/** People, their tabs, and what befalls them. */
export class Users {
  tabs = []
  /** Promises that were given to pages, and are open. */
  calls = new Set()
  counts = { calls: 0, answers: 0, refusals: 0, 'workers ended': 0, 'tabs closed': 0, 'copies made': 0 }
  /** What went wrong on purpose, and so may be told. */
  #causes = new Set()
  #chunks = 0
  /** The bytes of the store that somebody was handed last. */
  #exported
  /** Nothing goes wrong any more. */
  isHealed = false

  constructor(seed, scripts) {
    this.world = new World(seed, scripts)
    this.ledger = new Ledger(this.world)
    this.world.isImported = this.world.chance(15)
    // In some runs there is always an engine to be had that can write.
    this.isSpared = this.world.chance(40)
  }

  // What pages do

  open() {
    const { world } = this
    const page = world.page()
    const tab = { page, name: page.name, store: undefined, isClosing: false, mayStrand: false }
    this.tabs.push(tab)
    this.reopen(tab)
    return tab
  }

  reopen(tab) {
    tab.isClosing = false
    tab.store = undefined
    tab.isOpening = true
    this.call(tab, 'open', () => tab.page.package.open(STORE), (store) => {
      tab.store = store
      store.addEventListener('change', ({ detail }) => (tab.revision = Math.max(tab.revision ?? 0, detail)))
    }).finally(() => (tab.isOpening = false))
  }

  /** A call of a page's, which must be answered as long as the page lives. */
  call(tab, name, make, settle = () => {}, refused = () => {}, isHasty = this.world.chance(15)) {
    const { world } = this
    const call = { tab, name, at: world.now }
    this.calls.add(call)
    this.counts.calls++
    world.say(tab.page, `calls ${name}`)
    const controller = isHasty ? new AbortController() : undefined
    if (controller !== undefined) {
      world.at(world.latency(), tab.page, `leaves its ${name}`, () => controller.abort(new Error('left')))
    }
    const settled = (how, what) => {
      if (tab.page.isDead) return
      this.calls.delete(call)
      world.say(tab.page, `is told of ${name}: ${what}`)
      how()
    }
    return make(controller?.signal).then(
      (value) => settled(() => {
        this.counts.answers++
        settle(value)
      }, String(JSON.stringify(value)).slice(0, 160)),
      (error) => settled(() => {
        this.counts.refusals++
        const isLeft = controller?.signal.aborted === true && error === controller.signal.reason
        if (!isLeft) this.#judge(call, error)
        refused(error, isLeft)
      }, `${error?.code} ${error?.message}`),
    )
  }

  /** What pages may be told depends on what went wrong. */
  #judge({ tab, name, at }, error) {
    const isOurs = error instanceof tab.page.package.MagnetarError
    const may = {
      closed: () => tab.isClosing,
      crashed: () => this.world.ended >= 7 || (['close', 'leaveCopy'].includes(name) && this.#causes.has('trap')),
      unavailable: () => this.#causes.has('scripts'),
      full: () => this.#causes.has('full'),
      outcome_unknown: () => ONCE.includes(name),
      job_not_found: () => at <= this.ledger.since,
      superseded: () => ['complete', 'completeAndClaim', 'fail', 'release'].includes(name),
      // A copy is there, or somebody has it.
      refused: () => name === 'importFile',
      locked: () => name === 'importFile',
      corrupt: () => name === 'openCopy' && isUnfinished(error),
    }
    if (!isOurs || !may[error.code]?.()) this.world.failed(`${tab.name} is told of ${name}: ${error?.code}: ${error?.stack}`)
  }

  usable() {
    return this.tabs.filter(({ page, store, isClosing }) => !page.isDead && !page.isFrozen && store !== undefined && !isClosing)
  }

  import() {
    const tab = this.world.pick(this.usable())
    if (tab === undefined) return
    const count = 1 + this.world.below(12)
    const chunks = Array.from({ length: count }, () => ({ id: this.#chunks++ }))
    const job = { max_losses: 0, max_attempts: 0, lease: LEASE_MS, backoff: { initial_ms: 1, max_ms: 10 } }
    const imported = () => this.ledger.has(chunks)
    if (this.world.chance(70)) return this.call(tab, 'importManifest', (signal) => tab.store.importManifest(JOB, { job, chunks }, { signal }), imported)
    const lines = [{ job }, ...chunks].map((line) => `${JSON.stringify(line)}\n`).join('')
    this.call(tab, 'importPieces', (signal) => tab.store.importManifest(JOB, lines, { format: 'jsonl', signal }), imported)
  }

  /** A call that ends a claim which a page holds. */
  #ending(tab, name, make, settle) {
    const holder = this.world.pick(this.ledger.heldBy(tab).filter(({ isEnding }) => !isEnding || this.world.chance(10)))
    if (holder === undefined) return
    const isFirm = this.ledger.isFirm(holder)
    const { ended } = this.world
    holder.isEnding = true
    const { chunk, fence } = holder
    this.call(tab, name, (signal) => make({ jobId: JOB, chunk, fence }, signal), (answer) => {
      this.ledger.freed(holder)
      settle?.(answer, holder)
    }, (error) => {
      if (error.code !== 'superseded') return
      // What was given back may be somebody's when that is asked for again, as its own completion cannot be.
      const isAgain = ['fail', 'release'].includes(name) && this.world.ended > ended
      if (isFirm && !isAgain && !holder.isGivenUp && this.world.time < holder.lapses) this.world.failed(`${tab.name} has lost chunk ${chunk}, which it held with fence ${fence}`)
      this.ledger.freed(holder)
    })
  }

  #claim(tab, isHasty) {
    const leaseMs = this.world.chance(10) ? 1_000 + this.world.below(3_000) : undefined
    const strands = (_, isLeft) => (tab.mayStrand ||= !isLeft)
    const count = 1 + this.world.below(3)
    if (this.world.chance(30)) return this.call(tab, 'claimPendingBatch', (signal) => tab.store.claimPendingBatch(JOB, count, { leaseMs, signal }), (chunks) => this.ledger.claimed(tab, chunks), strands, isHasty)
    return this.call(tab, 'claimPending', (signal) => tab.store.claimPending(JOB, { leaseMs, signal }), (chunk) => this.ledger.claimed(tab, chunk === undefined ? [] : [chunk]), strands, isHasty)
  }

  #complete(tab) {
    this.#ending(tab, 'complete', (claim, signal) => tab.store.complete(claim, { output: claim.fence }, { signal }), (_, holder) => this.ledger.completed(holder))
  }

  #completeAndClaim(tab) {
    const done = (chunks, holder) => {
      this.ledger.completed(holder)
      this.ledger.claimed(tab, chunks)
    }
    this.#ending(tab, 'completeAndClaim', (claim, signal) => {
      // Whether it claimed is not known where it is refused.
      return tab.store.completeAndClaim(claim, { output: claim.fence }, { job: JOB }, { signal }).catch((error) => {
        if (!signal?.aborted && error.code !== 'superseded') tab.mayStrand = true
        throw error
      })
    }, done)
  }

  #newJob(tab) {
    this.ledger.jobs.asked++
    this.call(tab, 'newJob', (signal) => tab.store.newJob({}, { signal }), (id) => this.ledger.made(id))
  }

  /** A chunk that nobody else cancels, so that the answer is known. */
  #cancel(tab) {
    const id = this.#chunks++
    const cancelled = (count) => {
      if (count !== 1) this.world.failed(`${tab.name} cancelled chunk ${id}, and is told that there were ${count}`)
    }
    this.call(tab, 'importManifest', () => tab.store.importManifest(CANCELLED, { chunks: [{ id }] }), () => {
      if (!tab.isClosing) this.call(tab, 'cancel', () => tab.store.cancel(CANCELLED, [id]), cancelled)
    })
  }

  /** What pages do, by how often. */
  #deeds = [
    [30, (tab) => this.#claim(tab)],
    [25, (tab) => this.#complete(tab)],
    [14, (tab) => this.#completeAndClaim(tab)],
    [4, (tab) => this.#ending(tab, 'fail', (claim, signal) => tab.store.fail(claim, 'failed', { signal }))],
    [4, (tab) => this.#ending(tab, 'release', (claim, signal) => tab.store.release(claim, { signal }))],
    [5, (tab) => this.call(tab, 'getStats', (signal) => tab.store.getStats(JOB, { signal }))],
    [4, (tab) => this.call(tab, 'getByStatus', (signal) => tab.store.getByStatus(JOB, 'done', { signal }))],
    [3, (tab) => this.#export(tab)],
    [12, (tab) => (this.#exported === undefined ? this.#export(tab) : this.#copy(tab))],
    [4, (tab) => this.#newJob(tab)],
    [3, (tab) => this.call(tab, 'retryFailed', (signal) => tab.store.retryFailed(JOB, 'all', { signal }))],
    [6, (tab) => this.#cancel(tab)],
    [1, (tab) => this.call(tab, 'reopen', () => tab.store.reopen())],
    [2, (tab) => this.#close(tab)],
  ]

  #export(tab) {
    this.call(tab, 'exportFile', () => tab.store.exportFile(), (blob) => {
      this.world.reads.push(blob.arrayBuffer().then((bytes) => (this.#exported = new Uint8Array(bytes))))
    })
  }

  /** Makes a copy of the store under another name, or opens what is there by that name, looks at it, and closes it. */
  #copy(tab) {
    const name = this.world.pick(COPIES)
    if (this.world.chance(80)) return this.importCopy(tab, name)
    const copied = this.ledger.copies.get(name)
    const seen = (jobs) => copied === undefined || this.ledger.isCopy(name, jobs)
    this.call(tab, 'openCopy', () => tab.page.package.open(name), (copy) => this.look(tab, copy, seen), undefined, false)
  }

  importCopy(tab, name) {
    const { world } = this
    if (!this.isHealed && world.chance(40)) {
      world.nextEndsAt = world.below(12)
      // Otherwise the tab has another worker begin anew.
      if (world.chance(60)) world.at(10 + world.latency(), undefined, 'the end of who imports', () => this.isHealed || this.leave(tab))
    }
    const made = (copy) => this.look(tab, copy, (jobs) => this.ledger.copied(tab, name, jobs))
    return this.call(tab, 'importFile', () => tab.page.package.importFile(name, this.#exported), made, undefined, false)
  }

  /** Lists the jobs of a copy, which is closed then. */
  look(tab, copy, seen) {
    const leave = () => void this.call(tab, 'leaveCopy', () => copy.close(), undefined, undefined, false)
    this.call(tab, 'listJobs', () => copy.listJobs(), (jobs) => {
      leave()
      seen(jobs.map(({ jobId, stats }) => [jobId, stats.total, stats.done]))
    }, leave, false)
  }

  #close(tab) {
    tab.isClosing = true
    const closed = () => {
      for (const holder of this.ledger.heldBy(tab)) this.ledger.freed(holder)
      tab.store = undefined
    }
    return this.call(tab, 'close', () => tab.store.close(), closed, closed)
  }

  // What happens to them

  #leader() {
    const holder = this.world.locks.holder(`magnetar:${STORE}.redb:leader`)
    return holder?.isDead ? undefined : holder
  }

  /** A worker, more often the one that leads. */
  #worker() {
    const { world } = this
    const workers = world.realms.filter((realm) => realm.page !== undefined && !realm.isDead)
    return world.chance(60) ? this.#leader() : world.pick(workers)
  }

  /** What befalls pages, by how often. */
  #fates = [
    [10, 'another tab', () => this.tabs.filter(({ page }) => !page.isDead).length < 4 && this.open()],
    [6, 'the end of a worker', () => this.#worker()?.end()],
    [8, 'its end at a write', () => Object.assign(this.#leader() ?? {}, { writesLeft: this.world.below(20) })],
    [3, 'the end of an engine over a claim whose caller leaves', () => {
      const [tab, leader] = [this.world.pick(this.usable()), this.#leader()]
      if (tab === undefined || leader === undefined) return
      this.#claim(tab, true)
      this.world.at(this.world.latency() + this.world.latency(), undefined, 'the end of the engine', () => leader.end())
    }],
    [3, 'a trap', () => {
      this.#causes.add('trap')
      Object.assign(this.#leader() ?? {}, { traps: true })
    }],
    [1, 'an error that is not caught', () => {
      const worker = this.#worker()
      worker?.tellsPage('error', () => worker.handle.onerror?.({ message: 'an error of its own', preventDefault() {} }))
    }],
    [4, 'the end of a tab', () => this.leave(this.world.pick(this.tabs.filter(({ page }) => !page.isDead)))],
    [5, 'a tab is left', () => this.#hide(this.world.pick(this.tabs.filter(({ page }) => !page.isDead && !page.isFrozen)))],
    [7, 'a tab is come back to', () => this.show(this.world.pick(this.tabs.filter(({ page }) => !page.isDead && page.isFrozen)))],
    [4, 'no scripts', () => {
      if (this.isSpared) return
      this.#causes.add('scripts')
      this.world.serving = this.world.pick(['missing', 'hanging', 'late', 'refused', 'mixed'])
    }],
    [5, 'scripts', () => (this.world.serving = 'served')],
    [1, 'no module', () => {
      if (this.isSpared) return
      this.#causes.add('scripts')
      this.world.isModuleMissing = true
    }],
    [3, 'a module', () => (this.world.isModuleMissing = false)],
    [2, 'no space', () => {
      if (this.isSpared) return
      this.#causes.add('full')
      this.world.files.isFull = true
    }],
    [4, 'space', () => (this.world.files.isFull = false)],
  ]

  async act() {
    const { world } = this
    const draw = (list) => {
      let at = world.below(list.reduce((sum, [often]) => sum + often, 0))
      return list.find(([often]) => (at -= often) < 0)
    }
    if (world.chance(30)) {
      const [, what, befall] = draw(this.#fates)
      world.say(undefined, `HERE COMES ${what}`)
      return befall()
    }
    // Several calls of one turn share a message.
    for (let count = 1 + world.below(3); count > 0; count--) {
      const tab = world.pick(this.usable())
      if (tab !== undefined) draw(this.#deeds)[1](tab)
    }
    const closed = this.tabs.filter((tab) => !tab.page.isDead && !tab.page.isFrozen && tab.store === undefined && !tab.isOpening && ![...this.calls].some((call) => call.tab === tab))
    if (closed.length > 0 && world.chance(50)) this.reopen(world.pick(closed))
  }

  leave(tab) {
    if (tab === undefined) return
    this.counts['tabs closed']++
    if (!tab.page.isFrozen) tab.page.dispatch('pagehide', { persisted: false })
    tab.page.end()
  }

  /**
   * Into the back/forward cache, which throws out a page in which something happens, or that has a lock which others wait
   * for; or only still, as a tab is that nobody has looked at for long.
   */
  async #hide(tab) {
    if (tab === undefined) return
    const { page } = tab
    const { world } = this
    const isBusy = [...this.calls].some((call) => call.tab === tab && OPENING.includes(call.name))
    page.stillness = world.pick([['pagehide', 'pageshow'], ['pagehide', 'freeze', 'resume', 'pageshow'], ['freeze', 'resume']])
    const isLeft = page.stillness.includes('pagehide')
    await world.turn(page, 'is hidden', () => this.#dispatch(page, ['pagehide', 'freeze']))
    page.isFrozen = true
    if (isLeft) for (const holder of this.ledger.heldBy(tab)) holder.isGivenUp = true
    const left = [...this.left(page), ...(isLeft ? world.locks.held(page) : [])]
    if (!isBusy && left.length > 0) world.failed(`${tab.name} stands still with ${left}`)
  }

  #dispatch(page, types) {
    for (const type of page.stillness.filter((type) => types.includes(type))) {
      page.dispatch(type, type.startsWith('page') ? { persisted: true } : {})
    }
  }

  /** What of a page goes on though it does nothing. */
  left(page) {
    const { locks, channels } = this.world
    return [...locks.waiting(page), ...channels.heard(page), ...page.workers.filter((worker) => !worker.isDead).map(({ name }) => name)]
  }

  async show(tab) {
    if (tab === undefined) return
    const { page } = tab
    await this.world.turn(page, 'is shown', () => this.#dispatch(page, ['resume', 'pageshow']))
    this.world.thaw(page)
  }
}

/** Whether a file is refused because what was to make it was cut short. */
export const isUnfinished = ({ code, message }) => code === 'corrupt' && message.includes('was not finished')
