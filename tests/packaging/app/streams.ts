// What a program with the types of Node may say of streams. It is checked and never run.

import { Readable } from 'node:stream'
import { open } from 'magnetar-jobs'

export async function csv(): Promise<void> {
  await using store = await open('uploads')
  Readable.fromWeb(store.exportCsv(1)).pipe(process.stdout)
  for await (const piece of store.exportCsv(1)) piece.byteLength.toFixed()
  const { value } = await store.exportCsv(1).getReader().read()
  // @ts-expect-error: bytes
  value?.trim()
}
