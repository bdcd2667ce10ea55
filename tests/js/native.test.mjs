// One file, two builds: a native program and Node open the same store, and never at the same time.

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { load, program as native } from './package.mjs'

const { importFile, open } = await load()
const folder = mkdtempSync(join(tmpdir(), 'magnetar-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const program = native()

async function held(path) {
  const child = spawn(program, ['hold', path], { stdio: ['pipe', 'pipe', 'inherit'] })
  const line = await new Promise((resolve) => child.stdout.once('data', (data) => resolve(String(data).trim())))
  return { line, end: () => new Promise((resolve) => (child.on('close', resolve), child.stdin.end())), kill: () => new Promise((resolve) => (child.on('close', resolve), child.kill('SIGKILL'))) }
}

test('what Node wrote a native program reads, and the other way round', async () => {
  const path = join(folder, 'shared.redb')
  const store = await open(path)
  await store.importManifest(1, { chunks: [{ id: 1, payload: { from: 'node' } }, { id: 2 }] })
  await store.complete(await store.claimPending(1), { output: 'done in Node' })
  writeFileSync(join(folder, 'exported.redb'), Buffer.from(await (await store.exportFile()).arrayBuffer()))
  await store.close()
  for (const file of [path, join(folder, 'exported.redb')]) {
    const printed = execFileSync(program, ['work', file], { encoding: 'utf8' })
    assert.match(printed, /1 done "done in Node"/)
    assert.match(printed, /2 done "done natively"/)
  }
  // Its file as bytes, into a store of its own and into memory.
  const bytes = readFileSync(join(folder, 'exported.redb'))
  for (const name of [join(folder, 'imported'), ':memory:']) {
    const store = await importFile(name, bytes)
    await store.verify()
    const kept = await store.getByStatus(1, 'done')
    assert.deepEqual([...kept].map(({ payload, output }) => [payload, output]), [[{ from: 'node' }, 'done in Node'], [null, 'done natively']])
    await store.close()
  }
  assert.match(execFileSync(program, ['work', join(folder, 'imported.redb')], { encoding: 'utf8' }), /2 done "done natively"/)
  const again = await open(path)
  assert.equal((await again.getChunk(1, 2)).output, 'done natively')
  await again.verify()
  await again.close()
})

test('while a native program has the file, Node gets locked, and has it at once after a kill', async () => {
  const path = join(folder, 'native-first.redb')
  const native = await held(path)
  assert.equal(native.line, 'open')
  await assert.rejects(open(path), (error) => error.code === 'locked')
  await native.kill()
  await (await open(path)).close()
})

test('while Node has the file, a native program gets locked', async () => {
  const path = join(folder, 'node-first.redb')
  const store = await open(path)
  const refused = await held(path)
  assert.match(refused.line, /Locked/)
  await refused.end()
  await store.close()
  const native = await held(path)
  assert.equal(native.line, 'open')
  await native.end()
})
