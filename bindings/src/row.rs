//! A chunk as a row: its fields in a fixed order, without their names. The face names them again.

use magnetar::{Deadline, JobState, JobStats};
use serde::Serialize;
use serde::ser::{SerializeTuple, Serializer};

/// A chunk. The order of the fields is the one of `chunk.ts`.
pub(crate) struct Row<'a>(pub(crate) &'a JobState);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let state = self.0;
        let mut row = serializer.serialize_tuple(21)?;
        row.serialize_element(&state.job_id)?;
        row.serialize_element(&state.chunk)?;
        row.serialize_element(&state.status)?;
        row.serialize_element(&state.fence)?;
        row.serialize_element(&state.payload)?;
        row.serialize_element(&state.checksum)?;
        row.serialize_element(&state.priority)?;
        row.serialize_element(&state.observed_checksum)?;
        row.serialize_element(&state.error)?;
        row.serialize_element(&state.attempts)?;
        row.serialize_element(&state.losses)?;
        row.serialize_element(&state.attempts_max)?;
        row.serialize_element(&state.losses_max)?;
        row.serialize_element(&state.owner)?;
        row.serialize_element(&state.lease.map(Deadline::at_ms))?;
        row.serialize_element(&state.not_before.map(Deadline::at_ms))?;
        row.serialize_element(&state.unmet_dependencies)?;
        row.serialize_element(&state.output)?;
        row.serialize_element(&state.created_at_ms)?;
        row.serialize_element(&state.updated_at_ms)?;
        row.serialize_element(&state.revision)?;
        row.end()
    }
}

/// How many chunks stand where, in the order of `stats.ts`.
pub(crate) fn stats(stats: &JobStats) -> [u64; 8] {
    let JobStats { total_chunks, pending, processing, done, failed, cancelled, blocked, delayed, .. } =
        *stats;
    [total_chunks, pending, processing, done, failed, cancelled, blocked, delayed]
}
