//! An export as bytes, handed over as they are made.

use std::fmt;
use std::future::Future;
use std::io::Write;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::Exported;
use super::form::Form;
use super::reader::Reader;
use crate::error::{Error, ErrorKind, Result};
use crate::store::JobStore;

/// Pages are gathered to at least this much before they are handed over.
const HANDED_OVER_BYTES: usize = 64 << 10;

/// An export as bytes, pulled a piece at a time.
///
/// [`Bytes::write_to`] puts all of it into a file; [`Bytes::next`] gives the next piece, for hosts that have no files;
/// [`Bytes::into_stream`] is the same as a [`Stream`], for a web server's body. Nothing is read before it is asked for.
///
/// ```
/// # magnetar::block_on(async {
/// use magnetar::{JobSpec, JobStore, export::Export};
///
/// let store = magnetar::open(":memory:").await?;
/// store.new_job(&JobSpec::new().name("nightly")).await?;
/// let mut bytes = Export::new(store.clone()).json_lines();
/// let mut text = String::new();
/// while let Some(piece) = bytes.next().await? {
///     text += std::str::from_utf8(&piece).unwrap(); // a piece ends with a line
/// }
/// assert_eq!(bytes.exported().jobs, 1);
/// assert_eq!(text.lines().count(), 3, "a line in front, the job, a line behind");
/// # store.close().await
/// # }).unwrap();
/// ```
#[must_use = "nothing is read before it is asked for"]
pub struct Bytes<S> {
    reader: Reader<S>,
    form: Form,
    exported: Exported,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Start,
    Middle,
    Over,
}

impl<S> fmt::Debug for Bytes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bytes").field("exported", &self.exported).finish_non_exhaustive()
    }
}

impl<S> Bytes<S>
where
    S: Deref<Target: JobStore>,
{
    pub(super) fn new(reader: Reader<S>, form: Form) -> Self {
        Bytes { reader, form, exported: Exported::default(), stage: Stage::Start }
    }

    /// The next piece, whole lines; `None` at the end. After an error there is nothing more.
    ///
    /// A future that is dropped half-way cuts the export short, and the next call says so
    /// ([`ErrorKind::Refused`](crate::ErrorKind::Refused)): begin anew.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if self.stage == Stage::Over {
            return Ok(None);
        }
        let mut out = Vec::new();
        let read = self.read(&mut out).await;
        self.stage = *read.as_ref().unwrap_or(&Stage::Over);
        read?;
        self.exported.bytes += out.len() as u64;
        Ok(Some(out).filter(|out| !out.is_empty()))
    }

    async fn read(&mut self, out: &mut Vec<u8>) -> Result<Stage> {
        if self.stage == Stage::Start {
            self.form.begin(self.reader.filter(), out)?;
        }
        while out.len() < HANDED_OVER_BYTES {
            let Some(items) = self.reader.next().await? else {
                self.exported.revision = self.reader.revision();
                self.form.end(&self.exported, self.reader.job_id_max(), out)?;
                return Ok(Stage::Over);
            };
            self.form.items(&items, &mut self.exported, out)?;
        }
        Ok(Stage::Middle)
    }

    /// Writes what is left of the export, and flushes. The sink is written to on the task that calls.
    /// What a future that is dropped half-way has written is cut short: begin anew, in an empty sink.
    ///
    /// ```no_run
    /// # async fn f(store: std::sync::Arc<dyn magnetar::JobStore>) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut file = std::fs::File::create("jobs.csv")?;
    /// let done = magnetar::export::Export::new(store).csv().write_to(&mut file).await?;
    /// println!("{} chunks, everything up to revision {}", done.chunks, done.revision);
    /// # Ok(()) }
    /// ```
    pub async fn write_to(mut self, sink: &mut (impl Write + Send)) -> Result<Exported> {
        while let Some(piece) = self.next().await? {
            sink.write_all(&piece).map_err(sink_failed)?;
        }
        sink.flush().map_err(sink_failed)?;
        Ok(self.exported)
    }

    /// What was handed over so far; at the end, the whole.
    pub fn exported(&self) -> Exported {
        self.exported
    }

    /// The pieces as a stream.
    pub fn into_stream<'a>(self) -> impl Stream<Item = Result<Vec<u8>>> + Send + 'a
    where
        S: Send + Sync + 'a,
    {
        Pieces { pulling: Some(pull(self)) }
    }
}

/// What could not be written to where the export goes.
#[cold]
pub(super) fn sink_failed(cause: std::io::Error) -> Error {
    let text =
        format!("the export could not be written: {cause}; free the place that it goes to and begin anew");
    Error::new(ErrorKind::Io, text).caused_by(cause)
}

type Pulled<S> = (Bytes<S>, Result<Option<Vec<u8>>>);
type Pulling<'a, S> = Pin<Box<dyn Future<Output = Pulled<S>> + Send + 'a>>;

fn pull<'a, S>(mut bytes: Bytes<S>) -> Pulling<'a, S>
where
    S: Deref<Target: JobStore> + Send + Sync + 'a,
{
    Box::pin(async move {
        let piece = bytes.next().await;
        (bytes, piece)
    })
}

/// The export goes into a future and comes back with the piece.
struct Pieces<'a, S> {
    pulling: Option<Pulling<'a, S>>,
}

impl<'a, S> Stream for Pieces<'a, S>
where
    S: Deref<Target: JobStore> + Send + Sync + 'a,
{
    type Item = Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(pulling) = &mut self.pulling else { return Poll::Ready(None) };
        let Poll::Ready((bytes, piece)) = pulling.as_mut().poll(context) else { return Poll::Pending };
        self.pulling = match &piece {
            Ok(Some(_)) => Some(pull(bytes)),
            Ok(None) | Err(_) => None,
        };
        Poll::Ready(piece.transpose())
    }
}
