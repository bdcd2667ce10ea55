// The process that Node measures in: one step of one peer, its figures as the last line.

import * as steps from './measure.mjs'

const [peer, step, name, options] = process.argv.slice(2)
const load = () => import(`./peers/${peer}.mjs`)
const figures = await steps[step](load, name, JSON.parse(options))
// Ended at once, with what was left open.
process.stdout.write(`${JSON.stringify(figures)}\n`, () => process.kill(process.pid, 'SIGKILL'))
