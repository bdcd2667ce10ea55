//! The whole move in one call, for stores that nobody works with.

use super::side::is_authority;
use super::{Comparison, DualOptions, Handle, Inner, MoveSide, MoveStatus, Roles, check};
use crate::error::Result;
use crate::store::{Backing, Store};

/// Moves everything from one store to another that is new and empty, in memory bounded by a page, and compares every
/// job, chunk and dependency. In the end the first store is retired and says [`crate::ErrorKind::Moved`], and the
/// second is a store like any other.
///
/// It can be stopped at any moment and called again: it goes on where it was. Called again after its end it changes
/// nothing. Both stores are opened under one owner id, as for [`super::DualStore::new`]. `progress` is told after
/// each page.
///
/// ```
/// # #[cfg(any(feature = "redb", target_family = "wasm"))]
/// # magnetar::block_on(async {
/// use magnetar::{JobStore, OpenOptions, RedbStore};
///
/// let from = RedbStore::in_memory()?;
/// from.new_job(&magnetar::JobSpec::new().name("nightly")).await?;
/// let to = RedbStore::in_memory_with(&OpenOptions::new().owner(from.owner()))?;
/// let compared = magnetar::dual::migrate(&from, &to, |status| println!("{} behind", status.lag)).await?;
/// assert!(compared.is_equal());
/// assert_eq!(to.list_jobs(None, 10).await?.len(), 1);
/// # Ok::<(), magnetar::Error>(())
/// # }).unwrap();
/// ```
pub async fn migrate<A: Backing, B: Backing>(
    from: &Store<A>,
    to: &Store<B>,
    mut progress: impl FnMut(&MoveStatus) + Send,
) -> Result<Comparison> {
    let (first, second) = (Handle::from(from.clone()), Handle::from(to.clone()));
    let inner = Inner::join(first, second, &DualOptions::new()).await?;
    loop {
        match inner.roles() {
            Roles::Settled { authority: MoveSide::First, detached: false } => {
                while inner.follow().await?.is_none() {
                    progress(&inner.board.status());
                }
                inner.switch(MoveSide::Second).await?;
                progress(&inner.board.status());
            }
            Roles::Settled { authority: MoveSide::Second, detached: false } => {
                let [first, second] = &inner.sides;
                debug_assert!(!is_authority(first.standing().await?.as_ref()));
                let compared = match inner.board.status().compared {
                    Some(compared) => compared,
                    // It was an earlier call that carried it over, and compared.
                    None => check::everything(second, first, &inner.progress(), true).await?,
                };
                inner.detach().await?;
                progress(&inner.board.status());
                return Ok(compared);
            }
            Roles::Settled { authority: MoveSide::Second, detached: true } => {
                let digest = inner.sides[1].read(check::digest).await?;
                let mut compared = Comparison::at(inner.sides[1].meta().await?.revision);
                (compared.jobs, compared.chunks, compared.dependencies) =
                    (digest.jobs, digest.chunks, digest.dependencies);
                return Ok(compared);
            }
            Roles::Settled { authority: MoveSide::First, detached: true } => {
                let text = "the pair was taken apart before it was moved; begin anew with an empty store";
                return Err(crate::Error::new(crate::ErrorKind::Refused, text));
            }
            Roles::Unsettled => inner.settle().await?,
        }
    }
}
