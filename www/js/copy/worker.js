/** A worker: reads a piece of a file, hashes it, writes it; or hashes what was written. One task at a time. */

import { readPart, writePart } from './parts.js'

onmessage = async ({ data: task }) => {
  try {
    postMessage({ id: task.id, result: await (task.kind === 'copy' ? copy(task) : hash(task)) })
  } catch (error) {
    postMessage({ id: task.id, error: `${error.name}: ${error.message}` })
  }
}

async function copy({ file, job, part, offset, bytes }) {
  const buffer = await file.slice(offset, offset + bytes).arrayBuffer().catch((error) => {
    // The browser has another guess.
    if (error.name === 'NotReadableError') throw new Error('the file was changed or moved since it was picked')
    throw error
  })
  if (buffer.byteLength !== bytes) throw new Error(`the file ends at byte ${offset + buffer.byteLength}: it was shortened`)
  const sha256 = await sha256Of(buffer)
  await writePart(job, part, new Uint8Array(buffer))
  return sha256
}

async function hash({ job, part }) {
  const file = await readPart(job, part)
  return sha256Of(await file.arrayBuffer())
}

async function sha256Of(buffer) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', buffer))
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
