// The page that a browser measures in: a step of one peer per load.

import { opening, work } from './measure.mjs'

globalThis.step = async (peer, step, name, options) => {
  const load = () => import(`./peers/${peer}.mjs`)
  const figures = await (step === 'work' ? work(load, name, options) : opening(load, name))
  return JSON.stringify(figures)
}
