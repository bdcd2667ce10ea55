//! What the owner of a job asks.

/// Which chunks of a job a bulk operation is about.
///
/// ```
/// # magnetar::block_on(async {
/// use magnetar::{JobStatus, JobStore, NewChunk, Selection};
///
/// let store = magnetar::open(":memory:").await?;
/// let chunks = (0..3).map(|id| Ok(NewChunk::new(id)));
/// store.import(7, &Default::default(), magnetar::chunks(chunks), &Default::default()).await?;
/// store.cancel(7, Selection::Chunks(vec![1, 2])).await?;
/// assert_eq!(store.cancel(7, Selection::Chunks(vec![2])).await?, 0, "it is cancelled already");
/// assert!(store.cancel(7, Selection::Chunks(vec![0, 99])).await.is_err());
/// assert_eq!(store.retry_failed(7, Selection::All).await?, 0, "nothing has failed");
/// assert_eq!(store.retry_failed(7, Selection::Chunks(vec![1])).await?, 1);
/// assert_eq!(store.get_by_status(7, JobStatus::Pending).await?.len(), 2);
/// # Ok::<(), magnetar::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selection {
    /// All of them that the operation applies to.
    All,
    /// These; one that does not exist, or that the operation does not apply to, is an error, and then nothing changes. One
    /// that is already as the operation would have it is left as it is, and not counted.
    Chunks(Vec<u64>),
}

/// How far [`crate::JobStore::reset`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ResetReach {
    /// Dependents are blocked again; done ones stay done.
    #[default]
    Direct,
    /// Done dependents are reset too, and theirs.
    Through,
}

/// The text of [`crate::JobStore::graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphFormat {
    /// Graphviz DOT.
    Dot,
    /// A Mermaid flowchart.
    Mermaid,
}
