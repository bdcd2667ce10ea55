/**
 * The copy, in the origin's private file system: one file per chunk, named by the chunk and the fence of the claim that
 * wrote it. So any number of workers in any number of tabs write at once, and one that comes too late spoils nothing:
 * the job knows which fence counts.
 */

const FOLDER = 'copies'

/** A part's name. */
export const partName = (chunk, fence) => `${chunk}.${fence}`

/** The folder of a job's parts. Only who writes makes it: a copy that is removed while it is read stays removed. */
async function folderOf(job, options) {
  return (await allCopies()).getDirectoryHandle(String(job), options)
}

async function allCopies() {
  return (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true })
}

/** Writes a part, in a worker; returns when it is on the disk. */
export async function writePart(job, name, bytes) {
  const folder = await folderOf(job, { create: true })
  try {
    await write(await folder.getFileHandle(name, { create: true }), bytes)
  } catch (error) {
    // A part of a part takes room in which the next one may fit.
    await folder.removeEntry(name).catch(() => {})
    throw error
  }
}

async function write(handle, bytes) {
  const access = await handle.createSyncAccessHandle()
  try {
    access.truncate(0)
    let at = 0
    while (at < bytes.length) {
      const written = access.write(bytes.subarray(at), { at })
      if (written === 0) throw new DOMException('no byte of the part was taken', 'QuotaExceededError')
      at += written
    }
    access.flush()
  } finally {
    access.close()
  }
}

/** A part as a file. */
export async function readPart(job, name) {
  const folder = await folderOf(job)
  return (await folder.getFileHandle(name)).getFile()
}

/** The whole copy as one blob, which holds references and no bytes. `names` are in the order of the file. */
export async function assemble(job, names) {
  const folder = await folderOf(job)
  const parts = await Promise.all(names.map(async (name) => (await folder.getFileHandle(name)).getFile()))
  return new Blob(parts, { type: 'application/octet-stream' })
}

/** Removes what late workers left behind: every part that is not named. Gives how many. */
export async function sweep(job, names) {
  const folder = await folderOf(job)
  const wanted = new Set(names)
  const stale = []
  for await (const name of folder.keys()) if (!wanted.has(name)) stale.push(name)
  await Promise.all(stale.map((name) => folder.removeEntry(name).catch(() => {})))
  return stale.length
}

/** A worker that was ended gives its part back a moment later. */
const TRIES = 40
const PAUSE_MS = 50

/** Removes a copy. */
export async function removeCopy(job) {
  const copies = await allCopies()
  for (let tries = TRIES; ; tries--) {
    try {
      return await copies.removeEntry(String(job), { recursive: true })
    } catch (error) {
      if (error.name === 'NotFoundError') return
      if (error.name !== 'NoModificationAllowedError' || tries === 0) throw error
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    }
  }
}

/** The jobs that have a folder. */
export async function jobsWithParts() {
  return (await Array.fromAsync((await allCopies()).keys())).map(Number)
}
