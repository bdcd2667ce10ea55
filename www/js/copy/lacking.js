/** What copying needs of the browser, and the view that says what is missing where something is. */

import { at } from '../dom.js'

const NEEDS = [
  ['Web Locks', () => navigator.locks],
  ['private files', () => navigator.storage?.getDirectory],
  ['SHA-256', () => crypto.subtle],
]

function lacking() {
  const missing = NEEDS.filter(([, find]) => find() === undefined).map(([name]) => name)
  if (missing.length === 0) return undefined
  const why = isSecureContext ? 'Use a newer browser.' : 'Browsers give that to pages at https or localhost only: open this page there.'
  return `Nothing can be copied here: this page has no ${missing.join(', no ')}. ${why} A job file can be inspected all the same.`
}

/** The view in the place of the one that copies; nothing where the browser has all that it takes. */
export function lackingView() {
  const text = lacking()
  if (text === undefined) return undefined
  at('start').querySelector('.drop').hidden = true
  at('problem').hidden = false
  return { show: () => (at('problem').textContent = text), take: () => {}, refuse: () => {} }
}
