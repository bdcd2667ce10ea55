// What the pages of a simulated origin were told, and what must hold of it.

/** Who was handed what, and what was acknowledged. */
export class Ledger {
  /** Who holds which chunk. */
  holders = new Map()
  /** Chunks that are done, and under which fence. */
  done = new Map()
  /** Chunks that are there. */
  imported = new Set()
  /** Since when there is a job. */
  since = Infinity
  /** Jobs that were asked for, and those that were made. */
  jobs = { asked: 0, made: new Set() }

  /** Copies of the store, and the jobs in them. */
  copies = new Map()

  constructor(world) {
    this.world = world
  }

  /** Chunks were imported. */
  has(chunks) {
    this.since = Math.min(this.since, this.world.now)
    for (const { id } of chunks) this.imported.add(id)
  }

  /** A page was handed chunks. The older of two claims must have ended before the newer one was made. */
  claimed(tab, chunks) {
    for (const { chunk, fence, leaseEndsMs } of chunks) {
      const claim = { tab, chunk, fence, lapses: leaseEndsMs, isEnding: false, isGivenUp: false }
      const other = this.holders.get(chunk)
      const [older, newer] = other === undefined || fence > other.fence ? [other, claim] : [claim, other]
      if (this.isFirm(older)) {
        this.world.failed(`chunk ${chunk} is claimed by ${newer.tab.name} with fence ${newer.fence} while ${older.tab.name} has it with ${older.fence}`)
      }
      this.holders.set(chunk, newer)
      if (this.done.has(chunk) && (fence > this.done.get(chunk) || this.isFirm(claim))) {
        this.world.failed(`chunk ${chunk} is claimed by ${tab.name} with fence ${fence}, and was done with ${this.done.get(chunk)}`)
      }
    }
  }

  /** Nobody else may be given what this claim is of. */
  isFirm(claim) {
    return claim !== undefined && !claim.isEnding && !claim.isGivenUp && !claim.tab.page.isDead && !claim.tab.isClosing && this.world.time < claim.lapses
  }

  /** What a page holds, as far as it knows. */
  heldBy(tab) {
    return [...this.holders.values()].filter((holder) => holder.tab === tab)
  }

  /** A claim has ended. */
  freed(holder) {
    if (this.holders.get(holder.chunk) === holder) this.holders.delete(holder.chunk)
  }

  completed({ tab, chunk, fence }) {
    const before = this.done.get(chunk)
    if (before !== undefined && before !== fence) this.world.failed(`chunk ${chunk} is done by ${tab.name} with fence ${fence}, and was with ${before}`)
    this.done.set(chunk, fence)
  }

  made(id) {
    if (this.jobs.made.has(id)) this.world.failed(`job ${id} was made twice`)
    this.jobs.made.add(id)
  }

  /** A page made a copy of the store. Nobody makes another one of that name, and nobody works on it. */
  copied(tab, name, jobs) {
    if (this.copies.has(name)) this.world.failed(`${tab.name} made ${name}, which was there already`)
    this.copies.set(name, jobs)
  }

  isCopy(name, jobs) {
    const [was, is] = [this.copies.get(name), jobs].map((jobs) => JSON.stringify(jobs))
    if (is !== was) this.world.failed(`${name} was ${was}, and is ${is}`)
  }

  /** What is held is held by somebody who knows of it. */
  check(processing, ownerOf) {
    for (const { chunk, owner, fence, leaseEndsMs } of processing) {
      if (this.holders.get(chunk)?.fence === fence || leaseEndsMs <= this.world.time || ownerOf(owner)?.mayStrand) continue
      this.world.failed(`chunk ${chunk} is held by ${owner} (${ownerOf(owner)?.name}) with fence ${fence}, of which nobody knows`)
    }
  }

  /** What was acknowledged is there for whoever comes anew. */
  compare(jobs, done) {
    const { world } = this
    for (const id of this.jobs.made) if (!jobs.includes(id)) world.failed(`job ${id} is lost`)
    if (jobs.length > this.jobs.asked) world.failed(`${this.jobs.asked} jobs were asked for, and ${jobs} are there`)
    const chunks = new Map(done.map((chunk) => [chunk.chunk, chunk]))
    for (const id of this.imported) if (!chunks.has(id)) world.failed(`chunk ${id} is lost`)
    for (const [id, fence] of this.done) {
      if (chunks.get(id)?.output !== fence) world.failed(`chunk ${id} was done with fence ${fence}, and is ${JSON.stringify(chunks.get(id))}`)
    }
  }
}
