/** A number of workers, and the tasks that wait for one. */

export class Pool {
  #size
  #idle = []
  #waiting = []
  #workers = new Set()
  #lastId = 0

  constructor(size) {
    this.#size = size
  }

  /** Has a worker do a task; an error of the worker's is thrown. */
  do(task, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const waiting = { task: { ...task, id: ++this.#lastId }, resolve, reject }
      // What a worker has begun it ends; nobody waits for it any more.
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
      this.#waiting.push(waiting)
      this.#assign()
    })
  }

  /** Ends all workers in the midst of what they do. */
  end() {
    for (const worker of this.#workers) worker.terminate()
    for (const { reject } of this.#waiting) reject(new Error('the workers were ended'))
    this.#workers.clear()
    this.#idle = []
    this.#waiting = []
  }

  #assign() {
    while (this.#waiting.length > 0) {
      const worker = this.#idle.pop() ?? (this.#workers.size < this.#size ? this.#start() : undefined)
      if (worker === undefined) return
      const { task, resolve, reject } = this.#waiting.shift()
      worker.onmessage = ({ data }) => {
        if (data.error === undefined) resolve(data.result)
        else reject(new Error(data.error))
        this.#idle.push(worker)
        this.#assign()
      }
      worker.onerror = (event) => {
        event.preventDefault()
        reject(new Error(event.message || 'a worker could not be started'))
        worker.terminate()
        this.#workers.delete(worker)
        this.#idle = this.#idle.filter((other) => other !== worker)
        this.#assign()
      }
      worker.postMessage(task)
    }
  }

  /** Only where a task is there for it: so somebody hears of one that cannot be started. */
  #start() {
    const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module', name: 'copy' })
    this.#workers.add(worker)
    return worker
  }
}
