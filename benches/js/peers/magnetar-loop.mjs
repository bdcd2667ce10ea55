import { open as openPeer } from './magnetar.mjs'

export const open = (name) => openPeer(name, true)
