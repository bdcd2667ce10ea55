import { open as openPeer } from './magnetar.mjs'

export const open = (name, isCounted) => openPeer(name, isCounted, true)
