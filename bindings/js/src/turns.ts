/** The turns of the host's loop, where calls are answered in the caller's own thread. */

/** So long answers follow one another; then timers, frames and clicks have their turn. */
const TURN_MS = 4

/** As the host has it, whatever a test puts in its place later. */
const { setImmediate, queueMicrotask, performance } = globalThis

/** The channel through which a page gets a task of its own. One for all stores: while it is open it, and what hears it, stays. */
let channel: MessageChannel | undefined
const turns: (() => void)[] = []

function task(turn: () => void): void {
  if (setImmediate !== undefined) return void setImmediate(turn)
  if (channel === undefined) {
    channel = new MessageChannel()
    channel.port1.onmessage = () => turns.shift()!()
  }
  turns.push(turn)
  channel.port2.postMessage(0)
}

/** Hands messages over in microtasks, which is soonest, and every few milliseconds in a task of the host's. */
export function inTurns<T>(hear: (message: T) => void): (message: T) => void {
  let waiting: T[] | undefined
  let since = -TURN_MS
  const turn = () => {
    const due = waiting!
    waiting = undefined
    since = performance.now()
    due.forEach(hear)
  }
  return (message) => {
    if (waiting !== undefined) waiting.push(message)
    else if (performance.now() - since < TURN_MS) queueMicrotask(() => hear(message))
    else {
      waiting = [message]
      task(turn)
    }
  }
}
