/** Draws a part of a dependency graph as SVG that a keyboard can walk through. */

import { draw } from '../dom.js'
import { count, counted } from '../text.js'
import { layout, NODE_HEIGHT, NODE_WIDTH } from './layout.js'

/** The drawing; `choose` gets the chunk that the user opens. Its centre is `start`, or else what most edges lead to and from. */
export function drawing({ chunks, edges, start }, choose) {
  const byId = new Map(chunks.map((chunk) => [chunk.chunk, chunk]))
  const laid = layout([...byId.keys()], edges)
  const whole = draw('svg', {
    class: 'whole',
    width: laid.width,
    height: laid.height,
    role: 'group',
    'aria-label': `${counted(chunks.length, 'chunk')} and ${counted(laid.edges.length, 'dependency').replace('ys', 'ies')}. Arrow keys walk along, Enter opens.`,
  })
  const centre = start ?? hub(edges)
  const lines = laid.edges.map(({ from, to, points }) => {
    const isMet = byId.get(from).status === 'done'
    const line = draw('path', { class: isMet ? 'edge met' : 'edge', d: curve(points) })
    return { from, to, line }
  })
  const light = (id) => {
    for (const { from, to, line } of lines) line.classList.toggle('lit', from === id || to === id)
  }
  const groups = new Map()
  for (const { id, x, y } of laid.nodes) {
    const { status } = byId.get(id)
    const waits = edges.filter(([, to]) => to === id).map(([from]) => from)
    const group = draw(
      'g',
      {
        class: `node ${status}${id === centre ? ' centre' : ''}`,
        transform: `translate(${x} ${y})`,
        role: 'button',
        tabindex: groups.size === 0 ? 0 : -1,
        'aria-label': `Chunk ${id}, ${status}${waits.length > 0 ? `, after ${waits.slice(0, 8).join(', ')}` : ''}`,
      },
      draw('rect', { width: NODE_WIDTH, height: NODE_HEIGHT, rx: 7 }),
      draw('use', { href: `#mark-${status}`, class: `mark ${status}`, x: 12, y: 10, width: 12, height: 12 }),
      draw('text', { x: 34, y: 21 }, count(id)),
    )
    group.addEventListener('click', () => choose(id))
    group.addEventListener('pointerenter', () => light(id))
    group.addEventListener('pointerleave', () => light(undefined))
    group.addEventListener('focus', () => {
      for (const other of groups.values()) other.setAttribute('tabindex', '-1')
      group.setAttribute('tabindex', '0')
      light(id)
    })
    group.addEventListener('keydown', (event) => key(event, id))
    groups.set(id, group)
  }
  const key = (event, id) => {
    if (event.key === 'Enter' || event.key === ' ') choose(id)
    else {
      const next = neighbour(laid.nodes, id, event.key)
      if (next === undefined) return
      groups.get(next).focus()
    }
    event.preventDefault()
  }
  whole.append(...lines.map(({ line }) => line), ...groups.values())
  return whole
}

/** The chunk with the most edges, the first one of several. */
function hub(edges) {
  const degrees = new Map()
  for (const id of edges.flat()) degrees.set(id, (degrees.get(id) ?? 0) + 1)
  return [...degrees].reduce((most, one) => (one[1] > most[1] ? one : most))[0]
}

/** The nearest node in an arrow's direction. */
function neighbour(nodes, id, key) {
  const here = nodes.find((node) => node.id === id)
  const [along, across, sign] = { ArrowLeft: ['x', 'y', -1], ArrowRight: ['x', 'y', 1], ArrowUp: ['y', 'x', -1], ArrowDown: ['y', 'x', 1] }[key] ?? []
  if (along === undefined) return undefined
  const far = (node) => Math.abs(node[along] - here[along]) + 4 * Math.abs(node[across] - here[across])
  const ahead = nodes.filter((node) => (node[along] - here[along]) * sign > 0)
  return ahead.sort((a, b) => far(a) - far(b))[0]?.id
}

function curve(points) {
  const [[x, y], ...rest] = points
  let path = `M${x} ${y}`
  let from = [x, y]
  for (const [toX, toY] of rest) {
    const middle = (from[0] + toX) / 2
    path += from[1] === toY ? `H${toX}` : `C${middle} ${from[1]} ${middle} ${toY} ${toX} ${toY}`
    from = [toX, toY]
  }
  return path
}
