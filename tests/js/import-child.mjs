// Makes a store of a file, and is killed over it.

import { readFileSync } from 'node:fs'
import { load } from './package.mjs'

const { importFile, open } = await load()
const [path, file] = process.argv.slice(2)
const bytes = readFileSync(file)
await (await open(':memory:')).close()
process.stdout.write('ready\n')
await (await importFile(path, bytes, { inline: true })).close()
