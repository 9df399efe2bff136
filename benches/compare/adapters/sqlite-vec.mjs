// sqlite-vec in better-sqlite3: compares with every row, so it is exact.
import { join } from 'node:path'

export default function create({ place, dim, metric, k }, require) {
  const Database = require('better-sqlite3')
  const sqliteVec = require('sqlite-vec')
  let db
  let base
  let find
  let add
  const open = () => {
    db = new Database(join(place, 'rows.sqlite'))
    sqliteVec.load(db)
    db.pragma('journal_mode = WAL')
    db.pragma('synchronous = NORMAL')
  }
  const prepare = () => {
    find = db.prepare('select rowid from rows where vector match ? and k = ? order by distance')
  }
  const start = (all) => {
    base = all
    open()
    db.exec(`create virtual table rows using vec0(vector float[${dim}] distance_metric=${metric})`)
    add = db.prepare('insert into rows(rowid, vector) values (?, ?)')
    prepare()
  }
  const insert = (from, count) => {
    const began = performance.now()
    db.transaction(() => {
      for (let i = from; i < from + count; i++) add.run(BigInt(i), base.subarray(i * dim, (i + 1) * dim))
    })()
    return (performance.now() - began) / 1000
  }
  return {
    build(all) {
      start(all)
      const seconds = insert(0, all.length / dim)
      db.close()
      return seconds
    },
    open() {
      open()
      prepare()
    },
    query: (numbers) => numbers,
    search: (query) => find.all(query, k),
    ids: (hits) => hits.map(({ rowid }) => Number(rowid)),
    create: start,
    insert,
    close: () => db.close(),
  }
}
