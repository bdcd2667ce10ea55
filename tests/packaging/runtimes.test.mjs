// The package in Deno and in Bun: the entry of Node, with the same lock on a file.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { expected } from './app/work.mjs'
import { node, project, run } from './project.mjs'

const work = readFileSync(join(import.meta.dirname, 'app', 'work.mjs'), 'utf8')
const programs = join(import.meta.dirname, 'node_modules', '.bin')
const runtimes = { Deno: [join(programs, 'deno'), 'run', '--allow-all'], Bun: [join(programs, 'bun')] }
const hold = `import { open } from 'magnetar-jobs'
const store = await open('store')
console.log('open')
setInterval(() => {}, 1_000)`
const look = `import { open } from 'magnetar-jobs'
const { code } = await open('store').then((store) => store.close().then(() => ({ code: 'opened' })), (error) => error)
console.log(code)
process.exit()`

for (const [name, [program, ...args]] of Object.entries(runtimes)) {
  for (const entry of ['magnetar-jobs', 'magnetar-jobs/inline']) {
    test(`in ${name}, a program imports ${entry}`, async (t) => {
      const main = `import { open } from '${entry}'\nimport { begin, goOn } from './work.mjs'
const begun = await begin(open, 'store')
const finished = await goOn(open, 'store.redb')
console.log(JSON.stringify({ begun, finished }))`
      const cwd = project(t, { 'main.mjs': main, 'work.mjs': work })
      const { stdout, stderr } = await run(program, [...args, 'main.mjs'], { cwd })
      assert.deepEqual(JSON.parse(stdout), expected('file'))
      assert.equal(stderr, '')
    })
  }

  test(`${name} and Node keep each other out of a file, and a kill frees it`, async (t) => {
    const cwd = project(t, { 'hold.mjs': hold, 'look.mjs': look })
    const ours = [program, ...args]
    for (const [[holder, ...first], [looker, ...second]] of [[ours, [node(24)]], [[node(24)], ours], [ours, ours]]) {
      const child = spawn(holder, [...first, 'hold.mjs'], { cwd, stdio: ['ignore', 'pipe', 'inherit'], detached: true })
      const ended = new Promise((resolve) => child.on('close', resolve))
      // The program behind npm's launcher as well.
      const kill = () => process.kill(-child.pid, 'SIGKILL')
      t.after(() => child.exitCode === null && child.signalCode === null && kill())
      await new Promise((resolve, reject) => {
        child.stdout.once('data', resolve)
        child.once('exit', () => reject(new Error(`${holder} ended by itself`)))
      })
      const looked = () => run(looker, [...second, 'look.mjs'], { cwd }).then(({ stdout }) => stdout.trim())
      assert.equal(await looked(), 'locked', `${holder} holds it`)
      kill()
      await ended
      assert.equal(await looked(), 'opened', `${holder} was killed`)
    }
  })
}
