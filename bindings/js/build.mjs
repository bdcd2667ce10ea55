// Makes the npm package out of the engine's module, the face and the template, and says what it weighs.
//
//   node build.mjs MODULE_WITH_NAMES.wasm GLUE.js OUT_FOLDER VERSION

import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { build } from 'esbuild'

/** What a page loads, the module, the glue and the face, may not grow. The goal is 230 KiB: see benches/profiles.md. */
const BROTLI_BYTES_MAX = 450 * 1024

const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, '..', '..')
const [named, glue, out, version] = process.argv.slice(2)
const dist = join(out, 'dist')
const wasm = join(dist, 'magnetar.wasm')

rmSync(out, { recursive: true, force: true })
mkdirSync(dist, { recursive: true })

// The types of the glue stand beside the sources while these are compiled.
cpSync(glue, join(here, 'src', 'magnetar.js'))
cpSync(glue.replace(/\.js$/, '.d.ts'), join(here, 'src', 'magnetar.d.ts'))
// What an entry in one file carries is written when it is made.
writeFileSync(join(here, 'src', 'packed.d.ts'), 'export const packed: { readonly module: string; readonly worker: string }\n')
const compiled = join(out, '..', 'compiled')
rmSync(compiled, { recursive: true, force: true })
execFileSync(process.execPath, [join(here, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', here, '--outDir', compiled], {
  stdio: 'inherit',
})
cpSync(glue, join(compiled, 'magnetar.js'))
mkdirSync(join(dist, 'types'))
for (const entry of ['open-browser', 'inline-browser', 'worker-browser']) copyTypes(entry)

// Functions with like names have like bodies: side by side they are packed better. The names themselves are left out.
// Of the passes only the lightest pay: the heavier ones make the module smaller and its compressed form larger.
const wasmOpt = join(here, 'node_modules', 'binaryen', 'bin', 'wasm-opt')
const passes = ['-O1', '--duplicate-function-elimination', '--reorder-functions-by-name']
execFileSync(process.execPath, [wasmOpt, named, ...passes, '--output', wasm], { stdio: 'inherit' })
await bundle({ browser: 'open-browser', 'worker-browser': 'worker-browser' }, 'browser')
await bundle({ node: 'open-node', 'worker-node': 'worker-node' }, 'node')
const module = gzipSync(readFileSync(wasm), { level: 9 }).toString('base64')
for (const [platform, entry] of [['browser', 'inline'], ['node', 'inline-node']]) {
  const worker = readFileSync(join(dist, `worker-${platform}.js`), 'utf8')
  writeFileSync(join(compiled, 'packed.js'), `export const packed = ${JSON.stringify({ module, worker })}\n`)
  await bundle({ [entry]: `inline-${platform}` }, platform)
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

/** The types of a module, and of what they name. */
function copyTypes(name) {
  const to = join(dist, 'types', `${name}.d.ts`)
  if (existsSync(to)) return
  const text = readFileSync(join(compiled, `${name}.d.ts`), 'utf8')
  writeFileSync(to, text)
  for (const [, named] of text.matchAll(/(?:from|import\() ?['"]\.\/([\w-]+)\.js['"]/g)) copyTypes(named)
}

async function bundle(entries, platform) {
  await build({
    entryPoints: Object.fromEntries(Object.entries(entries).map(([name, entry]) => [name, join(compiled, `${entry}.js`)])),
    outdir: dist,
    bundle: true,
    format: 'esm',
    platform,
    target: 'es2022',
    // Node prints the line that an error comes from: it should be one that can be read.
    minify: platform === 'browser',
    legalComments: 'none',
    // The glue warns whoever calls it otherwise than the face does.
    drop: platform === 'browser' ? ['console'] : [],
    logLevel: 'warning',
  })
}
