/** Where the file of a job can be had from, without the user if possible. */

import { handleOf } from './handles.js'
import { isSame } from './plan.js'

/** The file as another tab or a stored handle gives it; or the handle, where only the user's permission is missing. */
export async function findFile(job, described, tabs) {
  const fromTab = await tabs.ask(job)
  if (fromTab !== undefined) return { file: fromTab.file, isPaused: fromTab.isPaused, from: 'another tab' }
  const handle = await handleOf(job).catch(() => undefined)
  if (handle === undefined) return {}
  if ((await handle.queryPermission({ mode: 'read' })) !== 'granted') return { handle }
  return readable(handle, described)
}

/** Asks the user to let the page read the file again; to be called from a click. */
export async function allow(handle, described) {
  if ((await handle.requestPermission({ mode: 'read' })) !== 'granted') return {}
  return readable(handle, described)
}

async function readable(handle, described) {
  try {
    const file = await handle.getFile()
    return isSame(file, described) ? { file, from: 'the file you picked before' } : { changed: true }
  } catch {
    // It was moved or removed; the user can pick it where it is now.
    return {}
  }
}
