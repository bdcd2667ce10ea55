/** Where the page finds the package: unpacked beside it. */

export * from '../magnetar/dist/browser.js'
