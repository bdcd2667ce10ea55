// SIGKILL of the whole browser while it works: what a page was told was done is done when the profile is opened again.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { browser, serve } from './browsers.mjs'
import { random, rounds } from './package.mjs'

/** More than are done: a page that finds nothing to claim is killed at nothing. */
const CHUNKS = 200_000

test('nothing acknowledged is lost when Chromium is killed', async () => {
  const below = random('browser-crash')
  const site = await serve()
  const count = rounds(3, 50)
  const said = new Map()
  let profile
  let doing = 0
  let slowest = 0
  let running
  for (let round = 0; round <= count; round++) {
    running = await browser('chromium', profile)
    profile = running.profile
    const page = await running.page()
    await page.exposeFunction('say', (chunk, fence) => {
      assert.ok(!said.has(chunk), `chunk ${chunk} was done twice, round ${round}`)
      said.set(chunk, fence)
    })
    await page.goto(site.url)
    const found = await page.evaluate(async ([isFirst, chunks]) => {
      const { open } = await import('/browser.js')
      const begun = performance.now()
      globalThis.store = await open('killed')
      const opened = performance.now() - begun
      if (isFirst) {
        await store.importManifest(1, { job: { max_losses: 0 }, chunks: Array.from({ length: chunks }, (_, id) => ({ id })) })
      }
      const stats = await store.getStats(1)
      const done = []
      for await (const chunk of store.chunks(1, 'done')) done.push([chunk.chunk, chunk.output])
      await store.verify()
      return { opened, done, stats: { ...stats } }
    }, [round === 0, CHUNKS])
    slowest = Math.max(slowest, found.opened)
    const kept = new Map(found.done)
    for (const [chunk, fence] of said) assert.equal(kept.get(chunk), fence, `chunk ${chunk} in round ${round}`)
    assert.equal(found.stats.processing, 0)
    // What was done without having been said is not done again either.
    for (const [chunk, fence] of kept) said.set(chunk, fence)
    doing = kept.size
    if (round === count) break
    page
      .evaluate(async () => {
        const lane = async () => {
          for (;;) {
            const chunk = await store.claimPending(1)
            await store.complete(chunk, { output: chunk.fence })
            globalThis.say(chunk.chunk, chunk.fence)
          }
        }
        await Promise.all(Array.from({ length: 8 }, lane))
      })
      .catch(() => {})
    await new Promise((resolve) => setTimeout(resolve, 20 + below(600)))
    running.kill()
    await running.close().catch(() => {})
  }
  await running.close()
  running.remove()
  site.close()
  console.log(`${count} kills of Chromium, ${doing} chunks done, slowest opening ${slowest.toFixed(0)} ms`)
  assert.ok(doing > 0 && doing < CHUNKS)
})
