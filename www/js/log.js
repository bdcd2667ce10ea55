/** A log that people and screen readers can follow: newest first, bounded. */

import { make } from './dom.js'
import { clock } from './text.js'

const LINES_MAX = 200

/** Writes a line to a list. */
export function logTo(list) {
  return (text, kind = 'note') => {
    const now = Date.now()
    const time = make('time', { dateTime: new Date(now).toISOString() }, clock(now))
    list.prepend(make('li', { className: kind }, time, ' ', make('span', {}, text)))
    while (list.children.length > LINES_MAX) list.lastChild.remove()
  }
}
