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
    // A store of ours as well, which a page cannot read: that is another thing than a file that is damaged.
    const sqlite = join(SAVED, 'jobs.db')
    writeFileSync(sqlite, `SQLite format 3\0${'a page of SQLite '.repeat(500)}`)
    await page.setInputFiles('#inspect-file', sqlite)
    await page.locator('#inspect-problem', { hasText: 'jobs.db is not a job file that can be opened: it is a file of SQLite' }).waitFor()
    assert.doesNotMatch(await page.textContent('#inspect-problem'), /damaged/)
    await page.click('#sample')
    await page.locator('#inspected').waitFor()
    assert.equal(await page.locator('#inspect-problem').isVisible(), false)
  })

  assert.deepEqual(problems, [])
})

/** Makes a job file in a page that shows none, and has it inspected: `fill` fills `made` with what is `given`. */
async function inspectNew(page, fill, given) {
  await page.goto('about:blank')
  await page.goto(`${ADDRESS}#inspect`)
  await page.evaluate(async () => {
    const { open } = await import('./magnetar/dist/browser.js')
    globalThis.made = await open(':memory:')
  })
  await page.evaluate(fill, given)
  await page.evaluate(async () => {
    const files = new DataTransfer()
    files.items.add(new File([await made.exportFile()], 'made.redb'))
    document.getElementById('inspect-file').files = files.files
    document.getElementById('inspect-file').dispatchEvent(new Event('change'))
  })
  await page.locator('#inspected').waitFor()
}

test('chunks that are too large for one page are all shown', { timeout: 60_000 }, async (t) => {
  const { context, problems } = await browser(t)
  const page = context.pages()[0]
  await inspectNew(page, () => {
    const chunks = Array.from({ length: 40 }, (_, id) => ({ id, payload: 'x'.repeat(1_000_000), depends_on: id === 39 ? [0] : [] }))
    return made.importManifest(1, { chunks })
  })
  assert.equal(await page.locator('#graph .node').count(), 40)
  const rows = () => page.locator('#chunks tr').count()
  for (let shown = await rows(); shown < 40; shown = await rows()) {
    await page.click('#more', { timeout: 10_000 })
    await page.waitForFunction((shown) => document.getElementById('chunks').rows.length > shown, shown)
  }
  assert.equal(await page.locator('#more').isVisible(), false)
  assert.deepEqual(problems, [])
})

test('whoever retries by the keyboard goes on where they were', { timeout: 60_000 }, async (t) => {
  const { context, problems } = await browser(t)
  const page = context.pages()[0]
  await inspectNew(page, async () => {
    await made.importManifest(1, { chunks: [{ id: 1 }, { id: 2 }, { id: 3 }] })
    for (const chunk of await made.claimPendingBatch(1, 3)) await made.fail(chunk, 'no', { permanent: true })
  })
  const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.id)
  const left = (count) => page.waitForFunction((count) => document.getElementById('chunks').rows.length === count, count)
  await page.focus('[aria-label="Retry chunk 2"]')
  await page.keyboard.press('Enter')
  await left(2)
  assert.equal(await focused(), 'Retry chunk 3')
  await page.focus('#retry-all')
  await page.keyboard.press('Enter')
  await left(0)
  assert.equal(await focused(), 'retry-all')
  assert.equal(await page.getAttribute('#retry-all', 'aria-disabled'), 'true')
  assert.deepEqual(problems, [])
})

test('a chunk that is not there is said so, and what is shown goes on', { timeout: 60_000 }, async (t) => {
  const { context, problems } = await browser(t)
  const page = context.pages()[0]
  await inspectNew(page, async () => {
    const chunks = Array.from({ length: 400 }, (_, id) => ({ id, depends_on: id === 0 ? [] : [id - 1] }))
    await made.importManifest(1, { chunks })
    await made.fail(await made.claimPending(1), 'no', { permanent: true })
  })
  const around = async (chunk) => {
    await page.fill('#graph-chunk', String(chunk))
    await page.click('#graph-around button')
  }
  await around(400)
  await page.locator('#inspect-problem', { hasText: 'This job has no chunk 400.' }).waitFor()
  await around(300)
  await page.locator('#graph-note', { hasText: 'nearest to chunk 300' }).waitFor()
  assert.equal(await page.isHidden('#inspect-problem'), true)
  await around(400)
  await page.click('#retry-all')
  await page.locator('#stats div', { hasText: 'Failed0' }).waitFor()
  await page.locator('#chunks-note', { hasText: 'None.' }).waitFor()
  await page.selectOption('#status', 'pending')
  await page.locator('#chunks-note', { hasText: '50 chunks shown' }).waitFor()
  // Twice before the first one is answered.
  await page.evaluate(() => [1, 2].forEach(() => document.getElementById('more').click()))
  await page.locator('#chunks-note', { hasText: '150 chunks shown' }).waitFor()
  const shown = await page.locator('#chunks .link').allTextContents()
  assert.equal(new Set(shown).size, 150)
  assert.deepEqual(problems, [])
})

test('a graph that cannot be drawn as a whole is not in the way of its job', { timeout: 120_000 }, async (t) => {
  const { context, problems } = await browser(t)
  const page = context.pages()[0]
  const rows = (count) => page.waitForFunction((count) => document.getElementById('chunks').rows.length === count, count)

  await t.test('each chunk waits for all before it', async () => {
    await inspectNew(page, () => {
      const chunks = Array.from({ length: 150 }, (_, id) => ({ id, depends_on: Array.from({ length: id }, (_, before) => before) }))
      return made.importManifest(1, { chunks })
    })
    await rows(50)
    assert.equal(await page.locator('#graph path.edge').count(), (150 * 149) / 2)
  })

  await t.test('more chunks wait for one than a list may have', async () => {
    await inspectNew(page, () => {
      const chunks = Array.from({ length: 100_002 }, (_, id) => ({ id, depends_on: id === 0 ? [] : [0] }))
      return made.importManifest(1, { chunks })
    })
    await rows(50)
    await page.locator('#graph-note', { hasText: 'So many chunks wait for chunk 0' }).waitFor()
    await page.fill('#graph-chunk', '9')
    await page.click('#graph-around button')
    await page.locator('#graph .node').nth(1).waitFor()
  })

  await t.test('one waits for thousands that are not drawn', async () => {
    await inspectNew(page, () => {
      const chunks = Array.from({ length: 9_000 }, (_, id) => ({ id, depends_on: id === 0 ? Array.from({ length: 8_999 }, (_, other) => other + 1) : [] }))
      return made.importManifest(1, { chunks })
    })
    await rows(50)
    await page.fill('#graph-chunk', '0')
    await page.click('#graph-around button')
    await page.locator('#graph-note', { hasText: '150 of 9,000 chunks' }).waitFor()
    assert.equal(await page.locator('#graph .node').count(), 150)
  })

  assert.deepEqual(problems, [])
})

test('files that are opened and closed quicker than they can be read are shown one after the other', { timeout: 60_000 }, async (t) => {
  const { context, problems } = await browser(t)
  const page = context.pages()[0]
  await inspectNew(page, () => made.importManifest(1, { chunks: Array.from({ length: 9_000 }, (_, id) => ({ id })) }))
  const pick = (names) =>
    page.evaluate(async (names) => {
      const [large, small] = [await made.exportFile(), await (await (await import('./magnetar/dist/browser.js')).open(':memory:')).exportFile()]
      for (const name of names) {
        const files = new DataTransfer()
        files.items.add(new File([name === 'large.redb' ? large : small], name))
        document.getElementById('inspect-file').files = files.files
        document.getElementById('inspect-file').dispatchEvent(new Event('change'))
      }
    }, names)

  await t.test('what was picked last is what is shown', async () => {
    await pick(['large.redb', 'small.redb'])
    await page.locator('#inspected-name', { hasText: 'small.redb' }).waitFor()
    await page.locator('#inspected-facts', { hasText: '0 jobs' }).waitFor()
    await page.locator('#one-job').waitFor({ state: 'hidden' })
  })

  await t.test('a file that is closed in the midst of its reading is closed without a word, and the keyboard goes on', async () => {
    await pick(['large.redb'])
    await page.locator('#inspected-name', { hasText: 'large.redb' }).waitFor()
    await page.evaluate(() => {
      document.getElementById('status').dispatchEvent(new Event('change'))
      document.getElementById('inspect-close').click()
    })
    await page.locator('#inspect-start').waitFor()
    await page.waitForFunction(() => document.activeElement.id === 'inspect')
    assert.equal(await page.isHidden('#inspect-problem'), true)
  })

  assert.deepEqual(problems, [])
})

test('what a file says keeps to its place', { timeout: 60_000 }, async (t) => {
  const { context, problems } = await browser(t, { viewport: { width: 360, height: 740 } })
  const page = context.pages()[0]
  const imported = (manifest) => made.importManifest(5, manifest)

  await t.test('a name that turns what follows does not turn the heading', async () => {
    await inspectNew(page, imported, { job: { name: 'tab\u202Egnol' }, chunks: [{ id: 0 }] })
    const [name, rest] = await page.evaluate(() => {
      const left = (node) => {
        const range = document.createRange()
        range.selectNodeContents(node)
        return range.getBoundingClientRect().left
      }
      return [...document.getElementById('one-job-title').childNodes].filter((node) => node.textContent !== '').map(left)
    })
    assert.ok(name < rest, 'the name stands in front')
    assert.equal(await page.textContent('#one-job-title'), 'tab\u202Egnol (job 5)')
  })

  await t.test('a name of nothing is none', async () => {
    await inspectNew(page, imported, { job: { name: '' }, chunks: [{ id: 0 }] })
    await page.locator('#one-job-title', { hasText: /^Job 5$/ }).waitFor()
    assert.equal(await page.locator('#jobs td').nth(1).textContent(), '–')
  })

  await t.test('a long error is cut in the list, and whole in the dialog', async () => {
    const error = 'a long story. '.repeat(220)
    await inspectNew(page, async (error) => {
      await made.importManifest(5, { chunks: [{ id: 0 }] })
      await made.fail(await made.claimPending(5), error, { permanent: true })
    }, error)
    await page.locator('#chunks tr').waitFor()
    assert.ok((await page.locator('#chunks tr').boundingBox()).height < 120)
    await page.click('#chunks button.link')
    await page.locator('#chunk-fields', { hasText: error.trim() }).waitFor()
  })

  await t.test('a graph opens with what it is about in sight', async () => {
    const leaves = Array.from({ length: 120 }, (_, leaf) => ({ id: leaf + 1, depends_on: [0] }))
    await inspectNew(page, imported, { chunks: [{ id: 0 }, ...leaves] })
    await page.locator('#graph .node').nth(120).waitFor()
    const isSeen = () => {
      const [pane, box] = ['#graph', '#graph .centre'].map((at) => document.querySelector(at).getBoundingClientRect())
      return box.top >= pane.top && box.bottom <= pane.bottom && box.left >= pane.left && box.right <= pane.right
    }
    await page.waitForFunction(isSeen)
  })

  assert.deepEqual(problems, [])
})
