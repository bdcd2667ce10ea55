/** The map of chunks: a grid on a canvas, with marks that differ in shape as well as in colour, and a cursor for the keyboard. */

import { KINDS } from './picture.js'
import { told, write } from '../dom.js'
import { bytes, count } from '../text.js'

const SAID = {
  pending: 'waiting',
  here: 'in work in this tab',
  elsewhere: 'in work in another tab',
  done: 'done',
  failed: 'given up',
}
/** Cells are at most this wide, gap included, and there are at least so many columns' worth of room. */
const CELL_MAX = 28
const CELL_MIN = 4

export class ChunkMap {
  #canvas
  #readout
  #legend
  #picture
  #cursor = -1
  #columns = 1
  #cell = CELL_MAX
  #isAsked = false
  #said = '""'

  constructor(canvas, readout, legend) {
    this.#canvas = canvas
    this.#readout = readout
    this.#legend = legend
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement)
    addEventListener('themechange', () => this.draw())
    canvas.addEventListener('pointermove', (event) => this.#point(this.#under(event)))
    canvas.addEventListener('pointerleave', () => this.#point(-1))
    canvas.addEventListener('keydown', (event) => this.#key(event))
    canvas.addEventListener('focus', () => this.#point(Math.max(this.#cursor, 0)))
    canvas.addEventListener('blur', () => this.#point(-1))
  }

  /** Shows a job's picture from now on. */
  show(picture) {
    this.#picture = picture
    this.#cursor = -1
    this.draw()
  }

  /** Draws soon, once for many changes. */
  draw() {
    if (this.#isAsked || this.#picture === undefined) return
    this.#isAsked = true
    requestAnimationFrame(() => {
      this.#isAsked = false
      this.#draw()
    })
  }

  #draw() {
    const canvas = this.#canvas
    const width = canvas.parentElement.clientWidth
    if (width === 0) return
    const { chunks, counts, total } = this.#picture
    this.#cell = cellFor(total, width)
    this.#columns = Math.max(1, Math.floor(width / this.#cell))
    const height = Math.ceil(total / this.#columns) * this.#cell
    const ratio = devicePixelRatio
    canvas.width = Math.round(width * ratio)
    canvas.height = Math.round(height * ratio)
    canvas.style.height = `${height}px`
    const pen = canvas.getContext('2d')
    pen.scale(ratio, ratio)
    const colours = this.#colours()
    const gap = this.#cell > 12 ? 3 : this.#cell > 6 ? 2 : 1
    for (let index = 0; index < total; index++) {
      const kind = this.#picture.kind(chunks[index])
      const x = (index % this.#columns) * this.#cell
      const y = Math.floor(index / this.#columns) * this.#cell
      cell(pen, kind, colours, x, y, this.#cell - gap)
      if (index === this.#cursor) {
        pen.strokeStyle = colours.ink
        pen.lineWidth = 2
        pen.strokeRect(x - 0.5, y - 0.5, this.#cell - gap + 1, this.#cell - gap + 1)
      }
    }
    const parts = KINDS.filter((kind) => counts[kind] > 0).map((kind) => `${count(counts[kind])} ${SAID[kind]}`)
    canvas.setAttribute('aria-label', `Map of ${count(total)} chunks: ${parts.join(', ')}. Arrow keys look at single chunks.`)
    this.#say()
  }

  /** The legend's own marks say what the theme's colours are. */
  #colours() {
    const colours = { ink: getComputedStyle(this.#canvas).color }
    for (const kind of KINDS) colours[kind] = getComputedStyle(this.#legend.querySelector(`.${kind}`)).color
    return colours
  }

  #under({ offsetX, offsetY }) {
    const column = Math.floor(offsetX / this.#cell)
    const index = Math.floor(offsetY / this.#cell) * this.#columns + column
    return column < this.#columns && index < (this.#picture?.total ?? 0) ? index : -1
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.#columns, ArrowDown: this.#columns }[event.key]
    const last = this.#picture.total - 1
    if (event.key === 'Home') this.#point(0)
    else if (event.key === 'End') this.#point(last)
    else if (step !== undefined) this.#point(Math.min(last, Math.max(0, this.#cursor + step)))
    else return
    event.preventDefault()
  }

  #point(index) {
    if (index === this.#cursor) return
    this.#cursor = index
    this.draw()
  }

  #say() {
    const chunk = this.#picture.chunks[this.#cursor]
    let said = ''
    if (chunk !== undefined) {
      const { offset, bytes: size } = chunk.payload
      let text = `Chunk ${count(chunk.chunk)}: ${SAID[this.#picture.kind(chunk)]}, ${bytes(size)} from byte ${count(offset)}`
      if (chunk.observedChecksum) text += `, SHA-256 ${chunk.observedChecksum.slice(0, 12)}…`
      said = chunk.error ? told`${text}, last error: ${chunk.error}` : text
    }
    // It is read aloud, so only what is new is written.
    const shown = JSON.stringify(said)
    if (shown === this.#said) return
    this.#said = shown
    write(this.#readout, said)
  }
}

/** The largest cell with which all chunks fit a calm rectangle. */
function cellFor(total, width) {
  const height = Math.min(width * 0.62, 420)
  const fitting = Math.floor(Math.sqrt((width * height) / Math.max(total, 1)))
  return Math.max(CELL_MIN, Math.min(CELL_MAX, fitting))
}

function cell(pen, kind, colours, x, y, size) {
  pen.fillStyle = pen.strokeStyle = colours[kind]
  if (kind === 'done') pen.fillRect(x, y, size, size)
  else if (kind === 'pending') {
    const dot = Math.max(1, Math.round(size / 4))
    pen.fillRect(x + (size - dot) / 2, y + (size - dot) / 2, dot, dot)
  } else if (kind === 'failed') {
    pen.lineWidth = Math.max(1, size / 6)
    pen.beginPath()
    pen.moveTo(x, y)
    pen.lineTo(x + size, y + size)
    pen.moveTo(x + size, y)
    pen.lineTo(x, y + size)
    pen.stroke()
  } else {
    const line = Math.max(1, Math.round(size / 6))
    pen.lineWidth = line
    pen.strokeRect(x + line / 2, y + line / 2, size - line, size - line)
    if (kind === 'here' && size > 5) pen.fillRect(x + size * 0.3, y + size * 0.3, size * 0.4, size * 0.4)
  }
}
