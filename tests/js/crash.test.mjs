// SIGKILL at random moments: what was acknowledged stays, no chunk is done twice, the file always opens at once.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { load, random, rounds } from './package.mjs'

const { importFile, open } = await load()
const folder = mkdtempSync(join(tmpdir(), 'magnetar-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const child = fileURLToPath(new URL('./crash-child.mjs', import.meta.url))
/** More than are done: who finds nothing to claim is killed at nothing. */
const CHUNKS = 200_000

/** Runs a child until it has said a number of things, or its time is over, kills it, and gives what it said. */
async function killed(path, { callers, inline, lines, ms }) {
  const worker = spawn(process.execPath, [child, path, String(callers), inline], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  let timer
  const ended = new Promise((resolve) => worker.on('close', resolve))
  worker.stdout.on('data', (data) => {
    text += data
    if (timer === undefined && text.startsWith('open')) timer = setTimeout(() => worker.kill('SIGKILL'), ms)
    if (text.split('\n').length > lines) worker.kill('SIGKILL')
  })
  await ended
  clearTimeout(timer)
  // The last line may have been cut off.
  return text.slice(0, text.lastIndexOf('\n') + 1).split('\n').filter(Boolean)
}

test('nothing acknowledged is lost when the process is killed', async () => {
  const below = random('crash')
  const path = join(folder, 'killed.redb')
  const store = await open(path)
  await store.importManifest(1, { job: { max_losses: 0, backoff: { initial_ms: 1, max_ms: 1 } }, chunks: Array.from({ length: CHUNKS }, (_, id) => ({ id })) })
  await store.close()
  const done = new Map()
  let slowest = 0
  const count = rounds(12, 500)
  for (let round = 0; round < count; round++) {
    const kill = { callers: [1, 8, 64][below(3)], inline: ['thread', 'inline'][below(2)], lines: 2 + below(400), ms: below(120) }
    for (const line of await killed(path, kill)) {
      const [said, chunk, fence] = line.split(' ')
      if (said !== 'done') continue
      assert.ok(!done.has(chunk), `chunk ${chunk} was done twice, round ${round}`)
      done.set(chunk, Number(fence))
    }
    const begun = performance.now()
    const store = await open(path)
    slowest = Math.max(slowest, performance.now() - begun)
    const stats = await store.getStats(1)
    // A kill between the commit and its saying leaves more done than was said, by the callers at most.
    assert.ok(stats.done >= done.size && stats.processing === 0 && stats.failed === 0, JSON.stringify(stats))
    for (const [chunk, fence] of [...done].slice(-50)) {
      const kept = await store.getChunk(1, Number(chunk))
      assert.deepEqual([kept.status, kept.output], ['done', fence], `chunk ${chunk}, round ${round}`)
    }
    // What was done but not said is not done again either.
    for await (const chunk of store.chunks(1, 'done')) if (!done.has(String(chunk.chunk))) done.set(String(chunk.chunk), chunk.fence)
    if (round % 50 === count % 50) await store.verify()
    await store.close()
  }
  const last = await open(path)
  await last.verify()
  for await (const chunk of last.chunks(1, 'done')) assert.equal(chunk.output, done.get(String(chunk.chunk)))
  assert.equal((await last.getStats(1)).done, done.size)
  await last.close()
  assert.ok(done.size > 0 && done.size < CHUNKS)
  console.log(`${count} kills, ${done.size} chunks done, slowest opening ${slowest.toFixed(0)} ms`)
})

test('an import of a file that is killed is whole, or is not opened', async () => {
  const below = random('import')
  const source = await open(join(folder, 'source'))
  const payload = 'x'.repeat(1_000)
  for (let job = 0; job < 4; job++) {
    await source.importManifest(job, { chunks: Array.from({ length: 1_000 }, (_, id) => ({ id, payload })) })
  }
  const file = join(folder, 'exported')
  writeFileSync(file, Buffer.from(await (await source.exportFile()).arrayBuffer()))
  await source.close()
  const bytes = readFileSync(file)
  const seen = { nothing: 0, half: 0 }
  const importing = (path) => spawn(process.execPath, [fileURLToPath(new URL('./import-child.mjs', import.meta.url)), path, file], { stdio: ['ignore', 'pipe', 'inherit'] })
  // How long it takes when it is left alone.
  let whole = 0
  const count = rounds(5, 60)
  for (let round = 0; round <= count; round++) {
    const path = join(folder, `imported-${round}.redb`)
    const child = importing(path)
    const ended = new Promise((resolve) => child.on('close', resolve))
    await new Promise((resolve) => child.stdout.once('data', resolve))
    const begun = performance.now()
    const timer = round === 0 ? undefined : setTimeout(() => child.kill('SIGKILL'), below(Math.ceil(whole)))
    await ended
    clearTimeout(timer)
    if (round === 0) whole = performance.now() - begun
    const again = () => importFile(path, bytes)
    const isThere = existsSync(path) && statSync(path).size > 0
    const store = await (isThere ? open(path) : again()).catch((error) => {
      assert.deepEqual([error.code, /import the file again/.test(error.message)], ['corrupt', true], error.message)
      seen.half++
      return again()
    })
    if (!isThere) seen.nothing++
    await store.verify()
    assert.deepEqual((await store.listJobs()).map(({ stats }) => stats.total), Array(4).fill(1_000))
    await store.close()
    // What is there is not written over.
    await assert.rejects(again(), (error) => error.code === 'refused')
    rmSync(path)
  }
  console.log(`${count} imports killed: ${seen.nothing} before they began, ${seen.half} half done`)
})

test('a file whose process was killed is free at once', async () => {
  const path = join(folder, 'free.redb')
  await (await open(path)).close()
  const worker = spawn(process.execPath, ['-e', `import(${JSON.stringify(child)})`, path, '0', 'thread'], { stdio: 'ignore' })
  worker.kill('SIGKILL')
  await new Promise((resolve) => worker.on('close', resolve))
  await (await open(path)).close()
})
