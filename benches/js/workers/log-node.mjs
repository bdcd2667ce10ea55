// The floor, in a file, in a thread.

import { closeSync, existsSync, fdatasyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { log } from './log.mjs'

const path = `${workerData}.log`
const text = existsSync(path) ? readFileSync(path, 'utf8') : ''
const file = openSync(path, 'a')
let syncs = 0
const run = log(text, (lines) => writeSync(file, lines), () => {
  syncs++
  fdatasyncSync(file)
})
parentPort.on('message', (data) => {
  if (data === 'syncs') parentPort.postMessage({ syncs })
  else if (data === 'close') {
    closeSync(file)
    parentPort.postMessage({ closed: true })
    parentPort.close()
  } else parentPort.postMessage(run(data))
})
