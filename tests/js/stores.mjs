// Stores of the packed package in Node, for the tests of its face.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { load } from './package.mjs'

export const { open, importFile, MagnetarError, JobStore } = await load()
export const folder = mkdtempSync(join(tmpdir(), 'magnetar-'))
after(() => rmSync(folder, { recursive: true, force: true }))

let files = 0
export const places = {
  thread: () => open(join(folder, `store-${++files}`)),
  inline: () => open(join(folder, `store-${++files}`), { inline: true }),
  memory: () => open(':memory:'),
}

export const chunks = (count, more = {}) => ({ chunks: Array.from({ length: count }, (_, id) => ({ id, ...more })) })
/** A store that is closed with its test. */
export const kept = (t, store) => {
  t.after(() => store[Symbol.asyncDispose]())
  return store
}
export const code = (expected) => (error) => {
  assert.ok(error instanceof MagnetarError && error instanceof Error, String(error?.stack ?? error))
  assert.equal(error.code, expected, error.message)
  return true
}
