/** Everybody can use the page: names for all controls, the keyboard, small screens, both themes. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { ADDRESS, browser, INSECURE_ADDRESS, INSECURE_FLAG } from './browser.mjs'

const CONTROLS = new Set(['button', 'link', 'textbox', 'combobox', 'spinbutton', 'progressbar', 'checkbox', 'image', 'application', 'dialog'])
const SMALL = { name: 'a file with quite a long name that has to fit somewhere.bin', mimeType: 'application/octet-stream', buffer: Buffer.alloc(3_000_000, 7) }

async function nameless(page) {
  const session = await page.context().newCDPSession(page)
  const { nodes } = await session.send('Accessibility.getFullAXTree')
  await session.detach()
  const isNameless = ({ ignored, role, name }) => !ignored && CONTROLS.has(role?.value) && !name?.value?.trim()
  return nodes.filter(isNameless).map(({ role, backendDOMNodeId }) => `${role.value} ${backendDOMNodeId}`)
}

async function tooWide(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
}

for (const colorScheme of ['light', 'dark']) {
  test(`at 360 pixels in the ${colorScheme} theme nothing is cut off and every control has a name`, { timeout: 60_000 }, async (t) => {
    const { context, problems } = await browser(t, { viewport: { width: 360, height: 740 }, colorScheme, reducedMotion: 'reduce' })
    const page = context.pages()[0]
    await page.goto(ADDRESS)
    await page.locator('#start').waitFor()
    assert.deepEqual([await tooWide(page), await nameless(page)], [0, []], 'the start')
    await page.setInputFiles('#file', SMALL)
    await page.locator('#job[data-state="finished"]').waitFor()
    assert.deepEqual([await tooWide(page), await nameless(page)], [0, []], 'a copy')
    await page.click('nav a[href="#inspect"]')
    await page.click('#sample')
    await page.locator('#inspected').waitFor()
    assert.deepEqual([await tooWide(page), await nameless(page)], [0, []], 'the inspection')
    assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), 'light dark')
    await page.click('#theme')
    assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), 'light')
    assert.deepEqual(problems, [])
  })
}

test('in forced colours one sees how far a copy is, which view is shown and which job', { timeout: 60_000 }, async (t) => {
  const { context, problems } = await browser(t, { forcedColors: 'active' })
  const page = context.pages()[0]
  await page.goto(ADDRESS)
  const style = (selector, property, pseudo) => page.evaluate(([selector, property, pseudo]) => getComputedStyle(document.querySelector(selector), pseudo)[property], [selector, property, pseudo])
  await page.setInputFiles('#file', SMALL)
  await page.locator('#job[data-state="finished"]').waitFor()
  const edge = (selector) => style(selector, 'borderBottomColor')
  assert.notEqual(await edge('nav a[aria-current]'), await edge('nav a:not([aria-current])'))
  assert.deepEqual([await style('#bar', 'forcedColorAdjust'), await style('#bar', 'borderTopStyle')], ['none', 'solid'])
  await page.click('nav a[href="#inspect"]')
  await page.click('#sample')
  await page.locator('#inspected').waitFor()
  const told = async (row) => [await style(`#jobs tr${row}`, 'outlineStyle'), await style('#stack', 'forcedColorAdjust')]
  assert.deepEqual([await told('[aria-current]'), await told(':not([aria-current])')], [['solid', 'none'], ['none', 'none']])
  assert.deepEqual(problems, [])
})

test('what can be done about a chunk is in sight at every width', { timeout: 60_000 }, async (t) => {
  const { context, problems } = await browser(t)
  const page = context.pages()[0]
  await page.goto(ADDRESS)
  await inspects(page)
  await page.selectOption('#status', '')
  await page.locator('#chunks-note', { hasText: '37 chunks shown' }).waitFor()
  for (const width of [320, 360, 384, 385, 641, 700, 880, 881, 1000]) {
    await page.setViewportSize({ width, height: 740 })
    const hidden = await page.evaluate(() => [...document.querySelectorAll('table.list')].map(({ parentElement: { scrollWidth, clientWidth } }) => scrollWidth - clientWidth))
    assert.deepEqual(hidden, [0, 0], `at ${width} pixels`)
  }
  assert.deepEqual(problems, [])
})

/** Opens the sample, where nothing can be copied. */
async function inspects(page) {
  await page.click('nav a[href="#inspect"]')
  await page.click('#sample')
  await page.locator('#inspected').waitFor()
}

test('a page that is not secure says what it lacks, and inspects', { timeout: 60_000 }, async (t) => {
  const { context, problems } = await browser(t, { flags: [INSECURE_FLAG] })
  const page = context.pages()[0]
  await page.goto(INSECURE_ADDRESS)
  assert.equal(await page.evaluate(() => isSecureContext), false)
  await page.locator('#problem', { hasText: 'no Web Locks, no private files, no SHA-256' }).waitFor()
  await page.locator('nav a[href="#copy"][aria-current]').waitFor()
  await inspects(page)
  assert.deepEqual(problems, [])
})

test('where the user lets no page keep anything, it says so, has its themes, and inspects', { timeout: 60_000 }, async (t) => {
  const cookies = 2
  const { context, problems } = await browser(t, { preferences: { profile: { default_content_setting_values: { cookies } } } })
  const page = context.pages()[0]
  await page.goto(ADDRESS)
  assert.equal(await page.evaluate(() => { try { return typeof localStorage } catch (error) { return error.name } }), 'SecurityError')
  await page.locator('#problem', { hasText: 'The job store cannot be opened' }).waitFor()
  await page.click('#theme')
  assert.equal(await page.textContent('#theme span'), 'light')
  await inspects(page)
  assert.deepEqual(problems, [])
})

test('the keyboard alone picks a view, reaches the controls and reads the map', { timeout: 60_000 }, async (t) => {
  const { context, problems } = await browser(t)
  const page = context.pages()[0]
  await page.goto(ADDRESS)
  const reached = new Set()
  const tab = async () => {
    await page.keyboard.press('Tab')
    const [id, hasOutline] = await page.evaluate(() => {
      const focused = document.activeElement
      const shown = focused.matches('input[type="file"]') ? focused.parentElement : focused
      return [focused.id || focused.getAttribute('href') || focused.tagName, getComputedStyle(shown).outlineStyle !== 'none']
    })
    assert.ok(hasOutline, `the focus on ${id} is seen`)
    reached.add(id)
  }
  const tabToTheEnd = async () => {
    for (let step = 0; step < 40; step++) {
      await tab()
      if (await page.evaluate(() => document.activeElement.id === 'remove')) return
    }
  }
  for (let step = 0; step < 5; step++) await tab()
  for (const wanted of ['#content', '#copy', '#inspect', 'theme', 'file']) assert.ok(reached.has(wanted), `${wanted} of ${[...reached]}`)
  await page.setInputFiles('#file', SMALL)
  await page.locator('#job[data-state="finished"]').waitFor()
  // What was told last on the way is not told of what is done.
  assert.equal(await page.textContent('#announce'), '')
  reached.clear()
  await page.focus('#theme')
  await tabToTheEnd()
  for (const wanted of ['download', 'verify', 'checksums', 'map', 'log', 'export', 'remove']) assert.ok(reached.has(wanted), `${wanted} of ${[...reached]}`)
  await page.focus('#map')
  await page.keyboard.press('End')
  await page.locator('#map-chunk', { hasText: 'Chunk 2: done' }).waitFor()
  await page.keyboard.press('ArrowLeft')
  await page.locator('#map-chunk', { hasText: 'Chunk 1: done, 1 MiB from byte 1,048,576' }).waitFor()
  assert.match(await page.getAttribute('#map', 'aria-label'), /^Map of 3 chunks: 3 done\./)
  assert.deepEqual(problems, [])
})

test('text has the contrast that everybody can read, in both themes', () => {
  const css = readFileSync(new URL('../../www/style/base.css', import.meta.url), 'utf8')
  const colours = new Map([...css.matchAll(/--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)/g)].map(([, name, ...pair]) => [name, pair]))
  const light = (hex) => {
    const [r, g, b] = [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16) / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const contrast = (a, b) => {
    const [high, low] = [light(a), light(b)].sort((x, y) => y - x)
    return (high + 0.05) / (low + 0.05)
  }
  const pairs = [
    ...['paper', 'raised', 'sunken'].flatMap((ground) => ['ink', 'soft'].map((text) => [text, ground, 4.5])),
    ['accent', 'paper', 4.5],
    ['accent', 'raised', 4.5],
    ['on-accent', 'accent', 4.5],
    // Marks and the edges of controls are no text.
    ...['done', 'work', 'bad', 'good', 'idle', 'edge'].map((mark) => [mark, 'paper', 3]),
  ]
  for (const [text, ground, least] of pairs) {
    for (const theme of [0, 1]) {
      const found = contrast(colours.get(text)[theme], colours.get(ground)[theme])
      assert.ok(found >= least, `${text} on ${ground} in theme ${theme}: ${found.toFixed(2)}`)
    }
  }
})
