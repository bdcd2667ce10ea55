import { open as openPeer } from './magnetar-node.mjs'

export const open = (name) => openPeer(name, true)
