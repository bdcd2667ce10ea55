import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Queue, Worker } from 'bullmq'
import { Redis } from 'ioredis'

// A server of its own: every command is on the disk before it is answered.
const DURABLE = ['--appendonly', 'yes', '--appendfsync', 'always', '--save', '']

export async function open(name) {
  mkdirSync(name, { recursive: true })
  const socket = join(name, 'redis.sock')
  const server = spawn('redis-server', ['--port', '0', '--unixsocket', socket, '--dir', name, ...DURABLE], { stdio: 'ignore' })
  // Whatever ends this process, by itself or by an error.
  process.once('exit', () => server.kill('SIGKILL'))
  process.once('SIGTERM', () => process.exit(1))
  const connection = new Redis(socket, { maxRetriesPerRequest: null, retryStrategy: () => 5 })
  connection.on('error', () => {})
  await connection.ping()
  const queues = new Map()
  const of = (job) => {
    if (!queues.has(job)) {
      // Without a function and not started: jobs are taken by hand, as the others' are.
      const worker = new Worker(`job-${job}`, null, { connection, autorun: false, skipStalledCheck: true })
      queues.set(job, { queue: new Queue(`job-${job}`, { connection }), worker })
    }
    return queues.get(job)
  }
  const token = `${process.pid}`
  return {
    importChunks: (job, chunks) =>
      of(job).queue.addBulk(chunks.map(({ id, payload }) => ({ name: 'chunk', data: { chunk: id, payload }, opts: { jobId: `chunk-${id}` } }))),
    claim: async (job) => {
      const held = await of(job).worker.getNextJob(token, { block: false })
      return held && { held, ...held.data }
    },
    complete: ({ held }, output) => held.moveToCompleted(output, token, false),
    list: async (job) => (await of(job).queue.getJobs(['waiting'], 0, -1, true)).map(({ data }) => data),
    syncs: async () => undefined,
    async close() {
      for (const { queue, worker } of queues.values()) await Promise.all([queue.close(), worker.close()])
      const ended = new Promise((resolve) => server.once('exit', resolve))
      await connection.quit()
      server.kill('SIGTERM')
      await ended
    },
  }
}
