// The page that a browser measures in: a step of one peer per load.

import * as steps from './measure.mjs'

globalThis.step = async (peer, step, name, options) => {
  const load = () => import(`./peers/${peer}.mjs`)
  const figures = await steps[step](load, name, options)
  return JSON.stringify(figures)
}
