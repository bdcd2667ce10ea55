//! A chunk's whole record: what callers see of it, and what a store keeps beside that.

use serde::{Deserialize, Serialize};

use super::{Deadline, DependencyFailure, JobState, OwnerId};

/// One chunk with everything that a store keeps of it: what an export writes and a restore reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChunkRecord {
    /// The chunk as it stands.
    pub state: JobState,
    /// Chunks that it depends on, in ascending order.
    pub depends_on: Vec<u64>,
    /// The rest.
    pub kept: Kept,
}

impl ChunkRecord {
    /// A chunk's record from its parts, as the change feed has them.
    pub fn new(state: JobState, depends_on: Vec<u64>, kept: Kept) -> Self {
        ChunkRecord { state, depends_on, kept }
    }
}

/// What a store keeps of a chunk beside its [`JobState`]: its own settings where they differ from the job's, and the
/// books of its claims and dependencies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Kept {
    /// The chunk's own limit of attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// The chunk's own limit of losses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub losses_max: Option<u32>,
    /// What the chunk itself says of failed dependencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_dependency_failure: Option<DependencyFailure>,
    /// While cancelled by a cascade: the dependency whose failure did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<u64>,
    /// Dependencies that do not count as met, in ascending order. A chunk that ignores failures counts a failed one as
    /// met, until it is reset.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<u64>,
    /// The fence that a late result would be taken under; 0 when there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub open_fence: u64,
    /// Whose claim is open, and the client's own number of the call. Exports of before also name who settled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_by: Option<OwnerId>,
    /// See [`Kept::claimed_by`].
    #[serde(skip_serializing_if = "is_zero")]
    pub claim_seq: u64,
    /// Whether the newest claim was ended by its holder, with a result or with an error: the same call again is answered
    /// with what it did.
    #[serde(skip_serializing_if = "is_false")]
    pub settled: bool,
    /// The lease of a claim that lapsed and is open still: as long as that is the lease of a heartbeat that takes it up
    /// again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lapsed_lease: Option<Deadline>,
    /// When the manifest's part was last written, in milliseconds since the Unix epoch.
    pub content_updated_at_ms: u64,
    /// The revision that last wrote the manifest's part.
    pub content_revision: u64,
    /// When something last happened to the chunk, in milliseconds since the Unix epoch; 0 if nothing ever did.
    #[serde(skip_serializing_if = "is_zero")]
    pub record_updated_at_ms: u64,
    /// The revision of what last happened to the chunk; 0 if nothing ever did.
    #[serde(skip_serializing_if = "is_zero")]
    pub record_revision: u64,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over; where a pointer is shorter it is none"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A page of a job's chunks with everything that the store keeps of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChunkRecords {
    /// The chunks, by id.
    pub records: Vec<ChunkRecord>,
    /// Whether there is more behind the last of them. A page may be shorter than asked for, to bound its memory.
    pub more: bool,
}

/// What a store says of itself as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoreInfo {
    /// The revision of the newest change.
    pub revision: u64,
    /// Up to which revision everything can be seen: [`StoreInfo::revision`], but while an import goes on whose job nobody
    /// sees yet the one before it. Whoever listed everything and wants to go on from there with the change feed goes on
    /// from this one.
    pub visible_revision: u64,
    /// The highest job id that was ever used; 0 before the first.
    pub job_id_max: i64,
}

/// What a restore came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Restored {
    /// Jobs that the store has now.
    pub jobs: u64,
    /// Chunks that it has in them.
    pub chunks: u64,
    /// The revision that the original store had.
    pub revision: u64,
}
