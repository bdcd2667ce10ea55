import Database from 'better-sqlite3'
import { PRAGMAS, queue } from '../workers/sql.mjs'

export async function open(name) {
  const db = new Database(`${name}.better.db`)
  db.exec(PRAGMAS)
  const prepare = (sql) => {
    // It knows parameters by their order alone.
    const order = Array.from(sql.matchAll(/\$(\d)/g), ([, number]) => number - 1)
    const statement = db.prepare(sql.replaceAll(/\$\d/g, '?'))
    if (statement.reader) statement.raw()
    const inOrder = (values) => order.map((index) => values[index])
    return {
      all: (values) => statement.all(inOrder(values)),
      get: (values) => statement.get(inOrder(values)),
      run: (values) => statement.run(inOrder(values)),
    }
  }
  return queue({ exec: (sql) => db.exec(sql), prepare, close: () => db.close() }, async () => undefined)
}
