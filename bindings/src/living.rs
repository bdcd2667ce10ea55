//! Who is alive, as the host says: it knows from locks that end with their holders.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use magnetar::{Liveness, OwnerId, Probe, Result};

/// The clients that live. Everybody else is dead: the file is ours alone, and a client is named here before its first
/// call.
#[derive(Debug, Default)]
pub(crate) struct Living(Mutex<BTreeSet<OwnerId>>);

impl Living {
    fn clients(&self) -> MutexGuard<'_, BTreeSet<OwnerId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This client lives.
    pub(crate) fn add(&self, client: OwnerId) {
        self.clients().insert(client);
    }

    /// This client has died.
    pub(crate) fn remove(&self, client: OwnerId) {
        self.clients().remove(&client);
    }
}

impl Liveness for Living {
    fn announce(&self, owner: OwnerId) -> Result<()> {
        self.add(owner);
        Ok(())
    }

    fn probe(&self, owner: OwnerId) -> Probe {
        if self.clients().contains(&owner) { Probe::Alive } else { Probe::Dead(Box::new(())) }
    }
}
