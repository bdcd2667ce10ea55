import { DatabaseSync } from 'node:sqlite'
import { numbered, PRAGMAS, queue } from '../workers/sql.mjs'

export async function open(name) {
  const db = new DatabaseSync(`${name}.node.db`)
  db.exec(PRAGMAS)
  const prepare = (sql) => {
    const statement = db.prepare(numbered(sql))
    statement.setReturnArrays(true)
    return {
      all: (values) => statement.all(...values),
      get: (values) => statement.get(...values),
      run: (values) => statement.run(...values),
    }
  }
  return queue({ exec: (sql) => db.exec(sql), prepare, close: () => db.close() }, async () => undefined)
}
