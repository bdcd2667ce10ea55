//! Who is alive: the host proves it, and where it cannot, the lease decides.

#[cfg(all(feature = "sqlite", not(target_family = "wasm")))]
pub(crate) mod files;
#[cfg(not(target_family = "wasm"))]
pub(crate) mod random;

use std::any::Any;
use std::fmt::Debug;

use crate::error::Result;
use crate::model::OwnerId;

/// What a host knows of an owner.
#[derive(Debug)]
#[non_exhaustive]
pub enum Probe {
    /// It lives: its claims are left alone until their leases are over.
    Alive,
    /// It is proven dead. What is inside keeps anybody else from taking it for dead at the same time; it is dropped
    /// once its claims are put back.
    Dead(Box<dyn Any + Send>),
    /// The host cannot tell; the lease decides.
    Unknown,
}

/// Tells the living owners from the dead ones.
pub trait Liveness: Debug + Send + Sync {
    /// Makes sure that this client's own life can be seen by others. Called before its first claim is written, and when it
    /// opens a store in which it holds something from an earlier life.
    fn announce(&self, owner: OwnerId) -> Result<()>;

    /// What is known of an owner.
    fn probe(&self, owner: OwnerId) -> Probe;

    /// An owner of this client's ends, and holds nothing any more: nobody needs to know of it.
    fn retire(&self, owner: OwnerId) {
        let _ = owner;
    }

    /// Whatever is kept of owners that are dead may go, but for those that still hold claims.
    fn forget_dead(&self, still_holding: &[OwnerId]) {
        let _ = still_holding;
    }

    /// Whether a death is proven at once, or found only when a lease is over.
    fn is_instant(&self) -> bool {
        true
    }
}

/// For a store that only one client can have open: everybody else is dead.
#[derive(Debug)]
pub(crate) struct Alone;

impl Liveness for Alone {
    fn announce(&self, _owner: OwnerId) -> Result<()> {
        Ok(())
    }

    fn probe(&self, _owner: OwnerId) -> Probe {
        Probe::Dead(Box::new(()))
    }
}
