// Who is measured where, and what is known about the syncs of those that cannot be counted.

const PER_STEP = 'one per step, by WAL with synchronous=FULL; not counted'
const STRICT = 'one per step, by strict durability; not counted'

export const RUNTIMES = {
  node: [
    { peer: 'magnetar-node', title: 'Magnetar', ours: true },
    { peer: 'magnetar-node-loop', title: 'Magnetar, completeAndClaim', ours: true },
    { peer: 'magnetar-node-inline', title: 'Magnetar, inline', ours: true },
    { peer: 'better-sqlite3', title: 'better-sqlite3, WAL FULL, by hand', stated: PER_STEP },
    { peer: 'node-sqlite', title: 'node:sqlite, WAL FULL, by hand', stated: PER_STEP },
    { peer: 'bullmq', title: 'BullMQ, AOF always', stated: 'by Redis; not counted' },
    { peer: 'log-node', title: 'an append-only log with group commit (the floor)' },
  ],
  chromium: browsers(),
  firefox: browsers(),
}

function browsers() {
  return [
    { peer: 'magnetar', title: 'Magnetar', ours: true },
    { peer: 'magnetar-loop', title: 'Magnetar, completeAndClaim', ours: true },
    { peer: 'sahpool', title: 'sqlite-wasm opfs-sahpool, WAL FULL' },
    { peer: 'wa-sqlite', title: 'wa-sqlite AccessHandlePool, WAL FULL' },
    { peer: 'dexie', title: 'Dexie, strict', stated: STRICT },
    { peer: 'pglite', title: 'PGlite opfs-ahp' },
    { peer: 'log', title: 'an append-only log with group commit (the floor)' },
  ]
}
