// The floor: a log that is only ever appended to, its state in memory, one sync for all calls of a message. It checks
// nothing, keeps no index and never gets smaller: what any engine with these promises must cost at least.

/** Begins with what the log holds. `append` takes text; `sync` returns once it is on the disk. */
export function log(text, append, sync) {
  const jobs = new Map()
  let lines = []
  const play = ([what, job, ...rest]) => {
    if (what === 'import') jobs.set(job, { next: 0, chunks: rest[0] })
    else if (what === 'claim') jobs.get(job).next++
    else if (what === 'complete') jobs.get(job).chunks[rest[0] - 1].output = rest[1]
  }
  const keep = (line) => {
    play(line)
    lines.push(JSON.stringify(line))
  }
  for (const line of text.split('\n')) if (line !== '') play(JSON.parse(line))
  const ops = {
    importChunks: (job, chunks) => void keep(['import', job, chunks]),
    claim(job) {
      const { next, chunks } = jobs.get(job)
      if (next === chunks.length) return undefined
      keep(['claim', job])
      return { job, chunk: chunks[next].id, payload: chunks[next].payload }
    },
    complete: ({ job, chunk }, output) => void keep(['complete', job, chunk, output]),
    list: (job) => jobs.get(job).chunks.slice(jobs.get(job).next).map(({ id, payload }) => ({ chunk: id, payload })),
  }
  /** A message of calls in JSON; a message of answers. */
  return (batch) => {
    const answers = JSON.parse(batch).map(([id, op, ...values]) => [id, ops[op](...values)])
    if (lines.length > 0) {
      append(`${lines.join('\n')}\n`)
      lines = []
      sync()
    }
    return JSON.stringify(answers)
  }
}

/** The other side: all calls of a tick are one message. `post` sends it; the second function takes the answers. */
export function caller(post) {
  const waiting = new Map()
  let unsent = []
  let last = 0
  const call = (...parts) =>
    new Promise((resolve) => {
      waiting.set(++last, resolve)
      unsent.push([last, ...parts])
      if (unsent.length === 1) void flush()
    })
  const flush = async () => {
    await undefined
    await undefined
    const batch = unsent
    unsent = []
    post(JSON.stringify(batch))
  }
  const hear = (answers) => {
    for (const [id, value] of JSON.parse(answers)) {
      waiting.get(id)(value ?? undefined)
      waiting.delete(id)
    }
  }
  const store = {
    importChunks: (job, chunks) => call('importChunks', job, chunks),
    claim: (job) => call('claim', job),
    complete: (claimed, output) => call('complete', claimed, output),
    list: (job) => call('list', job),
  }
  return { store, hear }
}
