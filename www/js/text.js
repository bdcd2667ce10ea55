/** Numbers as people read them. */

const whole = new Intl.NumberFormat('en')
const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']

/** A count, with separators. */
export const count = (number) => whole.format(number)

/** `1 chunk`, `2 chunks`. */
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? '' : 's'}`

/** A size in the unit that fits it. */
export function bytes(number) {
  if (number === 1) return '1 byte'
  let unit = 0
  let value = number
  // What would be rounded to 1024 of a unit is 1 of the next.
  while (value >= (unit === 0 ? 1024 : 1023.5) && unit < UNITS.length - 1) {
    value /= 1024
    unit++
  }
  const digits = unit === 0 || Number.isInteger(value) ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0
  return `${value.toFixed(digits)} ${UNITS[unit]}`
}

/** What a job is called, if it is. */
export const nameOf = ({ name }, otherwise) => (name?.trim() ? name : otherwise)

/** What is done of a size: `117 of 200 MiB`, with both numbers where their units differ. */
export function bytesOf(done, all) {
  const [doneText, allText] = [bytes(done), bytes(all)]
  const [number, unit] = doneText.split(' ')
  return allText.endsWith(` ${unit}`) ? `${number} of ${allText}` : `${doneText} of ${allText}`
}

/** A share of 1 in percent, rounded down: only what is complete is 100. */
export const percent = (share) => (Math.floor(share * 1000) / 10).toFixed(1)

/** A time span, in the two units that matter. */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return '–'
  const s = Math.ceil(seconds)
  if (s < 60) return `${s} s`
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`
}

/** A moment as day and time of here. */
export const moment = (ms) => new Date(ms).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' })

/** A moment as time of day. */
export const clock = (ms) => new Date(ms).toLocaleTimeString('en-GB')
