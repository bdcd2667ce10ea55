// One engine follows another in Node: what was under way is answered, and by the same store.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmdirSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { folder as unpacked, load } from './package.mjs'

const { open, importFile } = await load()
const folder = mkdtempSync(join(tmpdir(), 'magnetar-engines-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const packed = pathToFileURL(join(unpacked, 'dist', '/'))
const chunks = (count) => ({ chunks: Array.from({ length: count }, (_, id) => ({ id })) })
const kept = (t, store) => {
  t.after(() => store.close().catch(() => {}))
  return store
}

/** More than goes over at once. */
const part = (of, from) => Array.from({ length: 12_000 }, (_, id) => `{"id":${from + id},"of":"${of}","pad":"${'x'.repeat(60)}"}\n`).join('')

/** A source whose second part waits; `taken` says that the first one is away, `goOn` has the second follow. */
function source(of, hasSecond) {
  const taken = Promise.withResolvers()
  const more = Promise.withResolvers()
  let parts = 0
  const stream = new ReadableStream({
    async pull(controller) {
      if (++parts === 1) return controller.enqueue(new TextEncoder().encode(part(of, 0)))
      taken.resolve()
      await more.promise
      if (parts === 2 && hasSecond) controller.enqueue(new TextEncoder().encode(part(of, 500_000)))
      else controller.close()
    },
  }, { highWaterMark: 0 })
  return { stream, taken: taken.promise, goOn: more.resolve }
}

test('an import whose engine has ended goes into no other one’s job', async (t) => {
  let thread
  const worker = () => (thread = new Worker(new URL('worker-node.js', packed)))
  const store = kept(t, await open(join(folder, 'imports'), { worker }))
  const [a, b] = [source('a', true), source('b', false)]
  const first = store.importManifest(1, a.stream, { format: 'jsonl' }).catch(({ code, retry }) => [code, retry])
  await a.taken
  await thread.terminate()
  await store.listJobs()
  const second = store.importManifest(2, b.stream, { format: 'jsonl' })
  await b.taken
  a.goOn()
  assert.deepEqual(await first, ['outcome_unknown', 'after_reopen'])
  b.goOn()
  assert.equal((await second).added, 12_000)
  await assert.rejects(store.getStats(1), { code: 'job_not_found' })
  const of = new Set()
  for await (const { payload } of store.chunks(2)) of.add(payload.of)
  assert.deepEqual([...of], ['b'])
})

test('what an engine committed last is told by the next one', async (t) => {
  let isArmed = false
  const worker = () => {
    const thread = new Worker(new URL('worker-node.js', packed))
    const on = thread.on.bind(thread)
    // It ends between its last commit and the answer.
    thread.on = (event, listener) => on(event, event !== 'message' ? listener : (message) => {
      if (!isArmed || message.t !== 'answers') return listener(message)
      isArmed = false
      thread.terminate()
    })
    return thread
  }
  const store = kept(t, await open(join(folder, 'told'), { worker }))
  await store.importManifest(1, chunks(1))
  const claimed = await store.claimPending(1)
  const told = []
  const begun = Promise.withResolvers()
  const ended = (async () => {
    for await (const { done } of store.progress(1)) begun.resolve(told.push(done))
  })()
  await begun.promise
  isArmed = true
  await store.complete(claimed)
  await ended
  assert.equal(told.at(-1), 1)
})

for (const options of [{}, { inline: true }]) {
  const where = options.inline ? 'in this thread' : 'in its own'

  test(`a store stays where it was opened, wherever the program goes, ${where}`, async (t) => {
    const [one, two] = [mkdtempSync(join(folder, 'one-')), mkdtempSync(join(folder, 'two-'))]
    const before = process.cwd()
    t.after(() => process.chdir(before))
    process.chdir(one)
    const store = kept(t, await open('here', options))
    await store.importManifest(1, chunks(2))
    process.chdir(two)
    await store.reopen()
    assert.equal((await store.getStats(1)).total, 2)
    assert.equal(existsSync('here.redb'), false)
  })

  test(`a file that was moved away or replaced is not taken for the store, ${where}`, { skip: process.platform === 'win32' }, async (t) => {
    const path = join(folder, `replaced-${where}.redb`)
    const other = join(folder, `other-${where}.redb`)
    await (await open(other)).close()
    const store = kept(t, await open(path, options))
    await store.importManifest(1, chunks(2))
    renameSync(path, `${path}.away`)
    await assert.rejects(store.reopen(), { code: 'corrupt' })
    assert.equal(existsSync(path), false)
    renameSync(other, path)
    await assert.rejects(store.getStats(1), { code: 'corrupt' })
    renameSync(path, other)
    renameSync(`${path}.away`, path)
    assert.equal((await store.getStats(1)).total, 2)
  })

  test(`a file that does not fit into memory is too large to be exported, and nothing else, ${where}`, { skip: process.platform === 'win32' }, async (t) => {
    const path = join(folder, `large-${where}.redb`)
    const store = kept(t, await open(path, options))
    await store.importManifest(1, chunks(1))
    let leaders = 0
    store.addEventListener('leader', () => leaders++)
    truncateSync(path, 2 ** 36)
    const beside = store.retryFailed(1)
    await assert.rejects(store.exportFile(), { code: 'too_large' })
    assert.deepEqual([await beside, leaders], [0, 0])
  })

  test(`whoever waits for a store that cannot be opened anew is told, ${where}`, { skip: process.platform === 'win32' }, async (t) => {
    const path = join(folder, `gone-${where}.redb`)
    const store = kept(t, await open(path, options))
    await store.importManifest(1, chunks(1))
    const begun = Promise.withResolvers()
    const watching = (async () => { for await (const _ of store.progress(1)) begun.resolve() })()
    const heard = new Promise((resolve) => {
      const progress = store.progress(1)
      progress.addEventListener('progress', () => {})
      progress.addEventListener('error', ({ detail }) => resolve(detail.code))
    })
    await begun.promise
    renameSync(path, `${path}.away`)
    mkdirSync(path)
    const folderInstead = { code: 'io', message: /is a folder/ }
    await Promise.all([assert.rejects(store.reopen(), folderInstead), assert.rejects(watching, folderInstead)])
    assert.equal(await heard, 'io')
    rmdirSync(path)
    renameSync(`${path}.away`, path)
    assert.equal((await store.getStats(1)).total, 1)
  })
}

test('an import of a file that is none leaves no file behind', async () => {
  for (const options of [{}, { inline: true }]) {
    await assert.rejects(importFile(join(folder, 'futile'), new Uint8Array(9_000), options), { code: 'corrupt' })
    assert.equal(existsSync(join(folder, 'futile.redb')), false)
  }
})

test('a program ends where nobody listens for progress any more', () => {
  const script = `
    const { open } = await import(${JSON.stringify(new URL('node.js', packed))})
    const store = await open(${JSON.stringify(join(folder, 'listened'))})
    await store.importManifest(1, { chunks: [{ id: 1 }] })
    const progress = store.progress(1)
    const listener = () => {}
    progress.addEventListener('progress', listener)
    progress.removeEventListener('progress', listener)
    progress.addEventListener('progress', listener, { signal: AbortSignal.abort() })
    await new Promise((told) => progress.addEventListener('progress', told, { once: true }))
    // A loop that was left without a word.
    const { value } = await store.progress(1)[Symbol.asyncIterator]().next()
    console.log(value.total === 1 && 'told')`
  const told = spawnSync(process.execPath, ['-e', `(async () => {${script}})()`], { encoding: 'utf8', timeout: 60_000 })
  assert.deepEqual([told.stdout, told.status], ['told\n', 0], told.stderr)
})

test('progress ends where nothing more comes by itself', async (t) => {
  const store = kept(t, await open(':memory:'))
  await store.importManifest(1, { job: { max_attempts: 1 }, chunks: [{ id: 1 }, { id: 2, depends_on: [1] }] })
  const watching = (async () => {
    let last
    for await (const stats of store.progress(1)) last = stats
    return last
  })()
  await store.run(1, () => { throw new Error('no') })
  assert.equal((await watching).isStalled, true)
  const empty = await store.newJob()
  for await (const stats of store.progress(empty)) assert.deepEqual([stats.isFinished, stats.percent], [true, 0])
})
