/** The view that looks into a job file: opening, jobs, and what is said of it all. */

import { open } from '../magnetar.js'
import { at, make, reason, save, told, write } from '../dom.js'
import { bytes, count, counted, moment, nameOf } from '../text.js'
import { jobView } from './job.js'
import { fill } from './sample.js'

/** What every file of SQLite begins with. */
const SQLITE = 'SQLite format 3\0'

/** Why a file is none that a page can look into. */
async function stranger(file) {
  const isSqlite = (await file.slice(0, SQLITE.length).text()) === SQLITE
  if (isSqlite) return 'it is a file of SQLite, and a page reads redb only. A native program can copy such a store into a .redb file (magnetar::dual::migrate).'
  return 'it was not written by Magnetar, or it is damaged. Choose another file, or another copy of it.'
}

export function inspectView() {
  const job = jobView(problem, failed)
  let store
  let name

  function problem(said) {
    write(at('inspect-problem'), said)
    at('inspect-problem').hidden = said === ''
  }

  function failed(error) {
    // Whatever was under way when the user closed the file.
    if (error.code !== 'closed') problem(reason(error))
  }

  // One after the other, however fast the user goes.
  let turn = Promise.resolve()
  const attempt = (work) => {
    problem('')
    return (turn = turn.then(work).catch(failed))
  }

  /** Replaces what is shown only when the new store can be read. */
  async function inspect(opened, from) {
    try {
      const jobs = await opened.listJobs()
      await store?.close()
      store = opened
      name = from
      write(at('inspected-name'), told`${from}`)
      await showJobs(jobs)
      at('inspect-start').hidden = true
      at('inspected').hidden = false
      job.centre()
      at('inspected-name').focus()
      opened.addEventListener('change', () => attempt(refresh))
    } catch (error) {
      if (store !== opened) await opened.close().catch(() => {})
      throw error
    }
  }

  async function openFile(file) {
    const opened = await open(':memory:', { from: file }).catch(async (error) => {
      // The package speaks to programmers.
      const why = error.code === 'corrupt' ? await stranger(file) : reason(error)
      throw Object.assign(new Error('not a job file', { cause: error }), { told: told`${file.name} is not a job file that can be opened: ${why}` })
    })
    await inspect(opened, file.name)
    at('inspected-facts').textContent = `${bytes(file.size)}, ${at('inspected-facts').textContent}`
  }

  async function openSample() {
    const opened = await open(':memory:')
    await fill(opened)
    await inspect(opened, 'sample.redb')
  }

  async function showJobs(jobs) {
    at('inspected-facts').textContent = counted(jobs.length, 'job')
    at('one-job').hidden = jobs.length === 0
    fillJobs(jobs)
    if (jobs.length > 0) await job.show(store, (jobs.find(({ stats }) => stats.failed > 0) ?? jobs[0]).jobId)
    markCurrent()
    write(at('inspect-announce'), told`${name}: ${counted(jobs.length, 'job')}`)
  }

  function fillJobs(jobs) {
    at('jobs').replaceChildren(
      ...jobs.map(({ jobId, spec, stats, createdAtMs }) => {
        const button = make('button', { className: 'link', type: 'button' }, String(jobId))
        button.addEventListener('click', () =>
          attempt(async () => {
            await job.show(store, jobId)
            markCurrent()
          }),
        )
        return make(
          'tr',
          { 'data-job': jobId },
          make('td', { className: 'id' }, button),
          make('td', { className: 'named' }, make('bdi', {}, nameOf(spec, '–'))),
          make('td', { className: 'number' }, count(stats.total)),
          make('td', { className: 'number' }, count(stats.done)),
          make('td', { className: 'number' }, count(stats.failed)),
          make('td', { className: 'roomy moment' }, moment(createdAtMs)),
        )
      }),
    )
  }

  function markCurrent() {
    for (const row of at('jobs').rows) {
      if (Number(row.dataset.job) === job.id) row.setAttribute('aria-current', 'true')
      else row.removeAttribute('aria-current')
    }
  }

  async function refresh() {
    if (store === undefined) return
    fillJobs(await store.listJobs())
    markCurrent()
    await job.refresh()
  }

  const task = (id, work) => at(id).addEventListener('click', () => attempt(work))
  task('sample', openSample)
  task('inspect-export', async () => store && save(await store.exportFile(), name))
  task('inspect-close', async () => {
    at('inspected').hidden = true
    at('inspect-start').hidden = false
    at('inspect').focus({ preventScroll: true })
    const closed = store
    store = undefined
    await closed?.close()
  })
  at('inspect-file').addEventListener('change', ({ target }) => {
    const file = target.files[0]
    target.value = ''
    if (file !== undefined) void attempt(() => openFile(file))
  })

  return {
    show: job.centre,
    take: (file) => attempt(() => openFile(file)),
    refuse: (what) => problem([...what, ': drop a single job file.']),
  }
}
