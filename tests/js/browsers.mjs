// Real browsers on pages of the packed package. No tool downloads one: they are the system's.

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { after, before } from 'node:test'
import { pathToFileURL } from 'node:url'
import { folder, root } from './package.mjs'

const require = createRequire(join(root, 'bindings', 'js', 'package.json'))
const TYPES = { '.js': 'text/javascript', '.wasm': 'application/wasm', '.html': 'text/html' }
const PAGE = '<!doctype html><meta charset="utf-8"><title>Magnetar</title><link rel="icon" href="data:,">'

/** Serves the package under `/`, with a page that loads nothing by itself. */
export async function serve() {
  const server = createServer((request, response) => {
    const path = request.url.split('?')[0]
    response.setHeader('content-security-policy', "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' 'unsafe-eval'; img-src data:")
    // A frame without an origin of its own imports what everybody may.
    response.setHeader('access-control-allow-origin', '*')
    // A page of a test's own, and a worker.
    if (path === '/in-frame.html') {
      const script = `<script type="module" src="/in-worker.js?${request.url.split('?')[1]}"></script>`
      return response.setHeader('content-type', 'text/html').end(PAGE + script)
    }
    if (path === '/in-worker.js') {
      return response.setHeader('content-type', 'text/javascript').end(decodeURIComponent(request.url.split('?')[1]))
    }
    if (path === '/') return response.setHeader('content-type', 'text/html').end(PAGE)
    // The package as its next version may be, which speaks another protocol.
    const isNext = path.startsWith('/next/') && path.endsWith('.js')
    const file = join(folder, 'dist', path.replace('/next/', '/'))
    if (!file.startsWith(folder) || !existsSync(file)) return response.writeHead(404).end()
    response.setHeader('content-type', TYPES[extname(file)] ?? 'application/octet-stream')
    response.end(isNext ? readFileSync(file, 'utf8').replaceAll(/(protocol:|\.protocol!==)\w+/g, (_, before) => `${before}99`) : readFileSync(file))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://localhost:${server.address().port}/`, close: () => server.close() }
}

/** A browser on pages of the package, for all tests of a suite: there from its first test to its last. */
export function hosted(name) {
  const host = { site: undefined, running: undefined }
  before(async () => {
    host.site = await serve()
    host.running = await browser(name)
  })
  after(async () => {
    await host.running?.close()
    host.running?.remove()
    host.site?.close()
  })
  return host
}

const CHROMIUM = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
]

/** Starts a browser with a profile; `page()` gives a tab in it with `evaluate(function, argument)`. */
const start = {
  async chromium(profile, { isPrivate, unsafe, keepsPages }) {
    if (keepsPages) {
      const { default: puppeteer } = await import(pathToFileURL(require.resolve('puppeteer-core')).href)
      const browser = await puppeteer.launch({
        executablePath: '/usr/bin/chromium', headless: true, userDataDir: profile, args: CHROMIUM,
        ignoreDefaultArgs: ['--disable-back-forward-cache'],
      })
      return { page: () => browser.newPage(), close: () => browser.close() }
    }
    const { chromium } = require('playwright-core')
    const launch = { executablePath: '/usr/bin/chromium', args: unsafe ? [...CHROMIUM, `--host-resolver-rules=MAP ${unsafe} 127.0.0.1`] : CHROMIUM }
    const started = isPrivate ? await chromium.launch(launch) : undefined
    const context = await (started?.newContext() ?? chromium.launchPersistentContext(profile, launch))
    return {
      page: () => context.newPage(),
      close: () => (started ?? context).close(),
      kill: () => killTree(profile),
      /** What the origin of a page may keep, in bytes; none is what the browser gives. */
      async quota(page, bytes) {
        const devtools = await context.newCDPSession(page)
        await devtools.send('Storage.overrideQuotaForOrigin', { origin: new URL(page.url()).origin, quotaSize: bytes })
      },
    }
  },
  async firefox(profile, { isPrivate, unsafe, quotaKb }) {
    const { default: puppeteer } = await import(pathToFileURL(require.resolve('puppeteer-core')).href)
    const browser = await puppeteer.launch({
      browser: 'firefox', executablePath: '/usr/bin/firefox-esr', headless: true, userDataDir: profile, protocolTimeout: 600_000,
      extraPrefsFirefox: {
        ...(isPrivate && { 'browser.privatebrowsing.autostart': true }),
        ...(unsafe && { 'network.dns.localDomains': unsafe }),
        ...(quotaKb && { 'dom.quotaManager.temporaryStorage.fixedLimit': quotaKb }),
      },
    })
    return { page: () => browser.newPage(), close: () => browser.close(), kill: () => browser.process().kill('SIGKILL') }
  },
}

/** Ends the browser of a profile, all of its processes at once, as a power cut would. */
function killTree(profile) {
  const { execFileSync } = require('node:child_process')
  const lines = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' }).split('\n')
  for (const line of lines) {
    if (!line.includes(profile)) continue
    try {
      process.kill(Number(line.trim().split(' ')[0]), 'SIGKILL')
    } catch {
      // It ended with another.
    }
  }
}

/**
 * A browser with a fresh profile, which goes with it. `isPrivate`: its windows are; `unsafe`: a host name that is this
 * machine, and that the browser does not know to be; `quotaKb`: what all origins may keep, in Firefox; `keepsPages`: in
 * the back/forward cache, as a user's Chromium does and a driver's does not.
 */
export async function browser(name, profile = mkdtempSync(join(tmpdir(), `magnetar-${name}-`)), options = {}) {
  const started = await start[name](profile, options)
  return { ...started, profile, remove: () => rmSync(profile, { recursive: true, force: true, maxRetries: 10 }) }
}

/** The browsers to test: all, or the one that MAGNETAR_BROWSER names. */
export const names = process.env.MAGNETAR_BROWSER ? [process.env.MAGNETAR_BROWSER] : ['chromium', 'firefox']
