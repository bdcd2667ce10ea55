import { open as openPeer } from './magnetar-node.mjs'

export const open = (name, isCounted) => openPeer(name, isCounted, true)
