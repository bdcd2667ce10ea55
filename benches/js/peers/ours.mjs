// A store of the package as a peer.

export function peer(store, syncs, bytes) {
  return {
    importChunks: (job, chunks) => store.importManifest(job, { chunks }),
    claim: (job) => store.claimPending(job),
    complete: (claimed, output) => store.complete(claimed, { output }),
    list: (job) => store.getByStatus(job, 'pending'),
    syncs,
    bytes,
    close: () => store.close(),
  }
}

/** The same, worked off as the package's own loops do: the end of a chunk and the next claim are one call. */
export function looping(peer, store) {
  const next = async (claimed, output, job) => (await store.completeAndClaim(claimed, { output }, { job })).at(0)
  return { ...peer, next }
}
