//! How an import is done, and what it did.

use serde::{Deserialize, Serialize};

/// What an import does where a chunk's content changed while it is processing or done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnConflict {
    /// Refuse the whole import and list the chunks.
    #[default]
    Refuse,
    /// Keep what the store has for these chunks.
    Keep,
    /// Take the new content; the chunk goes back to pending, and a worker that holds it is superseded.
    Reset,
}

/// What an import does with chunks that the store has and the manifest no longer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnMissing {
    /// Keep them.
    #[default]
    Keep,
    /// Cancel those that are not done. One that a failure had cancelled, and that this import brings back because the
    /// failed chunk begins anew in it, is cancelled by the next one.
    Cancel,
    /// Delete them. Refused where a chunk that stays depends on one.
    Delete,
}

/// How an import is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Changed content of chunks that are processing or done.
    pub on_conflict: OnConflict,
    /// Chunks that the manifest no longer has. Up to [`crate::limits::IMPORT_ROWS_PER_COMMIT_MAX`] of them, in one step in
    /// any case.
    pub on_missing: OnMissing,
    /// Allow a large import into an existing job to go in slices: restartable, but not one atomic step, and a chunk must
    /// come after those that it depends on. An import into an id that has no job needs none of this, however large.
    pub in_slices: bool,
}

impl ImportOptions {
    /// Refuse conflicts, keep missing chunks, one atomic step.
    pub fn new() -> Self {
        ImportOptions::default()
    }

    /// The same with another choice for changed content.
    #[must_use]
    pub fn on_conflict(mut self, choice: OnConflict) -> Self {
        self.on_conflict = choice;
        self
    }

    /// The same with another choice for missing chunks.
    #[must_use]
    pub fn on_missing(mut self, choice: OnMissing) -> Self {
        self.on_missing = choice;
        self
    }

    /// The same, in slices where it is large.
    #[must_use]
    pub fn in_slices(mut self) -> Self {
        self.in_slices = true;
        self
    }
}

/// What an import did. Running it again reports everything as unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImportReport {
    /// Chunks that are new.
    pub added: u64,
    /// Chunks whose content or scheduling changed.
    pub updated: u64,
    /// Chunks that were the same already.
    pub unchanged: u64,
    /// Chunks of which something changed while they were done or processing, and that were kept as they were: scheduling
    /// always is, content where that was chosen.
    pub kept: u64,
    /// Chunks that went back to pending because their content changed while done or processing.
    pub reset: u64,
    /// Chunks no longer in the manifest that were cancelled.
    pub cancelled: u64,
    /// Chunks no longer in the manifest that were deleted.
    pub deleted: u64,
}
