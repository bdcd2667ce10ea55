//! What a store needs from around it, where there is no operating system: the host brings it.

use std::sync::Arc;

use super::OpenOptions;
use crate::engine::{Bounds, Host, Imports};
use crate::error::{Error, ErrorKind, Result};
use crate::owners::Liveness;

fn missing(what: &str) -> Error {
    let text = format!("on this target a store has no {what} of its own: set OpenOptions::{what}");
    Error::new(ErrorKind::Unsupported, text)
}

pub(super) fn host(options: &OpenOptions, liveness: impl FnOnce() -> Arc<dyn Liveness>) -> Result<Host> {
    Ok(Host {
        imports: Imports::default(),
        durability: options.durability,
        bounds: Bounds::default(),
        clock: options.clock.clone().ok_or_else(|| missing("clock"))?,
        liveness: options.liveness.clone().unwrap_or_else(liveness),
        owner: options.owner.ok_or_else(|| missing("owner"))?,
    })
}
