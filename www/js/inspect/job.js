/** One job of an inspected file: its figures, its graph, its chunks. */

import { at, make, mark, save, told, write } from '../dom.js'
import { count, counted, moment, nameOf } from '../text.js'
import { drawing } from './graph.js'
import { NODES_MAX, partOf } from './part.js'

const PAGE = 50
const STATUSES = ['done', 'processing', 'failed', 'cancelled', 'pending']
/** What a chunk's dialog shows, with how it is written. */
const FIELDS = [
  ['status', 'Status', String],
  ['error', 'Last error', String],
  ['attempts', 'Attempts', count],
  ['losses', 'Losses', count],
  ['unmetDependencies', 'Waits for', (number) => counted(number, 'chunk')],
  ['priority', 'Priority', count],
  ['checksum', 'Checksum expected', String],
  ['observedChecksum', 'Checksum observed', String],
  ['fence', 'Fence', count],
  ['owner', 'Held by', String],
  ['leaseEndsMs', 'Held until', moment],
  ['notBeforeMs', 'Not before', moment],
  ['createdAtMs', 'Imported', moment],
  ['updatedAtMs', 'Changed', moment],
  ['payload', 'Payload', (value) => JSON.stringify(value, null, 2)],
  ['output', 'Output', (value) => JSON.stringify(value, null, 2)],
]

export function jobView(problem, failed) {
  let store
  let job
  let around
  let shown = 0
  let after
  /** Whether what the graph is about was brought in sight. */
  let isCentred = false

  // One after the other, however fast the user goes.
  let turn = Promise.resolve()
  const inTurn = (work) => (turn = turn.catch(() => {}).then(work))
  const attempt = (work) => {
    problem('')
    return inTurn(work).catch(failed)
  }

  async function show(from, id) {
    store = from
    job = id
    around = undefined
    const { stats } = await store.getJob(job)
    at('status').value = stats.failed > 0 ? 'failed' : ''
    isCentred = false
    await refresh()
    centre()
  }

  async function refresh() {
    const { spec, stats } = await store.getJob(job)
    const named = nameOf(spec)
    write(at('one-job-title'), named === undefined ? `Job ${job}` : told`${named} (job ${job})`)
    showStats(stats)
    // A button that is disabled loses the focus of whoever has just pressed it.
    at('retry-all').setAttribute('aria-disabled', stats.failed === 0)
    await showGraph(stats.total)
    await showChunks()
  }

  function showStats(stats) {
    const parts = STATUSES.filter((status) => stats[status] > 0)
    at('stack').replaceChildren(
      ...parts.map((status) => {
        const bar = make('i', { className: status })
        bar.style.flexGrow = stats[status]
        return bar
      }),
    )
    const figures = [
      ['Chunks', count(stats.total)],
      ...STATUSES.map((status) => [status, count(stats[status]), status]),
      ['blocked', count(stats.blocked)],
      ['delayed', count(stats.delayed)],
      ['Complete', `${Math.floor(stats.percent)} %${stats.isStalled ? ', stalled' : ''}`],
    ]
    at('stats').replaceChildren(
      ...figures.map(([name, value, status]) => {
        const label = name[0].toUpperCase() + name.slice(1)
        return make('div', {}, make('dt', {}, label), make('dd', {}, ...(status ? [mark(status)] : []), value))
      }),
    )
  }

  /** Brings what the graph is about to the middle of what is seen of it; once, as soon as it is seen. */
  function centre() {
    const node = at('graph').querySelector('.centre')
    if (isCentred || node === null || at('graph').clientHeight === 0) return
    isCentred = true
    const [pane, box] = [at('graph').getBoundingClientRect(), node.getBoundingClientRect()]
    at('graph').scrollTop += box.top - pane.top - (pane.height - box.height) / 2
    at('graph').scrollLeft += box.left - pane.left - (pane.width - box.width) / 2
  }

  async function showGraph(total) {
    const part = await partOf(store, job, total, around)
    const isNone = part.edges.length === 0
    at('graph').hidden = isNone
    at('graph-around').hidden = part.isAll
    if (part.crowded?.length > 0) at('graph-note').textContent = `So many chunks wait for chunk ${count(part.crowded[0])} that these are left out.`
    else if (isNone) at('graph-note').textContent = part.isAll ? 'No chunk of this job waits for another.' : `Chunk ${count(part.start)} neither waits for another nor is waited for.`
    else if (part.isAll) at('graph-note').textContent = 'From left to right: a chunk starts when everything to its left that leads to it is done.'
    else at('graph-note').textContent = `${count(part.chunks.length)} of ${count(total)} chunks: the ones nearest to chunk ${count(part.start)}; at most ${NODES_MAX} are drawn.`
    at('graph').replaceChildren(...(isNone ? [] : [drawing(part, (chunk) => attempt(() => showChunk(chunk)))]))
  }

  async function showChunks() {
    const rowsBefore = Math.max(shown, PAGE)
    const { rows } = at('chunks')
    const pressed = document.activeElement
    const focused = [...rows].findIndex((row) => row.contains(pressed))
    at('chunks').replaceChildren()
    shown = 0
    after = undefined
    await showMore(rowsBefore)
    // Whoever uses the keyboard goes on where they were.
    if (focused < 0) return
    const row = rows[Math.min(focused, rows.length - 1)]
    const next = row?.querySelector(`.${pressed.className}`) ?? row?.querySelector('button') ?? at('status')
    next.focus()
  }

  async function showMore(limit) {
    const status = at('status').value || undefined
    const page = await store.pageByStatus(job, { status, after, limit })
    for (const chunk of page) at('chunks').append(row(chunk))
    shown += page.length
    after = page.at(-1)?.chunk ?? after
    // Large chunks end a page before its limit.
    at('more').hidden = !page.more
    at('chunks-note').textContent = shown === 0 ? 'None.' : `${counted(shown, 'chunk')} shown`
  }

  function row(chunk) {
    const { status } = chunk
    const open = make('button', { className: 'link', type: 'button' }, count(chunk.chunk))
    open.addEventListener('click', () => attempt(() => showChunk(chunk.chunk)))
    const actions = make('td', {})
    if (status === 'failed' || status === 'cancelled') {
      const again = make('button', { className: 'small', type: 'button', 'aria-label': `Retry chunk ${chunk.chunk}` }, 'Retry')
      again.addEventListener('click', () => attempt(() => store.retryFailed(job, [chunk.chunk])))
      actions.append(again)
    }
    return make(
      'tr',
      {},
      make('td', { className: 'number' }, open),
      make('td', { className: 'status' }, mark(status), status),
      make('td', { className: 'error' }, make('bdi', {}, chunk.error ?? '')),
      make('td', { className: 'number roomy' }, count(chunk.attempts)),
      make('td', { className: 'number roomy' }, count(chunk.losses)),
      make('td', { className: 'roomy moment' }, moment(chunk.updatedAtMs)),
      actions,
    )
  }

  async function showChunk(id) {
    const chunk = await store.getChunk(job, id)
    const dependencies = await store.getDependencies(job, id)
    at('chunk-title').textContent = `Chunk ${count(id)}`
    const fields = FIELDS.filter(([field]) => chunk[field] !== null && chunk[field] !== undefined)
    at('chunk-fields').replaceChildren(
      ...fields.flatMap(([field, name, write]) => [make('dt', {}, name), make('dd', { className: /put|load/.test(field) ? 'mono' : '' }, write(chunk[field]))]),
      ...(dependencies.length > 0 ? [make('dt', {}, 'Depends on'), make('dd', {}, dependencies.map(count).join(', '))] : []),
    )
    if (!at('chunk').open) at('chunk').showModal()
  }

  at('status').addEventListener('change', () => {
    shown = 0
    void attempt(showChunks)
  })
  at('more').addEventListener('click', () => attempt(() => showMore(PAGE)))
  at('retry-all').addEventListener('click', () => attempt(() => store.retryFailed(job)))
  at('csv').addEventListener('click', () => attempt(async () => save(await new Response(store.exportCsv(job)).blob(), `job-${job}.csv`)))
  at('graph-around').addEventListener('submit', (event) => {
    event.preventDefault()
    const wanted = at('graph-chunk').valueAsNumber
    void attempt(async () => {
      if ((await store.getChunk(job, wanted)) === undefined) return problem(`This job has no chunk ${count(wanted)}.`)
      around = wanted
      isCentred = false
      await refresh()
      centre()
    })
  })

  return {
    get id() {
      return job
    },
    show: (from, id) => inTurn(() => show(from, id)),
    refresh: () => inTurn(refresh),
    centre,
  }
}
