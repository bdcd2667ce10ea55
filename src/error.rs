//! The one error type: what went wrong, where, and whether trying again can help.

use std::fmt;
use std::sync::Arc;

/// The result of every call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong. Match on this; the text is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No job of that id.
    JobNotFound,
    /// The job has no chunk of that id.
    ChunkNotFound,
    /// An argument is out of its range or of the wrong form.
    InvalidInput,
    /// A manifest does not say what a manifest must say; the text gives line, chunk and key.
    InvalidManifest,
    /// The source that a stream of chunks was read from failed. Made by [`Error::from_source`].
    Source,
    /// Two chunks of one manifest have the same id.
    DuplicateChunk,
    /// A chunk depends on one that does not exist.
    UnknownDependency,
    /// The dependencies go round in a circle; the text names it.
    DependencyCycle,
    /// Something is larger than its limit in [`crate::limits`].
    TooLarge,
    /// An import would change the content of chunks that are processing or done. See [`Error::conflicts`].
    ContentConflict,
    /// The claim is no longer the chunk's newest: somebody else holds it, or it was ended from outside. Stop working on it.
    Superseded,
    /// The chunk is done already, with another result.
    ResultConflict,
    /// The observed checksum is not the expected one. The claim stays open.
    ChecksumMismatch,
    /// The chunk's dependencies are not met; complete them first.
    Blocked,
    /// The rules do not allow this change from the chunk's present status.
    Refused,
    /// Another process or client holds the file for writing; close it there, or try again later.
    Locked,
    /// The path's backend is not compiled in; the text names the feature.
    BackendMissing,
    /// This store or platform cannot do that.
    Unsupported,
    /// The file is not one of ours, or was damaged. Nothing was changed; restore it from a copy.
    Corrupt,
    /// The file was written by a newer version of Magnetar; use that one.
    NewerFormat,
    /// The store is busy beyond its bound; nothing was changed. Try again later.
    Busy,
    /// The disk or the quota is full; nothing was changed. Free some space, then try again.
    Full,
    /// The operating system reported an error.
    Io,
    /// An earlier write error left the outcome unknown; call `reopen`.
    Poisoned,
    /// The operation was under way when the store was poisoned: its outcome is unknown. Look, then try again.
    OutcomeUnknown,
    /// The store was closed; open it anew.
    Closed,
    /// The store was moved; the text says where to.
    Moved,
    /// The store is a copy that follows another one; the text says which. Work goes through that one.
    Shadow,
    /// The changes asked for were pruned; list everything anew.
    FeedTruncated,
    /// A defect of Magnetar itself; please report it, with its text.
    Internal,
}

impl ErrorKind {
    /// The kind as a code that programs of other languages are told it by: `job_not_found`. It stays what it is.
    ///
    /// ```
    /// assert_eq!(magnetar::ErrorKind::JobNotFound.as_str(), "job_not_found");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorKind::JobNotFound => "job_not_found",
            ErrorKind::ChunkNotFound => "chunk_not_found",
            ErrorKind::InvalidInput => "invalid_input",
            ErrorKind::InvalidManifest => "invalid_manifest",
            ErrorKind::Source => "source",
            ErrorKind::DuplicateChunk => "duplicate_chunk",
            ErrorKind::UnknownDependency => "unknown_dependency",
            ErrorKind::DependencyCycle => "dependency_cycle",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::ContentConflict => "content_conflict",
            ErrorKind::Superseded => "superseded",
            ErrorKind::ResultConflict => "result_conflict",
            ErrorKind::ChecksumMismatch => "checksum_mismatch",
            ErrorKind::Blocked => "blocked",
            ErrorKind::Refused => "refused",
            ErrorKind::Locked => "locked",
            ErrorKind::BackendMissing => "backend_missing",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::NewerFormat => "newer_format",
            ErrorKind::Busy => "busy",
            ErrorKind::Full => "full",
            ErrorKind::Io => "io",
            ErrorKind::Poisoned => "poisoned",
            ErrorKind::OutcomeUnknown => "outcome_unknown",
            ErrorKind::Closed => "closed",
            ErrorKind::Moved => "moved",
            ErrorKind::Shadow => "shadow",
            ErrorKind::FeedTruncated => "feed_truncated",
            ErrorKind::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether, and when, trying the same call again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The same call will be refused again.
    Never,
    /// The same call may succeed later, as it is; nothing was changed.
    Later,
    /// The same call may succeed after `reopen`.
    AfterReopen,
}

/// Every error of Magnetar.
///
/// Cheap to clone: callers that shared one commit share its error.
///
/// Its text is whole: what, where, what to do, and the words of the error underneath where there is one. So nothing
/// stands twice in a report that follows [`source`](std::error::Error::source): that begins with the first error
/// underneath whose words are not in the text. The one right underneath is [`Error::get_ref`].
///
/// ```
/// use magnetar::{JobStatus, ErrorKind, Retry};
///
/// let error = "finished".parse::<JobStatus>().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
/// assert_eq!(error.retry(), Retry::Never);
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    text: String,
    job: Option<i64>,
    chunk: Option<u64>,
    conflicts: Vec<u64>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        let text = text.into();
        Error(Arc::new(Inner { kind, text, job: None, chunk: None, conflicts: Vec::new(), source: None }))
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Error::new(ErrorKind::InvalidInput, text)
    }

    pub(crate) fn at(mut self, job: i64, chunk: u64) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        (inner.job, inner.chunk) = (Some(job), Some(chunk));
        self
    }

    pub(crate) fn in_job(mut self, job: i64) -> Self {
        Arc::make_mut(&mut self.0).job = Some(job);
        self
    }

    pub(crate) fn in_chunk(mut self, chunk: u64) -> Self {
        Arc::make_mut(&mut self.0).chunk = Some(chunk);
        self
    }

    pub(crate) fn with_conflicts(mut self, chunks: Vec<u64>) -> Self {
        Arc::make_mut(&mut self.0).conflicts = chunks;
        self
    }

    pub(crate) fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::new(source));
        self
    }

    pub(crate) fn job_not_found(job: i64) -> Self {
        Error::new(ErrorKind::JobNotFound, "there is no such job; import a manifest into it first")
            .in_job(job)
    }

    pub(crate) fn chunk_not_found(job: i64, chunk: u64) -> Self {
        Error::new(ErrorKind::ChunkNotFound, "the job has no such chunk; import it first").at(job, chunk)
    }

    /// The error of a stream of chunks whose own source failed, to end an import with: nothing of the import stays.
    ///
    /// ```
    /// let broken = std::io::Error::other("the connection was reset");
    /// let error = magnetar::Error::from_source(broken);
    /// assert_eq!(error.kind(), magnetar::ErrorKind::Source);
    /// assert!(error.get_ref().is_some_and(|cause| cause.is::<std::io::Error>()));
    /// ```
    pub fn from_source(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Error::new(ErrorKind::Source, format!("the source of the chunks failed: {cause}")).caused_by(cause)
    }

    /// The error that this one was made of, to be downcast: the one that [`Error::from_source`] was given, above all.
    /// Which types Magnetar itself puts there may change with any version.
    pub fn get_ref(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether trying the same call again can help: later for [`ErrorKind::Busy`], [`ErrorKind::Full`] and
    /// [`ErrorKind::Locked`], after `reopen` for [`ErrorKind::Poisoned`] and [`ErrorKind::OutcomeUnknown`].
    pub fn retry(&self) -> Retry {
        match self.0.kind {
            ErrorKind::Busy | ErrorKind::Full | ErrorKind::Locked => Retry::Later,
            ErrorKind::Poisoned | ErrorKind::OutcomeUnknown => Retry::AfterReopen,
            _ => Retry::Never,
        }
    }

    /// The job that the error is about, where it is about one.
    pub fn job(&self) -> Option<i64> {
        self.0.job
    }

    /// The chunk that the error is about, where it is about one.
    pub fn chunk(&self) -> Option<u64> {
        self.0.chunk
    }

    /// The chunks that stood in the way of an import ([`ErrorKind::ContentConflict`]), the first thousand of them.
    pub fn conflicts(&self) -> &[u64] {
        &self.0.conflicts
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(job) = self.0.job {
            write!(f, "job {job}")?;
        }
        if let Some(chunk) = self.0.chunk {
            write!(f, "{}chunk {chunk}", if self.0.job.is_some() { ", " } else { "" })?;
        }
        if self.0.job.is_some() || self.0.chunk.is_some() {
            f.write_str(": ")?;
        }
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        if let Some(source) = std::error::Error::source(self) {
            write!(f, " (caused by: {source})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let mut cause = self.get_ref().map(|cause| cause as &(dyn std::error::Error + 'static));
        while let Some(said) = cause
            && self.0.text.contains(&said.to_string())
        {
            cause = said.source();
        }
        cause
    }
}

#[cfg(test)]
mod tests {
    use super::Error;
    use super::ErrorKind::{self, *};

    /// Every kind, in the order of the enum.
    const ALL: [ErrorKind; 30] = [
        JobNotFound,
        ChunkNotFound,
        InvalidInput,
        InvalidManifest,
        Source,
        DuplicateChunk,
        UnknownDependency,
        DependencyCycle,
        TooLarge,
        ContentConflict,
        Superseded,
        ResultConflict,
        ChecksumMismatch,
        Blocked,
        Refused,
        Locked,
        BackendMissing,
        Unsupported,
        Corrupt,
        NewerFormat,
        Busy,
        Full,
        Io,
        Poisoned,
        OutcomeUnknown,
        Closed,
        Moved,
        Shadow,
        FeedTruncated,
        Internal,
    ];

    /// An error with one underneath, whose words it may have in its own.
    #[derive(Debug)]
    struct Outer(&'static str, Option<Box<Outer>>);

    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    /// As whoever reports an error with its causes does.
    fn report(error: &dyn std::error::Error) -> String {
        std::iter::successors(Some(error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    }

    #[test]
    fn a_report_of_an_error_and_its_causes_says_nothing_twice() {
        let file = Outer("permission denied", None);
        let config = Outer("no configuration", Some(Box::new(file)));
        let error = Error::from_source(config);
        assert_eq!(error.to_string(), "the source of the chunks failed: no configuration");
        assert_eq!(report(&error), "the source of the chunks failed: no configuration: permission denied");
        assert_eq!(
            format!("{error:?}"),
            "Source: the source of the chunks failed: no configuration (caused by: permission denied)"
        );
        let config = error.get_ref().and_then(|cause| cause.downcast_ref::<Outer>()).expect("what was given");
        assert_eq!(config.0, "no configuration");

        let repeating = Outer("database: disk full", Some(Box::new(Outer("disk full", None))));
        let again = Error::from_source(Error::from_source(repeating));
        assert_eq!(report(&again).matches("disk full").count(), 1, "{}", report(&again));

        let (unsaid, text) = ("x".parse::<u8>().unwrap_err(), "no number; write one");
        let error = Error::invalid(text).caused_by(unsaid.clone());
        assert_eq!(report(&error), format!("{text}: {unsaid}"), "what is not said yet is said");
        assert!(Error::invalid(text).get_ref().is_none());
    }

    #[test]
    fn the_code_of_a_kind_is_its_name_in_lower_case() {
        for (at, kind) in ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at, "{kind:?} is missing here, or one before it");
            let mut name = String::new();
            for letter in format!("{kind:?}").chars() {
                if letter.is_ascii_uppercase() && !name.is_empty() {
                    name.push('_');
                }
                name.push(letter.to_ascii_lowercase());
            }
            assert_eq!(kind.as_str(), name);
        }
    }
}
