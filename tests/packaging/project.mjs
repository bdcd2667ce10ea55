// A project of a user: a folder outside the repository with the packed package installed in it.

import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const here = import.meta.dirname
const root = join(here, '..', '..')

/** The tarball that `cargo xtask pkg` made. */
export const tarball = (() => {
  const folder = join(root, 'target', 'npm')
  const [found, ...others] = readdirSync(folder).filter((name) => name.endsWith('.tgz'))
  if (found === undefined || others.length > 0) throw new Error(`${folder} must have exactly one tarball: remove it, and have cargo xtask pkg make one`)
  return join(folder, found)
})()

/** The Node of a major version. */
export function node(major) {
  const modules = major === 20 ? here : join(root, 'bindings', 'js')
  return join(modules, 'node_modules', `node${major}`, 'bin', 'node')
}

/** Makes a project with these files, installs the package, and removes everything when the test ends. */
export function project(t, files, { type = 'module', install = ['--offline'] } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'magnetar-packaging-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const manifest = { name: 'a-user', private: true, type, ...files['package.json'] }
  for (const [name, content] of Object.entries({ ...files, 'package.json': JSON.stringify(manifest) })) {
    writeFileSync(join(folder, name), content)
  }
  execFileSync('npm', ['install', ...install, '--no-audit', '--no-fund', '--loglevel=error', tarball], { cwd: folder })
  return folder
}

/** Runs a program to its end; a failure has what it printed. */
export async function run(program, args, options) {
  return promisify(execFile)(program, args, { timeout: 120_000, ...options })
}
