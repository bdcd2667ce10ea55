/** What the tabs of this page tell each other: who has a file that another needs, and that engines are to be ended. */

const CHANNEL = 'magnetar-demo'
const LOCK = 'magnetar-demo:tab:'
const ANSWER_MS = 400

export class Tabs {
  /** Gives the file of a job where this tab has it, and whether the user paused the copy. */
  fileOf = () => undefined
  /** Ends this tab's engine, as a crash would. */
  crash = () => {}
  #channel = new BroadcastChannel(CHANNEL)
  #asked = new Map()
  #lastId = 0
  #self = crypto.randomUUID()

  constructor() {
    this.#channel.onmessage = ({ data }) => this.#hear(data)
    // Held for as long as the tab lives, so that others can count. Where a browser denies it, it denies the store too, which says so.
    navigator.locks.request(LOCK + this.#self, () => new Promise(() => {})).catch(() => {})
  }

  /** How many tabs have this page open. */
  async count() {
    const { held = [] } = await navigator.locks.query()
    return held.filter(({ name }) => name.startsWith(LOCK)).length
  }

  /** The file of a job from whichever other tab has it; nothing where none answers. */
  async ask(job) {
    if ((await this.count()) < 2) return undefined
    return new Promise((resolve) => {
      const question = `${this.#self} ${++this.#lastId}`
      const timer = setTimeout(() => this.#answer(question, undefined), ANSWER_MS)
      this.#asked.set(question, { resolve, timer })
      this.#channel.postMessage({ t: 'want', job, question })
    })
  }

  /** Has the other tabs end theirs. */
  crashElsewhere() {
    this.#channel.postMessage({ t: 'crash' })
  }

  #hear(message) {
    if (message.t === 'want') {
      const found = this.fileOf(message.job)
      if (found !== undefined) this.#channel.postMessage({ t: 'file', question: message.question, ...found })
    } else if (message.t === 'file') this.#answer(message.question, message)
    else if (message.t === 'crash') this.crash()
  }

  #answer(question, found) {
    const asked = this.#asked.get(question)
    this.#asked.delete(question)
    clearTimeout(asked?.timer)
    asked?.resolve(found)
  }
}
