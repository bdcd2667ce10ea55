// Makes the npm package out of the engine's module, the face and the template, and says what it weighs.
//
//   node build.mjs MODULE.wasm GLUE.js OUT_FOLDER VERSION

import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { build } from 'esbuild'

/** What a page loads: the module, the glue and the face. */
const BROTLI_BYTES_MAX = 230 * 1024

const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, '..', '..')
const [wasm, glue, out, version] = process.argv.slice(2)
const dist = join(out, 'dist')

rmSync(out, { recursive: true, force: true })
mkdirSync(dist, { recursive: true })

// The types of the glue stand beside the sources while these are compiled.
cpSync(glue, join(here, 'src', 'magnetar.js'))
cpSync(glue.replace(/\.js$/, '.d.ts'), join(here, 'src', 'magnetar.d.ts'))
const compiled = join(out, '..', 'compiled')
rmSync(compiled, { recursive: true, force: true })
execFileSync(process.execPath, [join(here, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', here, '--outDir', compiled], {
  stdio: 'inherit',
})
cpSync(glue, join(compiled, 'magnetar.js'))
cpSync(compiled, join(dist, 'types'), { recursive: true, filter: (path) => !path.endsWith('.js') })

cpSync(wasm, join(dist, 'magnetar.wasm'))
await bundle({ browser: 'open-browser', 'worker-browser': 'worker-browser' }, 'browser')
await bundle({ node: 'open-node', 'worker-node': 'worker-node' }, 'node')

for (const [name, worker, platform] of [['inline', 'worker-browser', 'browser'], ['inline-node', 'worker-node', 'node']]) {
  const data = {
    wasm: readFileSync(wasm).toString('base64'),
    worker: readFileSync(join(dist, `${worker}.js`), 'utf8'),
  }
  const text = Object.entries(data).map(([key, value]) => `export const ${key} = ${JSON.stringify(value)}\n`)
  writeFileSync(join(compiled, 'inline-data.js'), text.join(''))
  await bundle({ [name]: name.replace('inline', 'open-inline') }, platform)
}

cpSync(join(root, 'pkg-template'), out, { recursive: true })
cpSync(join(root, 'LICENSE'), join(out, 'LICENSE'))
const manifest = JSON.parse(readFileSync(join(out, 'package.json'), 'utf8'))
writeFileSync(join(out, 'package.json'), `${JSON.stringify({ ...manifest, version }, null, 2)}\n`)

let sum = 0
for (const name of ['magnetar.wasm', 'browser.js', 'worker-browser.js']) {
  const bytes = readFileSync(join(dist, name))
  const brotli = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_LGWIN]: 22 } }).length
  sum += brotli
  console.log(`${name.padEnd(20)} raw ${bytes.length}  gzip ${gzipSync(bytes, { level: 9 }).length}  brotli ${brotli}`)
}
console.log(`${'browser bundle'.padEnd(20)} brotli ${sum} of at most ${BROTLI_BYTES_MAX}`)
if (sum > BROTLI_BYTES_MAX) {
  console.error('the browser bundle is over its budget')
  process.exitCode = 1
}

async function bundle(entries, platform) {
  await build({
    entryPoints: Object.fromEntries(Object.entries(entries).map(([name, entry]) => [name, join(compiled, `${entry}.js`)])),
    outdir: dist,
    bundle: true,
    format: 'esm',
    platform,
    target: 'es2022',
    minify: true,
    legalComments: 'none',
    logLevel: 'warning',
  })
}
