// The package's own thread, with its syncs counted.

import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { workerData } from 'node:worker_threads'

const { fdatasyncSync } = fs
fs.fdatasyncSync = (file) => {
  Atomics.add(workerData.syncs, 0, 1)
  fdatasyncSync(file)
}
syncBuiltinESMExports()
await import(workerData.worker)
