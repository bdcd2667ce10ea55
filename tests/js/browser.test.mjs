// The packed package in real browsers: files of the origin, several tabs, workers that are terminated.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { hosted, names } from './browsers.mjs'
import { random, rounds } from './package.mjs'

for (const name of names) {
  describe(name, () => {
    const host = hosted(name)
    const tab = async () => {
      const page = await host.running.page()
      await page.goto(host.site.url)
      return page
    }

    test('a store of a page is kept in the files of the origin', async () => {
      const page = await tab()
      const [before, after] = await page.evaluate(async () => {
        const { open } = await import('/browser.js')
        const store = await open('kept')
        await store.importManifest(1, { chunks: [{ id: 1, payload: { a: 1 } }, { id: 2 }] })
        const chunk = await store.claimPending(1)
        await store.complete(chunk, { output: chunk.payload })
        const before = { persistence: store.persistence, done: (await store.getStats(1)).done }
        await store.close()
        const again = await open('kept')
        const after = { done: (await again.getStats(1)).done, output: (await again.getChunk(1, 1)).output }
        await again.verify()
        await again.close()
        return [before, after]
      })
      assert.deepEqual(before, { persistence: 'opfs', done: 1 })
      assert.deepEqual(after, { done: 1, output: { a: 1 } })
      await page.close()
    })

    test('memory needs no worker', async () => {
      const page = await tab()
      const done = await page.evaluate(async () => {
        const { open } = await import('/browser.js')
        const store = await open(':memory:')
        await store.importManifest(1, { chunks: [{ id: 1 }] })
        for await (const chunk of store.claims(1)) chunk.complete(7)
        const { output } = await store.getChunk(1, 1)
        // Timers have their turn however fast calls are answered.
        let isDue = false
        setTimeout(() => (isDue = true), 0)
        for (let calls = 0; !isDue && calls < 100_000; calls++) await store.getStats(1)
        await store.close()
        return [store.persistence, output, isDue]
      })
      assert.deepEqual(done, ['memory', 7, true])
      await page.close()
    })

    test('a store in memory that is closed leaves nothing in the page', { skip: name !== 'chromium' && 'no other browser collects when it is told to' }, async () => {
      const page = await tab()
      await page.evaluate(async () => {
        const { open } = await import('/browser.js')
        globalThis.stores = []
        for (let made = 0; made < 10; made++) {
          const store = await open(':memory:')
          stores.push(new WeakRef(store))
          await store.close()
        }
      })
      const devtools = await page.context().newCDPSession(page)
      let left
      // The last one may be on the stack.
      for (let tries = 0; !(left < 2) && tries < 50; tries++) {
        await devtools.send('HeapProfiler.collectGarbage')
        left = await page.evaluate(() => stores.filter((store) => store.deref() !== undefined).length)
      }
      assert.ok(left < 2, `${left} of 10 are left`)
      await page.close()
    })

    test('the address of a module is one of the page', async () => {
      const page = await tab()
      const found = await page.evaluate(async () => {
        const { open } = await import('/browser.js')
        history.replaceState(null, '', '/deeper/page')
        const found = []
        for (const [name, wasm] of [['addressed', '../magnetar.wasm'], [':memory:', '../magnetar.wasm'], ['nowhere', 'magnetar.wasm'], ['none', 'http://']]) {
          try {
            await (await open(name, { wasm })).close()
            found.push('opened')
          } catch (error) {
            found.push(error.code)
          }
        }
        return found
      })
      assert.deepEqual(found, ['opened', 'opened', 'unavailable', 'invalid_input'])
      await page.close()
    })

    // Of a hundred pages whose worker makes a worker, Firefox 153 gets stuck in one or two: `new Worker` does not return
    // there, whatever the script, and that worker's event loop stands still. That, and nothing else, is tried again.
    const TRIES = 5

    const insideWorker = async () => {
      const page = await tab()
      const done = await page.evaluate(async () => {
        const source = `
          addEventListener('message', () => postMessage('its event loop runs'))
          const { open } = await import('${location.origin}/browser.js')
          const store = await open('from a worker')
          await store.importManifest(1, { chunks: [{ id: 1 }] })
          await store.run(1, () => 'ran')
          postMessage([store.persistence, (await store.getChunk(1, 1)).output])
        `
        const code = `export {}; (async () => {${source}})().catch((error) => postMessage(String(error)))`
        // A module of its own, from the same origin: the policy of the page allows nothing else.
        const worker = new Worker('/in-worker.js?' + encodeURIComponent(code), { type: 'module' })
        const told = () =>
          new Promise((resolve) => {
            worker.onmessage = ({ data }) => resolve(data)
            worker.onerror = (event) => resolve(event.message || 'the worker did not start')
          })
        const silence = (ms) => new Promise((resolve) => setTimeout(resolve, ms, 'silence'))
        const first = await Promise.race([told(), silence(20_000)])
        if (first !== 'silence') return first
        worker.postMessage('')
        const second = await Promise.race([told(), silence(5_000)])
        return second === 'silence' ? 'stuck' : second
      })
      await page.close()
      return done
    }

    test('inside a worker it is the same', async () => {
      let done = 'stuck'
      for (let tries = 0; done === 'stuck' && tries < TRIES; tries++) {
        if (tries > 0) console.log(`${name}: a worker got stuck making a worker; once more`)
        done = await insideWorker()
        if (name !== 'firefox') break
      }
      assert.deepEqual(done, ['opfs', 'ran'])
    })

    test('where no worker can be had an opening is refused, beside a tab that has the file too', async () => {
      const page = await tab()
      const told = await page.evaluate(async (isChromium) => {
        const { open } = await import('/browser.js')
        const strange = [{ worker: () => { throw null } }, { worker: () => ({}) }, { wasm: Promise.resolve() }]
        // Firefox tells of it later, as of a script that is not served.
        if (isChromium) strange.push({ worker: () => new Worker('https://elsewhere.invalid/worker.js') })
        const asked = (options) => open('no worker', options).then(() => 'opened', ({ code }) => code)
        const told = []
        for (const options of strange) told.push(await asked(options))
        const store = await open('no worker')
        for (const options of strange) told.push(await asked(options))
        await store.importManifest(1, { chunks: [{ id: 1 }] })
        await store.close()
        const code = `onconnect = ({ ports: [port] }) => import('${location.origin}/browser.js').then(({ open }) => open('no worker')).then(() => port.postMessage('opened'), ({ code }) => port.postMessage(code))`
        const shared = new SharedWorker('/in-worker.js?' + encodeURIComponent(code), { type: 'module' })
        told.push(await new Promise((resolve) => (shared.port.onmessage = ({ data }) => resolve(data))))
        return told
      }, name === 'chromium')
      const inShared = told.pop()
      assert.deepEqual(told, told.map(() => 'unavailable'))
      // Firefox has workers there.
      if (name === 'chromium') assert.equal(inShared, 'unavailable')
      await page.close()
    })

    test('a file that something else has open is locked, and opens when it is free', async () => {
      const page = await tab()
      const [locked, after] = await page.evaluate(async () => {
        const { open } = await import('/browser.js')
        const made = await open('taken')
        await made.importManifest(1, { chunks: [{ id: 1 }] })
        await made.close()
        const source = `(async () => {
          const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('magnetar')
          globalThis.access = await (await folder.getFileHandle('taken.redb')).createSyncAccessHandle()
          postMessage('taken')
        })()`
        const worker = new Worker('/in-worker.js?' + encodeURIComponent(`export {}; ${source}`), { type: 'module' })
        await new Promise((resolve) => (worker.onmessage = resolve))
        const locked = await open('taken').catch(({ name, code, retry, message }) => ({ name, code, retry, message }))
        worker.terminate()
        const again = await open('taken')
        await again.verify()
        const { total } = await again.getStats(1)
        await again.close()
        return [locked, total]
      })
      assert.deepEqual([locked.name, locked.code, locked.retry], ['MagnetarError', 'locked', 'later'], JSON.stringify(locked))
      assert.equal(after, 1)
      await page.close()
    })

    test('two tabs share a store, and when one is closed its claims come back to the other at once', async () => {
      const [one, two] = [await tab(), await tab()]
      const prepare = async () => {
        const { open } = await import('/browser.js')
        globalThis.store = await open('shared')
        return store.owner
      }
      await one.evaluate(prepare)
      await one.evaluate(() => store.importManifest(1, { chunks: [{ id: 1 }, { id: 2 }] }).then(() => {}))
      await two.evaluate(prepare)
      const held = await two.evaluate(async () => {
        globalThis.mine = await store.claimPending(1)
        return mine.chunk
      })
      assert.equal(held, 1)
      await one.evaluate(async () => {
        globalThis.kept = await store.claimPending(1)
      })
      // The first tab leads. It goes, with a claim; the second keeps its own.
      await one.close()
      const after = await two.evaluate(async () => {
        const begun = performance.now()
        while (!(await store.claimPending(1))) await new Promise((resolve) => setTimeout(resolve, 5))
        const waited = performance.now() - begun
        await store.complete(mine)
        const { done, processing } = await store.getStats(1)
        return { done, processing, waited }
      })
      assert.deepEqual([after.done, after.processing], [1, 1])
      assert.ok(after.waited < 20_000, `it took ${after.waited} ms`)
      await two.close()
    })

    test('a tab whose own worker never starts uses the leader while there is one, and is then told that there is none', async () => {
      const [one, two] = [await tab(), await tab()]
      await one.evaluate(async () => {
        const { open } = await import('/browser.js')
        globalThis.store = await open('without a worker')
        await store.importManifest(1, { chunks: Array.from({ length: 2_000 }, (_, id) => ({ id })) })
      })
      const { done, made } = await two.evaluate(async () => {
        const { open } = await import('/browser.js')
        globalThis.made = 0
        const worker = () => new Worker(`/no-such-worker-${++made}.js`, { type: 'module' })
        globalThis.store = await open('without a worker', { worker })
        for (let cycle = 0; cycle < 300; cycle++) await store.complete(await store.claimPending(1))
        return { done: (await store.getStats(1)).done, made }
      })
      assert.equal(done, 300)
      // One after the other at once it would be one for each few calls.
      assert.ok(made < 20, `${made} workers were made meanwhile`)
      await one.close()
      const codes = await two.evaluate(() => {
        const code = () => store.claimPending(1).then(() => 'claimed', (error) => error.code)
        return Promise.all([code(), code()])
      })
      assert.deepEqual(codes, ['unavailable', 'unavailable'])
      await two.close()
    })

    test('a tab whose own worker hangs while the leader ends is told that there is none', async () => {
      const [one, two] = [await tab(), await tab()]
      await one.evaluate(async () => {
        const { open } = await import('/browser.js')
        globalThis.store = await open('a worker that hangs')
        await store.importManifest(1, { chunks: [{ id: 1 }] })
      })
      await two.evaluate(async () => {
        const { open } = await import('/browser.js')
        let made = 0
        // The first begins, and says nothing until it is given up; the others cannot be had.
        const worker = () => new Worker(made++ === 0 ? '/in-worker.js?' : '/no-such-worker.js', { type: 'module' })
        globalThis.store = await open('a worker that hangs', { worker })
      })
      await one.close()
      assert.equal(await two.evaluate(() => store.claimPending(1).then(() => 'claimed', (error) => error.code)), 'unavailable')
      await two.close()
    })

    test('a store is made of a file, never over another one, and by one tab alone', async () => {
      const [one, two] = [await tab(), await tab()]
      const prepare = async () => {
        const made = await import('/browser.js')
        globalThis.open = made.open
        globalThis.imported = (name, bytes) => made.importFile(name, bytes).then((store) => (globalThis.copy = store), ({ code, retry }) => [code, retry])
      }
      await one.evaluate(prepare)
      await two.evaluate(prepare)
      const first = await one.evaluate(async () => {
        const store = await open('source')
        await store.importManifest(1, { chunks: Array.from({ length: 3_000 }, (_, id) => ({ id, payload: 'x'.repeat(500) })) })
        await store.complete(await store.claimPending(1), { output: 'there' })
        globalThis.file = await store.exportFile()
        await store.close()
        const damaged = new Uint8Array(await file.arrayBuffer()).fill(7, 300_000, 400_000)
        const refused = [await imported('copy', damaged), await imported('copy', new Uint8Array(9_000)), await imported('source', file)]
        await imported('copy', file)
        await copy.verify()
        refused.push(await imported('copy', file).then((result) => result[0]))
        return { refused, output: (await globalThis.copy.getChunk(1, 0)).output, persistence: copy.persistence }
      })
      assert.deepEqual(first, {
        refused: [['corrupt', 'never'], ['corrupt', 'never'], ['refused', 'never'], 'locked'], output: 'there', persistence: 'opfs',
      })
      assert.deepEqual(await two.evaluate(() => imported('copy', new Uint8Array(9_000))), ['locked', 'later'])
      const second = await two.evaluate(async () => {
        const store = await open('copy')
        const file = await store.exportFile()
        const { importFile } = await import('/browser.js')
        const again = await importFile(':memory:', file)
        await again.verify()
        return [(await store.getStats(1)).total, file.size > 3_000 * 500, file.type, (await again.getChunk(1, 0)).output]
      })
      assert.deepEqual(second, [3_000, true, 'application/octet-stream', 'there'], 'the file of another tab is whole')
      // A worker that is ended while it imports: another begins anew.
      const below = random(`${name}: import`)
      for (let round = 0; round < rounds(4, 40); round++) {
        const total = await one.evaluate(async ([round, ms]) => {
          const { importFile } = await import('/browser.js')
          const make = () => (globalThis.worker = new Worker('/worker-browser.js', { type: 'module' }))
          setTimeout(() => worker.terminate(), ms)
          const store = await importFile(`ended ${round}`, file, { worker: make }).catch((error) => {
            // It had been made, and not yet said.
            if (error.code === 'refused') return open(`ended ${round}`)
            throw error
          })
          await store.verify()
          const { total } = await store.getStats(1)
          await store.close()
          return total
        }, [round, below(300)])
        assert.equal(total, 3_000)
      }
      await Promise.all([one.close(), two.close()])
    })

    test('a tab that waits closes its store: what it held comes back, whoever leads goes on', async () => {
      const [one, two] = [await tab(), await tab()]
      const prepare = async () => {
        const { open } = await import('/browser.js')
        globalThis.leads = false
        const make = () => (globalThis.worker = new Worker('/worker-browser.js', { type: 'module' }))
        globalThis.store = await open('closing', { worker: make })
        store.addEventListener('leader', ({ detail }) => (globalThis.leads = detail))
      }
      await one.evaluate(prepare)
      await one.evaluate(() => store.importManifest(1, { chunks: Array.from({ length: 50 }, (_, id) => ({ id })) }).then(() => {}))
      await two.evaluate(prepare)
      const closed = await two.evaluate(async () => {
        await store.claimPendingBatch(1, 3)
        const inFlight = store.claimPending(1)
        const closing = store.close()
        const refused = await store.getStats(1).catch(({ code }) => code)
        const claimed = await inFlight
        await closing
        await store.close()
        return { refused, claimed: claimed.chunk, led: leads }
      })
      assert.deepEqual(closed, { refused: 'closed', claimed: 3, led: false })
      const kept = await one.evaluate(async () => {
        const { pending, processing } = await store.getStats(1)
        const { losses } = await store.getChunk(1, 0)
        return [pending, processing, losses, leads]
      })
      assert.deepEqual(kept, [50, 0, 0, false])
      // Nothing of it is left: it opens again, and its closing is not waited for where its worker has just been ended.
      const again = await two.evaluate(async () => {
        const make = () => (globalThis.worker = new Worker('/worker-browser.js', { type: 'module' }))
        const { open } = await import('/browser.js')
        const store = await open('closing', { worker: make })
        await store.claimPending(1)
        worker.terminate()
        await store.close()
        return store.isClosed
      })
      assert.equal(again, true)
      assert.equal(await one.evaluate(async () => (await store.getStats(1)).processing), 0)
      await Promise.all([one.close(), two.close()])
    })

    test('a tab that leads closes its store while others’ calls are in flight: each is answered once', async () => {
      const tabs = [await tab(), await tab(), await tab()]
      for (const page of tabs) {
        await page.evaluate(async () => {
          const { open } = await import('/browser.js')
          globalThis.store = await open('handed over')
        })
      }
      await tabs[0].evaluate(() => store.importManifest(1, { job: { max_losses: 0 }, chunks: Array.from({ length: 20_000 }, (_, id) => ({ id })) }).then(() => {}))
      const working = tabs.slice(1).map((page) =>
        page.evaluate(async () => {
          globalThis.done = []
          globalThis.over = false
          const lane = async () => {
            while (!over) {
              const chunk = await store.claimPending(1)
              await store.complete(chunk, { output: chunk.fence })
              done.push([chunk.chunk, chunk.fence])
            }
          }
          await Promise.all(Array.from({ length: 16 }, lane))
          return done
        }),
      )
      for (let round = 0; round < 3; round++) {
        // Whoever waits longest leads next; the first tab leads in the first round.
        await tabs[0].evaluate(async () => {
          const { open } = await import('/browser.js')
          await store.claimPendingBatch(1, 5)
          await Promise.all([store.close(), store.close()])
          globalThis.store = await open('handed over')
        })
      }
      for (const page of tabs.slice(1)) await page.evaluate(() => (globalThis.over = true))
      const done = (await Promise.all(working)).flat()
      const kept = await tabs[0].evaluate(async () => {
        await store.verify()
        const all = []
        for await (const { chunk, output } of store.chunks(1, 'done')) all.push([chunk, output])
        return [all, (await store.getStats(1)).processing]
      })
      const fences = new Map(done)
      assert.ok(done.length > 0)
      assert.deepEqual([fences.size, kept[0].length, kept[1]], [done.length, done.length, 0])
      assert.ok(kept[0].every(([chunk, output]) => fences.get(chunk) === output))
      // All at once, with calls of everybody's on their way.
      const last = await Promise.all(
        tabs.map((page) =>
          page.evaluate(async () => {
            const calls = Array.from({ length: 20 }, () => store.claimPending(1))
            await store.close()
            return (await Promise.all(calls)).filter(Boolean).length
          }),
        ),
      )
      assert.deepEqual(last, [20, 20, 20])
      const after = await tabs[0].evaluate(async () => {
        const { open } = await import('/browser.js')
        const store = await open('handed over')
        const { processing, done } = await store.getStats(1)
        await store.close()
        return [processing, done]
      })
      assert.deepEqual(after, [0, done.length])
      await Promise.all(tabs.map((page) => page.close()))
    })

    test('a worker that is terminated at any moment loses nothing that was acknowledged', async () => {
      const below = random(`${name}: terminate`)
      const page = await tab()
      // Now and then before it has begun, mostly while it works.
      const kills = Array.from({ length: rounds(15, 200) }, () => [below(120), below(16) === 0])
      // More than are done meanwhile: who finds nothing to claim makes no call, and needs no worker.
      const result = await page.evaluate(async ([kills, count]) => {
        const { open } = await import('/browser.js')
        let worker
        let made = () => {}
        const make = () => {
          worker = new Worker('/worker-browser.js', { type: 'module' })
          made()
          return worker
        }
        const store = await open('terminated', { worker: make })
        await store.importManifest(1, {
          job: { max_losses: 0 },
          chunks: Array.from({ length: count }, (_, id) => ({ id })),
        })
        const said = new Map()
        let twice = 0
        let over = false
        const lane = async () => {
          while (!over) {
            const chunk = await store.claimPending(1)
            await store.complete(chunk, { output: chunk.fence })
            if (said.has(chunk.chunk)) twice++
            said.set(chunk.chunk, chunk.fence)
          }
        }
        const lanes = [1, 8, 40].map((count) => Array.from({ length: count }, lane)).flat()
        for (const [ms, isEarly] of kills) {
          await new Promise((resolve) => setTimeout(resolve, ms))
          const next = new Promise((resolve) => {
            if (isEarly) made = resolve
            else store.addEventListener('leader', resolve, { once: true })
          })
          worker.terminate()
          // Calls that are given up, as where eight end before one has answered, say so.
          await Promise.race([next, Promise.all(lanes)])
        }
        over = true
        await Promise.all(lanes)
        const stats = await store.getStats(1)
        let lost = 0
        for (const [chunk, fence] of said) {
          const kept = await store.getChunk(1, chunk)
          if (kept.status !== 'done' || kept.output !== fence) lost++
        }
        await store.verify()
        await store.close()
        return { said: said.size, done: stats.done, processing: stats.processing, twice, lost }
      }, [kills, rounds(100_000, 500_000)])
      console.log(`${name}: ${kills.length} times terminated, ${result.done} chunks done`)
      assert.deepEqual(
        { ...result, said: undefined },
        { said: undefined, done: result.said, processing: 0, twice: 0, lost: 0 },
      )
      await page.close()
    })

    test('two tabs and four workers do every chunk once while whoever leads is killed', async () => {
      const total = rounds(1_000, 5_000)
      const kills = rounds(5, 20)
      const [one, two] = [await tab(), await tab()]
      const prepare = async (total) => {
        const { open } = await import('/browser.js')
        let worker
        const make = () => (worker = new Worker('/worker-browser.js', { type: 'module' }))
        globalThis.store = await open('fleet', { worker: make })
        globalThis.leads = false
        store.addEventListener('leader', ({ detail }) => (globalThis.leads = detail))
        globalThis.kill = () => {
          worker.terminate()
        }
        if (total) {
          await store.importManifest(1, { job: { max_losses: 0 }, chunks: Array.from({ length: total }, (_, id) => ({ id })) })
        }
        globalThis.work = async () => {
          const done = []
          const lane = async () => {
            for await (const chunk of store.claims(1)) {
              chunk.complete(chunk.fence)
              done.push([chunk.chunk, chunk.fence])
            }
          }
          await Promise.all([lane(), lane()])
          return done
        }
      }
      await one.evaluate(prepare, total)
      await two.evaluate(prepare, 0)
      const working = [one, two].map((page) => page.evaluate(() => work()))
      const below = random(`${name}: fleet`)
      for (let killed = 0; killed < kills; killed++) {
        await new Promise((resolve) => setTimeout(resolve, 100 + below(400)))
        // Whichever leads, and now and then one that only waits.
        await (below(2) ? one : two).evaluate(() => kill())
      }
      const done = (await Promise.all(working)).flat()
      const kept = await one.evaluate(async () => {
        const all = []
        for await (const chunk of store.chunks(1)) all.push([chunk.chunk, chunk.status, chunk.output])
        await store.verify()
        return all
      })
      assert.equal(kept.length, total)
      assert.ok(kept.every(([, status]) => status === 'done'))
      // Living tabs keep their claims whoever leads: no body ran twice, and each one's result is the one that is kept.
      const fences = new Map(done)
      assert.deepEqual([done.length, fences.size], [total, total])
      assert.ok(kept.every(([chunk, , output]) => output === fences.get(chunk)))
      console.log(`${name}: ${total} chunks by two tabs and four workers, ${kills} kills`)
      await Promise.all([one.close(), two.close()])
    })
  })
}
