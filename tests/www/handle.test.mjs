/** A browser that gives handles of files spares the user a second pick. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ADDRESS, browser, logged, reaches, shown } from './browser.mjs'

test('a file that was picked through a handle is read again after a reload, without asking', { timeout: 90_000 }, async (t) => {
  const { context, problems } = await browser(t)
  const page = context.pages()[0]
  // The picker is the browser's own and out of reach; what it gives is a handle like this one.
  await page.addInitScript(() => {
    window.showOpenFilePicker = async () => [await (await navigator.storage.getDirectory()).getFileHandle('source.bin')]
  })
  await page.goto(ADDRESS)
  await page.evaluate(async () => {
    const handle = await (await navigator.storage.getDirectory()).getFileHandle('source.bin', { create: true })
    const writer = await handle.createWritable()
    for (let megabyte = 0; megabyte < 120; megabyte++) await writer.write(new Uint8Array(1 << 20).fill(megabyte))
    await writer.close()
  })
  await page.click('#file')
  await page.locator('#job[data-state="running"]').waitFor()
  await page.selectOption('#lanes', '1')
  await reaches(page, 'count-done', 3)
  await page.reload()
  await logged(page, 'Reading source.bin from the file you picked before')
  assert.ok((await shown(page, 'count-done')) >= 3, 'what was done stays done')
  await page.locator('#job[data-state="finished"]').waitFor()
  assert.equal(await shown(page, 'count-done'), 120)
  assert.deepEqual(problems, [])
})
