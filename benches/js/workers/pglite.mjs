// PGlite on its pool of access handles.

import { PGlite } from '../node_modules/@electric-sql/pglite/dist/index.js'
import { syncs } from './count.mjs'
import { answer } from './rpc.mjs'
import { queue } from './sql.mjs'

answer(async (name) => {
  const db = await PGlite.create(`opfs-ahp://pglite-${name}`)
  const prepare = (sql) => {
    const all = async (values) => (await db.query(sql, values, { rowMode: 'array' })).rows
    return { all, get: async (values) => (await all(values))[0], run: all }
  }
  // A statement per row costs it ten times as much.
  const whole = `INSERT INTO chunks (job, chunk, payload)
    SELECT $1, (chunk->>'id')::bigint, chunk->>'payload' FROM json_array_elements($2::json) AS chunk`
  const bulk = (job, chunks) => db.query(whole, [job, chunks])
  return queue({ bulk, exec: (sql) => db.exec(sql), prepare, close: () => db.close() }, syncs)
})
