/** What ends with its caller's signal, or because it is left. */

/** Has a controller follow a signal, by hand: what the host makes of several takes only signals of its own. Gives how to end that. */
export function follow(signal: AbortSignal | undefined, over: AbortController): () => void {
  const stop = () => over.abort(signal!.reason)
  if (signal?.aborted) stop()
  else signal?.addEventListener('abort', stop)
  return () => signal?.removeEventListener('abort', stop)
}

/** A loop that can be left while it waits, by what ends the controller: a generator hears of it only once it has something to give. */
export function leavable<T>(loop: AsyncGenerator<T, void, undefined>, over: AbortController): AsyncGenerator<T, void, undefined> {
  for (const way of ['return', 'throw'] as const) {
    const leave = loop[way]
    loop[way] = (given: any) => {
      over.abort()
      return leave.call(loop, given)
    }
  }
  return loop
}
