// The package in projects of bundlers: built as their users build, run in a real Chromium.

import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { build as esbuild } from 'esbuild'
import { chromium } from 'playwright-core'
import { build as vite, createServer as viteServer } from 'vite'
import webpack from 'webpack'
import { expected } from './app/work.mjs'
import { project } from './project.mjs'
import { serve } from './serve.mjs'

const app = (name) => readFileSync(join(import.meta.dirname, 'app', name), 'utf8')
const page = (entry) => `import { open } from '${entry}'\nimport { show } from './page.mjs'\nshow(open)\n`
const html = (script, head = '') => `<!doctype html><meta charset="utf-8">${head}<script type="module" src="${script}"></script>`

let browser
before(async () => {
  browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] })
})
after(() => browser.close())

/** A project with a page that uses an entry of the package. */
function projectOf(t, entry, main = page(entry)) {
  const files = { 'main.mjs': main, 'page.mjs': app('page.mjs'), 'work.mjs': app('work.mjs') }
  return project(t, { ...files, 'index.html': html('./main.mjs') })
}

/** Opens the page, and again after it was left; what it shows must be right both times. */
async function check(t, url) {
  const context = await browser.newContext()
  t.after(() => context.close())
  const tab = await context.newPage()
  const said = []
  tab.on('console', (message) => message.type() === 'error' && !/favicon/.test(message.location().url) && said.push(message.text()))
  tab.on('pageerror', (error) => said.push(String(error)))
  const { begun, finished } = expected('opfs')
  assert.deepEqual(await stepOf(tab, url), begun)
  assert.deepEqual(await stepOf(tab, `${url}?go-on`), finished)
  assert.deepEqual(said, [])
}

async function stepOf(tab, url) {
  await tab.goto(url)
  const result = await tab.waitForFunction(() => globalThis.result, undefined, { timeout: 60_000 })
  const text = await result.jsonValue()
  assert.match(text, /^\{/)
  return JSON.parse(text)
}

async function checkBuilt(t, folder) {
  const { url, missing } = await serve(t, folder)
  await check(t, url)
  assert.deepEqual(missing, [])
}

const filesOf = (folder) => readdirSync(folder, { recursive: true }).filter((name) => statSync(join(folder, name)).isFile())
const modules = (folder) => filesOf(folder).filter((name) => name.endsWith('.wasm'))

const quiet = { configFile: false, logLevel: 'error', clearScreen: false }

function webpacked(context, path) {
  const compiler = webpack({ context, mode: 'production', entry: './main.mjs', performance: false, output: { path, filename: 'main.js' } })
  return new Promise((done, fail) => {
    compiler.run((error, stats) => {
      const problems = error ?? (stats.hasErrors() || stats.hasWarnings() ? new Error(stats.toString('errors-warnings')) : undefined)
      compiler.close(() => (problems === undefined ? done() : fail(problems)))
    })
  })
}

for (const [entry, wasm] of [['magnetar-jobs', 1], ['magnetar-jobs/inline', 0]]) {
  test(`Vite builds what uses ${entry}`, async (t) => {
    const root = projectOf(t, entry)
    await vite({ ...quiet, root })
    assert.equal(modules(join(root, 'dist')).length, wasm)
    await checkBuilt(t, join(root, 'dist'))
  })

  test(`webpack builds what uses ${entry}`, async (t) => {
    const root = projectOf(t, entry)
    const out = join(root, 'dist')
    await webpacked(root, out)
    assert.equal(modules(out).length, wasm)
    writeFileSync(join(out, 'index.html'), html('./main.js'))
    await checkBuilt(t, out)
  })
}

test('Vite serves what uses the package while it is being written', async (t) => {
  const root = projectOf(t, 'magnetar-jobs')
  const server = await viteServer({ ...quiet, root, server: { port: 0, host: 'localhost' } })
  t.after(() => server.close())
  await server.listen()
  await check(t, server.resolvedUrls.local[0])
})

test('esbuild builds what uses the entry in one script, into one script', async (t) => {
  const root = projectOf(t, 'magnetar-jobs/inline')
  const out = join(root, 'dist')
  const { warnings } = await esbuild({ absWorkingDir: root, entryPoints: ['main.mjs'], bundle: true, minify: true, format: 'iife', outdir: out })
  assert.deepEqual(warnings, [])
  writeFileSync(join(out, 'index.html'), html('./main.js'))
  assert.deepEqual(filesOf(out).sort(), ['index.html', 'main.js'])
  await checkBuilt(t, out)
})

for (const [how, worker] of [['by name', 'magnetar-jobs/worker'], ['in a script that imports it', './own-worker.mjs']]) {
  test(`esbuild, which follows no URLs, is given the module, and the worker ${how}`, async (t) => {
    const main = `import * as jobs from 'magnetar-jobs'
  import wasm from 'magnetar-jobs/magnetar.wasm'
  import { show } from './page.mjs'
  const worker = () => new Worker('./worker.js', { type: 'module' })
  show((name) => jobs.open(name, { worker, wasm: new URL(wasm, location.href) }))`
    const root = projectOf(t, 'magnetar-jobs', main)
    writeFileSync(join(root, 'own-worker.mjs'), `import 'magnetar-jobs/worker'\n`)
    const out = join(root, 'dist')
    const { warnings } = await esbuild({
      absWorkingDir: root,
      entryPoints: { main: 'main.mjs', worker },
      bundle: true,
      minify: true,
      format: 'esm',
      loader: { '.wasm': 'file' },
      outdir: out,
    })
    assert.deepEqual(warnings, [])
    writeFileSync(join(out, 'index.html'), html('./main.js'))
    await checkBuilt(t, out)
  })
}

test('without a bundler an import map is all that is needed', async (t) => {
  const root = projectOf(t, 'magnetar-jobs')
  const out = join(root, 'dist')
  mkdirSync(out)
  cpSync(join(root, 'node_modules', 'magnetar-jobs', 'dist'), join(out, 'jobs'), { recursive: true })
  for (const name of ['main.mjs', 'page.mjs', 'work.mjs']) cpSync(join(root, name), join(out, name))
  const map = JSON.stringify({ imports: { 'magnetar-jobs': './jobs/browser.js' } })
  // The engine needs nothing but 'wasm-unsafe-eval'; the import map stands in the page.
  const policy = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' 'unsafe-inline'"
  const head = `<meta http-equiv="Content-Security-Policy" content="${policy}"><script type="importmap">${map}</script>`
  writeFileSync(join(out, 'index.html'), html('./main.mjs', head))
  await checkBuilt(t, out)
})
