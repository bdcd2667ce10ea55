// One file, two builds: what a browser wrote a native program works off, and its file goes back into the browser.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { browser, names, serve } from './browsers.mjs'
import { program } from './package.mjs'

const folder = mkdtempSync(join(tmpdir(), 'magnetar-'))
after(() => rmSync(folder, { recursive: true, force: true }))

for (const name of names) {
  test(`${name}: a file goes to a native program and back`, async (t) => {
    const site = await serve()
    const running = await browser(name)
    t.after(async () => {
      await running.close()
      running.remove()
      site.close()
    })
    const page = await running.page()
    await page.goto(site.url)
    const exported = await page.evaluate(async () => {
      const { open } = await import('/browser.js')
      const store = await open('exported')
      await store.importManifest(1, { chunks: [{ id: 1, payload: { from: 'a page' } }, { id: 2 }] })
      await store.complete(await store.claimPending(1), { output: 'done in a page' })
      const bytes = new Uint8Array(await (await store.exportFile()).arrayBuffer())
      await store.close()
      return Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')
    })
    const path = join(folder, `${name}.redb`)
    writeFileSync(path, Buffer.from(exported, 'latin1'))
    const printed = execFileSync(program(), ['work', path], { encoding: 'utf8' })
    assert.match(printed, /1 done "done in a page"\n2 done "done natively"/)
    const kept = await page.evaluate(async (text) => {
      const { importFile, open } = await import('/browser.js')
      const store = await importFile('came back', Uint8Array.from(text, (letter) => letter.charCodeAt(0)))
      await store.verify()
      await store.close()
      const again = await open('came back')
      const outputs = [...(await again.getByStatus(1, 'done'))].map(({ output }) => output)
      return [again.persistence, ...outputs]
    }, readFileSync(path, 'latin1'))
    assert.deepEqual(kept, ['opfs', 'done in a page', 'done natively'])
  })
}
