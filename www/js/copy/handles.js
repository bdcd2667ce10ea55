/** Handles of picked files, kept in IndexedDB so that a reload need not ask for the file again. Where the browser has none, nothing is kept. */

const NAME = 'magnetar-demo'
const TABLE = 'handles'

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1)
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE)
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

async function within(mode, work) {
  const database = await opened()
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(TABLE, mode)
      const request = work(transaction.objectStore(TABLE))
      transaction.oncomplete = () => resolve(request.result)
      transaction.onerror = transaction.onabort = () => reject(transaction.error)
    })
  } finally {
    database.close()
  }
}

export const keepHandle = (job, handle) => within('readwrite', (table) => table.put(handle, job))
export const handleOf = (job) => within('readonly', (table) => table.get(job))
export const dropHandle = (job) => within('readwrite', (table) => table.delete(job))
