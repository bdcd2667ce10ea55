//! What a stored row is to the indexes, and to the caller.

use std::sync::Arc;

use crate::backends::contract::{Class, Place, Rank, Row};
use crate::machine::Rules;
use crate::model::{JobSpec, JobState, JobStatus};

/// The order of claims: the higher priority first.
pub(crate) const fn rank(priority: i32) -> Rank {
    Rank(!(priority.cast_unsigned() ^ (1 << 31)))
}

/// Where a row belongs in the indexes.
pub(crate) fn place(row: &Row) -> Place {
    let record = &row.record;
    let (class, due) = match record.status {
        JobStatus::Pending if row.unmet > 0 => (Class::Blocked, None),
        JobStatus::Pending if record.not_before.is_some() => (Class::Delayed, record.not_before),
        JobStatus::Pending => (Class::Ready, None),
        JobStatus::Processing => (Class::Processing, record.lease),
        JobStatus::Done => (Class::Done, None),
        JobStatus::Failed => (Class::Failed, None),
        JobStatus::Cancelled => (Class::Cancelled, None),
    };
    Place {
        class,
        rank: if class == Class::Ready { rank(row.content.priority) } else { Rank(0) },
        due,
        holder: if class == Class::Processing { record.owner() } else { None },
    }
}

/// The classes that a status is made of.
pub(crate) const fn listed_classes(status: JobStatus) -> &'static [Class] {
    match status {
        JobStatus::Pending => &[Class::Ready, Class::Blocked, Class::Delayed],
        JobStatus::Processing => &[Class::Processing],
        JobStatus::Done => &[Class::Done],
        JobStatus::Failed => &[Class::Failed],
        JobStatus::Cancelled => &[Class::Cancelled],
    }
}

/// The classes of chunks whose dependents have lost a dependency.
pub(crate) const BROKEN_CLASSES: &[Class] = &[Class::Failed, Class::Cancelled];

/// A row as the caller sees it.
pub(crate) fn state(row: Row, job: &JobSpec) -> JobState {
    let Row { key, content, record, unmet } = row;
    let rules = Rules::of(job, &content);
    let (content, record) = (Arc::unwrap_or_clone(content), Arc::unwrap_or_clone(record));
    // While it is held; of a claim that lapsed both are kept, and are nobody's to rely on.
    let is_held = record.status == JobStatus::Processing;
    let (owner, lease) = if is_held { (record.owner(), record.lease) } else { (None, None) };
    JobState {
        job_id: key.job,
        chunk: key.chunk,
        checksum: content.checksum,
        payload: content.payload,
        priority: content.priority,
        status: record.status,
        observed_checksum: record.observed,
        error: record.error,
        attempts: record.attempts,
        losses: record.losses,
        attempts_max: rules.attempts_max,
        losses_max: rules.losses_max,
        fence: record.fence,
        owner,
        lease,
        not_before: record.not_before,
        unmet_dependencies: unmet,
        output: record.output,
        created_at_ms: content.created_at_ms,
        updated_at_ms: if record.revision > content.revision {
            record.updated_at_ms
        } else {
            content.updated_at_ms
        },
        revision: record.revision.max(content.revision),
    }
}
