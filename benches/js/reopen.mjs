// How long a store takes to open, by the size of its file: after its tab or process was killed, and after its closing.

import { median } from './report.mjs'

/** The peer that is measured, by runtime. */
const PEERS = { node: 'magnetar-node', chromium: 'magnetar', firefox: 'magnetar' }

/** Rows of a runtime: medians of the rounds. */
export async function reopened({ runtime, step }, sizes, rounds) {
  const peer = PEERS[runtime]
  const rows = []
  for (const count of sizes) {
    const name = `sized-${count}`
    const times = { killedMs: [], closedMs: [] }
    const { bytes } = await step(peer, 'growing', name, { count })
    for (let round = 0; round < rounds; round++) times.killedMs.push((await step(peer, 'reopening', name, {})).openMs)
    // Closes it, which the next ones find.
    await step(peer, 'opening', name, {})
    for (let round = 0; round < rounds; round++) times.closedMs.push((await step(peer, 'opening', name, {})).openMs)
    rows.push({ count, bytes, killedMs: median(times.killedMs), closedMs: median(times.closedMs) })
    console.log(`${runtime} ${name}: ${JSON.stringify(rows.at(-1))}`)
  }
  return rows
}
