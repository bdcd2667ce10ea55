//! What the owner of a job asks.

/// Which chunks of a job a bulk operation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selection {
    /// All of them that the operation applies to.
    All,
    /// These; one that does not exist, or that the operation does not apply to, is an error.
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
