// The types, as a user's compiler sees them.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { node, project, run } from './project.mjs'

const here = import.meta.dirname
const consumer = readFileSync(join(here, 'app', 'consumer.ts'), 'utf8')

const settings = {
  'an ES module of Node': { type: 'module', module: 'nodenext', moduleResolution: 'nodenext' },
  'CommonJS of Node': { type: 'commonjs', module: 'nodenext', moduleResolution: 'nodenext' },
  'what a bundler takes': { type: 'module', module: 'esnext', moduleResolution: 'bundler' },
}

for (const [what, { type, ...resolution }] of Object.entries(settings)) {
  test(`the types hold in ${what}`, async (t) => {
    const compilerOptions = {
      ...resolution,
      target: 'es2022',
      lib: ['ES2023', 'ESNext.Disposable', 'DOM', 'DOM.Iterable', 'DOM.AsyncIterable'],
      types: [],
      strict: true,
      exactOptionalPropertyTypes: true,
      noEmit: true,
      // The package's own declarations are looked at too.
      skipLibCheck: false,
    }
    const config = JSON.stringify({ compilerOptions, include: ['consumer.ts'] })
    const cwd = project(t, { 'consumer.ts': consumer, 'tsconfig.json': config }, { type })
    const tsc = join(here, 'node_modules', 'typescript', 'bin', 'tsc')
    const { stdout } = await run(node(24), [tsc, '--project', cwd], { cwd }).catch((failed) => failed)
    assert.equal(stdout, '')
  })
}
