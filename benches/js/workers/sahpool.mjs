// SQLite's own build for the web, on its pool of access handles.

import init from '../node_modules/@sqlite.org/sqlite-wasm/dist/index.mjs'
import { syncs } from './count.mjs'
import { answer } from './rpc.mjs'
import { numbered, PRAGMAS, queue } from './sql.mjs'

answer(async (name) => {
  const sqlite3 = await init()
  const pool = await sqlite3.installOpfsSAHPoolVfs({ directory: `sahpool-${name}`, initialCapacity: 6 })
  const db = new pool.OpfsSAHPoolDb('/queue.db')
  db.exec(PRAGMAS)
  if (db.selectValue('PRAGMA journal_mode') !== 'wal' || db.selectValue('PRAGMA synchronous') !== 2) throw new Error('not as asked for')
  const prepare = (sql) => {
    const statement = db.prepare(numbered(sql))
    const all = (values) => {
      try {
        statement.bind(values)
        const rows = []
        while (statement.step()) rows.push(statement.get([]))
        return rows
      } finally {
        statement.reset()
      }
    }
    return { all, get: (values) => all(values)[0], run: (values) => void all(values) }
  }
  return queue({ exec: (sql) => db.exec(sql), prepare, close: () => db.close() }, syncs)
})
