//! What a store needs from around it, natively: the operating system has it all.

use std::sync::Arc;

use super::OpenOptions;
use crate::clock::SystemClock;
use crate::engine::{Bounds, Host, Imports};
use crate::error::Result;
use crate::owners::Liveness;
use crate::owners::random::random_owner;

pub(super) fn host(options: &OpenOptions, liveness: impl FnOnce() -> Arc<dyn Liveness>) -> Result<Host> {
    Ok(Host {
        imports: Imports::default(),
        durability: options.durability,
        bounds: Bounds::default(),
        clock: options.clock.clone().unwrap_or_else(|| Arc::new(SystemClock)),
        liveness: options.liveness.clone().unwrap_or_else(liveness),
        owner: match options.owner {
            Some(owner) => owner,
            None => random_owner()?,
        },
    })
}
