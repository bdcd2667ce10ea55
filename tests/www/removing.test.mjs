/** A copy is removed while others work on it, look at it, or crashed over it: nothing stays, and everybody is told. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ADDRESS, browser, reaches } from './browser.mjs'

/** Picks a file that is made up in the page. */
async function pick(page, name, megabytes) {
  await page.evaluate(([name, megabytes]) => {
    const files = new DataTransfer()
    files.items.add(new File(Array(megabytes).fill(new Uint8Array(1 << 20)), name, { lastModified: 1 }))
    const input = document.getElementById('file')
    input.files = files.files
    input.dispatchEvent(new Event('change'))
  }, [name, megabytes])
}

/** The folders of copies that are there. */
const folders = (page) =>
  page.evaluate(async () => {
    const root = await navigator.storage.getDirectory()
    return Array.fromAsync((await root.getDirectoryHandle('copies', { create: true })).keys())
  })

async function remove(page) {
  await page.click('#remove')
  await page.click('#confirm button[value="remove"]')
  await page.locator('#start').waitFor()
}

test('a copy that is removed is removed for every tab', { timeout: 120_000 }, async (t) => {
  const { context, problems } = await browser(t)
  const page = context.pages()[0]
  await page.goto(ADDRESS)

  await t.test('another tab that copies it stops, says why, and leaves nothing behind', async () => {
    await pick(page, 'large.bin', 200)
    await page.locator('#job[data-state="running"]').waitFor()
    await page.selectOption('#lanes', '1')
    await reaches(page, 'count-done', 3)
    const other = await context.newPage()
    await other.goto(page.url())
    await other.locator('#job').waitFor()
    assert.equal(await page.getAttribute('#job', 'data-state'), 'running', 'it is removed before the end')
    await remove(other)
    await page.locator('#problem', { hasText: 'large.bin was removed in another tab' }).waitFor()
    await page.locator('#start').waitFor()
    assert.deepEqual(await folders(page), [])
    assert.equal(new URL(page.url()).hash, '#copy/all')
    await other.close()
  })

  await t.test('another tab that only shows it says so too', async () => {
    await pick(page, 'small.bin', 2)
    await page.locator('#job[data-state="finished"]').waitFor()
    const other = await context.newPage()
    await other.goto(page.url())
    await other.locator('#job[data-state="finished"]').waitFor()
    await remove(other)
    await page.locator('#problem', { hasText: 'small.bin was removed in another tab' }).waitFor()
    await other.close()
  })

  await t.test('whoever leaves the question by Escape keeps the copy, after a removal too', async () => {
    await pick(page, 'first.bin', 2)
    await page.locator('#job[data-state="finished"]').waitFor()
    await remove(page)
    await pick(page, 'second.bin', 2)
    await page.locator('#job[data-state="finished"]').waitFor()
    await page.click('#remove')
    await page.keyboard.press('Escape')
    await page.locator('#confirm').waitFor({ state: 'hidden' })
    await page.click('#verify')
    await page.locator('#log li', { hasText: 'second.bin: verified' }).waitFor()
  })

  await t.test('what a tab that was ended left without a job goes when the page is opened', async () => {
    const [kept] = await folders(page)
    await page.evaluate(async () => {
      const copies = await (await navigator.storage.getDirectory()).getDirectoryHandle('copies')
      const stale = await copies.getDirectoryHandle('12345', { create: true })
      await stale.getFileHandle('0.1', { create: true })
    })
    await page.reload()
    while ((await folders(page)).includes('12345')) await page.waitForTimeout(50)
    assert.deepEqual(await folders(page), [kept], 'what has a job stays')
  })

  assert.deepEqual(problems, [])
})
