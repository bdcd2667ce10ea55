//! One of the two stores of a move.

use std::sync::Arc;

use crate::backends::contract::{Load, Meta};
use crate::engine::{self, Op, RecordPage};
use crate::error::Result;
use crate::model::Outcome;
use crate::standing::{Role, Standing, Step, id_text};
use crate::store::{Handle, JobStore, Persistence, Shared};

/// A store of a move.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Arc<dyn JobStore>,
    /// Where it is, for people.
    pub(super) place: String,
    /// Its id.
    pub(super) id: String,
}

impl Side {
    pub(super) async fn of(handle: Handle) -> Result<Self> {
        let Handle { shared, store } = handle;
        let place = match store.persistence() {
            Persistence::File(path) => path.display().to_string(),
            Persistence::Memory => "a store in memory".into(),
            Persistence::Host => "a store on storage of the host".into(),
        };
        let id = id_text(shared.read(engine::meta).await?.store_id);
        Ok(Side { shared, store, place, id })
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Load) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.shared.read(question).await
    }

    pub(super) async fn meta(&self) -> Result<Meta> {
        self.read(engine::meta).await
    }

    pub(super) async fn standing(&self) -> Result<Option<Standing>> {
        Ok(self.meta().await?.affairs.and_then(|affairs| affairs.standing.clone()))
    }

    /// Opens the store anew where it needs that: readers of one that is well are not disturbed.
    pub(super) async fn reopen(&self) -> Result<()> {
        self.shared.core.mend().await
    }

    /// Takes a step; gives the revision that came of it.
    pub(super) async fn step(&self, step: Step) -> Result<u64> {
        self.shared.count(Op::Pair(step)).await
    }

    /// Takes records over.
    pub(super) async fn take(&self, page: RecordPage) -> Result<Outcome> {
        self.shared.outcome(Op::Records(Box::new(page))).await
    }
}

/// Whether a store in this standing is the authority of a pair.
pub(super) fn leads(standing: Option<&Standing>) -> bool {
    standing.is_some_and(|standing| standing.role == Role::Authority)
}

/// Whether a store in this standing executes operations.
pub(super) fn is_authority(standing: Option<&Standing>) -> bool {
    standing.is_none_or(|standing| standing.role == Role::Authority)
}
