// The types, as a user's compiler sees them.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { node, project, run } from './project.mjs'

const here = import.meta.dirname
const text = (name) => readFileSync(join(here, 'app', name), 'utf8')
const consumer = { 'consumer.ts': text('consumer.ts') }
/** For whoever has the types of Node. */
const streams = { 'streams.ts': text('streams.ts') }

const web = { lib: ['ES2023', 'ESNext.Disposable', 'DOM', 'DOM.Iterable', 'DOM.AsyncIterable'], types: [] }
// Without any type of a browser's.
const ofNode = { types: ['node'], typeRoots: [join(here, 'node_modules', '@types')] }
const server = { lib: ['ES2023', 'ESNext.Disposable'], ...ofNode }
const settings = {
  'an ES module of Node': { type: 'module', module: 'nodenext', moduleResolution: 'nodenext', ...web },
  'CommonJS of Node': { type: 'commonjs', module: 'nodenext', moduleResolution: 'nodenext', ...web },
  'a program of Node alone': { type: 'module', module: 'nodenext', moduleResolution: 'nodenext', ...server },
  'a program of Node beside the types of a browser': { type: 'module', module: 'nodenext', moduleResolution: 'nodenext', ...web, ...ofNode },
  'what a bundler takes': { type: 'module', module: 'esnext', moduleResolution: 'bundler', ...web },
}

for (const [what, { type, ...resolution }] of Object.entries(settings)) {
  test(`the types hold in ${what}`, async (t) => {
    const compilerOptions = {
      ...resolution,
      target: 'es2022',
      strict: true,
      exactOptionalPropertyTypes: true,
      noEmit: true,
      // The package's own declarations are looked at too.
      skipLibCheck: false,
    }
    const files = resolution.types.length > 0 ? { ...consumer, ...streams } : consumer
    const config = JSON.stringify({ compilerOptions, include: Object.keys(files) })
    const cwd = project(t, { ...files, 'tsconfig.json': config }, { type })
    const tsc = join(here, 'node_modules', 'typescript', 'bin', 'tsc')
    const { stdout } = await run(node(24), [tsc, '--project', cwd], { cwd }).catch((failed) => failed)
    assert.equal(stdout, '')
  })
}
