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

/** A sentence with texts in it that may come from a file: `told\`Removed ${name}.\``. For `write`, which takes plain strings too. */
export function told([first, ...parts], ...values) {
  const piece = (value) => (typeof value === 'string' ? { text: value } : String(value))
  return [first, ...parts.flatMap((part, index) => [piece(values[index]), part])]
}

/** Writes a string, or what was told, into an element. A text of a file stands apart: it cannot turn the order of what is around it. */
export function write(element, said) {
  element.replaceChildren(...[said].flat().map((piece) => (typeof piece === 'string' ? piece : make('bdi', {}, piece.text))))
}

/** The text of whatever was thrown; an error of the page's own has what it tells in `told`. */
export function reason(error) {
  if (error?.told !== undefined) return error.told
  if (!(error instanceof Error)) return String(error)
  return error.code && error.name === 'MagnetarError' ? `${error.message} (${error.code})` : error.message || error.name
}

/**
 * Makes the whole page a place to drop a file on. `take` gets the file and, where the browser has one, its handle;
 * `refuse` what was dropped in its place, in words.
 */
export function droppable(take, refuse) {
  let inside = 0
  const mark = () => document.documentElement.classList.toggle('over', inside > 0)
  /** What is no file, such as a text that is moved within the page, goes where it went anyway. */
  const onFiles = (type, act) =>
    document.addEventListener(type, (event) => {
      if (!event.dataTransfer?.types.includes('Files')) return
      event.preventDefault()
      act(event)
      mark()
    })
  onFiles('dragenter', () => inside++)
  onFiles('dragleave', () => inside--)
  onFiles('dragover', () => {})
  onFiles('drop', async ({ dataTransfer }) => {
    inside = 0
    const items = [...dataTransfer.items].filter(({ kind }) => kind === 'file')
    // A question that is open is about what is shown.
    if (items.length === 0 || document.querySelector('dialog[open]') !== null) return
    if (items.length > 1) return refuse([`That was ${items.length} at once`])
    const [item] = items
    // All must be asked for before the event is over.
    const file = item.getAsFile()
    const entry = item.webkitGetAsEntry()
    const asked = item.getAsFileSystemHandle?.().catch(() => undefined)
    if (entry?.isDirectory) refuse(told`${entry.name} is a folder`)
    else if (file !== null) take(file, await asked)
  })
}
