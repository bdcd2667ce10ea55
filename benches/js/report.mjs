// Medians of the rounds, as Markdown and as JSON.

/** One row of a runtime. */
export function rowOf({ peer, title, stated, ours }, rounds, brotliBytes) {
  const figures = {}
  for (const key of new Set(rounds.flatMap(Object.keys))) {
    const values = rounds.map((round) => round[key]).filter((value) => value !== undefined)
    if (values.length > 0) figures[key] = median(values)
  }
  return { peer, title, ours: ours ?? false, rounds: rounds.length, figures, syncs: stated ?? 'counted', brotliBytes }
}

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

const HEAD = `| | one caller, cycles/s | syncs/cycle | 64 callers, cycles/s | syncs/cycle | import | list | list, each read | open to first claim | bundle, brotli |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|`

const SIZED = `| chunks | file | open to first claim after a kill | after a close |
|--:|--:|--:|--:|`

function sizedLine({ count, bytes, killedMs, closedMs }) {
  return `| ${whole(count)} | ${(bytes / 1e6).toFixed(1)} MB | ${ms(killedMs)} | ${ms(closedMs)} |`
}

/** A table per runtime. */
export function markdown({ runtimes, options, machine }) {
  const parts = [
    `${machine}; ${options.rounds} rounds, interleaved, medians; import and list of ${options.count} chunks; stores in ${options.folder}.`,
    'One cycle is an acknowledged claim and an acknowledged completion. Calls are made from the page or the main thread.',
  ]
  for (const { runtime, version, rows, absent, sized } of runtimes) {
    parts.push(`### ${runtime} ${version}`, [HEAD, ...rows.map(line)].join('\n'), ...absent.map((text) => `- ${text}`))
    const stated = rows.filter(({ syncs }) => syncs !== 'counted').map(({ title, syncs }) => `- ${title}: ${syncs}.`)
    if (stated.length > 0) parts.push(stated.join('\n'))
    if (sized.length > 0) parts.push([SIZED, ...sized.map(sizedLine)].join('\n'))
  }
  return parts.join('\n\n')
}

function line({ title, ours, figures: f, brotliBytes }) {
  const cells = [
    whole(f.onePerSecond), some(f.oneSyncsPerCycle), whole(f.manyPerSecond), some(f.manySyncsPerCycle), ms(f.importMs), ms(f.listMs), ms(f.listReadMs),
    ms(f.openMs), brotliBytes === undefined ? '' : `${Math.round(brotliBytes / 1024)} KB`,
  ]
  return `| ${ours ? `**${title}**` : title} | ${cells.join(' | ')} |`
}

const whole = (value) => (value === undefined ? '' : Math.round(value).toLocaleString('en'))
const some = (value) => (value === undefined ? 'stated' : value.toPrecision(2))
const ms = (value) => (value === undefined ? '' : `${Math.round(value)} ms`)
