/** A log that people and screen readers can follow: newest first, bounded. */

import { make, write } from './dom.js'
import { clock } from './text.js'

const LINES_MAX = 200

/** Writes a line to a list. */
export function logTo(list) {
  return (said, kind = 'note') => {
    const now = Date.now()
    const time = make('time', { dateTime: new Date(now).toISOString() }, clock(now))
    const line = make('span')
    write(line, said)
    list.prepend(make('li', { className: kind }, time, ' ', line))
    while (list.children.length > LINES_MAX) list.lastChild.remove()
  }
}
