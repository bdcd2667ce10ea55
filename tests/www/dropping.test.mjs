/** Files are dropped on the page: anywhere, into either view, and what is no file too. */

import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ADDRESS, browser, drop, SAVED } from './browser.mjs'

const HEADER = { x: 600, y: 20 }
const BELOW = { x: 600, y: 1380 }

test('whatever is dropped wherever is taken by the view that is shown', { timeout: 60_000 }, async (t) => {
  mkdirSync(SAVED, { recursive: true })
  const files = ['dropped.bin', 'below.bin', 'behind.bin', 'letter.redb'].map((name) => join(SAVED, name))
  for (const file of files) writeFileSync(file, 'some bytes')
  const [dropped, below, behind, letter] = files
  const { context, problems } = await browser(t, { viewport: { width: 1400, height: 1400 } })
  const page = context.pages()[0]
  await page.goto(ADDRESS)
  const finished = (name) => page.locator('#job[data-state="finished"] #name', { hasText: name }).waitFor()

  await t.test('on the header and below the content, a file is copied', async () => {
    await drop(page, HEADER, dropped)
    await finished('dropped.bin')
    assert.equal(await page.textContent('#facts'), '10 bytes in 1 chunk')
    await drop(page, BELOW, below)
    await finished('below.bin')
  })

  await t.test('behind a question that is open, nothing changes', async () => {
    await page.click('#remove')
    await drop(page, HEADER, behind)
    await page.click('#confirm button[value="keep"]')
    assert.equal(await page.textContent('#name'), 'below.bin')
  })

  await t.test('a folder, or two files at once, are refused in words, and no job is made of them', async () => {
    await page.click('#job .crumb a')
    await page.locator('#start').waitFor()
    await drop(page, HEADER, dropped, behind)
    await page.locator('#problem', { hasText: 'That was 2 at once: drop a single file' }).waitFor()
    await drop(page, HEADER, SAVED)
    await page.locator('#problem', { hasText: 'page is a folder: drop a single file' }).waitFor()
    await page.reload()
    await page.locator('#earlier-list li').nth(1).waitFor()
    assert.equal(await page.locator('#earlier-list li').count(), 2)
  })

  await t.test('in the other view a file is inspected', async () => {
    await page.click('nav a[href="#inspect"]')
    await drop(page, HEADER, letter)
    await page.locator('#inspect-problem', { hasText: 'letter.redb is not a job file' }).waitFor()
    await drop(page, HEADER, SAVED)
    await page.locator('#inspect-problem', { hasText: 'is a folder' }).waitFor()
  })

  assert.deepEqual([context.pages().length, new URL(page.url()).pathname], [1, '/'], 'no file was opened in the place of the page')
  assert.deepEqual(problems, [])
})
