//! How values of the vocabulary stand in columns: numbers that the views spell out.

use crate::backends::contract::{Class, JobPhase, Subject};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::machine::listed_classes;
use crate::model::{DependencyFailure, JobStatus, OwnerId};

const PHASES: [JobPhase; 3] = [JobPhase::Open, JobPhase::Importing, JobPhase::Deleting];
const SUBJECTS: [Subject; 5] =
    [Subject::Chunk, Subject::ChunkGone, Subject::Job, Subject::JobGone, Subject::Met];

/// A status as a number in checksums: its place in [`JobStatus::ALL`].
pub(super) fn status_code(status: JobStatus) -> i64 {
    code_of(&JobStatus::ALL, &status)
}

/// A policy as a number: its place in [`DependencyFailure::ALL`].
pub(super) fn policy_code(policy: DependencyFailure) -> i64 {
    code_of(DependencyFailure::ALL, &policy)
}

pub(super) fn policy(code: i64) -> Option<DependencyFailure> {
    usize::try_from(code).ok().and_then(|at| DependencyFailure::ALL.get(at).copied())
}

pub(super) fn class_code(class: Class) -> i64 {
    i64::from(class as u8)
}

/// The class that a number stands for, and the status that it is a part of.
pub(super) fn class(code: i64) -> Option<(Class, JobStatus)> {
    let class = Class::ALL.into_iter().find(|class| class_code(*class) == code)?;
    JobStatus::ALL
        .into_iter()
        .find(|status| listed_classes(*status).contains(&class))
        .map(|status| (class, status))
}

pub(super) fn phase_code(phase: JobPhase) -> i64 {
    i64::from(phase as u8)
}

pub(super) fn phase(code: i64) -> Option<JobPhase> {
    PHASES.into_iter().find(|phase| phase_code(*phase) == code)
}

pub(super) fn subject(code: u64) -> Option<Subject> {
    SUBJECTS.into_iter().find(|subject| u64::from(*subject as u8) == code)
}

fn code_of<T: PartialEq>(all: &[T], value: &T) -> i64 {
    all.iter().position(|other| other == value).map_or(-1, usize::cast_signed) as i64
}

/// A number as an SQL integer. The engine's numbers end at 2^53 - 1 and its times at the year 285,000: anything
/// larger is a defect, and is refused rather than bent.
pub(super) fn int(value: u64) -> Result<i64> {
    let fits = i64::try_from(value).ok().filter(|_| value <= limits::ID_MAX);
    fits.ok_or_else(|| {
        Error::new(ErrorKind::Internal, format!("the number {value} is larger than any that is written"))
    })
}

/// When something was last written, beside its creation: 0 where that is the same time, as it mostly is, and -1 for the
/// time 0.
pub(super) fn updated_at(created_at_ms: u64, updated_at_ms: u64) -> Result<i64> {
    match updated_at_ms {
        same if same == created_at_ms => Ok(0),
        0 => Ok(-1),
        other => int(other),
    }
}

/// The time that [`updated_at`] wrote.
pub(super) fn read_updated_at(created_at_ms: u64, column: i64) -> Option<u64> {
    match column {
        0 => Some(created_at_ms),
        -1 => Some(0),
        other => u64::try_from(other).ok(),
    }
}

pub(super) fn owner_text(owner: OwnerId) -> String {
    owner.to_string()
}
