// Starts what measures, and has it do one step of one peer in a fresh page or process.

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { chromium } from 'playwright-core'
import puppeteer from 'puppeteer-core'

/** A step that takes longer than this is given up. */
const STEP_MS_MAX = 180_000

/** Node, in processes of their own that are killed when they are done; stores in a folder of their own. */
export async function startNode({ folder, packageFolder }) {
  const stores = mkdtempSync(join(folder, 'magnetar-bench-node-'))
  const env = { ...process.env, MAGNETAR_PACKAGE: packageFolder }
  return {
    version: process.version,
    async step(peer, step, name, options) {
      const args = [join(import.meta.dirname, 'process.mjs'), peer, step, join(stores, name), JSON.stringify(options)]
      const { stdout } = await promisify(execFile)(process.execPath, args, { env, timeout: STEP_MS_MAX }).catch((error) => {
        // It ends itself once it has said its figures.
        if (error.signal === 'SIGKILL' && error.stdout !== '') return error
        throw error
      })
      return JSON.parse(stdout.trim().split('\n').at(-1))
    },
    close: async () => rmSync(stores, { recursive: true, force: true }),
  }
}

/** Chromium, with a profile on the disk as a user's; the page of each step is ended when it is done. */
export async function startChromium({ folder, url }) {
  const profile = mkdtempSync(join(folder, 'magnetar-bench-chromium-'))
  const context = await chromium.launchPersistentContext(profile, { executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] })
  return {
    version: context.browser()?.version() ?? '',
    async step(peer, step, name, options) {
      const page = await context.newPage()
      try {
        return JSON.parse(await within(inPage(page, url, [peer, step, name, options])))
      } finally {
        await page.close()
      }
    },
    async close() {
      await context.close()
      rmSync(profile, { recursive: true, force: true })
    },
  }
}

async function inPage(page, url, args) {
  await page.goto(url)
  await page.waitForFunction(() => globalThis.step !== undefined)
  return page.evaluate((given) => globalThis.step(...given), args)
}

/** Firefox, the same. */
export async function startFirefox({ folder, url }) {
  const profile = mkdtempSync(join(folder, 'magnetar-bench-firefox-'))
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: '/usr/bin/firefox-esr',
    headless: true,
    userDataDir: profile,
    protocolTimeout: STEP_MS_MAX,
  })
  return {
    version: await browser.version(),
    async step(peer, step, name, options) {
      const page = await browser.newPage()
      try {
        await page.goto(url)
        await page.waitForFunction(() => globalThis.step !== undefined)
        return JSON.parse(await page.evaluate((...given) => globalThis.step(...given), peer, step, name, options))
      } finally {
        await page.close()
      }
    },
    async close() {
      await browser.close()
      rmSync(profile, { recursive: true, force: true })
    },
  }
}

async function within(work) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${STEP_MS_MAX} ms`)), STEP_MS_MAX)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
