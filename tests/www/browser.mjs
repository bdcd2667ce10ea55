/** A real Chromium with a fresh profile, and what the tests ask of its pages. */

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const { chromium } = createRequire(new URL('../../bindings/js/package.json', import.meta.url))('playwright-core')

/** The page's address; `cargo xtask test page` serves it. */
export const ADDRESS = needed('MAGNETAR_PAGE')
/** The same under a name that no browser takes for secure; `INSECURE_FLAG` makes it known. */
export const INSECURE_ADDRESS = ADDRESS.replace(/\/\/[^:/]+/, '//magnetar.test')
export const INSECURE_FLAG = '--host-resolver-rules=MAP magnetar.test 127.0.0.1'
/** Where what was saved from the page goes. */
export const SAVED = needed('MAGNETAR_SAVED')

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
]

function needed(name) {
  const value = process.env[name]
  assert.ok(value, `${name} is not set: run cargo xtask test page`)
  return value
}

/**
 * Starts a browser, with further flags and preferences of a user; gives its context, and what went wrong in its pages so
 * far. It ends with the test.
 */
export async function browser(test, { flags = [], preferences, ...options } = {}) {
  const profile = mkdtempSync(join(tmpdir(), 'magnetar-page-'))
  if (preferences !== undefined) {
    mkdirSync(join(profile, 'Default'))
    writeFileSync(join(profile, 'Default', 'Preferences'), JSON.stringify(preferences))
  }
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [...FLAGS, ...flags],
    acceptDownloads: true,
    viewport: { width: 1400, height: 900 },
    ...options,
  })
  const problems = []
  const watch = (page) => {
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()))
    page.on('pageerror', (error) => problems.push(error.stack))
    page.on('request', (request) => {
      const url = request.url()
      if (![ADDRESS, INSECURE_ADDRESS].some((own) => url.startsWith(own)) && !/^(blob|data|about):/.test(url)) problems.push(`asked for ${url}`)
    })
  }
  context.pages().forEach(watch)
  context.on('page', watch)
  test.after(async () => {
    await context.close()
    rmSync(profile, { recursive: true, force: true })
  })
  return { context, problems }
}

/** The number that an element shows. */
export async function shown(page, id) {
  return Number((await page.textContent(`#${id}`)).replaceAll(',', ''))
}

/** Waits until an element shows at least a number. */
export async function reaches(page, id, number) {
  const isThere = ([id, number]) => Number(document.getElementById(id).textContent.replaceAll(',', '')) >= number
  await page.waitForFunction(isThere, [id, number])
}

/** Waits until the log has a line. */
export async function logged(page, text) {
  await page.locator('#log li', { hasText: text }).first().waitFor()
}

/** Ends a tab's process at once, as the system does when memory is short. */
export async function kill(page) {
  const crashed = page.waitForEvent('crash')
  const session = await page.context().newCDPSession(page)
  // The answer never comes: who would give it is dead.
  session.send('Page.crash').catch(() => {})
  await crashed
  await page.close()
}

/** Clicks, and gives where the file is that the page saved by that. */
export async function saved(page, id, name) {
  const [download] = await Promise.all([page.waitForEvent('download'), page.click(`#${id}`)])
  const path = join(SAVED, name)
  await download.saveAs(path)
  return path
}

/** Drops files or folders of this machine on a place of the page, as a user does from another window. */
export async function drop(page, { x, y }, ...files) {
  const session = await page.context().newCDPSession(page)
  const data = { items: [], files, dragOperationsMask: 1 }
  for (const type of ['dragEnter', 'dragOver', 'drop']) await session.send('Input.dispatchDragEvent', { type, x, y, data })
  await session.detach()
}
