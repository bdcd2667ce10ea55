/** The list of jobs that the store knows from before. */

import { make } from '../dom.js'
import { count, moment, nameOf, percent } from '../text.js'

/** Fills a list with a link per job, unfinished ones first; the newest on top. */
export async function listEarlier(store, list) {
  const jobs = await store.listJobs()
  jobs.sort((a, b) => a.stats.isComplete - b.stats.isComplete || b.createdAtMs - a.createdAtMs)
  list.replaceChildren(
    ...jobs.map(({ jobId, spec, stats, createdAtMs }) => {
      const state = stats.isComplete ? 'finished' : `${percent(stats.done / stats.total)} %`
      const link = make('a', { href: `#copy/${jobId}` }, make('bdi', {}, nameOf(spec, `job ${jobId}`)))
      const detail = `${count(stats.done)} of ${count(stats.total)} chunks, begun ${moment(createdAtMs)}`
      return make('li', {}, link, make('span', { className: 'state' }, state), make('small', {}, detail))
    }),
  )
  return jobs.length
}
