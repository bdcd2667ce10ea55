import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { peer } from './ours.mjs'

let count = 0
const { fdatasyncSync } = fs
fs.fdatasyncSync = (file) => {
  count++
  fdatasyncSync(file)
}
syncBuiltinESMExports()
const { open: openStore } = await import(pathToFileURL(join(process.env.MAGNETAR_PACKAGE, 'dist', 'node.js')).href)

export const open = async (name) => peer(await openStore(name, { inline: true }), async () => count)
