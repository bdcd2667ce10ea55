// Tabs of one origin that open, work, crash, hang, stand still and close at moments that a seed draws: no promise is left
// waiting, nothing acknowledged is lost, no chunk is done twice, and whoever is left can go on.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { folder, rounds } from './package.mjs'
import { Run } from './simulated-run.mjs'
import { scripts } from './simulated.mjs'

const loaded = scripts(folder)
const first = Number(process.env.MAGNETAR_SEED ?? 20260901)
/** So many lines are printed of a run that failed. */
const TRACE = Number(process.env.MAGNETAR_TRACE ?? 150)

/** Runs one seed; gives the run. */
async function simulated(seed) {
  const run = new Run(seed, loaded)
  const rejected = (error) => run.world.failed(`a promise that nobody waits for was rejected: ${error?.stack}`)
  process.on('unhandledRejection', rejected)
  try {
    await run.go()
  } catch (error) {
    run.world.failed(error.stack)
  } finally {
    process.off('unhandledRejection', rejected)
  }
  if (run.world.fault !== undefined) {
    console.log(run.world.trace.slice(-TRACE).join('\n'))
    assert.fail(`${run.world.fault}; run it again with MAGNETAR_SEED=${seed}, and a number in MAGNETAR_TRACE for more of what happened`)
  }
  return run
}

test('tabs that crash, hang, stand still and close lose nothing and leave nobody waiting', async () => {
  const count = rounds(250, 20_000)
  console.log(`simulation: MAGNETAR_SEED=${first}`)
  const sums = {}
  for (let round = 0; round < count; round++) {
    const { counts } = await simulated(first + round)
    for (const [name, number] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + number
  }
  console.log(`${count} runs: ${Object.entries(sums).map(([name, number]) => `${number} ${name}`).join(', ')}`)
})

test('a run is a function of its seed', async () => {
  const [one, two] = [await simulated(first), await simulated(first)]
  assert.deepEqual(one.world.trace, two.world.trace)
})
