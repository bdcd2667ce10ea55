/** The page: its theme, and which of the two views the address asks for. */

import { lackingView } from './copy/lacking.js'
import { copyView } from './copy/view.js'
import { at, droppable } from './dom.js'
import { inspectView } from './inspect/view.js'
import { theme } from './theme.js'

theme(at('theme'))

const views = { copy: lackingView() ?? copyView(), inspect: inspectView() }

let shown

function show(event) {
  const [name, argument] = location.hash.slice(1).split('/')
  shown = name === 'inspect' ? 'inspect' : 'copy'
  for (const view of Object.keys(views)) {
    at(view).hidden = view !== shown
    const link = document.querySelector(`nav a[href="#${view}"]`)
    if (view === shown) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
  document.title = shown === 'copy' ? 'Magnetar – copy a file, whatever crashes' : 'Magnetar – inspect a job file'
  views[shown].show(argument)
  // Whoever uses the keyboard goes on where the new view begins.
  if (event !== undefined) at(shown).focus({ preventScroll: true })
}

document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault()
  document.querySelector('main:not([hidden])').focus()
})
droppable(
  (file, handle) => views[shown].take(file, handle),
  (what) => views[shown].refuse(what),
)
addEventListener('hashchange', show)
show()
