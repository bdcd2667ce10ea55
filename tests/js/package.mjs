// The packed package, unpacked where every test finds it: what is tested is what is published.

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
const made = join(root, 'target', 'npm')

/** The folder of the package, unpacked from its tarball. */
export const folder = join(made, 'unpacked', 'package')

/** Unpacks the tarball anew. Called once, before the tests. */
export function unpack() {
  const tarball = readdirSync(made).find((name) => name.endsWith('.tgz'))
  if (tarball === undefined) throw new Error('there is no package: cargo xtask pkg')
  rmSync(dirname(folder), { recursive: true, force: true })
  mkdirSync(dirname(folder), { recursive: true })
  execFileSync('tar', ['-xzf', join(made, tarball), '-C', dirname(folder)])
}

/** The native program, built: opens a file, does as it is told, and holds it until its input ends. */
export function program() {
  execFileSync('cargo', ['build', '--quiet', '--example', 'job_file', '--features', 'redb'], { cwd: root, stdio: 'inherit' })
  return join(resolve(root, process.env.CARGO_TARGET_DIR ?? 'target'), 'debug', 'examples', 'job_file')
}

/** The package as Node sees it. */
export function load() {
  if (!existsSync(folder)) unpack()
  return import(pathToFileURL(join(folder, 'dist', 'node.js')).href)
}

/** The seed of a random test: MAGNETAR_SEED where it is set. Printed, so that a failure can be run again. */
export function random(name) {
  let state = BigInt(process.env.MAGNETAR_SEED ?? 20260901)
  console.log(`${name}: MAGNETAR_SEED=${state}`)
  return (below) => {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn
    return Number((state >> 33n) % BigInt(below))
  }
}

/** Times as many rounds where MAGNETAR_PROOF=full asks for them. */
export function rounds(few, full) {
  return process.env.MAGNETAR_PROOF === 'full' ? full : few
}
