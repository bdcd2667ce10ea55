import { remote } from '../workers/rpc.mjs'

export const open = (name) => remote(new URL('../workers/pglite.mjs', import.meta.url), name)
