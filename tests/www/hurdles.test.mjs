/** What is in the way of a copy: long names, little room, scripts that are not served, and a user who is quicker than the page. */

import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { test } from 'node:test'
import { ADDRESS, browser, SAVED } from './browser.mjs'

/** Picks a file that is made up in the page, of a byte that is given. */
async function pick(page, name, megabytes, byte = 1) {
  await page.evaluate(([name, megabytes, byte]) => {
    const files = new DataTransfer()
    files.items.add(new File(Array(megabytes).fill(new Uint8Array(1 << 20).fill(byte)), name, { lastModified: 1 }))
    const input = document.getElementById('file')
    input.files = files.files
    input.dispatchEvent(new Event('change'))
  }, [name, megabytes, byte])
}

const finished = (page, name) => page.locator('#job[data-state="finished"] #name', { hasText: name }).waitFor()

test('a file with the longest of names is copied, and found again under it', { timeout: 60_000 }, async (t) => {
  const { context, problems } = await browser(t)
  const page = context.pages()[0]
  await page.goto(ADDRESS)
  const name = '漢'.repeat(255)
  await pick(page, name, 2)
  await finished(page, name)
  await page.click('#job .crumb a')
  await page.locator('#earlier-list li', { hasText: `${'漢'.repeat(84)}…` }).waitFor()
  assert.deepEqual(problems, [])
})

test('what is copied already needs no room', { timeout: 60_000 }, async (t) => {
  const { context, problems } = await browser(t)
  const page = context.pages()[0]
  await page.goto(ADDRESS)
  await pick(page, 'large.bin', 4)
  await finished(page, 'large.bin')
  await page.evaluate(() => (navigator.storage.estimate = async () => ({ quota: 5_000_000, usage: 4_500_000 })))
  await page.click('#job .crumb a')
  await page.locator('#start').waitFor()
  await pick(page, 'other.bin', 4)
  await page.locator('#problem', { hasText: 'other.bin has 4 MiB, and this browser gives the page 488 KiB' }).waitFor()
  await pick(page, 'large.bin', 4)
  await finished(page, 'large.bin')
  assert.deepEqual(problems, [])
})

test('what of a part did not fit takes no room', { timeout: 60_000 }, async (t) => {
  mkdirSync(SAVED, { recursive: true })
  const { context } = await browser(t)
  const page = context.pages()[0]
  await page.goto(ADDRESS)
  const session = await context.newCDPSession(page)
  await session.send('Storage.overrideQuotaForOrigin', { origin: new URL(ADDRESS).origin, quotaSize: 3 << 20 })
  const [told, left] = await page.evaluate(async () => {
    const worker = new Worker('./js/copy/worker.js', { type: 'module' })
    const told = new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)))
    worker.postMessage({ id: 1, kind: 'copy', file: new File([new Uint8Array(8 << 20)], 'a'), job: 1, part: '0.1', offset: 0, bytes: 8 << 20 })
    const answer = await told
    const copies = await (await navigator.storage.getDirectory()).getDirectoryHandle('copies')
    return [answer, await Array.fromAsync((await copies.getDirectoryHandle('1')).keys())]
  })
  assert.match(told.error, /^QuotaExceededError/)
  assert.deepEqual(left, [])
})

test('where the workers cannot be started that is said', { timeout: 60_000 }, async (t) => {
  const { context } = await browser(t)
  const page = context.pages()[0]
  await page.goto(ADDRESS)
  await context.route('**/js/copy/worker.js', (route) => route.abort())
  await pick(page, 'large.bin', 2)
  await page.locator('#problem', { hasText: '2 chunks of large.bin could not be copied' }).waitFor()
  await context.unroute('**/js/copy/worker.js')
  await page.click('#retry')
  await finished(page, 'large.bin')
})

test('a file that comes late is not taken for the one of another copy', { timeout: 60_000 }, async (t) => {
  const { context, problems } = await browser(t)
  const page = context.pages()[0]
  await page.goto(ADDRESS)
  await pick(page, 'second.bin', 120, 2)
  await page.locator('#job[data-state="running"]').waitFor()
  await page.click('#pause')
  await page.locator('#job[data-state="paused"]').waitFor()
  const second = new URL(page.url()).hash
  const other = await context.newPage()
  await other.goto(ADDRESS)
  await pick(other, 'first.bin', 2)
  await finished(other, 'first.bin')
  await page.goto('about:blank')
  await page.goto(other.url())
  await finished(page, 'first.bin')
  await page.evaluate(async () => {
    const copies = await (await navigator.storage.getDirectory()).getDirectoryHandle('copies')
    const folder = await copies.getDirectoryHandle(location.hash.split('/')[1])
    for await (const part of folder.values()) {
      const writer = await part.createWritable()
      await writer.write('damage')
      await writer.close()
    }
    // The tabs are counted, and asked for the file, when the test says so.
    const query = navigator.locks.query.bind(navigator.locks)
    const counting = new Promise((resolve) => (globalThis.count = resolve))
    navigator.locks.query = () => counting.then(query)
  })
  await page.click('#verify')
  await page.locator('#problem', { hasText: '2 chunks of the copy of first.bin' }).waitFor()
  await page.evaluate((second) => (location.hash = second), second)
  await page.locator('#name', { hasText: 'second.bin' }).waitFor()
  await page.evaluate(() => count())
  await page.locator('#need-text', { hasText: 'pick second.bin again' }).waitFor()
  assert.equal(await page.getAttribute('#job', 'data-state'), 'idle')
  assert.deepEqual(problems, [])
})

test('whoever uses the keyboard goes on where a button was that is gone', { timeout: 60_000 }, async (t) => {
  const { context, problems } = await browser(t)
  const page = context.pages()[0]
  await page.goto(ADDRESS)
  const focused = (id) => page.waitForFunction((id) => document.activeElement.id === id, id)
  await pick(page, 'large.bin', 120)
  await page.locator('#job[data-state="running"]').waitFor()
  await page.focus('#pause')
  await page.keyboard.press('Enter')
  await page.locator('#job[data-state="paused"]').waitFor()
  await page.focus('#crash')
  await page.keyboard.press('Enter')
  await page.locator('#log li', { hasText: 'A new one answered' }).waitFor()
  await focused('crash')
  await page.focus('#pause')
  await page.keyboard.press('Enter')
  await finished(page, 'large.bin')
  await focused('download')
  await page.focus('#verify')
  await page.keyboard.press('Enter')
  await page.locator('#log li', { hasText: 'large.bin: verified' }).waitFor()
  await focused('verify')
  assert.deepEqual(problems, [])
})
