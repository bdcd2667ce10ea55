/**
 * Lays a dependency graph out in layers, from left to right: what a chunk waits for stands further left. Pure.
 *
 * The steps are the usual ones: layers by the longest path, chains of bends for edges that skip layers, an order within
 * each layer by the mean of the neighbours, places that keep to that order. Where these chains would be hundreds of
 * thousands of bends, as where each chunk waits for all before it, edges go straight: nobody could tell them apart.
 */

export const NODE_WIDTH = 104
export const NODE_HEIGHT = 32
const LAYER_GAP = 76
const ROW_GAP = 16
const BEND_HEIGHT = 8
const MARGIN = 24
const SWEEPS = 8
/** With more, laying out takes seconds. */
const BENDS_MAX = 40_000

/**
 * `ids` are the nodes, `edges` pairs of `[from, to]` with `to` waiting for `from`. Gives the size, each node's upper left
 * corner, and each edge's points.
 */
export function layout(ids, edges) {
  const known = new Set(ids)
  const wanted = edges.filter(([from, to]) => known.has(from) && known.has(to))
  const layerOf = layersOf(ids, wanted)
  const layers = []
  const cells = new Map()
  const add = (key, layer, height) => {
    const cell = { key, layer, height, before: [], after: [], y: 0 }
    ;(layers[layer] ??= []).push(cell)
    cells.set(key, cell)
    return cell
  }
  for (const id of ids) add(id, layerOf.get(id), NODE_HEIGHT)
  const bends = wanted.reduce((sum, [from, to]) => sum + layerOf.get(to) - layerOf.get(from) - 1, 0)
  const routes = wanted.map(([from, to]) => {
    const route = [cells.get(from)]
    for (let layer = layerOf.get(from) + 1; bends <= BENDS_MAX && layer < layerOf.get(to); layer++) {
      route.push(add(`${from}>${to}@${layer}`, layer, BEND_HEIGHT))
    }
    route.push(cells.get(to))
    for (let step = 1; step < route.length; step++) {
      route[step - 1].after.push(route[step])
      route[step].before.push(route[step - 1])
    }
    return { from, to, route }
  })
  order(layers)
  place(layers)
  const top = Math.min(...[...cells.values()].map((cell) => cell.y), Infinity)
  const x = (layer) => MARGIN + layer * (NODE_WIDTH + LAYER_GAP)
  const y = (cell) => cell.y - top + MARGIN
  const bottom = Math.max(...[...cells.values()].map((cell) => y(cell) + cell.height), 0)
  return {
    width: ids.length === 0 ? 0 : x(layers.length - 1) + NODE_WIDTH + MARGIN,
    height: bottom + MARGIN,
    nodes: ids.map((id) => ({ id, x: x(layerOf.get(id)), y: y(cells.get(id)) })),
    edges: routes.map(({ from, to, route }) => ({
      from,
      to,
      points: route.flatMap((cell, step) => {
        const middle = y(cell) + cell.height / 2
        const [left, right] = [x(cell.layer), x(cell.layer) + NODE_WIDTH]
        if (step === 0) return [[right, middle]]
        return step === route.length - 1 ? [[left, middle]] : [[left, middle], [right, middle]]
      }),
    })),
  }
}

/** The layer of each node: behind everything that it waits for, and no further from what waits for it than it must be. */
function layersOf(ids, edges) {
  const [before, after] = [new Map(), new Map()]
  for (const id of ids) {
    before.set(id, [])
    after.set(id, [])
  }
  for (const [from, to] of edges) {
    before.get(to).push(from)
    after.get(from).push(to)
  }
  const layer = new Map(ids.map((id) => [id, 0]))
  const unmet = new Map(ids.map((id) => [id, before.get(id).length]))
  const ready = ids.filter((id) => unmet.get(id) === 0)
  for (let next = 0; next < ready.length; next++) {
    for (const to of after.get(ready[next])) {
      layer.set(to, Math.max(layer.get(to), layer.get(ready[next]) + 1))
      unmet.set(to, unmet.get(to) - 1)
      if (unmet.get(to) === 0) ready.push(to)
    }
  }
  for (const id of ready.toReversed()) {
    if (before.get(id).length > 0 || after.get(id).length === 0) continue
    layer.set(id, Math.min(...after.get(id).map((to) => layer.get(to))) - 1)
  }
  return layer
}

/** Orders each layer by the mean place of its neighbours in the layer before, then in the one after, again and again. */
function order(layers) {
  const number = (layer) => layer.forEach((cell, index) => (cell.index = index))
  layers.forEach(number)
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const isDown = sweep % 2 === 0
    for (const layer of isDown ? layers : layers.toReversed()) {
      for (const cell of layer) cell.wish = mean(isDown ? cell.before : cell.after, (other) => other.index) ?? cell.index
      layer.sort((a, b) => a.wish - b.wish || a.index - b.index)
      number(layer)
    }
  }
}

/** Gives each cell a height to stand at: near its neighbours, in its layer's order, and clear of the next. */
function place(layers) {
  for (const layer of layers) stackUp(layer, () => undefined)
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const isDown = sweep % 2 === 0
    const side = isDown ? 'before' : 'after'
    const middle = (cell) => cell.y + cell.height / 2
    for (const layer of isDown ? layers : layers.toReversed()) stackUp(layer, (cell) => mean(cell[side], middle))
  }
}

/** Puts each cell where it wishes to be, or as little below that as the one above allows; then moves all by the mean error. */
function stackUp(layer, wishOf) {
  let free = -Infinity
  let error = 0
  let wishes = 0
  for (const cell of layer) {
    const wish = wishOf(cell)
    const wanted = wish === undefined ? Math.max(free, cell.y) : wish - cell.height / 2
    cell.y = Math.max(free, wanted)
    if (wish !== undefined) {
      error += cell.y - wanted
      wishes++
    }
    free = cell.y + cell.height + ROW_GAP
  }
  if (wishes > 0) for (const cell of layer) cell.y -= error / wishes
}

function mean(cells, value) {
  return cells.length === 0 ? undefined : cells.reduce((sum, cell) => sum + value(cell), 0) / cells.length
}
