// Tabs that come and go: one leaves while others work, stands still in a cache, or runs another version.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { browser, hosted, names, serve } from './browsers.mjs'

for (const name of names) {
  describe(name, () => {
    const host = hosted(name)
    const opened = async (store, at = '/browser.js', page = undefined) => {
      page ??= await host.running.page()
      await page.goto(host.site.url)
      await page.evaluate(async ([store, at]) => {
        const { open } = await import(at)
        globalThis.code = (promise) => promise.then(() => 'done', (error) => error.code)
        globalThis.store = await open(store)
      }, [store, at])
      return page
    }

    test('an import whose leader is closed goes into no other tab’s job', async () => {
      const [leader, one, two] = [await opened('imports'), await opened('imports'), await opened('imports')]
      for (const page of [one, two]) {
        await page.evaluate(() => {
          const part = (of, from) =>
            Array.from({ length: 12_000 }, (_, id) => `{"id":${from + id},"of":"${of}","pad":"${'x'.repeat(60)}"}\n`).join('')
          /** Resolves when the first part is away. The second one waits for `goOn`. */
          globalThis.begin = (job, of, hasSecond) =>
            new Promise((taken) => {
              let parts = 0
              const goOn = new Promise((resolve) => (globalThis.goOn = resolve))
              const source = new ReadableStream({
                async pull(controller) {
                  if (++parts === 1) return controller.enqueue(new TextEncoder().encode(part(of, 0)))
                  taken()
                  await goOn
                  if (parts === 2 && hasSecond) controller.enqueue(new TextEncoder().encode(part(of, 500_000)))
                  else controller.close()
                },
              }, { highWaterMark: 0 })
              globalThis.imported = store.importManifest(job, source, { format: 'jsonl' }).then(({ added }) => added, ({ code }) => code)
            })
        })
      }
      await one.evaluate(() => begin(1, 'one', true))
      await leader.close()
      await two.evaluate(async () => {
        await store.listJobs()
        await begin(2, 'two', false)
      })
      assert.equal(await one.evaluate(() => (goOn(), imported)), 'outcome_unknown')
      assert.equal(await two.evaluate(() => (goOn(), imported)), 12_000)
      const of = await two.evaluate(async () => {
        const of = new Set([await code(store.getStats(1))])
        for await (const { payload } of store.chunks(2)) of.add(payload.of)
        return [...of]
      })
      assert.deepEqual(of, ['job_not_found', 'two'])
      await Promise.all([one.close(), two.close()])
    })

    test('what the tab before committed last is told by the one that leads then', async () => {
      for (const how of ['store', 'page']) {
        const [one, two] = [await opened(`told ${how}`), await opened(`told ${how}`)]
        await one.evaluate(() => store.importManifest(1, { chunks: [{ id: 1 }, { id: 2 }] }))
        await two.evaluate(
          () =>
            new Promise((begun) => {
              globalThis.watched = (async () => {
                let last
                for await (const { done } of store.progress(1)) begun((last = done))
                return last
              })()
            }),
        )
        await one.evaluate(async (isClosed) => {
          await store.run(1, () => {})
          if (isClosed) await store.close()
        }, how === 'store')
        await one.close()
        assert.equal(await two.evaluate(() => watched), 2)
        await two.close()
      }
    })

    test('tabs of different versions do not take each other’s word', async () => {
      const [one, next] = [await opened('versions'), await host.running.page()]
      await one.evaluate(() => store.importManifest(1, { chunks: [{ id: 1 }] }))
      await next.goto(host.site.url)
      const ask = async () => {
        const { open } = await import('/next/browser.js')
        return open('versions').then(() => 'opened', ({ code, message }) => `${code}: ${message}`)
      }
      assert.match(await next.evaluate(ask), /^unsupported: another tab runs another version/)
      const mixed = async () => {
        const { open } = await import('/browser.js')
        const worker = () => new Worker('/next/worker-browser.js', { type: 'module' })
        return open('mixed', { worker }).then(() => 'opened', ({ code }) => code)
      }
      assert.equal(await next.evaluate(mixed), 'unsupported')
      // The other way round, and then alone.
      await one.close()
      assert.equal(await next.evaluate(ask), 'opened')
      const again = await host.running.page()
      await again.goto(host.site.url)
      const open = () => import('/browser.js').then(({ open }) => open('versions')).then((store) => store.getStats(1)).then(({ total }) => total, ({ code }) => code)
      assert.equal(await again.evaluate(open), 'unsupported')
      await next.close()
      assert.equal(await again.evaluate(open), 1)
      await again.close()
    })

    test('a tab that had a file, or followed one that had it, does not go on with the empty one that came after it', async () => {
      const [one, two, three] = [await host.running.page(), await host.running.page(), await host.running.page()]
      const begin = async (page, isFirst) => {
        await page.goto(host.site.url)
        await page.evaluate(async (isFirst) => {
          const { open } = await import('/browser.js')
          // Finds the file gone, as where the user has cleared the site's data.
          const text = encodeURIComponent(`
            const { getFileHandle } = FileSystemDirectoryHandle.prototype
            FileSystemDirectoryHandle.prototype.getFileHandle = async function (name, options) {
              const isThere = () => this.removeEntry(name).then(() => false, (error) => error.name !== 'NotFoundError')
              while (await isThere()) await new Promise((resolve) => setTimeout(resolve, 10))
              return getFileHandle.call(this, name, options)
            }
            await import('/worker-browser.js')`)
          const make = () => {
            globalThis.worker = new Worker(isFirst ? '/worker-browser.js' : `/in-worker.js?${text}`, { type: 'module' })
            isFirst = false
            return worker
          }
          globalThis.store = await open('cleared', { worker: make })
          globalThis.total = () => store.getStats(1).then(({ total }) => total, (error) => error.code)
        }, isFirst)
      }
      await begin(one, true)
      await one.evaluate(() => store.importManifest(1, { chunks: [{ id: 1 }] }))
      await begin(two, false)
      assert.deepEqual([await one.evaluate(() => total()), await two.evaluate(() => total())], [1, 1])
      // Its next worker stands in line behind that of the other one.
      await one.evaluate(() => worker.terminate())
      for (const page of [one, two, one, two]) assert.equal(await page.evaluate(() => total()), 'corrupt')
      await three.goto(host.site.url)
      await three.evaluate(async () => {
        const { open } = await import('/browser.js')
        globalThis.store = await open('cleared')
        await store.importManifest(1, { chunks: [{ id: 1 }, { id: 2 }] })
      })
      for (const page of [one, two]) assert.equal(await page.evaluate(() => total()), 'corrupt')
      assert.equal(await three.evaluate(async () => (await store.getStats(1)).total), 2)
      await Promise.all([one.close(), two.close(), three.close()])
    })

    test('a store has one name with the ending of its file and without it', async () => {
      const [one, two] = [await opened('alias'), await opened('alias.redb')]
      await one.evaluate(() => store.importManifest(1, { chunks: [{ id: 1 }] }))
      assert.equal(await two.evaluate(async () => (await store.getStats(1)).total), 1)
      const half = await two.evaluate(async () => {
        const { open } = await import('/browser.js')
        return code(open('\ud800'))
      })
      assert.equal(half, 'invalid_input')
      await Promise.all([one.close(), two.close()])
    })

    test('a worker that never releases its file is ended, and nothing is lost', async () => {
      const page = await opened('deaf')
      const done = await page.evaluate(async () => {
        await store.close()
        const { open } = await import('/browser.js')
        const worker = () => {
          const made = new Worker('/worker-browser.js', { type: 'module' })
          const post = made.postMessage.bind(made)
          made.postMessage = (message, transfer) => message.t === 'shut' || post(message, transfer)
          return made
        }
        const deaf = await open('deaf', { worker })
        await deaf.importManifest(1, { chunks: [{ id: 1 }] })
        await deaf.complete(await deaf.claimPending(1))
        await deaf.close()
        const next = await open('deaf')
        const { done } = await next.getStats(1)
        await next.close()
        return done
      })
      assert.equal(done, 1)
      await page.close()
    })

    test('a worker that loads the package late is started', async () => {
      const page = await opened('early')
      const made = await page.evaluate(async () => {
        const { open } = await import('/browser.js')
        let made = 0
        const text = encodeURIComponent(`await import('/worker-browser.js')`)
        const worker = () => (made++, new Worker(`/in-worker.js?${text}`, { type: 'module' }))
        await (await open('late', { worker })).close()
        return made
      })
      assert.equal(made, 1)
      await page.close()
    })

    test('a frame that is nobody’s origin is told so, and works in memory', async () => {
      const page = await host.running.page()
      await page.goto(host.site.url)
      const told = await page.evaluate(async () => {
        const code = `
          import { open } from '/browser.js'
          const tried = [open('nobody'), open('nobody', { persist: true }), open(':memory:')]
          Promise.all(tried.map((opened) => opened.then((store) => store.persistence, (error) => error.code ?? String(error))))
            .then((told) => parent.postMessage(told, '*'))`
        const frame = document.createElement('iframe')
        frame.sandbox = 'allow-scripts'
        frame.src = '/in-frame.html?' + encodeURIComponent(code)
        const told = new Promise((resolve) => addEventListener('message', ({ data }) => resolve(data)))
        document.body.append(frame)
        return told
      })
      assert.deepEqual(told, ['unavailable', 'unavailable', 'memory'])
      await page.close()
    })

    test('a page without broadcast channels is told so', async () => {
      const page = await host.running.page()
      await page.goto(host.site.url)
      const told = await page.evaluate(async () => {
        delete globalThis.BroadcastChannel
        const { open } = await import('/browser.js')
        return open('no channel').then(() => 'opened', ({ code }) => code)
      })
      assert.equal(told, 'unavailable')
      await page.close()
    })
  })
}

/** A browser that keeps pages as a user's does, and tabs of it that have a store open. */
async function patient(t) {
  const site = await serve()
  const running = await browser('chromium', undefined, { keepsPages: true })
  t.after(async () => {
    await running.close()
    running.remove()
    site.close()
  })
  const opened = async (name) => {
    const page = await running.page()
    await page.goto(site.url)
    await page.evaluate(async (name) => {
      addEventListener('pageshow', ({ persisted }) => (globalThis.isBack = persisted))
      const { open } = await import('/browser.js')
      globalThis.store = await open(name)
    }, name)
    return page
  }
  return { site, opened }
}

const inChromium = { skip: !names.includes('chromium') }

test('a tab that stands still in the cache holds nobody up, and goes on when it is back', inChromium, async (t) => {
  const { site, opened } = await patient(t)
  const one = await opened('cached')
  await one.evaluate(() => store.importManifest(1, { chunks: [{ id: 1 }, { id: 2 }] }))
  const leave = async () => {
    await one.bringToFront()
    await one.goto(`${site.url}?elsewhere`)
  }
  await leave()
  await one.goBack()
  const back = await one.evaluate(async () => [isBack, (globalThis.claimed = await store.claimPending(1)).chunk])
  assert.deepEqual(back, [true, 1])
  const two = await opened('cached')
  assert.equal(await two.evaluate(async () => (await store.getStats(1)).total), 2)
  await leave()
  await two.bringToFront()
  // What a tab has that nobody looks at is done by others, as soon as the browser has let its lock go.
  await two.evaluate(async () => {
    for (let claims = 0; claims < 2; ) claims += (await store.claimPendingBatch(1, 2)).length
  })
  await one.bringToFront()
  await one.goBack()
  const after = await one.evaluate(async () => {
    const { processing } = await store.getStats(1)
    return [isBack, processing, await store.complete(claimed).catch(({ code }) => code)]
  })
  assert.deepEqual(after, [true, 2, 'superseded'])
})

test('a tab that is frozen in the background holds nobody up, and keeps its claims', inChromium, async (t) => {
  const { opened } = await patient(t)
  const [one, two, three] = [await opened('frozen'), await opened('frozen'), await opened('frozen')]
  await one.evaluate(async () => {
    await store.importManifest(1, { chunks: [{ id: 1 }, { id: 2 }] })
    globalThis.claimed = await store.claimPending(1)
  })
  const set = async (page, state) => (await page.createCDPSession()).send('Page.setWebLifecycleState', { state })
  // The one that leads, and the next in line.
  await set(one, 'frozen')
  await set(two, 'frozen')
  assert.equal(await three.evaluate(async () => (await store.claimPendingBatch(1, 2)).length), 1)
  await set(one, 'active')
  assert.equal(await one.evaluate(() => store.complete(claimed)), 'changed')
  await set(two, 'active')
  assert.equal(await two.evaluate(async () => (await store.getStats(1)).done), 1)
})

test('whose data is cleared by the user is told, closes, and does not look for a leader for ever', inChromium, async (t) => {
  const { site, opened } = await patient(t)
  const clear = async (page, storageTypes) => {
    const { origin } = new URL(site.url)
    await (await page.createCDPSession()).send('Storage.clearDataForOrigin', { origin, storageTypes })
  }
  // The file alone: who leads goes on with it, and gives it up. Chromium never ends a closing of it.
  const [one, two] = [await opened('cleared'), await opened('cleared')]
  await one.evaluate(() => store.importManifest(1, { chunks: [{ id: 1 }] }))
  await clear(one, 'file_systems')
  assert.equal(await two.evaluate(async () => (await store.getStats(1)).total), 1)
  await one.evaluate(() => store.close())
  // To Chromium the file is still open.
  const told = await two.evaluate(() => store.getStats(1).then(() => 'done', ({ code }) => code))
  assert.ok(['locked', 'corrupt'].includes(told), told)
  // Everything: new pages share no lock with old ones any more, but hear what they say.
  const leader = await opened('all')
  await leader.evaluate(() => store.importManifest(1, { chunks: [{ id: 1 }] }))
  await clear(leader, 'all')
  const asked = await two.evaluateHandle(() => {
    const heard = { who: 0 }
    new BroadcastChannel('magnetar:all.redb').onmessage = ({ data }) => (heard[data.t] = (heard[data.t] ?? 0) + 1)
    return heard
  })
  const late = await two.browser().newPage()
  await late.goto(site.url)
  await late.evaluate(async () => {
    const { open } = await import('/browser.js')
    globalThis.store = await open('all').catch(() => {})
  })
  await leader.evaluate(async () => {
    for (let calls = 0; calls < 1_000; calls++) await store.getStats(1)
  })
  assert.ok((await asked.evaluate(({ who }) => who)) < 20, JSON.stringify(await asked.jsonValue()))
  await leader.evaluate(() => store.close())
})
