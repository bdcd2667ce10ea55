// Browsers that give no space, or no storage at all: refused with a code, and nothing acknowledged is lost.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { browser, names, serve } from './browsers.mjs'

const MIB = 1 << 20
const UNSAFE = 'insecure.test'

for (const name of names) {
  describe(name, () => {
    let site
    before(async () => {
      site = await serve()
    })
    after(() => site?.close())

    /** A tab of a browser of its own. */
    const opened = async (t, options, profile) => {
      const running = await browser(name, profile, options)
      t.after(async () => {
        await running.close().catch(() => {})
        running.remove()
      })
      const tab = async (host = 'localhost') => {
        const page = await running.page()
        await page.goto(site.url.replace('localhost', host))
        await page.evaluate(async () => {
          Object.assign(globalThis, await import('/browser.js'))
          globalThis.tried = (promise) =>
            promise.then(
              (value) => ({ value }),
              ({ name, code, retry, message }) => ({ name, code, retry, message }),
            )
        })
        return page
      }
      return { running, tab, page: await tab() }
    }

    test('a quota that is exhausted is full, in every tab, and nothing acknowledged is lost', async (t) => {
      const { running, tab, page: one } = await opened(t, { quotaKb: 12 << 10 })
      await running.quota?.(one, 8 * MIB)
      const two = await tab()
      const begin = async () => {
        globalThis.payload = 'x'.repeat(1000)
        globalThis.large = { chunks: Array.from({ length: 1_500 }, (_, id) => ({ id, payload })) }
        globalThis.store = await open('full')
      }
      await one.evaluate(begin)
      await two.evaluate(begin)
      const first = await one.evaluate(async () => {
        await store.importManifest(1, { chunks: Array.from({ length: 20 }, (_, id) => ({ id })) })
        for (let n = 0; n < 5; n++) await store.complete(await store.claimPending(1), { output: 'kept' })
        let imported = 0
        for (;;) {
          const { code, retry, message } = await tried(store.importManifest(100 + imported, large))
          if (code !== undefined || imported === 40) return { imported, code, retry, message }
          imported++
        }
      })
      assert.deepEqual([first.code, first.retry], ['full', 'later'], JSON.stringify(first))
      assert.match(first.message, /QuotaExceededError|NO_DEVICE_SPACE/)
      // The other tab's calls go through the same file, and end with the same code.
      const second = await two.evaluate(async () => {
        const { code, retry, message } = await tried(store.importManifest(98, large))
        return { code, retry, message, done: [...(await store.getByStatus(1, 'done'))].map(({ output }) => output) }
      })
      assert.deepEqual([second.code, second.retry], ['full', 'later'], JSON.stringify(second))
      assert.deepEqual(second.done, Array(5).fill('kept'))
      console.log(`${name}: ${first.imported} imports fit, then: ${first.message}`)
      // With space again, what is open goes on; Firefox has to be started anew for it.
      let last = two
      if (running.quota !== undefined) await running.quota(one, undefined)
      else {
        await running.close()
        last = (await opened(t, { quotaKb: -1 }, running.profile)).page
        await last.evaluate(begin)
      }
      const after = await last.evaluate(async () => {
        const { added } = await store.importManifest(98, large)
        await store.complete(await store.claimPending(1))
        await store.verify()
        const jobs = await store.listJobs()
        return { added, jobs: jobs.map(({ jobId, stats }) => [jobId, stats.total]), done: (await store.getStats(1)).done }
      })
      assert.equal(after.done, 6)
      const large = (job) => [job, 1_500]
      assert.deepEqual(after.jobs, [[1, 20], large(98), ...Array.from({ length: first.imported }, (_, at) => large(100 + at))])
    })

    test('a tab that ends is no full disk to the others, where the disk was full before', { skip: name !== 'chromium' && 'no other quota can be lifted' }, async (t) => {
      const { running, tab, page: one } = await opened(t)
      const two = await tab()
      const begin = async () => {
        globalThis.store = await open('was full')
        store.addEventListener('leader', ({ detail }) => (globalThis.leads = detail))
        globalThis.large = (count) => ({ chunks: Array.from({ length: count }, (_, id) => ({ id, payload: 'x'.repeat(1_000) })) })
      }
      await one.evaluate(begin)
      await two.evaluate(begin)
      await running.quota(one, 8 * MIB)
      const full = () => tried(store.importManifest(1, large(8_000)))
      for (const page of [one, two]) assert.equal((await page.evaluate(full)).code, 'full')
      await running.quota(one, undefined)
      for (const page of [one, two]) await page.evaluate(() => store.importManifest(2, { chunks: [{ id: 1 }] }))
      // Whichever leads by now ends while it is busy, and the other one waits for it.
      const isOne = await one.evaluate(() => globalThis.leads)
      const [leader, other] = isOne ? [one, two] : [two, one]
      await leader.evaluate(() => void tried(store.importManifest(3, large(40_000))))
      const told = other.evaluate(() => tried(store.retryFailed(2)))
      await leader.close()
      assert.equal((await told).code, 'outcome_unknown')
    })

    test('a private window keeps a store, or says that it may not; so does a page that is not secure', async (t) => {
      const { tab, page } = await opened(t, { isPrivate: true, unsafe: UNSAFE })
      const inMemory = () => open(':memory:').then(async (store) => {
        await store.importManifest(1, { chunks: [{ id: 1 }] })
        return [store.persistence, (await store.run(1, () => 1)).completed]
      })
      const result = await page.evaluate(() => tried(open('private').then((store) => store.persistence)))
      if (name === 'chromium') {
        // A private window has files of its own there, which go with it, and no page can know.
        assert.deepEqual(result, { value: 'opfs' })
      } else {
        assert.deepEqual([result.name, result.code, result.retry], ['MagnetarError', 'unavailable', 'never'], JSON.stringify(result))
        assert.match(result.message, /SecurityError.*private.*':memory:'/)
        assert.deepEqual(await page.evaluate(inMemory), ['memory', 1])
      }
      const unsafe = await tab(UNSAFE)
      const refused = await unsafe.evaluate(() => tried(open('unsafe')))
      assert.deepEqual([refused.name, refused.code, refused.retry], ['MagnetarError', 'unavailable', 'never'])
      assert.match(refused.message, /secure context \(https or localhost\)/)
      assert.deepEqual(await unsafe.evaluate(inMemory), ['memory', 1])
    })
  })
}
