// A durable queue in SQL, as one would write it by hand: a table, an index, and a statement per step. Each step is a
// transaction of its own.
//
// A driver has `exec(sql)` and `prepare(sql)`, which gives `get(values)`, `run(values)` and `all(values)`.

export const SCHEMA = `
CREATE TABLE IF NOT EXISTS chunks (
  job BIGINT NOT NULL, chunk BIGINT NOT NULL, status SMALLINT NOT NULL DEFAULT 0, fence BIGINT NOT NULL DEFAULT 0,
  lease_ends_ms BIGINT, payload TEXT, output TEXT, PRIMARY KEY (job, chunk));
CREATE INDEX IF NOT EXISTS ready ON chunks (job, status, chunk);`

const CLAIM = `
UPDATE chunks SET status = 1, fence = fence + 1, lease_ends_ms = $2
WHERE job = $1 AND chunk = (SELECT chunk FROM chunks WHERE job = $1 AND status = 0 ORDER BY chunk LIMIT 1)
RETURNING job, chunk, fence, payload`
const COMPLETE = `
UPDATE chunks SET status = 2, lease_ends_ms = NULL, output = $4 WHERE job = $1 AND chunk = $2 AND fence = $3 AND status = 1
RETURNING chunk`
const INSERT = 'INSERT INTO chunks (job, chunk, payload) VALUES ($1, $2, $3)'
const LIST = 'SELECT chunk, payload FROM chunks WHERE job = $1 AND status = 0 ORDER BY chunk'

/** The SQLite pragmas that make an acknowledgement mean: on the disk. A worker without shared memory locks alone. */
export const PRAGMAS = 'PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;'

/** SQL for SQLite, where a dollar makes a name and only a question mark a number. */
export const numbered = (sql) => sql.replaceAll('$', '?')

/** The steps of the queue. `bulk`, where a driver has it, takes a whole import. */
export async function queue(driver, syncs) {
  await driver.exec(SCHEMA)
  const claim = await driver.prepare(CLAIM)
  const complete = await driver.prepare(COMPLETE)
  const insert = await driver.prepare(INSERT)
  const list = await driver.prepare(LIST)
  return {
    async importChunks(job, chunks) {
      if (driver.bulk !== undefined) return void (await driver.bulk(job, chunks))
      await driver.exec('BEGIN')
      for (const { id, payload } of chunks) await insert.run([job, id, JSON.stringify(payload)])
      await driver.exec('COMMIT')
    },
    async claim(job) {
      const row = await claim.get([job, Date.now() + 60_000])
      if (row === undefined) return undefined
      const [of, chunk, fence, payload] = row
      return { job: of, chunk, fence, payload: JSON.parse(payload) }
    },
    async complete({ job, chunk, fence }, output) {
      const row = await complete.get([job, chunk, fence, JSON.stringify(output)])
      if (row === undefined) throw new Error(`chunk ${chunk} is no longer held`)
    },
    async list(job) {
      return (await list.all([job])).map(([chunk, payload]) => ({ chunk, payload: JSON.parse(payload) }))
    },
    syncs,
    close: () => driver.close(),
  }
}
