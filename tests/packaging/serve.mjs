// A static file server without any header that a plain one would not send.

import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
import { extname, join, normalize } from 'node:path'

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' }

/** Serves a folder until the test ends; gives its address, and what was asked for and not found. */
export async function serve(t, folder) {
  const missing = []
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost')
    const path = normalize(decodeURIComponent(pathname.endsWith('/') ? `${pathname}index.html` : pathname))
    try {
      const body = await readFile(join(folder, path))
      response.writeHead(200, { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream' }).end(body)
    } catch {
      if (path !== '/favicon.ico') missing.push(path)
      response.writeHead(404).end()
    }
  })
  await new Promise((listening) => server.listen(0, 'localhost', listening))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://localhost:${server.address().port}/`, missing }
}
