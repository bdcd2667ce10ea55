//! A liveness that the test steers: owners live until it says otherwise.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use magnetar::{Liveness, OwnerId, Probe, Result};

/// Everybody lives, but for those that the test declared dead.
#[derive(Debug, Default)]
pub(crate) struct Living {
    dead: Mutex<BTreeSet<OwnerId>>,
    retired: Mutex<BTreeSet<OwnerId>>,
}

impl Living {
    /// From now on this owner is proven dead.
    pub(crate) fn kill(&self, owner: OwnerId) {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).insert(owner);
    }

    /// Whether this owner has said that nothing depends on its life any more.
    pub(crate) fn has_retired(&self, owner: OwnerId) -> bool {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).contains(&owner)
    }

    /// From now on this owner lives (again).
    pub(crate) fn revive(&self, owner: OwnerId) {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).remove(&owner);
    }
}

impl Liveness for Living {
    fn announce(&self, _owner: OwnerId) -> Result<()> {
        Ok(())
    }

    fn probe(&self, owner: OwnerId) -> Probe {
        if self.dead.lock().unwrap_or_else(PoisonError::into_inner).contains(&owner) {
            Probe::Dead(Box::new(()))
        } else {
            Probe::Alive
        }
    }

    fn retire(&self, owner: OwnerId) {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).insert(owner);
    }
}
