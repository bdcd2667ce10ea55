// wa-sqlite on its pool of access handles.

import SQLiteESMFactory from '../node_modules/wa-sqlite/dist/wa-sqlite.mjs'
import { AccessHandlePoolVFS } from '../node_modules/wa-sqlite/src/examples/AccessHandlePoolVFS.js'
import * as SQLite from '../node_modules/wa-sqlite/src/sqlite-api.js'
import { syncs } from './count.mjs'
import { answer } from './rpc.mjs'
import { numbered, PRAGMAS, queue } from './sql.mjs'

answer(async (name) => {
  const sqlite3 = SQLite.Factory(await SQLiteESMFactory())
  const vfs = new AccessHandlePoolVFS(`wa-sqlite-${name}`)
  await vfs.isReady
  sqlite3.vfs_register(vfs, true)
  const db = await sqlite3.open_v2('queue.db')
  await sqlite3.exec(db, PRAGMAS)
  const seen = []
  await sqlite3.exec(db, 'PRAGMA journal_mode; PRAGMA synchronous', (row) => void seen.push(row[0]))
  if (seen[0] !== 'wal' || seen[1] !== 2) throw new Error('not as asked for')
  const statements = []
  const prepare = async (sql) => {
    const { stmt } = await sqlite3.prepare_v2(db, sqlite3.str_value(sqlite3.str_new(db, numbered(sql))))
    statements.push(stmt)
    const all = async (values) => {
      try {
        sqlite3.bind_collection(stmt, values)
        const rows = []
        while ((await sqlite3.step(stmt)) === SQLite.SQLITE_ROW) rows.push(sqlite3.row(stmt))
        return rows
      } finally {
        await sqlite3.reset(stmt)
      }
    }
    return { all, get: async (values) => (await all(values))[0], run: all }
  }
  const close = async () => {
    for (const stmt of statements) await sqlite3.finalize(stmt)
    await sqlite3.close(db)
    await vfs.close()
  }
  return queue({ exec: (sql) => sqlite3.exec(db, sql), prepare, close }, syncs)
})
