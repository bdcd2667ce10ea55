/** A job's chunks as CSV. */

import type { Chunk } from './chunk.js'

const COLUMNS = [
  'jobId', 'chunk', 'status', 'checksum', 'observedChecksum', 'attempts', 'losses', 'priority', 'error', 'createdAtMs',
  'updatedAtMs', 'revision', 'payload', 'output',
] as const

/** The first line. */
export const HEADER = `${COLUMNS.join(',')}\r\n`

/** One record of RFC 4180. */
export function record(chunk: Chunk): string {
  return `${COLUMNS.map((column) => cell(chunk[column])).join(',')}\r\n`
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (typeof value === 'number') return String(value)
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  // A spreadsheet would run it as a formula.
  const defused = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(defused) ? `"${defused.replaceAll('"', '""')}"` : defused
}
