import { remote } from '../workers/rpc.mjs'

export const open = (name) => remote(new URL('../workers/wa-sqlite.mjs', import.meta.url), name)
