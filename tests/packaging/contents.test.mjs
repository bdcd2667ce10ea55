// What is in the tarball, and what its package.json promises.

import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'
import { transform } from 'esbuild'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { project, tarball } from './project.mjs'

const installed = (t) => join(project(t, {}), 'node_modules', 'magnetar-jobs')

test('the tarball has exactly the files that it should have', (t) => {
  const folder = installed(t)
  const found = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1).replaceAll('\\', '/'))
  const golden = readFileSync(join(import.meta.dirname, 'contents.golden.txt'), 'utf8').trim().split('\n')
  assert.deepEqual(found.sort(), golden)
})

test('every path that package.json names exists, and it asks for nothing else at run time', (t) => {
  const folder = installed(t)
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const paths = (value) => (typeof value === 'string' ? [value] : Object.values(value).flatMap(paths))
  for (const path of paths(manifest.exports)) assert.ok(existsSync(join(folder, path)), path)
  for (const key of ['dependencies', 'peerDependencies', 'optionalDependencies', 'scripts', 'devDependencies']) {
    assert.equal(manifest[key], undefined, key)
  }
  assert.notEqual(manifest.version, '0.0.0')
})

test('no script waits at its top level', async (t) => {
  const folder = join(installed(t), 'dist')
  const scripts = readdirSync(folder).filter((name) => name.endsWith('.js'))
  assert.ok(scripts.length > 0)
  const noWaiting = { 'top-level-await': false }
  for (const name of scripts) await transform(readFileSync(join(folder, name), 'utf8'), { supported: noWaiting })
  await assert.rejects(transform('await 1', { supported: noWaiting, logLevel: 'silent' }), /Top-level await/)
})

test('publint has nothing to say', async (t) => {
  const pkgDir = installed(t)
  const manifest = JSON.parse(readFileSync(join(pkgDir, 'package.json'), 'utf8'))
  const { messages } = await publint({ pkgDir, level: 'suggestion', strict: true, pack: false })
  assert.deepEqual(messages.map((message) => formatMessage(message, manifest)), [])
})

test('types are found by every way of resolving that knows exports', async () => {
  const { problems = [], types } = await checkPackage(createPackageFromTarballData(readFileSync(tarball)), {
    // No script, so no types.
    excludeEntrypoints: ['./magnetar.wasm', './package.json'],
  })
  assert.equal(types.kind, 'included')
  // `require` gives the ES module, which every Node that the package runs on can do.
  const told = problems.filter(({ kind, resolutionKind }) => kind !== 'CJSResolvesToESM' && resolutionKind !== 'node10')
  assert.deepEqual(told, [])
})
