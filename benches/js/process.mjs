// The process that Node measures in: one step of one peer, its figures as the last line.

import { opening, work } from './measure.mjs'

const [peer, step, name, options] = process.argv.slice(2)
const load = () => import(`./peers/${peer}.mjs`)
const figures = await (step === 'work' ? work(load, name, JSON.parse(options)) : opening(load, name))
console.log(JSON.stringify(figures))
process.exit()
