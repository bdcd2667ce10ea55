// The page of a user: does its step, and shows what came of it.
//
// The first lines say how the package is had, and differ between the projects.

import { begin, goOn } from './work.mjs'

export function show(open) {
  const step = location.search === '?go-on' ? goOn : begin
  step(open, 'uploads').then(
    (result) => (globalThis.result = JSON.stringify(result)),
    (error) => (globalThis.result = `${error.name} ${error.code}: ${error.stack}`),
  )
}
