/** A file is copied from end to end, and everything that can be killed on the way is. */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ADDRESS, browser, kill, logged, reaches, SAVED, saved, shown } from './browser.mjs'

const MIB = 1 << 20
const FILE = join(SAVED, 'original.bin')
/** Not a whole number of chunks. */
const BYTES = 224 * MIB + 4321
const CHUNKS = 225

/** Bytes that differ everywhere, from a seed that is printed. */
function original() {
  const seed = Number(process.env.MAGNETAR_SEED ?? Date.now() % 1_000_000)
  console.log(`MAGNETAR_SEED=${seed}`)
  let state = seed | 1
  const words = new Uint32Array(Math.ceil(BYTES / 4))
  for (let at = 0; at < words.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    words[at] = state ^ (state >>> 15)
  }
  return Buffer.from(words.buffer, 0, BYTES)
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

/** The file is picked where the page asks for it, and one worker goes on slowly enough to be disturbed. */
async function pick(page) {
  const isAsked = await page.locator('#pick-again').isVisible()
  await page.setInputFiles(isAsked ? '#file-again' : '#file', FILE)
  await page.locator('#job[data-state="running"]').waitFor()
}

test('a file is copied whole although the engine, two tabs and a reload got in the way', { timeout: 240_000 }, async (t) => {
  rmSync(SAVED, { recursive: true, force: true })
  mkdirSync(SAVED, { recursive: true })
  const bytes = original()
  writeFileSync(FILE, bytes)
  const { context, problems } = await browser(t)
  let page = context.pages()[0]
  await page.goto(ADDRESS)
  await pick(page)
  await page.selectOption('#lanes', '1')

  await t.test('the engine is ended in the midst of its work, and the copy goes on', async () => {
    await reaches(page, 'count-done', 5)
    const before = await shown(page, 'count-done')
    await page.click('#crash')
    await logged(page, 'A new one answered')
    assert.ok((await shown(page, 'count-done')) >= before, 'what was done stays done')
    await reaches(page, 'count-done', before + 5)
  })

  await t.test('the tab is killed, and a new one finds everything that was done', async () => {
    const before = await shown(page, 'count-done')
    assert.ok(before < CHUNKS, 'it is killed before the end')
    const address = page.url()
    await kill(page)
    page = await context.newPage()
    await page.goto(address)
    await page.locator('#need-text', { hasText: 'pick original.bin again' }).waitFor()
    assert.ok((await shown(page, 'count-done')) >= before, 'what was done stays done')
    assert.equal(await shown(page, 'count-elsewhere'), 0, 'what the dead tab held is free')
  })

  await t.test('a file that is another is refused', async () => {
    const other = join(SAVED, 'other.bin')
    writeFileSync(other, 'something else')
    await page.setInputFiles('#file-again', other)
    await page.locator('#problem', { hasText: 'not the file' }).waitFor()
  })

  await t.test('the page is reloaded, and goes on where it stood', async () => {
    await pick(page)
    await page.selectOption('#lanes', '1')
    await reaches(page, 'count-done', (await shown(page, 'count-done')) + 5)
    const before = await shown(page, 'count-done')
    await page.reload()
    await page.locator('#need').waitFor()
    assert.ok((await shown(page, 'count-done')) >= before, 'what was done stays done')
    assert.ok(before < CHUNKS, 'it was reloaded before the end')
    await pick(page)
    await page.selectOption('#lanes', '1')
  })

  await t.test('pausing gives back what is in work', async () => {
    await page.click('#pause')
    await page.locator('#job[data-state="paused"]').waitFor()
    await page.waitForFunction(() => document.getElementById('count-here').textContent === '0')
    assert.ok((await shown(page, 'count-done')) < CHUNKS, 'it was paused before the end')
  })

  await t.test('a second tab helps, and finishes alone when the first is killed', async () => {
    const before = await shown(page, 'count-done')
    const [helper] = await Promise.all([context.waitForEvent('page'), page.click('#helper')])
    await logged(helper, 'from another tab')
    await helper.locator('#job[data-state="paused"]').waitFor()
    assert.equal(await shown(helper, 'count-here'), 0, 'what was paused is not resumed by being looked at')
    await helper.click('#pause')
    await helper.locator('#job[data-state="running"]').waitFor()
    await helper.selectOption('#lanes', '1')
    await page.click('#pause')
    await reaches(page, 'count-elsewhere', 1)
    await reaches(helper, 'count-elsewhere', 1)
    await reaches(helper, 'count-done', before + 5)
    assert.equal(await shown(helper, 'tabs'), 2)
    assert.ok((await shown(helper, 'count-done')) < CHUNKS, 'the first is killed before the end')
    await kill(page)
    page = helper
    await logged(page, 'This tab’s engine has the job file now')
    await page.selectOption('#lanes', '4')
    await page.locator('#job[data-state="finished"]').waitFor()
    assert.equal(await shown(page, 'count-done'), CHUNKS)
  })

  await t.test('the copy is verified, and saved as it was read', async () => {
    await page.click('#verify')
    await logged(page, 'original.bin: verified, every chunk of the copy has its checksum')
    const copy = readFileSync(await saved(page, 'download', 'copy.bin'))
    assert.equal(copy.length, BYTES)
    assert.ok(copy.equals(bytes), 'every byte is the original’s')
  })

  await t.test('the checksums are those of the pieces of the file', async () => {
    const expected = Array.from({ length: CHUNKS }, (_, chunk) => sha256(bytes.subarray(chunk * MIB, (chunk + 1) * MIB)))
    // For the native look at the job file.
    writeFileSync(join(SAVED, 'expected.txt'), expected.join('\n'))
    const list = readFileSync(await saved(page, 'checksums', 'original.sha256'), 'utf8')
    const lines = list.trim().split('\n').filter((line) => !line.startsWith('#'))
    assert.deepEqual(lines, expected.map((digest, chunk) => `${digest}  part.${String(chunk).padStart(3, '0')}`))
  })

  await t.test('the job file is saved, and the other view shows it', async () => {
    const file = await saved(page, 'export', 'copies.redb')
    await page.click('nav a[href="#inspect"]')
    await page.setInputFiles('#inspect-file', file)
    const row = page.locator('#jobs tr')
    await row.waitFor()
    assert.deepEqual(await row.locator('td').allTextContents().then((cells) => cells.slice(1, 5)), ['original.bin', '225', '225', '0'])
    await page.click('nav a[href="#copy"]')
  })

  await t.test('a part of the copy that was damaged is found and copied again', async () => {
    await page.evaluate(async () => {
      const copies = await (await navigator.storage.getDirectory()).getDirectoryHandle('copies')
      for await (const folder of copies.values()) {
        for await (const part of folder.values()) {
          if (!part.name.startsWith('7.')) continue
          const writer = await part.createWritable({ keepExistingData: true })
          await writer.write({ type: 'write', position: 1000, data: 'damage' })
          await writer.close()
        }
      }
    })
    await page.click('#verify')
    await page.locator('#problem', { hasText: '1 chunk of the copy' }).waitFor()
    await page.locator('#job[data-state="finished"]').waitFor()
    assert.ok(readFileSync(await saved(page, 'download', 'repaired.bin')).equals(bytes), 'every byte is the original’s again')
  })

  await t.test('a copy that is removed leaves nothing behind', async () => {
    await page.click('#remove')
    await page.click('#confirm button[value="remove"]')
    await page.locator('#start').waitFor()
    await page.locator('#earlier').waitFor({ state: 'hidden' })
    const left = await page.evaluate(async () => {
      const copies = await (await navigator.storage.getDirectory()).getDirectoryHandle('copies')
      return Array.fromAsync(copies.keys())
    })
    assert.deepEqual(left, [])
  })

  assert.deepEqual(problems, [], 'no page reported an error, and none asked for anything elsewhere')
})

test('of a file that has changed since it was picked nothing is copied, and the reason is said', { timeout: 60_000 }, async (t) => {
  const { context } = await browser(t)
  const page = context.pages()[0]
  await page.goto(ADDRESS)
  const path = join(SAVED, 'changing.bin')
  mkdirSync(SAVED, { recursive: true })
  writeFileSync(path, Buffer.alloc(1_000, 1))
  await page.evaluate(() => document.body.append(Object.assign(document.createElement('input'), { type: 'file', id: 'changing' })))
  await page.setInputFiles('#changing', path)
  const copied = () =>
    page.evaluate(async () => {
      const worker = new Worker('./js/copy/worker.js', { type: 'module' })
      const told = new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)))
      worker.postMessage({ id: 1, kind: 'copy', file: document.getElementById('changing').files[0], job: 1, part: '0.1', offset: 0, bytes: 1_000 })
      return told
    })
  assert.match((await copied()).result, /^[0-9a-f]{64}$/)
  writeFileSync(path, Buffer.alloc(10, 2))
  assert.deepEqual(await copied(), { id: 1, error: 'Error: the file was changed or moved since it was picked' })
})
