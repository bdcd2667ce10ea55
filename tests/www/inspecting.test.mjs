/** A job file is looked into, changed, saved and opened again. */

import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ADDRESS, browser, SAVED, saved } from './browser.mjs'

const figures = (page) =>
  page.locator('#stats div').evaluateAll((pairs) => Object.fromEntries(pairs.map((pair) => [pair.children[0].textContent, pair.children[1].textContent])))

test('a job file is inspected, retried, saved and opened again', { timeout: 120_000 }, async (t) => {
  mkdirSync(SAVED, { recursive: true })
  const { context, problems } = await browser(t)
  const page = context.pages()[0]
  await page.goto(`${ADDRESS}#inspect`)
  await page.click('#sample')
  await page.locator('#inspected').waitFor()

  await t.test('jobs, figures and failed chunks with their errors are shown', async () => {
    assert.equal(await page.locator('#jobs tr').count(), 2)
    const shown = await figures(page)
    assert.deepEqual([shown.Chunks, shown.Failed, shown.Processing], ['37', '1', '2'])
    const row = await page.locator('#chunks tr').allTextContents()
    assert.equal(row.length, 1)
    assert.match(row[0], /32failedDecodingError: track 2 has no samples/)
  })

  await t.test('the graph has every chunk and every dependency, and a keyboard walks it', async () => {
    assert.equal(await page.locator('#graph .node').count(), 37)
    assert.equal(await page.locator('#graph path.edge').count(), 8 * 5 + 8 + 2 + 2)
    await page.locator('#graph .node[tabindex="0"]').focus()
    await page.keyboard.press('ArrowRight')
    const name = await page.evaluate(() => document.activeElement.getAttribute('aria-label'))
    assert.match(name, /^Chunk \d0, (done|pending), after 1$/)
    await page.keyboard.press('Enter')
    await page.locator('#chunk[open]').waitFor()
    assert.match(await page.textContent('#chunk-fields'), /stabilise/)
    await page.keyboard.press('Escape')
  })

  await t.test('what failed is retried', async () => {
    await page.click('#chunks button:text("Retry")')
    await page.waitForFunction(() => document.querySelector('#chunks').rows.length === 0)
    assert.equal((await figures(page)).Failed, '0')
  })

  await t.test('the file that is saved has what was changed', async () => {
    const file = await saved(page, 'inspect-export', 'sample.redb')
    await page.click('#inspect-close')
    await page.setInputFiles('#inspect-file', file)
    await page.locator('#inspected').waitFor()
    const shown = await figures(page)
    assert.deepEqual([shown.Chunks, shown.Failed], ['37', '0'])
  })

  await t.test('what is no job file is refused, and what was open stays', async () => {
    const stranger = join(SAVED, 'stranger.redb')
    writeFileSync(stranger, 'this is a letter, and not a job file. '.repeat(500))
    await page.click('#inspect-close')
    await page.setInputFiles('#inspect-file', stranger)
    await page.locator('#inspect-problem', { hasText: 'is not a job file' }).waitFor()
    await page.click('#sample')
    await page.locator('#inspected').waitFor()
    assert.equal(await page.locator('#inspect-problem').isVisible(), false)
  })

  assert.deepEqual(problems, [])
})
