// Working on chunks in Node, by loops, by `run` and with its progress: on a file in a worker thread, on a file in this thread,
// and in memory.

import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { describe, test } from 'node:test'
import { chunks, code, kept, MagnetarError, open, places } from './stores.mjs'

for (const [place, opened] of Object.entries(places)) {
  describe(place, () => {
    test('a loop over claims completes, fails and releases', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, { job: { max_attempts: 1 }, ...chunks(6) })
      for await (const chunk of store.claims(1)) {
        if (chunk.chunk === 1) chunk.complete({ doubled: 2 })
        if (chunk.chunk === 2) chunk.fail(new Error('not this one'))
        if (chunk.chunk === 4) break
      }
      const stats = await store.getStats(1)
      assert.deepEqual([stats.done, stats.failed, stats.pending, stats.processing], [3, 1, 2, 0])
      assert.deepEqual((await store.getChunk(1, 1)).output, { doubled: 2 })
      assert.equal((await store.getChunk(1, 2)).error, 'Error: not this one')
      assert.equal((await store.getChunk(1, 4)).attempts, 0)
      for await (const _ of store.claims(1));
      assert.equal((await store.getStats(1)).isFinished, true)
    })

    test('a result that is refused fails its chunk and not the loop', async (t) => {
      const store = kept(t, await opened())
      const results = [[7n], ['x'.repeat(2 << 20)], [() => {}, 7], [undefined, 'wrong'], [{ toJSON() { throw new Error('no') } }], ['fine']]
      await store.importManifest(1, { job: { max_attempts: 1 }, ...chunks(results.length, { checksum: 'right' }) })
      for await (const chunk of store.claims(1)) chunk.complete(...results[chunk.chunk])
      const stats = await store.getStats(1)
      assert.deepEqual([stats.done, stats.failed, stats.isFinished], [1, 5, true])
      assert.match((await store.getChunk(1, 0)).error, /BigInt/)
      await store.reset(1, [5])
      await store.retryFailed(1)
      for await (const chunk of store.claims(1)) {
        chunk.complete(7n)
        break
      }
      assert.equal((await store.getChunk(1, 0)).status, 'failed')
    })

    test('a loop that cannot report now gives its chunk back', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(2))
      store.completeAndClaim = () => Promise.reject(new MagnetarError({ code: 'full', retry: 'later', message: 'no space' }))
      await assert.rejects(async () => { for await (const chunk of store.claims(1)) chunk.complete(7) }, code('full'))
      assert.deepEqual([(await store.getStats(1)).pending, (await store.getChunk(1, 0)).attempts], [2, 0])
    })

    test('what a body has said holds where it is left early, and else its chunk is given back', async (t) => {
      const store = kept(t, await opened())
      const said = [(chunk) => chunk.complete(), (chunk) => chunk.complete(undefined, 'sum'), (chunk) => chunk.complete({ n: 1 }), (chunk) => chunk.fail('no'), () => {}]
      await store.importManifest(1, { job: { max_attempts: 1 }, ...chunks(said.length) })
      for (const say of said) {
        for await (const chunk of store.claims(1)) {
          say(chunk)
          break
        }
      }
      const found = []
      for await (const chunk of store.chunks(1)) found.push(chunk.status)
      assert.deepEqual(found, ['done', 'done', 'done', 'failed', 'pending'])
      assert.equal((await store.getChunk(1, 1)).observedChecksum, 'sum')
    })

    test('a result that is no JSON is refused and not emptied', async (t) => {
      const store = kept(t, await opened())
      const none = [() => 1, Symbol('s'), NaN, Infinity, new Map([[1, 2]]), new Error('no'), new Response('no'), new Uint8Array(2), { toJSON: () => undefined }]
      const made = [undefined, null, 0, 'text', false, { a: undefined, b: NaN }, Object.assign(Object.create(null), { a: 1 }), [1], new Date(0), { toJSON: () => 7 }]
      const results = [null, null, 0, 'text', false, { b: null }, { a: 1 }, [1], '1970-01-01T00:00:00.000Z', 7]
      await store.importManifest(1, { job: { max_attempts: 1 }, ...chunks(none.length + made.length) })
      const report = await store.run(1, (chunk) => [...none, ...made][chunk.chunk])
      assert.deepEqual(report, { ending: 'finished', completed: made.length, failed: none.length, released: 0, superseded: 0 })
      assert.deepEqual((await store.getByStatus(1, 'done')).map((chunk) => chunk.output), results)
      assert.match((await store.getChunk(1, 4)).error, /no JSON \(Map\)/)
      await store.retryFailed(1)
      const chunk = await store.claimPending(1)
      for (const output of none) {
        await assert.rejects(store.complete(chunk, { output }), code('invalid_input'))
        await assert.rejects(store.applyBatchUpdates(1, [{ complete: chunk, output }]), code('invalid_input'))
      }
    })

    test('a loop ends with its signal, and the chunk that it holds is completed if its body ended', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(5))
      const ended = new AbortController()
      for await (const chunk of store.claims(1, { signal: ended.signal })) if (chunk.chunk === 2) ended.abort()
      const stats = await store.getStats(1)
      assert.deepEqual([stats.done, stats.processing, stats.pending], [3, 0, 2])
    })

    test('run works a job off side by side and fails what throws', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, { job: { max_attempts: 1 }, ...chunks(40, { payload: { n: 1 } }) })
      let now = 0
      let most = 0
      const report = await store.run(1, async (chunk) => {
        most = Math.max(most, ++now)
        await null
        now--
        if (chunk.chunk % 10 === 0) throw new Error('tenth')
        return { id: chunk.chunk }
      }, { concurrency: 8 })
      assert.deepEqual(report, { ending: 'finished', completed: 36, failed: 4, released: 0, superseded: 0 })
      assert.equal(most, 8)
      assert.deepEqual((await store.getChunk(1, 7)).output, { id: 7 })
    })

    test('run ends with its signal and gives back what is under way', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(20))
      const ended = new AbortController()
      const report = await store.run(1, (chunk, { signal }) => {
        if (chunk.chunk === 3) ended.abort(new Error('enough'))
        return chunk.chunk < 3 ? undefined : new Promise((_, reject) => {
          if (signal.aborted) reject(signal.reason)
          else signal.addEventListener('abort', () => reject(signal.reason))
        })
      }, { concurrency: 4, signal: ended.signal })
      assert.equal(report.failed, 0)
      const stats = await store.getStats(1)
      assert.deepEqual([stats.processing, stats.done], [0, report.completed])
    })

    test('what a handler gives is its result only where it has said nothing', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, { job: { max_attempts: 1 }, ...chunks(3) })
      let given = 0
      const report = await store.run(1, (chunk) => {
        if (chunk.chunk === 0) chunk.fail('no')
        if (chunk.chunk === 1) chunk.complete('said')
        if (chunk.chunk === 2 && given++ === 0) chunk.release()
        return 'given'
      })
      assert.deepEqual(report, { ending: 'finished', completed: 2, failed: 1, released: 1, superseded: 0 })
      const found = (await store.pageByStatus(1)).map((chunk) => [chunk.status, chunk.output])
      assert.deepEqual(found, [['failed', null], ['done', 'said'], ['done', 'given']])
    })

    test('what a handler has said holds, whatever it throws then', async (t) => {
      const store = kept(t, await opened())
      const said = [(chunk) => chunk.complete('saved'), (chunk) => chunk.release({ delayMs: 60_000 }), (chunk) => chunk.fail('so', { permanent: true })]
      await store.importManifest(1, { job: { max_attempts: 1 }, ...chunks(4) })
      const over = new AbortController()
      const report = await store.run(1, (chunk) => {
        said[chunk.chunk]?.(chunk)
        if (chunk.chunk === 3) {
          chunk.complete('saved')
          over.abort()
        }
        throw new Error('in the cleanup')
      }, { signal: over.signal })
      const found = (await Promise.all([0, 1, 2, 3].map((id) => store.getChunk(1, id)))).map(({ status, output, error, attempts }) => [status, output, error, attempts])
      assert.deepEqual(found, [['done', 'saved', null, 0], ['pending', null, null, 0], ['failed', null, 'so', 1], ['done', 'saved', null, 0]])
      assert.deepEqual(report, { ending: 'stopped', completed: 2, failed: 1, released: 1, superseded: 0 })
    })

    test('what is claimed while the signal ends it is given back, and nobody begins with it', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(2))
      let ended
      const claim = store.claimPending.bind(store)
      store.claimPending = (...asked) => claim(...asked).finally(() => ended.abort())
      const none = () => assert.fail('nobody is to begin')
      ended = new AbortController()
      assert.deepEqual(await store.run(1, none, { signal: ended.signal }), { ending: 'stopped', completed: 0, failed: 0, released: 1, superseded: 0 })
      ended = new AbortController()
      for await (const _ of store.claims(1, { signal: ended.signal })) none()
      assert.deepEqual((await store.getByStatus(1, 'pending')).map(({ attempts }) => attempts), [0, 0])
    })

    test('whoever gives chunks back gets the next after a pause', async (t) => {
      const store = kept(t, await opened())
      let turns = 0
      const seen = []
      const release = (chunk) => {
        seen.push(turns)
        setTimeout(() => turns++, 0)
        if (seen.length % 3 !== 0) chunk.release()
      }
      for (const job of [1, 2]) await store.importManifest(job, chunks(1))
      await store.run(1, release)
      assert.deepEqual(seen, [0, 1, 2])
      while (turns < 3) await new Promise((resolve) => setTimeout(resolve, 1))
      for await (const chunk of store.claims(2)) release(chunk)
      assert.deepEqual(seen.slice(3), [3, 4, 5])
    })

    test('timers have their turn however fast calls are answered', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(1))
      let isDue = false
      setTimeout(() => (isDue = true), 0)
      for (let calls = 0; !isDue; calls++) {
        assert.ok(calls < 100_000)
        await store.getStats(1)
      }
    })

    test('run says what became of each claim, and not what its handler believed', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, { job: { max_attempts: 1 }, chunks: [{ id: 0, checksum: 'right' }, { id: 1 }, { id: 2 }, { id: 3 }, { id: 4 }] })
      let given = 0
      const report = await store.run(1, async (chunk) => {
        if (chunk.chunk === 0) chunk.complete(undefined, 'wrong')
        else if (chunk.chunk === 1) return 10n
        else if (chunk.chunk === 2 && given++ === 0) chunk.release()
        else if (chunk.chunk === 3) await store.cancel(1, [3, 4])
      })
      assert.deepEqual(report, { ending: 'finished', completed: 1, failed: 2, released: 1, superseded: 1 })
      const stats = await store.getStats(1)
      assert.deepEqual([stats.failed, stats.cancelled, stats.done], [2, 2, 1])
    })

    test('an error that is permanent fails its chunk, whatever attempts it has left', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, { job: { max_attempts: 9 }, ...chunks(4) })
      const report = await store.run(1, (chunk) => {
        if (chunk.chunk > 1) return
        chunk.fail('no such file', { permanent: true })
        if (chunk.chunk === 1) throw new Error('what was said holds')
      })
      assert.deepEqual(report, { ending: 'finished', completed: 2, failed: 2, released: 0, superseded: 0 })
      const failed = await store.getByStatus(1, 'failed')
      assert.deepEqual(failed.map(({ error, attempts }) => [error, attempts]), [['no such file', 1], ['no such file', 1]])
      assert.equal(await store.retryFailed(1), 2)
      const again = await store.claimPending(1)
      assert.equal(await store.fail(again, 'gone', { permanent: true }), 'changed')
      assert.equal(await store.fail(again, 'gone', { permanent: true }), 'unchanged')
      const other = await store.claimPending(1)
      assert.deepEqual(await store.applyBatchUpdates(1, [{ fail: other, error: 'gone', permanent: true }]), ['changed'])
      assert.equal((await store.getStats(1)).failed, 2)
    })

    test('an error, a release and a manifest may say when a chunk comes', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, { job: { max_attempts: 9 }, ...chunks(4) })
      assert.equal(await store.fail(await store.claimPending(1), '429', { delayMs: 3_600_000 }), 'changed')
      assert.equal(await store.release(await store.claimPending(1), { delayMs: 60_000 }), 'changed')
      const [two, three] = await store.claimPendingBatch(1, 2)
      const updates = [{ fail: two, error: 'soon', delayMs: 7_000 }, { release: three, delayMs: 604_800_000 }]
      assert.deepEqual(await store.applyBatchUpdates(1, updates), ['changed', 'changed'])
      const waiting = [...await store.getByStatus(1, 'pending')]
      assert.deepEqual(
        waiting.map((chunk) => [chunk.attempts, chunk.error, chunk.notBeforeMs - chunk.updatedAtMs]),
        [[1, '429', 3_600_000], [0, null, 60_000], [1, 'soon', 7_000], [0, null, 604_800_000]],
      )
      assert.equal((await store.getStats(1)).delayed, 4)
      for (const delayMs of [-1, 1.5, NaN, '5', 604_800_001]) {
        await assert.rejects(store.fail(two, 'soon', { delayMs }), { code: 'invalid_input', message: /delayMs/ })
        await assert.rejects(store.release(two, { delayMs }), { code: 'invalid_input', message: /delayMs/ })
      }
      await assert.rejects(store.fail(two, 'soon', { permanent: true, delayMs: 5 }), { code: 'invalid_input', message: /permanent/ })

      await store.importManifest(2, { job: { max_attempts: 2 }, ...chunks(3) })
      const begun = new Set()
      const report = await store.run(2, (chunk) => {
        if (begun.has(chunk.chunk)) return
        begun.add(chunk.chunk)
        if (chunk.chunk === 0) chunk.fail('later', { delayMs: 20 })
        if (chunk.chunk === 1) chunk.release({ delayMs: 20 })
        // What is wrong with it is an error of the handler's, and backs off as any.
        if (chunk.chunk === 2) chunk.release({ delayMs: -1 })
      })
      assert.deepEqual([report.completed, report.failed, report.released], [3, 2, 1])
      assert.deepEqual((await store.getByStatus(2, 'done')).map(({ attempts }) => attempts), [1, 0, 1])

      const moment = new Date(Date.now() + 3_600_000)
      await store.importManifest(3, { chunks: [{ id: 1, not_before: moment }, { id: 2, not_before: '2001-01-01T00:00:00+01:00' }] })
      assert.deepEqual((await store.claimPendingBatch(3, 2)).map(({ chunk }) => chunk), [2])
      assert.equal((await store.getChunk(3, 1)).notBeforeMs, moment.getTime())
      await assert.rejects(store.importManifest(3, { chunks: [{ id: 3, notBefore: moment }] }), { code: 'invalid_manifest', message: /nearly not_before/ })
      await assert.rejects(store.importManifest(3, { chunks: [{ id: 3, not_before: moment.getTime() }] }), { code: 'invalid_manifest' })
    })

    test('whatever is thrown fails its chunk, and has a text', async (t) => {
      const store = kept(t, await opened())
      const thrown = [
        new Error('cut in the midst of 😀'.slice(0, -1)), '\udc00', Object.create(null), Symbol('s'), undefined, null, 7n, () => {},
        Object.defineProperty(new Error(), 'message', { get() { throw new Error('no') } }),
        Object.defineProperty(new Error(), 'message', { value: Symbol('s') }), { toString() { throw null } },
      ]
      await store.importManifest(1, { job: { max_attempts: 1 }, ...chunks(thrown.length) })
      const report = await store.run(1, ({ chunk }) => { throw thrown[chunk] }, { concurrency: 3 })
      assert.deepEqual(report, { ending: 'finished', completed: 0, failed: thrown.length, released: 0, superseded: 0 })
      for (const chunk of await store.getByStatus(1, 'failed')) assert.ok(chunk.error.length > 0 && chunk.error.isWellFormed(), chunk.error)
      assert.equal((await store.getChunk(1, 0)).error, 'Error: cut in the midst of \ufffd')
      await store.retryFailed(1)
      for (const error of thrown) assert.equal(await store.fail(await store.claimPending(1), error), 'changed')
      await store.retryFailed(1)
      const update = { fail: await store.claimPending(1), error: 'b\ud800' }
      assert.deepEqual(await store.applyBatchUpdates(1, [update, { mark: 1, status: 'failed', detail: 'c\ud800' }]), ['changed', 'changed'])
      await store.markFailed(1, 2, 'd\ud800')
      assert.deepEqual((await store.getByStatus(1, 'failed')).map((chunk) => chunk.error), ['b\ufffd', 'c\ufffd', 'd\ufffd'])
    })

    test('a handler hears at once that its chunk was cancelled or deleted', async (t) => {
      const store = kept(t, await opened())
      const left = { chunks: [{ id: 0 }] }
      await store.importManifest(1, chunks(3))
      // The first heartbeat would come in days.
      const report = await store.run(1, async (chunk, { signal }) => {
        if (chunk.chunk === 0) return
        if (chunk.chunk === 1) await store.cancel(1, [1])
        else await store.importManifest(1, left, { onMissing: 'delete' })
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      }, { concurrency: 3, leaseMs: 7 * 86_400_000 })
      assert.deepEqual(report, { ending: 'finished', completed: 1, failed: 0, released: 0, superseded: 2 })
    })

    test('each of two hundred handlers hears that the job was cancelled', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(200))
      let begun = 0
      const report = await store.run(1, async (_, { signal }) => {
        const told = new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
        if (++begun === 200) await store.cancel(1)
        await told
      }, { concurrency: 200, leaseMs: 7 * 86_400_000 })
      assert.deepEqual(report, { ending: 'finished', completed: 0, failed: 0, released: 0, superseded: 200 })
    })

    test('whoever works through a store that is closed is told at once, and the closing is over once for all', async () => {
      const store = await opened()
      await store.importManifest(1, chunks(2))
      await store.importManifest(2, chunks(1))
      const reasons = []
      let begun
      const working = new Promise((resolve) => (begun = resolve))
      const work = ({ jobId, chunk }, { signal }) => new Promise((_, reject) => {
        const told = () => { reasons.push(signal.reason.code); reject(signal.reason) }
        if (signal.aborted) return told()
        signal.addEventListener('abort', told)
        if (jobId === 1 && chunk === 1) begun()
      })
      const leaseMs = 7 * 86_400_000
      const settled = [store.run(1, work, { concurrency: 3, leaseMs })]
      await working
      settled.push((async () => { for await (const _ of store.claims(1, { leaseMs })); })())
      // Its claim is on its way when the store is closed.
      settled.push(store.run(2, work, { leaseMs }))
      const all = Promise.all(settled.map((one) => assert.rejects(one, code('closed'))))
      const order = []
      const first = store.close().then(() => order.push('first'))
      const second = store.close().then(() => order.push('second'))
      await Promise.all([all, first, second])
      assert.deepEqual(order, ['first', 'second'])
      assert.ok(reasons.length >= 2 && reasons.every((reason) => reason === 'closed'), reasons.join())
    })

    test('an error that ends a run ends all of it', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(40))
      const claim = store.claimPending.bind(store)
      let claims = 0
      store.claimPending = (...asked) => (++claims === 4 ? Promise.reject(new Error('broken')) : claim(...asked))
      let started = 0
      await assert.rejects(store.run(1, async () => { started++; await store.getStats(1) }, { concurrency: 4 }), /broken/)
      const before = started
      assert.equal((await store.getStats(1)).processing, 0)
      for (let i = 0; i < 50; i++) await store.getStats(1)
      assert.equal(started, before, 'nothing goes on behind the back of its caller')
    })

    test('what is not given is missed at once', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(2))
      await assert.rejects(store.run(1), code('invalid_input'))
      await assert.rejects(store.run(9, () => {}), code('job_not_found'))
      await assert.rejects(store.run(1, () => {}, { concurrency: 0 }), code('invalid_input'))
      const large = [store.claimPendingBatch(1, 1e15), store.pageByStatus(1, { limit: 1e15 }), store.run(1, () => {}, { concurrency: 1e5 }), open(':memory:', { cacheBytes: 1e15 })]
      for (const call of large) await assert.rejects(call, (error) => code('invalid_input')(error) && /: use a whole number from [01] to \d+$/.test(error.message))
      const chunk = await store.claimPending(1)
      for (const result of [{ size: 3 }, 5, 'text', null]) await assert.rejects(store.complete(chunk, result), code('invalid_input'))
      await assert.rejects(store.applyBatchUpdates(1, [{ compleet: chunk }]), code('invalid_input'))
      const half = '\u{1F600}'.slice(0, 1)
      await assert.rejects(store.newJob({ name: half }), /half a character/)
      await assert.rejects(store.complete(chunk, { checksum: half }), /half a character/)
      await assert.rejects(store.importManifest(1, { chunks: [{ id: 9, dependsOn: [1] }] }), /depends_on/)
      await assert.rejects(store.importManifest(1, 'x', { format: 'xml' }), /"xml": use one of toml, json, jsonl, csv/)
      assert.equal((await store.getStats(1)).total, 2)
      await store.releaseAll()
    })

    test('a job that is missing, or is deleted meanwhile, is the same error of both loops', async (t) => {
      const store = kept(t, await opened())
      const loop = async (job, work) => { for await (const chunk of store.claims(job)) await work(chunk) }
      for (const over of [loop, (job, work) => store.run(job, work)]) {
        await assert.rejects(over(9, () => {}), code('job_not_found'))
        await store.importManifest(1, chunks(2))
        let worked = 0
        await assert.rejects(over(1, async () => { if (++worked === 2) await store.deleteJob(1) }), code('job_not_found'))
        assert.equal(worked, 2, 'whoever works on a chunk is left to end it')
      }
    })

    test('a run says why it ended', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, { job: { max_attempts: 1 }, chunks: [{ id: 1 }, { id: 2, depends_on: [1] }, { id: 3 }] })
      const signalOf = () => new AbortController()
      const stop = signalOf()
      const stopped = await store.run(1, () => stop.abort(), { signal: stop.signal })
      assert.deepEqual(stopped, { ending: 'stopped', completed: 1, failed: 0, released: 0, superseded: 0 })
      await store.reset(1, [1])
      const stalled = await store.run(1, ({ chunk }) => { if (chunk === 1) throw new Error('broken') }, { concurrency: 2 })
      assert.deepEqual(stalled, { ending: 'stalled', completed: 1, failed: 1, released: 0, superseded: 0 })
      await store.retryFailed(1)
      const finished = await store.run(1, () => {})
      assert.deepEqual(finished, { ending: 'finished', completed: 2, failed: 0, released: 0, superseded: 0 })
      assert.equal((await store.run(1, () => {})).ending, 'finished')
    })

    test('a chunk that comes with the completion of the one before is given back where the run was ended meanwhile', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(5))
      const stop = new AbortController()
      const { completeAndClaim } = store
      store.completeAndClaim = (...asked) => {
        const answer = completeAndClaim.apply(store, asked)
        stop.abort()
        return answer
      }
      let worked = 0
      const report = await store.run(1, () => { worked++ }, { signal: stop.signal })
      assert.deepEqual([worked, report], [1, { ending: 'stopped', completed: 1, failed: 0, released: 1, superseded: 0 }])
      assert.deepEqual([(await store.getStats(1)).done, (await store.getStats(1)).pending], [1, 4])
    })

    test('the body of a loop that throws, or is left, gives its chunk back, and costs it nothing', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(1))
      const thrown = async () => { for await (const _ of store.claims(1)) throw new Error('broken') }
      await assert.rejects(thrown(), /broken/)
      for await (const _ of store.claims(1)) break
      const [chunk] = await store.getByStatus(1, 'pending')
      assert.deepEqual([chunk.attempts, chunk.losses, chunk.error], [0, 0, null])
      const said = async () => {
        for await (const held of store.claims(1)) {
          try {
            throw new Error('broken')
          } catch (error) {
            held.fail(error)
            throw error
          }
        }
      }
      await assert.rejects(said(), /broken/)
      assert.equal((await store.getChunk(1, 0)).attempts, 1, 'a failure that was said is counted')
    })

    test('what is no signal is refused before anything is done', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(1))
      const signal = new AbortController()
      for (const call of [
        () => store.claimPending(1, { signal }), () => store.run(1, () => {}, { signal }), () => store.claims(1, { signal }).next(),
        () => store.importManifest(1, chunks(2), { signal }), () => store.progress(1, { signal }),
      ]) await assert.rejects(async () => call(), code('invalid_input'))
      assert.equal((await store.getByStatus(1, 'pending')).length, 1)
    })

    test('a listener for progress that stays is not taken away by what was said of it another time', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(1))
      const told = []
      for (const isAddedAnew of [true, false]) {
        const progress = store.progress(1)
        const { promise, resolve } = Promise.withResolvers()
        const listener = ({ detail }) => detail.isFinished && resolve()
        progress.addEventListener('progress', listener, { once: isAddedAnew })
        if (isAddedAnew) progress.removeEventListener('progress', listener)
        progress.addEventListener('progress', listener, { once: !isAddedAnew })
        told.push(promise)
      }
      await store.run(1, () => {})
      await Promise.all(told)
    })

    test('a signal of another making ends what it is given to', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(2))
      const signal = Object.assign(new EventTarget(), { aborted: false, reason: undefined })
      const abort = () => {
        Object.assign(signal, { aborted: true, reason: new Error('enough') })
        signal.dispatchEvent(new Event('abort'))
      }
      const progress = store.progress(1, { signal })
      const told = new Promise((resolve, reject) => {
        progress.addEventListener('error', ({ detail }) => reject(detail))
        progress.addEventListener('progress', resolve)
      })
      await told
      const report = await store.run(1, abort, { signal })
      assert.deepEqual([report.ending, report.completed + report.released], ['stopped', 1])
      assert.equal((await store.run(1, abort, { signal })).ending, 'stopped')
      assert.equal(getEventListeners(signal, 'abort').length, 0)
    })

    test('a run whose signal came while it claimed waits for nothing more', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(1))
      await store.claimPending(1)
      for (const loop of [(signal) => store.run(1, () => {}, { signal }), async (signal) => { for await (const _ of store.claims(1, { signal })); }]) {
        const stop = new AbortController()
        const claim = store.claimPending
        store.claimPending = (...given) => claim.apply(store, given).finally(() => stop.abort())
        let looksAgain = 0
        const { setTimeout } = globalThis
        // Whoever waits for the next look has it at once.
        const soon = (work, ms) => (ms === 1_000 ? setTimeout(() => (looksAgain++, work()), 0) : setTimeout(work, ms))
        const waits = t.mock.method(globalThis, 'setTimeout', soon)
        await loop(stop.signal)
        delete store.claimPending
        waits.mock.restore()
        assert.equal(looksAgain, 0)
      }
    })

    test('a claim that is ended is kept alive no longer, and is not lost, whatever its last heartbeat is answered then', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(2))
      t.mock.timers.enable({ apis: ['setTimeout'] })
      let beats = 0
      let answer
      store.heartbeat = () => {
        beats++
        return new Promise((resolve, reject) => (answer = { resolve, reject }))
      }
      const answers = [() => answer.resolve('unchanged'), () => answer.reject(new MagnetarError({ code: 'superseded', retry: 'never', message: 'it is done' }))]
      for await (const chunk of store.claims(1, { leaseMs: 3_000 })) {
        t.mock.timers.tick(1_000)
        const { signal } = chunk
        t.after(() => assert.equal(signal.aborted, false))
        store.completeAndClaim = async (...given) => {
          answers.shift()()
          delete store.completeAndClaim
          return store.completeAndClaim(...given)
        }
      }
      t.mock.timers.tick(1_000)
      assert.deepEqual([beats, answers.length], [2, 0])
    })

    test('many lanes go on as chunks are done where a test has the timers', { timeout: 60_000 }, async (t) => {
      t.mock.timers.enable()
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(3))
      const { ending, completed } = await store.run(1, () => {}, { concurrency: 8 })
      assert.deepEqual([ending, completed], ['finished', 3])
    })

    test('many lanes wait together', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(3))
      let looking = 0
      let most = 0
      const look = store.getStats.bind(store)
      store.getStats = (job) => {
        most = Math.max(most, ++looking)
        return look(job).finally(() => looking--)
      }
      await store.run(1, () => store.getJob(1), { concurrency: 64 })
      assert.equal(most, 1)
    })

    test('a loop that waits is left at once, and what it was about to get is given back', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(2))
      const held = await store.claimPending(1)
      const [taken, loop, told] = [store.claims(1), store.claims(1), store.progress(1)[Symbol.asyncIterator]()]
      const { value: chunk } = await taken.next()
      assert.equal((await told.next()).value.processing, 2)
      const left = { done: true, value: undefined }
      for (const waits of [loop, told]) {
        const next = waits.next()
        // By then it waits, or asks whether it has to.
        await store.getStats(1)
        assert.deepEqual(await Promise.all([waits.return(), next]), [left, left])
        assert.deepEqual(await waits.next(), left)
      }
      const thrown = store.progress(1)[Symbol.asyncIterator]()
      await thrown.next()
      const next = thrown.next()
      await assert.rejects(thrown.throw(new Error('enough')), /enough/)
      assert.deepEqual(await next, left)
      // A body that is left hears nothing on its signal, as ever.
      await taken.return()
      assert.equal(chunk.signal.aborted, false)
      // One that is left while it claims.
      const claiming = store.claims(1)
      assert.deepEqual(await Promise.all([claiming.next(), claiming.return()]), [left, left])
      assert.deepEqual([(await store.getChunk(1, 1)).status, (await store.getChunk(1, 1)).attempts], ['pending', 0])
      await store.release(held)
      // One that was not begun.
      const { signal } = new AbortController()
      assert.deepEqual(await store.claims(1, { signal }).return(), left)
      assert.equal(getEventListeners(signal, 'abort').length, 0)
    })

    test('progress is told as an iterable and as events, to the last', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(30))
      const events = []
      const progress = store.progress(1)
      const last = new Promise((resolve) => progress.addEventListener('progress', ({ detail }) => {
        events.push(detail.done)
        if (detail.isFinished) resolve()
      }))
      const seen = []
      const watching = (async () => { for await (const stats of store.progress(1)) seen.push(stats.done) })()
      await store.run(1, () => {}, { concurrency: 3 })
      await Promise.all([last, watching])
      assert.equal(seen.at(-1), 30)
      assert.equal(events.at(-1), 30)
      assert.deepEqual(seen, seen.toSorted((a, b) => a - b))
    })
  })
}
