/**
 * Has the module's code compiled while a thread begins, on whose way it would else be compiled.
 *
 * V8 compiles a function of a module when it is first called, and all threads of a process share what was compiled.
 */

import type { JobStore } from './store.js'

/** Takes a store in memory through what most begin with. */
export async function warm(opening: Promise<JobStore>): Promise<void> {
  const store = await opening
  await turn()
  await store.importManifest(1, { chunks: [{ id: 1, payload: {} }, { id: 2 }] })
  await turn()
  const claimed = (await store.claimPending(1))!
  await turn()
  await store.complete(claimed, { output: {} })
  await turn()
  await store.getByStatus(1, 'pending')
  await store.close()
}

/** Whatever else the program has to do comes in between. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
