//! The change feed.

use serde::{Deserialize, Serialize};

use super::{JobInfo, JobState, Kept};

/// One entry of the change feed: the newest state of something that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", try_from = "Told")]
#[non_exhaustive]
pub enum Change {
    /// A chunk was created or changed, or one of its dependencies began or ceased to count as met; with the chunks it
    /// depends on.
    #[non_exhaustive]
    Chunk {
        /// The chunk's state.
        state: Box<JobState>,
        /// Chunks that it depends on, in ascending order.
        depends_on: Vec<u64>,
        /// What the store keeps of it beside its state.
        kept: Box<Kept>,
        /// The store's revision of the change: [`JobState::revision`], and above it where what changed last is whether
        /// its dependencies count as met, which leaves the chunk's own revision as it is.
        revision: u64,
    },
    /// A chunk was deleted.
    #[non_exhaustive]
    ChunkDeleted {
        /// The job.
        job_id: i64,
        /// The chunk.
        chunk: u64,
        /// The store's revision of the deletion.
        revision: u64,
    },
    /// A job was created or its settings changed. It is told each time, as it stands now: so it comes before its chunks.
    #[non_exhaustive]
    Job {
        /// The job as it stands.
        job: Box<JobInfo>,
        /// The store's revision of the change.
        revision: u64,
    },
    /// A job was deleted, with all its chunks.
    #[non_exhaustive]
    JobDeleted {
        /// The job.
        job_id: i64,
        /// The store's revision of the deletion.
        revision: u64,
    },
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Chunk,
    ChunkDeleted,
    Job,
    JobDeleted,
}

/// A change as it is read: with everything that one of any kind has. To find the kind first, the whole would have to be
/// kept as values, in which a payload's numbers and the order of its members are not what was written.
#[derive(Deserialize)]
struct Told {
    kind: Kind,
    revision: u64,
    state: Option<Box<JobState>>,
    depends_on: Option<Vec<u64>>,
    kept: Option<Box<Kept>>,
    job: Option<Box<JobInfo>>,
    job_id: Option<i64>,
    chunk: Option<u64>,
}

impl TryFrom<Told> for Change {
    type Error = String;

    fn try_from(told: Told) -> Result<Self, String> {
        fn there<T>(field: Option<T>, name: &str) -> Result<T, String> {
            field.ok_or_else(|| format!("missing field `{name}` of a change"))
        }
        let Told { kind, revision, state, depends_on, kept, job, job_id, chunk } = told;
        Ok(match kind {
            Kind::Chunk => Change::Chunk {
                state: there(state, "state")?,
                depends_on: there(depends_on, "depends_on")?,
                kept: there(kept, "kept")?,
                revision,
            },
            Kind::ChunkDeleted => Change::ChunkDeleted {
                job_id: there(job_id, "job_id")?,
                chunk: there(chunk, "chunk")?,
                revision,
            },
            Kind::Job => Change::Job { job: there(job, "job")?, revision },
            Kind::JobDeleted => Change::JobDeleted { job_id: there(job_id, "job_id")?, revision },
        })
    }
}

impl Change {
    /// The store's revision of the change.
    pub fn revision(&self) -> u64 {
        match self {
            Change::Chunk { revision, .. }
            | Change::ChunkDeleted { revision, .. }
            | Change::Job { revision, .. }
            | Change::JobDeleted { revision, .. } => *revision,
        }
    }
}

/// A page of the change feed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Changes {
    /// The newest state of each thing that changed, in revision order.
    pub changes: Vec<Change>,
    /// Hand this to the next call of `changes`.
    pub next: u64,
    /// Whether there is more already. A page may be shorter than asked for, to bound its memory.
    pub more: bool,
    /// The newest revision of the store when the page was read. `next` is behind it while there is more, and while the
    /// feed waits for an import whose job nobody sees yet.
    pub newest: u64,
    /// Dependents of some chunk were still to be told then what became of it: they change without further calls.
    #[serde(default)]
    pub settling: bool,
}

/// Somebody who follows the change feed, and for whom it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FeedConsumer {
    /// Its name. Those that begin with `magnetar/` are the stores that follow this one.
    pub name: String,
    /// It has everything up to this revision.
    pub revision: u64,
    /// How many revisions it is behind.
    pub lag: u64,
}
