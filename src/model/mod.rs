//! The vocabulary: data and its checks, no storage and no clock.

mod change;
mod check;
mod chunk;
mod durability;
mod import;
mod job;
mod json;
mod owner;
mod record;
mod status;
mod steer;
mod work;

pub use change::{Change, Changes, FeedConsumer};
pub(crate) use check::{
    check_chunk_id, check_delay_ms, check_job_id, check_lease_ms, check_moment_ms, check_size,
};
pub use chunk::{JobState, NewChunk};
pub use durability::Durability;
pub use import::{ImportOptions, ImportReport, OnConflict, OnMissing};
pub use job::{Backoff, Deadline, DependencyFailure, JobInfo, JobSpec, JobStats};
pub use json::Json;
pub(crate) use json::{RAW_JSON, fault};
pub use owner::OwnerId;
pub use record::{ChunkRecord, ChunkRecords, Kept, Restored, StoreInfo};
pub use status::JobStatus;
pub use steer::{GraphFormat, ResetReach, Selection};
pub(crate) use work::Failure;
pub use work::{ChunkUpdate, Claim, ClaimRequest, Completion, Outcome};
