// What a page loads for each peer: its scripts bundled and minified, and its binary files, in brotli.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync } from 'node:zlib'
import { build } from 'esbuild'

const modules = join(import.meta.dirname, 'node_modules')

/** Bytes in brotli, by peer. */
export async function weigh(packageFolder, peers) {
  const at = (...parts) => join(modules, ...parts)
  const sqlite = at('@sqlite.org', 'sqlite-wasm', 'dist')
  const wa = at('wa-sqlite')
  const pglite = at('@electric-sql', 'pglite', 'dist')
  const magnetar = () => sum(['browser.js', 'worker-browser.js', 'magnetar.wasm'].map((name) => join(packageFolder, 'dist', name)))
  const wholeWa = [join(wa, 'dist', 'wa-sqlite.mjs'), join(wa, 'src', 'examples', 'AccessHandlePoolVFS.js'), join(wa, 'src', 'sqlite-api.js')]
  const scales = {
    magnetar,
    'magnetar-loop': magnetar,
    sahpool: async () => (await bundled([join(sqlite, 'index.mjs')])) + sum([join(sqlite, 'sqlite3.wasm')]),
    'wa-sqlite': async () => (await bundled(wholeWa)) + sum([join(wa, 'dist', 'wa-sqlite.wasm')]),
    dexie: () => bundled([at('dexie', 'dist', 'dexie.mjs')]),
    pglite: async () =>
      (await bundled([join(pglite, 'index.js')])) + sum(['pglite.wasm', 'pglite.data', 'initdb.wasm'].map((name) => join(pglite, name))),
  }
  const weighed = {}
  for (const peer of peers) if (peer in scales) weighed[peer] ??= await scales[peer]()
  return weighed
}

const brotli = (bytes) => brotliCompressSync(bytes).length
const sum = (files) => files.map((file) => brotli(readFileSync(file))).reduce((a, b) => a + b, 0)

async function bundled(entries) {
  const contents = entries.map((entry) => `export * from ${JSON.stringify(entry)}`).join('\n')
  const options = { bundle: true, minify: true, format: 'esm', write: false, outdir: '/', logLevel: 'silent' }
  const { outputFiles } = await build({
    ...options,
    stdin: { contents, resolveDir: import.meta.dirname },
    platform: 'browser',
    external: ['node:*', 'fs', 'path', 'url', 'module', 'crypto', 'worker_threads'],
  })
  return outputFiles.map(({ contents }) => brotli(contents)).reduce((a, b) => a + b, 0)
}
