// A worker that is killed: claims and completes for as long as it lives, and says each thing that was acknowledged.

import { load } from './package.mjs'

const { open } = await load()
const [path, callers, inline] = process.argv.slice(2)
const store = await open(path, { inline: inline === 'inline' })
const say = (line) => process.stdout.write(`${line}\n`)
say('open')
await Promise.all(
  Array.from({ length: Number(callers) }, async () => {
    for (;;) {
      const chunk = await store.claimPending(1)
      if (chunk === undefined) return
      say(`claimed ${chunk.chunk} ${chunk.fence}`)
      await store.complete(chunk, { output: chunk.fence })
      say(`done ${chunk.chunk} ${chunk.fence}`)
    }
  }),
)
await store.close()
say('end')
