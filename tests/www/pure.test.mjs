/** What the page works out without a browser: jobs of files, pace, numbers, the layout of a graph. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Pace } from '../../www/js/copy/pace.js'
import { chunkBytesFor, isSame, planOf } from '../../www/js/copy/plan.js'
import { layout, NODE_HEIGHT, NODE_WIDTH } from '../../www/js/inspect/layout.js'
import { bytes, bytesOf, counted, percent, span } from '../../www/js/text.js'

const MIB = 1 << 20
const FILE = { name: 'a.bin', size: 2 * MIB + 1, lastModified: 5 }

test('the same file is the same job, and any other file another', async () => {
  const { job } = await planOf(FILE)
  assert.ok(Number.isSafeInteger(job) && job > 0)
  assert.equal((await planOf({ ...FILE })).job, job)
  for (const other of [{ name: 'b.bin' }, { size: 2 * MIB }, { lastModified: 6 }]) {
    assert.notEqual((await planOf({ ...FILE, ...other })).job, job)
    assert.equal(isSame({ ...FILE, ...other }, FILE), false)
  }
})

test('a name that is too long for a job is cut between two characters, and kept whole beside it', async () => {
  const name = `${'a'.repeat(254)}漢字.bin`
  const { manifest } = await planOf({ ...FILE, name })
  assert.equal(manifest.job.name, `${'a'.repeat(253)}…`)
  assert.equal((await planOf({ ...FILE, name: '漢'.repeat(86) })).manifest.job.name, `${'漢'.repeat(84)}…`)
  assert.equal(manifest.chunks[0].payload.file.name, name)
  assert.equal((await planOf({ ...FILE, name: '漢'.repeat(85) })).manifest.job.name, '漢'.repeat(85))
})

test('the chunks cover every byte of the file once, in order', async () => {
  for (const size of [1, MIB - 1, MIB, MIB + 1, 3 * MIB + 7, 5000 * MIB]) {
    const { manifest } = await planOf({ ...FILE, size })
    let end = 0
    for (const [index, { id, payload }] of manifest.chunks.entries()) {
      assert.equal(id, index)
      assert.equal(payload.offset, end)
      assert.ok(payload.bytes > 0)
      end += payload.bytes
    }
    assert.equal(end, size)
  }
})

test('a large file has larger chunks, and not more than the map can show', () => {
  assert.equal(chunkBytesFor(1), MIB)
  assert.equal(chunkBytesFor(4096 * MIB), MIB)
  assert.equal(chunkBytesFor(4096 * MIB + 1), 2 * MIB)
  assert.equal(chunkBytesFor(1 << 30) * 4096 >= 1 << 30, true)
})

test('the pace is that of the last seconds, and begins anew when work is taken back', () => {
  const pace = new Pace()
  assert.equal(pace.bytesPerSecond, undefined)
  assert.equal(pace.secondsFor(1), Infinity)
  for (let second = 0; second <= 20; second++) pace.note(second * 1000, second < 10 ? 0 : (second - 10) * 100)
  assert.equal(pace.bytesPerSecond, 100)
  assert.equal(pace.secondsFor(250), 2.5)
  pace.note(21_000, 10)
  assert.equal(pace.bytesPerSecond, undefined)
})

test('numbers are written as people read them', () => {
  assert.deepEqual([0, 1023, 1024, 1536, 20 * MIB, 1.5 * 2 ** 40].map(bytes), ['0 bytes', '1023 bytes', '1 KiB', '1.50 KiB', '20 MiB', '1.50 TiB'])
  assert.deepEqual([1023.4 * 1024, MIB - 1, 2 ** 30 - 1].map(bytes), ['1023 KiB', '1.00 MiB', '1.00 GiB'])
  assert.deepEqual([bytesOf(0, 9), bytesOf(5 * MIB, 9 * MIB), bytesOf(1, MIB)], ['0 of 9 bytes', '5 of 9 MiB', '1 byte of 1 MiB'])
  assert.deepEqual([0, 0.9999, 1].map(percent), ['0.0', '99.9', '100.0'])
  assert.deepEqual([0.2, 61, 7260, Infinity].map(span), ['1 s', '1 min 1 s', '2 h 1 min', '–'])
  assert.deepEqual([counted(1, 'chunk'), counted(1200, 'chunk')], ['1 chunk', '1,200 chunks'])
})

/** A graph without cycles: edges lead from lower to higher numbers. */
function random(seed, nodes, edges) {
  let state = seed
  const next = (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % below
  }
  const pairs = new Map()
  while (pairs.size < edges) {
    const to = 1 + next(nodes - 1)
    const from = next(to)
    pairs.set(`${from} ${to}`, [from, to])
  }
  return { ids: Array.from({ length: nodes }, (_, id) => id), edges: [...pairs.values()] }
}

test('in a graph’s layout every edge leads to the right and no two nodes overlap', () => {
  const seed = Number(process.env.MAGNETAR_SEED ?? Date.now() % 1_000_000)
  console.log(`MAGNETAR_SEED=${seed}`)
  for (let round = 0; round < 50; round++) {
    const nodes = 2 + ((seed + round) % 60)
    const most = (nodes * (nodes - 1)) / 2
    const { ids, edges } = random(seed + round, nodes, Math.min(most, nodes + (round % 20)))
    const laid = layout(ids, edges)
    const at = new Map(laid.nodes.map((node) => [node.id, node]))
    assert.equal(laid.edges.length, edges.length)
    for (const { from, to, points } of laid.edges) {
      assert.ok(at.get(to).x >= at.get(from).x + NODE_WIDTH, `${from} stands left of ${to}`)
      assert.deepEqual(points[0], [at.get(from).x + NODE_WIDTH, at.get(from).y + NODE_HEIGHT / 2])
      assert.deepEqual(points.at(-1), [at.get(to).x, at.get(to).y + NODE_HEIGHT / 2])
      for (let step = 1; step < points.length; step++) assert.ok(points[step][0] > points[step - 1][0])
    }
    for (const a of laid.nodes) {
      assert.ok(a.x >= 0 && a.y >= 0 && a.x + NODE_WIDTH <= laid.width && a.y + NODE_HEIGHT <= laid.height)
      for (const b of laid.nodes) {
        if (a.id < b.id && a.x === b.x) assert.ok(Math.abs(a.y - b.y) >= NODE_HEIGHT, `${a.id} and ${b.id} overlap`)
      }
    }
  }
})

test('a graph without nodes and one without edges are laid out', () => {
  assert.deepEqual(layout([], []).nodes, [])
  assert.equal(layout([3, 1, 2], []).nodes.length, 3)
})
