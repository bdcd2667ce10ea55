// A disk that is full, and a file that goes, in Node: refused with a code, the store goes on, and nothing acknowledged is lost.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { load } from './package.mjs'

const { open } = await load()
const folder = mkdtempSync(join(process.env.MAGNETAR_SMALL_DISK ?? tmpdir(), 'magnetar-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const child = fileURLToPath(new URL('./full-child.mjs', import.meta.url))
/** In half kilobytes, or in whole ones, as the shell counts. A disk that is small by itself needs no limit. */
const limit = process.env.MAGNETAR_SMALL_DISK ? 'unlimited' : '6000'

for (const inline of ['thread', 'inline']) {
  test(`${inline}: a file that cannot grow is full, in words, and what was acknowledged stays`, { skip: process.platform === 'win32' }, async () => {
    const path = join(folder, inline)
    const { stdout } = await promisify(execFile)('sh', ['-c', `ulimit -f ${limit}; exec "$@"`, 'sh', process.execPath, child, path, inline])
    const { refusals, done, imported, processing } = JSON.parse(stdout)
    console.log(`${inline}: ${imported} imports fit; ${refusals.map(({ what, code }) => `${what}: ${code}`).join(', ')}`)
    assert.ok(imported > 0 && done.length >= 5)
    for (const what of ['import', 'import beside others', 'stream']) assert.ok(refusals.some((refusal) => refusal.what === what), what)
    for (const { what, code, retry, message } of refusals) {
      assert.equal(code, 'full', `${what}: ${message}`)
      assert.equal(retry, what === 'stream' ? 'after_reopen' : 'later', what)
    }
    const store = await open(path)
    await store.verify()
    for (const chunk of done) assert.equal((await store.getChunk(1, chunk)).output, 'kept')
    assert.equal((await store.getStats(1)).done, done.length)
    assert.equal(processing, 0)
    for (let job = 100; job < 100 + imported; job++) assert.equal((await store.getStats(job)).total, 1_000)
    // Nothing of what was refused.
    assert.deepEqual((await store.listJobs()).map(({ jobId }) => jobId), [1, ...Array.from({ length: imported }, (_, at) => 100 + at)])
    if (!process.env.MAGNETAR_SMALL_DISK) {
      assert.equal((await store.importManifest(100 + imported, { chunks: [{ id: 1 }] })).added, 1)
    }
    await store.close()
    rmSync(`${path}.redb`)
  })
}

for (const inline of [false, true]) {
  test(`${inline ? 'inline' : 'thread'}: a file that is moved away takes no acknowledged result along, and is gone on with where it is put back`, async () => {
    const [path, away] = [join(folder, `moved-${inline}.redb`), join(folder, `away-${inline}.redb`)]
    const store = await open(path, { inline })
    await store.importManifest(1, { chunks: [{ id: 1 }, { id: 2 }] })
    const chunk = await store.claimPending(1)
    renameSync(path, away)
    for (const call of [() => store.complete(chunk), () => store.claimPending(1), () => store.getStats(1)]) {
      await assert.rejects(call, { code: 'corrupt', message: /whose file was deleted or replaced/ })
    }
    assert.equal(existsSync(path), false)
    renameSync(away, path)
    // What was written before the look is there; what is said again is the same.
    await store.complete(chunk)
    assert.equal((await store.getStats(1)).done, 1)
    await store.close()
    const next = await open(path, { inline })
    assert.equal((await next.getStats(1)).done, 1)
    await next.verify()
    await next.close()
  })
}

test('a new store for which there is no space is full, and is made once there is', { skip: process.platform === 'win32' || process.env.MAGNETAR_SMALL_DISK !== undefined }, async () => {
  const path = join(folder, 'new')
  const opening = `const { open } = await (await import(${JSON.stringify(new URL('./package.mjs', import.meta.url).href)})).load()
    const [path, inline] = process.argv.slice(1)
    await open(path, { inline: inline === 'inline' }).then((store) => store.close().then(() => console.log('opened')), ({ code, retry }) => console.log(code, retry))`
  const said = []
  for (const limit of [8, 100, 300, 515, 560, 620, 650]) {
    for (const inline of ['thread', 'inline']) {
      const { stdout } = await promisify(execFile)('sh', ['-c', `ulimit -f ${limit}; exec "$@"`, 'sh', process.execPath, '--input-type=module', '-e', opening, path, inline])
      said.push(stdout.trim())
    }
  }
  assert.ok(said.includes('full later'))
  assert.deepEqual(said.filter((one) => one !== 'full later' && one !== 'opened'), [])
  const store = await open(path)
  assert.equal((await store.importManifest(1, { chunks: [{ id: 1 }] })).added, 1)
  await store.close()
})
