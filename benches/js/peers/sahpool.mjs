import { remote } from '../workers/rpc.mjs'

export const open = (name) => remote(new URL('../workers/sahpool.mjs', import.meta.url), name)
