// The package in projects of Node: as ES module and as CommonJS, in every version that it promises to run in.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { build } from 'esbuild'
import { expected } from './app/work.mjs'
import { node, project, run, tarball } from './project.mjs'

const work = readFileSync(join(import.meta.dirname, 'app', 'work.mjs'), 'utf8')
const body = `
  const begun = await begin(open, 'store')
  const finished = await goOn(open, 'store.redb')
  console.log(JSON.stringify({ begun, finished }))`

/** How a program gets hold of the package. */
const ways = {
  'an ES module imports it': { 'main.mjs': `import { open } from 'magnetar-jobs'\nimport { begin, goOn } from './work.mjs'\n${body}` },
  'an ES module imports the entry in one script': {
    'main.mjs': `import { open } from 'magnetar-jobs/inline'\nimport { begin, goOn } from './work.mjs'\n${body}`,
  },
  'a script has the engine in its own thread': {
    'main.mjs': `import * as jobs from 'magnetar-jobs'\nimport { begin, goOn } from './work.mjs'
const open = (name) => jobs.open(name, { inline: true })\n${body}`,
  },
  'CommonJS requires it': {
    type: 'commonjs',
    'main.cjs': `const { open } = require('magnetar-jobs')\nconst { begin, goOn } = require('./work.mjs')\n;(async () => {${body}\n})()`,
  },
  'CommonJS imports it when it is needed': {
    type: 'commonjs',
    'main.cjs': `;(async () => {\nconst { open } = await import('magnetar-jobs')\nconst { begin, goOn } = await import('./work.mjs')\n${body}\n})()`,
  },
}

for (const [way, { type, ...files }] of Object.entries(ways)) {
  test(`in Node, ${way}`, async (t) => {
    const [main] = Object.keys(files)
    for (const major of [22, 24]) {
      // Each with a folder of its own, so that neither finds the other's store.
      const cwd = project(t, { ...files, 'work.mjs': work }, { type })
      const { stdout, stderr } = await run(node(major), [main], { cwd })
      assert.deepEqual(JSON.parse(stdout), expected('file'), `Node ${major}`)
      // Node 22 says once that requiring an ES module is new; nothing else is said.
      assert.doesNotMatch(stderr, /SQLite|Error/, `Node ${major}`)
      if (type !== 'commonjs') assert.equal(stderr, '', `Node ${major}`)
    }
  })
}

test('a program bundled into one file of CommonJS carries everything', async (t) => {
  const cwd = project(t, { ...ways['an ES module imports the entry in one script'], 'work.mjs': work })
  // CommonJS has no top-level await, and a program of a user wraps it.
  const main = `import { open } from 'magnetar-jobs/inline'\nimport { begin, goOn } from './work.mjs'\n;(async () => {${body}\n})()`
  const stdin = { contents: main, resolveDir: cwd }
  const { warnings } = await build({ stdin, absWorkingDir: cwd, bundle: true, platform: 'node', format: 'cjs', outfile: join(cwd, 'alone', 'main.cjs') })
  assert.deepEqual(warnings, [])
  const { stdout } = await run(node(22), ['main.cjs'], { cwd: join(cwd, 'alone') })
  assert.deepEqual(JSON.parse(stdout), expected('file'))
})

test('a Node that is too old is refused by npm, and by the package in words', async (t) => {
  const main = `import { open } from 'magnetar-jobs'
const memory = await open(':memory:')
await memory.close()
console.log(memory.persistence)
await open('store').then(() => console.log('opened'), ({ name, code, message }) => console.log(name, code, message))`
  const cwd = project(t, { 'main.mjs': main })
  const { stdout } = await run(node(20), ['main.mjs'], { cwd })
  assert.match(stdout, /^memory\nMagnetarError unavailable .*v20\.\d+\.\d+.* use Node 22\.13 or newer\n$/)
  const npm = join((await run('npm', ['root', '--global'])).stdout.trim(), 'npm', 'bin', 'npm-cli.js')
  const install = [npm, 'install', '--engine-strict', '--offline', '--no-audit', '--no-fund', tarball]
  await assert.rejects(run(node(20), install, { cwd }), /EBADENGINE[\s\S]*>=22\.13/)
})
