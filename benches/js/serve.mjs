// Serves the benchmark and the package to browsers.

import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
import { extname, join, normalize } from 'node:path'

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' }

/** Gives the address, and how to end. */
export async function serve(packageFolder) {
  const folders = { bench: import.meta.dirname, package: packageFolder }
  const server = createServer(async ({ url }, response) => {
    const [, top, ...rest] = normalize(new URL(url, 'http://localhost').pathname).split('/')
    try {
      const body = await readFile(join(folders[top], ...rest))
      // A page that opens for the second time has its scripts at hand, as a user's has.
      const headers = { 'content-type': TYPES[extname(url)] ?? 'application/octet-stream', 'cache-control': 'max-age=3600' }
      response.writeHead(200, headers).end(body)
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise((listening) => server.listen(0, 'localhost', listening))
  const close = () => {
    server.closeAllConnections()
    server.close()
  }
  return { url: `http://localhost:${server.address().port}/bench/page.html`, close }
}
