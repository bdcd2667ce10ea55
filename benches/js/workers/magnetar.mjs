// The package's own worker, with its flushes counted.

import './count.mjs'
import '/package/dist/worker-browser.js'
