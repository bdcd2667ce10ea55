/** The few calls that make and find elements. */

/** The element of an id. */
export const at = (id) => document.getElementById(id)

/** An element with properties and children; a child may be a text. `aria-*`, `data-*` and `for` are attributes. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false) continue
    if (/[-]|^(for|role|scope|href)$/.test(name)) element.setAttribute(name, value)
    else element[name] = value
  }
  element.append(...children)
  return element
}

const SVG = 'http://www.w3.org/2000/svg'

/** An element of SVG with attributes and children. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  element.append(...children)
  return element
}

/** The mark of a status; its shape says as much as its colour. */
export function mark(kind) {
  const icon = draw('svg', { class: `mark ${kind}`, 'aria-hidden': 'true', viewBox: '0 0 12 12' })
  icon.append(draw('use', { href: `#mark-${kind}` }))
  return icon
}

/** Saves a blob as a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob)
  const link = make('a', { href: url, download: name })
  document.body.append(link)
  link.click()
  link.remove()
  // The download has begun by then; a browser reads a blob that it has begun on to its end.
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}

/** The text of whatever was thrown. */
export function reason(error) {
  if (!(error instanceof Error)) return String(error)
  return error.code && error.name === 'MagnetarError' ? `${error.message} (${error.code})` : error.message || error.name
}

/** Makes an element a place to drop a file on. `take` gets the item's file and, where the browser has one, its handle. */
export function droppable(element, take) {
  let inside = 0
  const mark = () => element.classList.toggle('over', inside > 0)
  element.addEventListener('dragenter', (event) => {
    event.preventDefault()
    inside++
    mark()
  })
  element.addEventListener('dragleave', () => {
    inside--
    mark()
  })
  element.addEventListener('dragover', (event) => event.preventDefault())
  element.addEventListener('drop', async (event) => {
    event.preventDefault()
    inside = 0
    mark()
    const item = [...event.dataTransfer.items].find(({ kind }) => kind === 'file')
    if (item === undefined) return
    // Both must be asked for before the event is over.
    const file = item.getAsFile()
    const handle = await item.getAsFileSystemHandle?.().catch(() => undefined)
    if (file !== null) take(file, handle?.kind === 'file' ? handle : undefined)
  })
}
