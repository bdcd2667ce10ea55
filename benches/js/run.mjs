// Measures the packed package beside its peers, in one run: each round has every peer once, in every runtime.
//
//   node run.mjs PACKAGE_FOLDER OUT.json [--rounds N] [--seconds S] [--in node,chromium,firefox] [--only PEER,...]
//                [--count N] [--folder WHERE_STORES_ARE] [--sizes CHUNKS,...]
//
// `--sizes` has opening measured for stores of so many chunks each; `--sizes ''` leaves that out, `--only ''` the rest.

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { RUNTIMES } from './plan.mjs'
import { reopened } from './reopen.mjs'
import { markdown, rowOf } from './report.mjs'
import { startChromium, startFirefox, startNode } from './runtimes.mjs'
import { serve } from './serve.mjs'
import { weigh } from './weigh.mjs'

const START = { node: startNode, chromium: startChromium, firefox: startFirefox }

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
    count: { type: 'string', default: '10000' },
    in: { type: 'string', default: 'node,chromium,firefox' },
    only: { type: 'string' },
    folder: { type: 'string', default: tmpdir() },
    sizes: { type: 'string', default: '1000,10000,100000,1000000' },
  },
})
const [packageFolder, out] = positionals.map((path) => resolve(path))
const only = values.only?.split(',')
const sizes = values.sizes.split(',').filter(Boolean).map(Number)
const rounds = Number(values.rounds)
const options = { count: Number(values.count), seconds: Number(values.seconds), oneMax: 5_000, manyMax: 20_000 }

const { url, close } = await serve(packageFolder)
const runtimes = []
for (const runtime of values.in.split(',')) {
  try {
    const started = await START[runtime]({ folder: values.folder, packageFolder, url })
    const peers = RUNTIMES[runtime].filter(({ peer }) => only === undefined || only.includes(peer))
    runtimes.push({ runtime, ...started, peers, rounds: new Map(peers.map(({ peer }) => [peer, []])), absent: [] })
  } catch (error) {
    console.log(`${runtime} is not measured: it cannot be started: ${error.message}`)
    process.exitCode = 1
  }
}

// Before anything is measured: it takes the processor for a while.
const weights = await weigh(packageFolder, runtimes.flatMap(({ peers }) => peers.map(({ peer }) => peer)))

const hasRedis = (() => {
  try {
    return execFileSync('redis-server', ['--version'], { encoding: 'utf8' })
  } catch {
    return undefined
  }
})()

for (let round = 0; round < rounds; round++) {
  for (const { runtime, step, peers, rounds: done, absent } of runtimes) {
    // Nobody is always the first after something else.
    for (const { peer, title } of [...peers.slice(round % peers.length), ...peers.slice(0, round % peers.length)]) {
      if (peer === 'bullmq' && hasRedis === undefined) {
        if (round === 0) absent.push(`${title}: not measured, there is no redis-server here.`)
        continue
      }
      const name = `${peer}-${round}`
      try {
        const figures = { ...(await step(peer, 'work', name, options)), ...(await step(peer, 'opening', name, options)) }
        done.get(peer).push(figures)
        console.log(`${runtime} ${name}: ${JSON.stringify(figures)}`)
      } catch (error) {
        const why = String(error.stderr ?? error.message).trim().split('\n').find((text) => /Error|error|not /.test(text)) ?? String(error)
        absent.push(`${title}: round ${round} failed: ${why}`)
        console.log(`${runtime} ${name}: FAILED: ${why}`)
        process.exitCode = 1
      }
    }
  }
}

for (const started of runtimes) started.sized = await reopened(started, sizes, rounds)

const report = {
  machine: `${cpus().length} x ${cpus()[0].model.trim()}`,
  options: { ...options, rounds, folder: values.folder },
  runtimes: runtimes.map(({ runtime, version, peers, rounds: done, absent, sized }) => ({
    runtime,
    version,
    rows: peers.filter(({ peer }) => done.get(peer).length > 0).map((plan) => rowOf(plan, done.get(plan.peer), weights[plan.peer])),
    absent,
    sized,
  })),
}
console.log(`\n${markdown(report)}`)
writeFileSync(out, `${JSON.stringify(report, null, 2)}\n`)
for (const { close } of runtimes) await close()
close()
