// The face in Node: every call, on a file in a worker thread, on a file in this thread, and in memory.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { getEventListeners } from 'node:events'
import fs, { createReadStream, existsSync, linkSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import { runInNewContext } from 'node:vm'
import { folder as unpacked } from './package.mjs'
import { chunks, code, folder, importFile, JobStore, kept, MagnetarError, open, places } from './stores.mjs'

const packed = pathToFileURL(join(unpacked, 'dist', '/'))

for (const [place, opened] of Object.entries(places)) {
  describe(place, () => {
    test('a chunk goes from its manifest to its result', async (t) => {
      const store = kept(t, await opened())
      assert.ok(store instanceof JobStore)
      assert.equal(store.persistence, place === 'memory' ? 'memory' : 'file')
      const manifest = { job: { name: 'nightly' }, chunks: [{ id: 1, checksum: 'abc', payload: { path: 'a' } }, { id: 2, depends_on: [1], path: 'b' }] }
      assert.equal((await store.importManifest(7, manifest)).added, 2)
      assert.equal((await store.importManifest(7, manifest)).unchanged, 2)
      const chunk = await store.claimPending(7)
      assert.deepEqual([chunk.jobId, chunk.chunk, chunk.status, chunk.checksum, chunk.payload], [7, 1, 'processing', 'abc', { path: 'a' }])
      assert.equal(chunk.owner, store.owner)
      assert.equal(await store.claimPending(7), undefined)
      await assert.rejects(store.complete(chunk, { checksum: 'xyz' }), code('checksum_mismatch'))
      assert.equal(await store.complete(chunk, { checksum: 'abc', output: [1, 'zwei', null] }), 'changed')
      assert.equal(await store.complete(chunk, { checksum: 'abc', output: [1, 'zwei', null] }), 'unchanged')
      await assert.rejects(store.complete(chunk, { output: 'another' }), code('result_conflict'))
      const done = await store.getChunk(7, 1)
      assert.deepEqual([done.status, done.output, done.observedChecksum], ['done', [1, 'zwei', null], 'abc'])
      const [next] = await store.claimPendingBatch(7, 10)
      assert.deepEqual([next.chunk, next.payload], [2, { path: 'b' }])
      assert.equal(await store.release(next), 'changed')
      const job = await store.getJob(7)
      assert.deepEqual([job.spec.name, job.stats.done, job.stats.pending, job.stats.percent], ['nightly', 1, 1, 50])
    })

    test('calls that look see what calls that change did', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, { chunks: [{ id: 1 }, { id: 2, depends_on: [1] }, { id: 3, depends_on: [2] }, { id: 4, priority: 9 }] })
      assert.deepEqual(await store.getDependencies(1, 2), [1])
      assert.deepEqual(await store.getDependents(1, 2), [3])
      assert.deepEqual(await store.topoSortReady(1), [4, 1])
      assert.deepEqual(await store.topoOrder(1), [1, 2, 3, 4])
      assert.equal(await store.addDependency(1, 4, [3]), 'changed')
      assert.match(await store.graph(1), /flowchart|graph/)
      assert.match(await store.graph(1, 'dot'), /digraph/)
      assert.deepEqual((await store.getByStatus(1, 'pending')).map((chunk) => chunk.chunk), [1, 2, 3, 4])
      assert.deepEqual((await store.pageByStatus(1, { after: 2, limit: 1 })).map((chunk) => chunk.chunk), [3])
      assert.equal(await store.markFailed(1, 1, 'no'), 'changed')
      assert.equal((await store.getStats(1)).isStalled, true)
      assert.equal(await store.retryFailed(1), 1)
      assert.equal(await store.markStatus(1, 1, 'done'), 'changed')
      assert.equal(await store.reset(1, [1]), 1)
      assert.equal(await store.cancel(1, [1, 2]), 2)
      const feed = await store.changes(0)
      assert.equal(feed.more, false)
      assert.ok(feed.changes.every(({ revision }, at) => at === 0 || revision > feed.changes[at - 1].revision))
      await assert.rejects(store.changes(feed.next + 1), code('invalid_input'))
      assert.deepEqual(feed.changes.filter((change) => change.kind === 'chunk').map((change) => change.chunk.chunk).sort(), [1, 2, 3, 4])
      assert.deepEqual(feed.changes.find((change) => change.chunk?.chunk === 2).dependsOn, [1])
      const id = await store.newJob({ name: 'second' })
      assert.deepEqual((await store.listJobs()).map((job) => job.jobId), [1, id])
      assert.deepEqual((await store.listJobs({ after: 1 })).map((job) => job.spec.name), ['second'])
      assert.equal(await store.deleteJob(id), 'changed')
      assert.equal(await store.deleteJob(id), 'unchanged')
      await assert.rejects(store.getStats(id), code('job_not_found'))
      await store.verify()
    })

    test('updates of a batch are answered each by itself', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(4))
      const [a, b, c] = await store.claimPendingBatch(1, 3)
      const answers = await store.applyBatchUpdates(1, [
        { complete: a, output: { n: 1 } },
        { fail: b, error: 'oops' },
        { release: c },
        { heartbeat: a },
        { mark: 3, status: 'done' },
      ])
      assert.deepEqual(answers.map((answer) => (typeof answer === 'string' ? answer : answer.code)), [
        'changed', 'changed', 'changed', 'superseded', 'changed',
      ])
    })

    test('a value that is no id, or no value at all, is a typed error and leaves the store whole', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(2))
      const strange = [
        -1, 1.5, NaN, Infinity, 2 ** 53, 1e300, 7n, '7', '', null, undefined, true, {}, [], [1], () => 7, Symbol('7'), new Date(0),
        new Uint8Array(3), { valueOf: () => 1 }, new Proxy({}, {}), Object.create(null), new Map(), /x/, -0.5,
      ]
      for (const value of strange) {
        const text = () => { try { return String(value) } catch { return typeof value } }
        for (const call of [
          () => store.getStats(value), () => store.claimPending(value), () => store.getChunk(1, value), () => store.getChunk(value, 1),
          () => store.importManifest(value, chunks(1)), () => store.complete({ jobId: 1, chunk: 1, fence: value }), () => store.complete(value),
          () => store.cancel(1, [value]), () => store.changes(value), () => store.pageByStatus(1, { limit: value === undefined ? -1 : value, after: value === undefined ? -1 : value }),
          () => store.claim({ count: value === undefined ? -1 : value }), () => store.importManifest(1, value), () => store.markStatus(1, 1, value),
          () => store.addDependency(1, 1, [value]), () => store.graph(1, value === undefined ? 7 : value), () => store.newJob({ lease: value === undefined || value === null ? 'x' : value, name: [] }),
          () => store.applyBatchUpdates(1, [{ mark: value, status: 'done' }]),
        ]) {
          await assert.rejects(async () => call(), (error) => {
            assert.ok(error instanceof MagnetarError, `${text()}: ${call}: ${error?.stack ?? error}`)
            assert.ok(!['internal', 'crashed'].includes(error.code), `${text()}: ${error.message}`)
            return true
          }, `${text()} in ${call}`)
        }
      }
      const circle = {}
      circle.self = circle
      const chunk = await store.claimPending(1)
      const strangers = [circle, 7n, { get a() { throw new Error('no') } }, { toJSON() { throw null } }, new Proxy({}, { ownKeys() { throw new Error('no') } })]
      for (const payload of strangers) {
        await assert.rejects(store.importManifest(1, { chunks: [{ id: 1, payload }] }), code('invalid_input'))
        await assert.rejects(store.importManifest(1, { chunks: [], job: payload === 7n ? { name: 7n } : payload }), code('invalid_input'))
      }
      const hostile = [{ get chunks() { throw new Error('no') } }, { chunks: [new Proxy({}, { get() { throw new Error('no') } })] }]
      const used = new Response('text')
      await used.text()
      hostile.push(used)
      for (const source of hostile) await assert.rejects(store.importManifest(1, source), code('invalid_input'))
      await assert.rejects(store.importManifest(1, { chunks: [{ dependsOn: [], id: Symbol('s') }] }), code('invalid_manifest'))
      for (const output of [circle, 7n, { toJSON() { throw new Error('no') } }]) {
        await assert.rejects(store.complete(chunk, { output }), code('invalid_input'))
      }
      // What not every reader of JSON takes.
      const half = { text: 'cut \ud800' }
      const deep = Array.from({ length: 3_000 }).reduce((inner) => [inner], 1)
      for (const output of [half, deep]) await assert.rejects(store.complete(chunk, { output }), code('invalid_input'))
      assert.equal(await store.complete(chunk, { output: { text: '\u2028 \ud83d\ude00 "\\\n\0', big: 1e300, nan: NaN } }), 'changed')
      assert.equal((await store.getStats(1)).done, 1)
    })

    test('calls of one tick are each answered, and the refused ones leave the others whole', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(100))
      const answers = await Promise.allSettled(Array.from({ length: 150 }, (_, n) => (n % 3 === 2 ? store.claimPending(99) : store.claimPending(1))))
      const claimed = answers.filter(({ status, value }) => status === 'fulfilled' && value !== undefined).map(({ value }) => value.chunk)
      assert.equal(new Set(claimed).size, 100)
      assert.equal(answers.filter(({ status }) => status === 'rejected').length, 50)
    })

    test('manifests come as TOML, JSON, JSON Lines, CSV, objects, responses, blobs and streams', async (t) => {
      const store = kept(t, await opened())
      const toml = '[job]\nname = "t"\n[[chunks]]\nid = 1\npath = "a"\n'
      const json = '{"chunks":[{"id":1,"path":"a"}]}'
      const lines = '{"job":{"name":"l"}}\n{"id":1,"path":"a"}\n{"id":2}\n'
      const bytes = (text, size = 3) => new ReadableStream({
        start(controller) {
          const all = new TextEncoder().encode(text)
          for (let at = 0; at < all.length; at += size) controller.enqueue(all.subarray(at, at + size))
          controller.close()
        },
      })
      const sources = [
        [toml], [json], [bytes(toml)], [new Response(json)], [new Blob([toml])], [lines, { format: 'jsonl' }, 2], [bytes(lines), { format: 'jsonl' }, 2],
        ['id,path\n1,a\n', { format: 'csv' }], [new Response(lines, { headers: { 'content-type': 'application/x-ndjson' } }), {}, 2],
        [new File(['id,path\n1,a\n'], 'jobs.csv')], [JSON.parse(json)],
        [new File(['id,path\n1,a\n'], 'Jobs, list #2.CSV')], [new File([lines], 'what?.JSONL'), {}, 2],
      ]
      for (const [job, [source, options, added = 1]] of sources.entries()) {
        assert.equal((await store.importManifest(job, source, options)).added, added, `source ${job}`)
        assert.deepEqual((await store.getChunk(job, 1)).payload, { path: 'a' }, `source ${job}`)
      }
      assert.equal((await store.getJob(6)).spec.name, 'l')
      assert.equal((await store.importManifest(20, Readable.from([lines]), { format: 'jsonl' })).added, 2)
      assert.equal((await store.importManifest(21, Readable.from([Buffer.from(json)]))).added, 1)
      for (const source of [lines, bytes(lines), new Blob([lines])]) await assert.rejects(store.importManifest(50, source), /format: 'jsonl'/)
      for (const path of ['./manifest.json', 'jobs.toml', 'https://example.com/jobs']) await assert.rejects(store.importManifest(50, path), /is it a path/)
      for (const list of ['[{"id":1}]', ' [\n  {"id":1}\n]']) await assert.rejects(store.importManifest(50, list), /a list is not a manifest/)
      await assert.rejects(store.importManifest(50, '[[chunks]]\nid = 1\n[[chunks]]\nid = 1\n'), code('duplicate_chunk'))
      await assert.rejects(store.importManifest(50, bytes('{"id":1}\n{"id":}\n'), { format: 'jsonl' }), code('invalid_manifest'))
      await assert.rejects(store.importManifest(50, new Response('no', { status: 404 })), code('invalid_input'))
      await assert.rejects(store.importManifest(50, bytes('\xff')), () => true)
      await assert.rejects(store.getJob(50), code('job_not_found'))
    })

    test('what holds for all chunks is heeded or refused, and never thrown away', async (t) => {
      const store = kept(t, await opened())
      const job = { name: 'n', max_attempts: 5 }
      for (const [id, [source, options]] of [['id\n1\n', { format: 'csv' }], ['{"id":1}\n', { format: 'jsonl' }]].entries()) {
        await store.importManifest(id, source, { ...options, job })
        assert.deepEqual((await store.getJob(id)).spec, job)
      }
      for (const source of [chunks(1), '[[chunks]]\nid = 1\n', '{"chunks":[{"id":1}]}', new Blob(['{"chunks":[{"id":1}]}'])]) {
        const refused = (error) => code('invalid_input')(error) && /in the manifest/.test(error.message)
        await assert.rejects(store.importManifest(9, source, { job }), refused)
        assert.equal((await store.importManifest(9, source, { job: undefined })).deleted, 0)
      }
    })

    test('what an import or a job has not is refused by its name', async (t) => {
      const store = kept(t, await opened())
      const says = (text) => (error) => code('invalid_input')(error) && error.message.includes(text) && !/ line /.test(error.message)
      for (const name of ['onMising', 'chunk', 'manifest']) {
        await assert.rejects(store.importManifest(9, chunks(1), { [name]: 1 }), says(`importManifest has no option ${name}`))
      }
      await assert.rejects(store.newJob({ nme: 'n' }), says('unknown field `nme`'))
      assert.deepEqual(await store.listJobs(), [])
    })

    test('a value of which JSON makes nothing is no default', async (t) => {
      const store = kept(t, await opened())
      const jobs = [{ max_attempts: Infinity }, { lease: NaN }, { name: () => 'a' }, { backoff: { initial_ms: NaN, max_ms: 1 } }]
      for (const job of jobs) await assert.rejects(store.importManifest(1, { job, chunks: [] }), code('invalid_input'))
      for (const job of jobs) {
        await assert.rejects(store.newJob(job), code('invalid_input'))
        for (const [format, text] of [['csv', 'id\n1\n'], ['jsonl', '{"id":1}\n']]) {
          await assert.rejects(store.importManifest(1, text, { format, job }), code('invalid_input'))
        }
      }
      const wrong = [
        { priority: NaN }, { max_attempts: -Infinity }, { max_losses: Symbol('s') }, { not_before: new Date(NaN) },
        { payload: NaN }, { payload: new Map() }, { payload: () => {} }, { payload: new Error('no') },
        { depends_on: () => [1] }, { depends_on: NaN }, { checksum: () => 'sum' }, { on_dependency_failure: Symbol('wait') },
      ]
      for (const one of wrong) {
        const refused = (error) => code('invalid_input')(error) && /chunk 7/.test(error.message)
        await assert.rejects(store.importManifest(1, { chunks: [{ id: 7, ...one }] }), refused)
      }
      const [date, bare] = [new Date(0), Object.assign(Object.create(null), { a: 1 })]
      await store.importManifest(1, { job: { name: 'n', lease: undefined }, chunks: [{ id: 1, payload: date, not_before: date, priority: undefined }, { id: 2, payload: bare }] })
      assert.deepEqual([(await store.getChunk(1, 1)).payload, (await store.getChunk(1, 2)).payload], [date.toJSON(), { a: 1 }])
      // A checksum that was not computed is not taken for none.
      const claimed = await store.claimPending(1)
      for (const checksum of [() => 'sum', NaN, Symbol('sum')]) {
        await assert.rejects(store.complete(claimed, { checksum }), code('invalid_input'))
        await assert.rejects(store.applyBatchUpdates(1, [{ complete: claimed, checksum }]), code('invalid_input'))
        await assert.rejects(store.markStatus(1, claimed.chunk, 'done', checksum), code('invalid_input'))
      }
      assert.equal((await store.getChunk(1, claimed.chunk)).status, 'processing')
      assert.equal((await store.listJobs()).length, 1)
    })

    test('a source that fails is told, and one whose end never comes is left', async (t) => {
      const store = kept(t, await opened())
      const broken = (async function* () {
        yield '{"id":1}\n'
        throw new Error('the wire was cut')
      })()
      const failing = new ReadableStream({ pull: (controller) => controller.error(new Error('the wire was cut')) })
      for (const source of [broken, failing]) {
        const told = (error) => code('source')(error) && /the wire was cut/.test(error.message) && error.cause.message === 'the wire was cut'
        await assert.rejects(store.importManifest(1, source, { format: 'jsonl' }), told)
      }
      const never = () => new Promise(() => {})
      const endless = () => new ReadableStream({ start: (controller) => controller.enqueue('{"id":}\n'.repeat(200_000)), cancel: never })
      await assert.rejects(store.importManifest(1, endless(), { format: 'jsonl' }), code('invalid_manifest'))
      const leaving = new AbortController()
      const left = store.importManifest(1, new ReadableStream({ pull: never, cancel: never }), { signal: leaving.signal })
      leaving.abort(new Error('left'))
      await assert.rejects(left, /left/)
      await assert.rejects(store.getJob(1), code('job_not_found'))
    })

    test('a source that is not read, or not to its end, is ended', async (t) => {
      const store = kept(t, await opened())
      const ways = [
        { onConflict: 'no such thing' }, { format: 'jsonl', onConflict: 'no such thing' },
        { signal: AbortSignal.abort(new Error('left')) }, { format: 'jsonl', signal: AbortSignal.abort(new Error('left')) },
      ]
      for (const options of ways) {
        const [source, silent] = [Readable.from(['{"id":1}\n']), new Readable({ read() {} })]
        await assert.rejects(store.importManifest(1, source, options))
        await new Promise((resolve) => (source.destroyed ? resolve() : source.once('close', resolve)))
        if (options.signal === undefined) continue
        await assert.rejects(store.importManifest(1, silent, options), /left/)
        await new Promise((resolve) => (silent.destroyed ? resolve() : silent.once('close', resolve)))
      }
    })

    test('a source is ended whatever is wrong beside it', async (t) => {
      const store = kept(t, await opened())
      let ended = 0
      const stream = () => new ReadableStream({ pull() {}, cancel() { ended++ } }, { highWaterMark: 0 })
      const ways = [[-1, {}], [1.5, { format: 'jsonl' }], [1, { signal: 'none' }], [1, { format: 'jsonl', signal: 'none' }]]
      for (const [job, options] of ways) {
        await assert.rejects(store.importManifest(job, stream(), options), code('invalid_input'))
        await assert.rejects(store.importManifest(job, new Response(stream()), options), code('invalid_input'))
        const source = new Readable({ read() {} })
        await assert.rejects(store.importManifest(job, source, options), code('invalid_input'))
        await new Promise((resolve) => (source.destroyed ? resolve() : source.once('close', resolve)))
      }
      assert.equal(ended, ways.length * 2)
      await assert.rejects(store.importManifest(1, new Response(stream(), { status: 404 })), /HTTP 404/)
      assert.equal(ended, ways.length * 2 + 1)
    })

    test('a file that is not there is the source that fails, and does not end the program', async (t) => {
      const store = kept(t, await opened())
      const missing = () => createReadStream(join(folder, 'no such file'))
      for (const format of ['jsonl', 'toml']) {
        await assert.rejects(store.importManifest(1, missing(), { format }), code('source'))
        const left = missing()
        await assert.rejects(store.importManifest(-1, left, { format }), code('invalid_input'))
        await new Promise((resolve) => (left.closed ? resolve() : left.once('close', resolve)))
      }
      // One that fails while the import is begun.
      const source = new Readable({ read() {} })
      const importing = store.importManifest(1, source, { format: 'jsonl' })
      source.destroy(new Error('the wire was cut'))
      await assert.rejects(importing, code('source'))
    })

    test('null is no options', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(3), null)
      for await (const chunk of store.claims(1, null)) {
        if (chunk.chunk === 0) chunk.fail('no', null)
        else chunk.release(null)
        if (chunk.chunk === 1) break
      }
      assert.equal((await store.run(1, () => {}, null)).ending, 'finished')
      for await (const stats of store.progress(1, null)) assert.equal(stats.done, 3)
    })

    test('a large stream of lines is imported in pieces, and one that breaks off leaves nothing', async (t) => {
      const store = kept(t, await opened())
      const many = (count, breaks) => {
        let at = 0
        return new ReadableStream({
          pull(controller) {
            if (breaks && at > count / 2) return controller.error(new Error('the line went dead'))
            let text = ''
            for (let n = 0; n < 5_000 && at < count; n++) text += `{"id":${at++},"path":"a file with a name of some length, so that there are pieces"}\n`
            controller.enqueue(text)
            if (at === count) controller.close()
          },
        })
      }
      assert.equal((await store.importManifest(1, many(60_000), { format: 'jsonl' })).added, 60_000)
      assert.equal((await store.getStats(1)).total, 60_000)
      await assert.rejects(store.importManifest(2, many(120_000, true), { format: 'jsonl' }), /the line went dead/)
      await assert.rejects(store.getJob(2), code('job_not_found'))
    })

    test('a text of many lines goes over in pieces too, between which others are answered', async (t) => {
      const store = kept(t, await opened())
      const line = (id) => JSON.stringify({ id, payload: 'x'.repeat(2_000) })
      const text = Array.from({ length: 8_000 }, (_, id) => line(id)).join('\n')
      for (const source of [text, new ReadableStream({ start: (controller) => { controller.enqueue(text); controller.close() } })]) {
        let isOver = false
        let answered = 0
        const importing = store.importManifest(1, source, { format: 'jsonl' }).finally(() => (isOver = true))
        while (!isOver) {
          await store.listJobs({ limit: 1 })
          answered++
        }
        const { added, unchanged } = await importing
        assert.equal(added + unchanged, 8_000)
        assert.ok(answered > 8, `${answered} answers`)
      }
    })

    test('an import whose source has gone silent ends with its signal, and with the store', async (t) => {
      const store = kept(t, await opened())
      let cancelled
      const silent = () => {
        let asked
        const waiting = new Promise((resolve) => (asked = resolve))
        const stream = new ReadableStream({
          start: (controller) => controller.enqueue('{"id":1}\n'),
          pull: () => { asked(); return new Promise(() => {}) },
          cancel: (reason) => { cancelled = reason; return new Promise(() => {}) },
        }, { highWaterMark: 0 })
        return { stream, waiting }
      }
      for (const format of ['jsonl', 'toml']) {
        const ended = new AbortController()
        const { stream, waiting } = silent()
        const importing = store.importManifest(1, stream, { format, signal: ended.signal })
        await waiting
        ended.abort(new Error('enough'))
        await assert.rejects(importing, /enough/)
        assert.equal(cancelled, ended.signal.reason)
        await assert.rejects(store.getJob(1), code('job_not_found'))
        cancelled = undefined
        const early = silent()
        await assert.rejects(store.importManifest(1, early.stream, { format, signal: ended.signal }), /enough/)
        assert.equal(cancelled, ended.signal.reason)
      }
      const left = ['jsonl', 'toml'].map((format, job) => {
        const { stream, waiting } = silent()
        return { waiting, refused: assert.rejects(store.importManifest(job, stream, { format }), code('closed')) }
      })
      await Promise.all(left.map(({ waiting }) => waiting))
      await store.close()
      await Promise.all(left.map(({ refused }) => refused))
    })

    test('an iterable that has gone silent ends with its signal', async (t) => {
      const store = kept(t, await opened())
      const ended = new AbortController()
      let asked
      const waiting = new Promise((resolve) => (asked = resolve))
      async function* silent() {
        yield '{"id":1}\n'
        asked()
        await new Promise(() => {})
      }
      const importing = store.importManifest(1, silent(), { format: 'jsonl', signal: ended.signal })
      await waiting
      ended.abort(new Error('enough'))
      await assert.rejects(importing, /enough/)
      await assert.rejects(store.getJob(1), code('job_not_found'))
    })

    test('a stream without ends of lines is refused before it has filled the memory', async (t) => {
      const store = kept(t, await opened())
      let pulled = 0
      const endless = new ReadableStream({
        pull(controller) {
          controller.enqueue('x'.repeat(1 << 16))
          if (++pulled === 512) controller.close()
        },
      })
      await assert.rejects(store.importManifest(1, endless, { format: 'jsonl' }), code('too_large'))
      assert.ok(pulled < 128, `${pulled} pieces`)
      await assert.rejects(store.getJob(1), code('job_not_found'))
    })

    test('a long list is decoded when it is looked at', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(3_000, { payload: { text: 'zwölf "Boxkämpfer"\n' } }))
      const list = await store.getByStatus(1, 'pending')
      assert.equal(list.length, 3_000)
      assert.equal(list.at(2_999).chunk, 2_999)
      assert.equal(list.at(-1), list.at(2_999))
      assert.equal(list.at(3_000), undefined)
      assert.equal(list.at(5).payload.text, 'zwölf "Boxkämpfer"\n')
      assert.equal([...list].length, 3_000)
      assert.deepEqual([JSON.stringify(list), inspect(list)], [JSON.stringify([...list]), inspect([...list])])
      let counted = 0
      for await (const chunk of store.chunks(1)) counted += chunk.chunk === counted ? 1 : 0
      assert.equal(counted, 3_000)
    })

    test('a list has a limit, and pages have none', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(100_001))
      await assert.rejects(store.getByStatus(1, 'pending'), code('too_large'))
      await store.markStatus(1, 7, 'done')
      assert.equal((await store.getByStatus(1, 'pending')).length, 100_000)
      let counted = 0
      for await (const chunk of store.chunks(1)) counted += chunk.jobId
      assert.equal(counted, 100_001)
    })

    test('pages of large chunks end by their bytes, and lists come in pieces', async (t) => {
      const store = kept(t, await opened())
      const payload = 'ü'.repeat(450_000)
      for (const first of [0, 20]) await store.importManifest(1, { chunks: Array.from({ length: 20 }, (_, n) => ({ id: first + n, payload })) })
      const page = await store.pageByStatus(1)
      assert.ok(page.length < 40 && page.more, `${page.length}`)
      const rest = await store.pageByStatus(1, { after: 39 - page.length })
      assert.deepEqual([rest.length, rest.more], [page.length, false])
      const seen = []
      for await (const chunk of store.chunks(1)) seen.push(chunk.payload === payload ? chunk.chunk : -1)
      assert.deepEqual(seen, Array.from({ length: 40 }, (_, id) => id))
      let bytes = 0
      for await (const piece of store.exportCsv(1)) bytes += piece.length
      assert.ok(bytes > 40 * 900_000)
      const claimed = await store.claimPendingBatch(1, 40)
      assert.ok(claimed.length < 40 && claimed.at(-1).payload === payload, `${claimed.length}`)
      const stats = await store.getStats(1)
      assert.deepEqual([stats.processing, stats.pending], [claimed.length, 40 - claimed.length], 'none is claimed that is not handed over')
      const last = await store.claim({ count: 10_000 })
      assert.deepEqual([...claimed, ...last, ...(await store.claim({ count: 10_000 }))].map((chunk) => chunk.chunk), seen)
      await store.releaseAll()
      assert.equal((await store.resumePending(1)).length, 40)
      for (const first of [40, 60, 80, 100, 120, 140]) await store.importManifest(1, { chunks: Array.from({ length: 20 }, (_, n) => ({ id: first + n, payload })) })
      await assert.rejects(store.resumePending(1), code('too_large'))
    })

    test('chunks are exported as CSV, with formulas defused', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, { chunks: [{ id: 1, checksum: '=HYPERLINK("x")', payload: 'a,"b"' }, { id: 2 }] })
      const text = await new Response(store.exportCsv(1)).text()
      const lines = text.split('\r\n')
      assert.match(lines[0], /^jobId,chunk,status/)
      assert.match(lines[1], /^1,1,pending,"'=HYPERLINK\(""x""\)",.*"a,""b"""/)
      assert.equal(lines.length, 4)
    })

    test('a caller that leaves strands nothing', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(3))
      const gone = new AbortController()
      const claim = store.claimPending(1, { signal: gone.signal })
      // In a thread of its own the claim is under way by then; here it would be answered.
      for (let hop = 0; hop < (place === 'thread' ? 8 : 0); hop++) await null
      gone.abort(new Error('gone'))
      await assert.rejects(claim, /gone/)
      await assert.rejects(store.claimPending(1, { signal: gone.signal }), /gone/)
      await store.verify()
      assert.equal((await store.getStats(1)).processing, 0)
    })

    test('a signal that lives for long knows of no call that is over', async (t) => {
      const store = kept(t, await opened())
      await store.importManifest(1, chunks(3))
      const { signal } = new AbortController()
      const listeners = () => getEventListeners(signal, 'abort').length
      const calls = [store.getStats(1, { signal }), store.claimPending(1, { signal }), store.getStats(9, { signal }).catch(() => {})]
      assert.equal(listeners(), 3)
      await Promise.all(calls)
      assert.equal(listeners(), 0)
      await store.releaseAll()
      await store.importManifest(2, '{"id":1}\n', { format: 'jsonl', signal })
      await store.run(2, () => {}, { signal })
      for await (const _ of store.claims(1, { signal }));
      for await (const _ of store.progress(2, { signal }));
      assert.equal(listeners(), 0)
    })

    test('a closed store refuses every call, and closing twice is fine', async () => {
      const store = await opened()
      await store.importManifest(1, chunks(1))
      await store.claimPending(1)
      await store.close()
      await store.close()
      await assert.rejects(store.getStats(1), code('closed'))
      await assert.rejects(store.claimPending(1), code('closed'))
      assert.equal(store.isClosed, true)
    })
  })
}

test('what was acknowledged is there after opening again, and claims of a closed store are pending', async (t) => {
  const path = join(folder, 'again.redb')
  const store = await open(path)
  await store.importManifest(1, chunks(3))
  await store.complete(await store.claimPending(1), { output: 'kept' })
  await store.claimPending(1)
  await store.close()
  const again = kept(t, await open(path, { inline: true }))
  assert.equal((await again.getChunk(1, 0)).output, 'kept')
  assert.deepEqual([(await again.getStats(1)).pending, (await again.getChunk(1, 1)).losses], [2, 0])
})

test('a file that is open is locked, in this process too, and free after its closing', async () => {
  const path = join(folder, 'locked')
  const store = await open(path)
  await assert.rejects(open(path), (error) => code('locked')(error) && error.retry === 'later')
  await assert.rejects(open(path, { inline: true }), code('locked'))
  await store.close()
  await (await open(path)).close()
})

test('a file that is open is locked under each of its names', async (t) => {
  const place = mkdtempSync(join(folder, 'names-'))
  const store = kept(t, await open(join(place, 'store')))
  await store.importManifest(1, chunks(2))
  symlinkSync(join(place, 'store.redb'), join(place, 'soft.redb'))
  symlinkSync(place, join(place, 'folder'))
  const others = [join(place, 'soft'), join(place, 'folder', 'store'), join(place, 'folder', 'folder', 'soft')]
  for (const options of [{}, { inline: true }]) {
    for (const name of others) await assert.rejects(open(name, options), code('locked'), name)
  }
  linkSync(join(place, 'store.redb'), join(place, 'hard.redb'))
  await assert.rejects(open(join(place, 'hard')), code('refused'))
  await store.close()
  await assert.rejects(open(join(place, 'store')), code('refused'))
  rmSync(join(place, 'hard.redb'))
  const again = kept(t, await open(join(place, 'soft')))
  assert.equal((await again.getStats(1)).total, 2)
  // One that is not there yet is made where its folder really is.
  const fresh = kept(t, await open(join(place, 'folder', 'fresh')))
  await assert.rejects(open(join(place, 'fresh')), code('locked'))
  await fresh.close()
})

test('a file that is no store is left as it is', async () => {
  const { readFileSync, writeFileSync } = await import('node:fs')
  const path = join(folder, 'stranger.redb')
  writeFileSync(path, 'this is somebody else’s file, and long enough to be looked at\n'.repeat(200))
  const before = readFileSync(path)
  await assert.rejects(open(path), code('corrupt'))
  assert.deepEqual(readFileSync(path), before)
})

test('what is damaged in a file that was given out is found, or was of no use', async () => {
  const store = await open(':memory:')
  await store.importManifest(2, chunks(3))
  await store.complete(await store.claimPending(2), { output: 'there' })
  await store.importManifest(1, chunks(300, { payload: 'x'.repeat(2_000) }))
  const bytes = new Uint8Array(await (await store.exportFile()).arrayBuffer())
  await store.close()
  let found = 0
  for (let at = 97; at < bytes.length; at += 4096) {
    const damaged = bytes.slice()
    damaged[at] ^= 0xff
    const copy = await importFile(':memory:', damaged).catch(code('corrupt'))
    if (copy === true) {
      found++
      continue
    }
    const seen = copy.verify().then(
      async () => [(await copy.getStats(1)).total, (await copy.getChunk(2, 0)).output],
      (error) => code('corrupt')(error),
    )
    if ((await seen) === true) found++
    else assert.deepEqual(await seen, [300, 'there'], `byte ${at}`)
    await copy.close()
  }
  assert.ok(found > 0)
})

test('a file goes out of one store and into another', async (t) => {
  const store = kept(t, await open(join(folder, 'source')))
  await store.importManifest(1, chunks(500, { payload: { n: 1 } }))
  const held = await store.claimPending(1)
  await store.complete(held, { output: 'there' })
  const file = await store.exportFile()
  for (const name of [':memory:', join(folder, 'copy')]) {
    const copy = kept(t, await importFile(name, file))
    assert.equal((await copy.getChunk(1, 0)).output, 'there')
    await copy.verify()
    assert.equal((await copy.getStats(1)).total, 500)
    await copy.claimPending(1)
    const third = kept(t, await importFile(':memory:', await copy.exportFile()))
    assert.equal((await third.getStats(1)).processing, 0)
    await copy.close()
  }
  await assert.rejects(importFile(join(folder, 'copy'), file), code('refused'))
  const bytes = new Uint8Array(await file.arrayBuffer())
  const strange = [new Uint8Array(100_000).fill(7), new Uint8Array(9_000), new Uint8Array(), bytes.slice(0, 50_000), bytes.slice(0, 270_000)]
  // In redb's part, and all but what stands in front.
  strange.push(bytes.slice().fill(7, 267_000, 320_000), bytes.slice().fill(0, 24))
  for (const name of [':memory:', join(folder, 'none')]) {
    for (const from of strange) await assert.rejects(importFile(name, from), code('corrupt'), `${from.length} bytes`)
  }
  await (await importFile(join(folder, 'none'), file)).close()
  await assert.rejects(open(join(folder, 'nothing'), { from: 'text' }), code('invalid_input'))
})

test('a store in memory keeps its bytes once, and none when it is closed', () => {
  const script = `
    const { open } = await import(${JSON.stringify(new URL('node.js', packed))})
    const kept = async () => {
      // What is freed is counted out a little later.
      for (let round = 0; round < 10; round++) {
        gc()
        await new Promise((resolve) => setTimeout(resolve))
      }
      return process.memoryUsage().arrayBuffers
    }
    const chunks = Array.from({ length: 24 }, (_, id) => ({ id, payload: 'x'.repeat(1_000_000) }))
    const made = await open(':memory:')
    await made.importManifest(1, { chunks })
    const from = new Uint8Array(await (await made.exportFile()).arrayBuffer())
    await made.close()
    const before = await kept()
    const store = await open(':memory:', { from })
    const whileOpen = await kept()
    await store.close()
    const afterwards = await kept()
    // A store that is closed may be held on to.
    console.log(made.isClosed, store.isClosed, ...[before, whileOpen, afterwards].map((bytes) => Math.round(bytes / from.length)))`
  const told = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', script], { encoding: 'utf8' })
  assert.deepEqual([told.stdout, told.status], ['true true 1 2 1\n', 0], told.stderr)
})

test('the whole package in one script does the same', async (t) => {
  const { open } = await import(new URL('inline-node.js', packed))
  for (const name of [':memory:', join(folder, 'in-one-script')]) {
    const store = kept(t, await open(name))
    await store.importManifest(1, chunks(2))
    assert.equal((await store.run(1, () => 1)).completed, 2)
  }
})

test('a worker that cannot be had, or told what to do, is a typed error, and the next opening has its own', async (t) => {
  const { Worker } = await import('node:worker_threads')
  const path = join(folder, 'no-worker')
  const strange = [
    { worker: () => { throw new Error('no worker here') } }, { worker: () => { throw null } }, { worker: () => ({}) }, { worker: () => 7 },
    { worker: () => new Worker(new URL('worker-node.js', packed)), wasm: Promise.resolve() }, { wasm: () => {} }, { wasm: Symbol('s') },
  ]
  for (const options of strange) await assert.rejects(open(path, options), code('unavailable'))
  await kept(t, await open(path)).importManifest(1, chunks(1))
})

test('a thread whose script is not there is told as missing, and not as crashed', async () => {
  const { Worker } = await import('node:worker_threads')
  const worker = () => new Worker(new URL('no-such-worker.js', packed))
  const missing = (error) => code('unavailable')(error) && /no-such-worker/.test(error.message)
  await assert.rejects(open(join(folder, 'no-script'), { worker }), missing)
})

test('a program in which nothing can be made durable is told so, and has memory', () => {
  const path = join(folder, 'not-durable')
  const script = `
    const { open } = await import(${JSON.stringify(new URL('node.js', packed))})
    for (const [name, options] of [[${JSON.stringify(path)}], [${JSON.stringify(path)}, { inline: true }], [':memory:']]) {
      await open(name, options).then((store) => console.log(store.persistence) || store.close(), ({ code }) => console.log(code))
    }`
  const permitted = ['--permission', '--allow-worker', '--allow-fs-read=*', '--allow-fs-write=*', '-e', `(async () => {${script}})()`]
  const told = spawnSync(process.execPath, permitted, { encoding: 'utf8' })
  assert.deepEqual([told.stdout, told.status], ['unavailable\nunavailable\nmemory\n', 0], told.stderr)
  assert.deepEqual(readdirSync(folder).filter((name) => name.startsWith('not-durable')), [])
})

test('a file whose name cannot be made durable is not left behind', async (t) => {
  const path = join(folder, 'nameless')
  const { fsyncSync } = fs
  const put = (sync) => {
    fs.fsyncSync = sync
    syncBuiltinESMExports()
  }
  t.after(() => put(fsyncSync))
  put(() => { throw Object.assign(new Error('no'), { code: 'EIO' }) })
  const files = () => process.platform === 'linux' && readdirSync('/proc/self/fd').length
  const before = files()
  await assert.rejects(open(path, { inline: true }), code('io'))
  assert.deepEqual([existsSync(`${path}.redb`), files()], [false, before])
  put(fsyncSync)
  await (await open(path, { inline: true })).close()
})

test('a program that may have no threads is told so', () => {
  const script = `import(${JSON.stringify(new URL('node.js', packed))}).then(({ open }) => open('x')).catch(({ code }) => console.log(code))`
  const told = spawnSync(process.execPath, ['--permission', '--allow-fs-read=*', '--allow-fs-write=*', '-e', script], { encoding: 'utf8' })
  assert.deepEqual([told.stdout, told.status], ['unavailable\n', 0], told.stderr)
})

test('calls of one tick go over in parts where they say much, in their order', async (t) => {
  const { Worker } = await import('node:worker_threads')
  const sent = []
  const worker = () => {
    const made = new Worker(new URL('worker-node.js', packed))
    const post = made.postMessage.bind(made)
    made.postMessage = (message, transfer) => {
      if (message.t === 'calls') sent.push(message.batch.length)
      post(message, transfer)
    }
    return made
  }
  const store = kept(t, await open(join(folder, 'in-parts'), { worker }))
  await store.importManifest(1, chunks(40))
  const claimed = (await store.claimPendingBatch(1, 40)).toArray()
  const before = sent.length
  const output = 'x'.repeat(900_000)
  const calls = claimed.map((chunk) => store.complete(chunk, { output }))
  calls.push(store.complete(claimed[0], { output: 'another' }).catch((error) => error.code))
  const answers = await Promise.all(calls)
  assert.deepEqual(answers, [...claimed.map(() => 'changed'), 'result_conflict'])
  assert.equal(sent.length - before, 3)
  assert.ok(Math.max(...sent) < 17 << 20, sent.join())
})

test('an answer that cannot be read rejects its call, and the others have theirs', async (t) => {
  const { Worker } = await import('node:worker_threads')
  let isSpoilt = false
  const worker = () => {
    const made = new Worker(new URL('worker-node.js', packed))
    const on = made.on.bind(made)
    const spoilt = (message) => (message.t === 'answers' && isSpoilt ? { ...message, lines: message.lines.replace(/^(\[\d+,).*/, '$1?') } : message)
    made.on = (event, hear) => on(event, event === 'message' ? (message) => hear(spoilt(message)) : hear)
    return made
  }
  const store = kept(t, await open(join(folder, 'spoilt'), { worker }))
  isSpoilt = true
  const [first, second] = await Promise.allSettled([store.listJobs(), store.listJobs()])
  isSpoilt = false
  assert.ok(code('too_large')(first.reason))
  assert.deepEqual(second.value, [])
})

test('what is no file makes no store', async () => {
  const name = join(folder, 'never')
  for (const from of [undefined, null, '', 0, false, [1], 'abc']) {
    await assert.rejects(importFile(name, from), code('invalid_input'))
    await assert.rejects(open(name, { from }), code('invalid_input'))
  }
  await assert.rejects(open(name, null), code('invalid_input'))
  assert.equal(existsSync(`${name}.redb`), false)
  const store = await open(':memory:')
  const file = await store.exportFile()
  await store.close()
  // As another frame has it.
  const bytes = runInNewContext('(length) => new ArrayBuffer(length)')(file.size)
  new Uint8Array(bytes).set(new Uint8Array(await file.arrayBuffer()))
  await (await importFile(':memory:', bytes)).close()
  // What becomes of the bytes after the call is nobody's business.
  const own = await file.arrayBuffer()
  const opening = importFile(':memory:', own)
  structuredClone(own, { transfer: [own] })
  await (await opening).close()
})

test('a file that cannot be read any more is told as the source', async () => {
  const path = join(folder, 'changed')
  fs.writeFileSync(path, 'a')
  const file = await fs.openAsBlob(path)
  fs.writeFileSync(path, 'another')
  await assert.rejects(importFile(':memory:', file), code('source'))
})

test('the entries for pages say what Node lacks for them', async (t) => {
  for (const entry of ['browser.js', 'inline.js']) {
    const page = await import(new URL(entry, packed))
    const is = (expected) => (error) => error instanceof page.MagnetarError && error.code === expected
    await assert.rejects(page.open('of-a-page'), is('unavailable'), entry)
    for (const options of [null, 7]) await assert.rejects(page.open(':memory:', options), is('invalid_input'), entry)
  }
  const { open, MagnetarError } = await import(`${new URL('inline.js', packed)}?fresh`)
  // As under a policy that forbids it.
  const { compile } = WebAssembly
  t.after(() => (WebAssembly.compile = compile))
  WebAssembly.compile = async () => { throw new WebAssembly.CompileError('not allowed') }
  await assert.rejects(open(':memory:'), (error) => error instanceof MagnetarError && error.code === 'unavailable')
  WebAssembly.compile = compile
  await (await open(':memory:')).close()
})

test('what a test puts in the place of the host’s is not waited for, and takes no part', { timeout: 60_000 }, async (t) => {
  const store = kept(t, await open(':memory:'))
  await store.importManifest(1, chunks(1))
  const kinds = ['queueMicrotask', 'performance', 'setImmediate', 'CustomEvent', 'Event', 'AbortSignal']
  const own = kinds.map((kind) => [kind, Object.getOwnPropertyDescriptor(globalThis, kind)])
  const restore = () => own.forEach(([kind, property]) => Object.defineProperty(globalThis, kind, property))
  t.after(restore)
  const strange = { queueMicrotask: () => {}, performance: { now: () => 0 }, setImmediate: () => {}, CustomEvent: class {}, Event: class {}, AbortSignal: class {} }
  for (const kind of kinds) Object.defineProperty(globalThis, kind, { value: strange[kind], configurable: true, writable: true })
  const changed = new Promise((resolve) => store.addEventListener('change', resolve))
  const progress = store.progress(1)
  const told = new Promise((resolve) => progress.addEventListener('progress', resolve))
  for (let calls = 0; calls < 3; calls++) await store.getStats(1)
  await store.run(1, () => {})
  await Promise.all([changed, told])
  restore()
})

test('names that are none are refused', async () => {
  for (const name of ['', undefined, null, 7, {}]) await assert.rejects(open(name), code('invalid_input'))
  const missing = (error) => code('io')(error) && /^ENOENT: no such file/.test(error.message)
  await assert.rejects(open(join(folder, 'no', 'such', 'folder')), missing)
})

test('a folder is no name of a store, and nothing is made in it', async (t) => {
  const inside = mkdtempSync(join(folder, 'inside-'))
  const here = process.cwd()
  process.chdir(inside)
  t.after(() => process.chdir(here))
  for (const name of ['.', '..', `${inside}/`, `${inside}/.`, './', '/']) {
    const refused = (error) => code('invalid_input')(error) && /is a folder: name a file in it/.test(error.message)
    await assert.rejects(open(name), refused, name)
  }
  assert.deepEqual(readdirSync(inside), [])
})

test('an ending counts in whichever case, as it does natively', async () => {
  const inside = mkdtempSync(join(folder, 'inside-'))
  await open(join(inside, 'JOBS.REDB')).then((store) => store.close())
  assert.deepEqual(readdirSync(inside).filter((name) => !name.endsWith('.lock')), ['JOBS.REDB'])
})

for (const options of [{}, { inline: true }]) {
  test(`a store that is opened anew goes on with what waits, ${options.inline ? 'in this thread' : 'in its own'}`, async (t) => {
    const path = join(folder, `reopened-${options.inline ? 'here' : 'elsewhere'}`)
    const store = kept(t, await open(path, options))
    await store.importManifest(1, chunks(50))
    const held = await store.claimPending(1)
    const calls = Promise.all(Array.from({ length: 20 }, () => store.claimPending(1)))
    await store.reopen()
    const claimed = await calls
    assert.equal(new Set(claimed.map((chunk) => chunk.chunk)).size, 20)
    assert.equal(await store.complete(held), 'changed')
    for (let again = 0; again < 3; again++) await store.reopen()
    const stats = await store.getStats(1)
    assert.deepEqual([stats.processing, stats.done], [20, 1])
    await assert.rejects(open(path, options), code('locked'))
    await store.close()
    const after = kept(t, await open(path, options))
    await after.verify()
    assert.equal((await after.getStats(1)).pending, 49)
  })
}

test('a body that waits for nothing but its signal is told, though the program has nothing else to do', () => {
  const script = `
    const { open } = await import(${JSON.stringify(new URL('node.js', packed))})
    const store = await open(${JSON.stringify(join(folder, 'alone'))})
    await store.importManifest(1, { chunks: [{ id: 1 }] })
    const heartbeat = store.heartbeat.bind(store)
    store.heartbeat = async (claim) => { await store.cancel(1); return heartbeat(claim) }
    for await (const { signal } of store.claims(1, { leaseMs: 1000 })) await new Promise((resolve) => signal.addEventListener('abort', resolve))
    console.log('told')
    await store.close()`
  const told = spawnSync(process.execPath, ['-e', `(async () => {${script}})()`], { encoding: 'utf8' })
  assert.deepEqual([told.stdout, told.status], ['told\n', 0], told.stderr)
})

test('however many loops wait for a store, Node warns of none', async (t) => {
  const warnings = []
  const note = ({ name }) => warnings.push(name)
  process.on('warning', note)
  t.after(() => process.off('warning', note))
  const store = kept(t, await open(':memory:'))
  await store.importManifest(1, chunks(1))
  const held = await store.claimPending(1)
  const { signal } = new AbortController()
  const loops = Array.from({ length: 30 }, async () => { for await (const _ of store.claims(1, { signal })); })
  const watching = Array.from({ length: 30 }, async () => { for await (const _ of store.progress(1, { signal })); })
  for (let i = 0; i < 20; i++) await store.getStats(1)
  await store.complete(held)
  await Promise.all([...loops, ...watching])
  assert.deepEqual(warnings, [])
})

test('a program that was given as text has its stores in threads like any other', () => {
  for (const entry of ['node.js', 'inline-node.js']) {
    const script = `
      const { open } = await import(${JSON.stringify(new URL(entry, packed))})
      const store = await open(${JSON.stringify(join(folder, `as-text-${entry}`))})
      console.log(store.persistence)
      await store.close()`
    const ways = [
      [['--input-type=module', '-e', script]], [['--input-type', 'module', '--no-warnings', '-e', script]], [['--input-type=module', '-'], script],
      [['-e', script], '', '--input-type=module --no-warnings'], [['--input-type=module', '-e', script], '', '--input-type=module'],
      // What a thread refuses is handed to none.
      [['--max-old-space-size=500', '--title=text', '--input-type=module', '-e', script]], [['-e', script], '', '--input-type=module --title=text'],
    ]
    for (const [args, input, NODE_OPTIONS] of ways) {
      const told = spawnSync(process.execPath, args, { encoding: 'utf8', input, env: { ...process.env, ...(NODE_OPTIONS && { NODE_OPTIONS }) } })
      assert.deepEqual([told.stdout, told.status], ['file\n', 0], `${entry} ${args[0]} ${NODE_OPTIONS}: ${told.stderr}`)
    }
  }
})

test('a store that a preloaded module opens begins no thread in its own thread', () => {
  const script = join(folder, 'preloaded.mjs')
  const path = JSON.stringify(join(folder, 'preloaded'))
  fs.writeFileSync(script, `
    import { open } from ${JSON.stringify(new URL('node.js', packed))}
    await open(${path}).then((store) => console.log('opened') || store.close(), ({ code }) => console.log(code))`)
  const told = spawnSync(process.execPath, ['--import', String(pathToFileURL(script)), '-e', '1'], { encoding: 'utf8', timeout: 30_000 })
  assert.deepEqual([told.stdout.trim().split('\n').sort(), told.status], [['opened', 'unavailable'], 0], told.stderr)
})

test('what is in memory is not thrown away to be opened anew', async (t) => {
  const store = kept(t, await open(':memory:'))
  await store.importManifest(1, chunks(2))
  await assert.rejects(store.reopen(), code('refused'))
  assert.equal((await store.getStats(1)).total, 2)
  await store.close()
  await assert.rejects(store.reopen(), code('closed'))
})
