/** Where the page finds the package: unpacked beside it. */

export * from '../magnetar/dist/browser.js'

/** The worker that has the engine in it, as the package itself would start it. */
export const engineWorker = () => new Worker(new URL('../magnetar/dist/worker-browser.js', import.meta.url), { type: 'module', name: 'magnetar' })
