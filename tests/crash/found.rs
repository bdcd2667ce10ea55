//! What may be found after a power cut: the script's state as it was after the last acknowledged step, or after the one
//! under way. Where commits are not synced, as it was after an earlier one that was, or after any step since; and then no
//! revision is given twice, and who saw a lost one is told.

use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};

use magnetar::{Durability, ErrorKind, JobSpec, JobStore, block_on};

use crate::script::{Acked, Script};
use crate::state::State;

/// What was looked at, and what was wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) images: usize,
    pub(crate) in_recovery: usize,
    pub(crate) other_owner: usize,
    pub(crate) older: usize,
    pub(crate) before: usize,
    pub(crate) after: usize,
    /// An opening that failed, or a verification.
    pub(crate) unopenable: usize,
    pub(crate) panics: usize,
    /// An acknowledged step is not there.
    pub(crate) lost: usize,
    /// Neither the state before the step under way nor the one after it.
    pub(crate) torn: usize,
    first: Option<String>,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.images += other.images;
        self.in_recovery += other.in_recovery;
        self.other_owner += other.other_owner;
        self.older += other.older;
        self.before += other.before;
        self.after += other.after;
        self.unopenable += other.unopenable;
        self.panics += other.panics;
        self.lost += other.lost;
        self.torn += other.torn;
        self.first = self.first.take().or(other.first);
    }
}

impl Tally {
    pub(crate) fn print(&self, who: &str) {
        println!(
            "{who}: {} power cuts, {} cuts within the recovery from one, {} openings by another client; found as before \
             the step under way {}, as after it {}, as before an earlier one {}; lost acknowledged {}, torn {}, not to be opened {}, panics {}",
            self.images,
            self.in_recovery,
            self.other_owner,
            self.before,
            self.after,
            self.older,
            self.lost,
            self.torn,
            self.unopenable,
            self.panics
        );
    }

    pub(crate) fn bad(&self) -> usize {
        self.lost + self.torn + self.unopenable + self.panics
    }

    /// One cut, and what was found after it.
    pub(crate) fn count(&mut self, place: Place) {
        *match place {
            Place::Older => &mut self.older,
            Place::Before => &mut self.before,
            Place::After => &mut self.after,
        } += 1;
    }

    pub(crate) fn note(&mut self, fault: Fault, at: &str) {
        let text = match fault {
            Fault::Unopenable(text) => {
                self.unopenable += 1;
                text
            }
            Fault::Panic(text) if text.contains("torn: ") => {
                self.torn += 1;
                text
            }
            Fault::Panic(text) => {
                self.panics += 1;
                text
            }
            Fault::Lost(text) => {
                self.lost += 1;
                text
            }
            Fault::Torn(text) => {
                self.torn += 1;
                text
            }
        };
        self.first.get_or_insert_with(|| format!("{at}: {text}"));
    }
}

#[derive(Debug)]
pub(crate) enum Fault {
    Unopenable(String),
    Panic(String),
    Lost(String),
    Torn(String),
}

/// Which state was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// One that was before the last acknowledged step.
    Older,
    /// The one before the step under way.
    Before,
    /// The one after it.
    After,
}

/// What may be found after a cut.
pub(crate) struct Allowed<'a> {
    pub(crate) script: &'a Script,
    /// How many steps were acknowledged.
    pub(crate) acked: usize,
    /// How many of them are on the disk, whatever happens.
    pub(crate) safe: usize,
}

impl<'a> Allowed<'a> {
    /// Before the store is created there is nothing; opening creates it, and is then found so.
    pub(crate) fn before(&self) -> &'a Acked {
        &self.script.steps[self.acked.saturating_sub(1)]
    }

    fn after(&self) -> Option<&'a Acked> {
        if self.acked == 0 { None } else { self.script.steps.get(self.acked) }
    }

    /// Which state it is.
    pub(crate) fn place(&self, found: &Found, same: impl Fn(&State, &State) -> bool) -> Result<Place, Fault> {
        let state = &found.state;
        let seen = &self.script.steps[self.safe.saturating_sub(1)..self.acked.max(1)];
        let (before, older) = seen.split_last().expect("the first step at least");
        let places = [(Place::Before, Some(before)), (Place::After, self.after())];
        let places = places.into_iter().chain(older.iter().rev().map(|step| (Place::Older, Some(step))));
        let fitting = places.filter_map(|(place, step)| {
            let step = step.filter(|step| same(state, &step.state))?;
            Some(found.check(step.revision, seen).map(|()| place))
        });
        // After a death two steps may look the same.
        if let Some(place) = fitting.reduce(Result::or) {
            return place;
        }
        let text = format!(
            "after {} steps, last {}, under way {}\n{}",
            self.acked,
            self.before().what,
            self.after().map_or("none", |step| &step.what),
            state.difference(&self.before().state)
        );
        let steps = &self.script.steps[..self.acked.saturating_sub(1)];
        let older = steps.iter().any(|step| same(state, &step.state));
        Err(if older { Fault::Lost(text) } else { Fault::Torn(text) })
    }
}

/// What an opening found.
pub(crate) struct Found {
    pub(crate) state: State,
    /// What somebody is told who asks for changes after these revisions.
    told: Vec<(u64, Option<ErrorKind>)>,
}

impl Found {
    /// Nobody who saw a revision that is lost is left to believe that he has everything.
    fn check(&self, found: u64, seen: &[Acked]) -> Result<(), Fault> {
        let is_wrong = |&&(revision, told): &&(u64, Option<ErrorKind>)| {
            told != (revision > found).then_some(ErrorKind::FeedTruncated)
        };
        // What nobody was told of is as good as never given.
        let mut those_seen =
            self.told.iter().filter(|(revision, _)| seen.iter().any(|step| step.revision == *revision));
        match those_seen.find(is_wrong) {
            Some((revision, told)) => {
                Err(Fault::Lost(format!("after {revision} of {found}, changes are told as {told:?}")))
            }
            None => Ok(()),
        }
    }
}

/// Verifies what was opened, and reads all of it.
async fn read(store: &dyn JobStore, script: &Script) -> Result<Found, String> {
    store.verify().await.map_err(|e| format!("verify: {e:?}"))?;
    let state = State::of(store).await.map_err(|e| format!("read: {e:?}"))?;
    let mut told = Vec::new();
    if script.durability == Durability::Relaxed {
        for step in &script.steps {
            let changes = store.changes(step.revision, 1).await;
            told.push((step.revision, changes.err().map(|e| e.kind())));
        }
    }
    Ok(Found { state, told })
}

/// Opens what is left, verifies it and reads all of it.
pub(crate) fn look<S: JobStore>(
    open: impl FnOnce() -> magnetar::Result<S>,
    script: &Script,
) -> Result<Found, Fault> {
    let looked = catch_unwind(AssertUnwindSafe(|| {
        let store = open().map_err(|e| format!("{e:?}"))?;
        block_on(read(&store, script))
    }));
    match looked {
        Ok(found) => found.map_err(Fault::Unopenable),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Fault::Panic(text.unwrap_or_else(|| "a panic without words".to_owned())))
        }
    }
}

/// Opens what is left and writes to it: that goes above every revision that was given.
pub(crate) fn write<S: JobStore>(
    open: impl FnOnce() -> magnetar::Result<S>,
    allowed: &Allowed<'_>,
) -> Result<(), Fault> {
    let given = allowed.before().revision;
    let written: Result<u64, magnetar::Error> = block_on(async {
        let store = open()?;
        let before = store.info().await?.revision;
        store.new_job(&JobSpec::new()).await?;
        // Of what opening put back nobody was told.
        Ok(before.max(store.info().await?.revision - 1))
    });
    match written {
        Ok(last) if last >= given => Ok(()),
        Ok(last) => Err(Fault::Lost(format!("revision {given} was given, and is given again behind {last}"))),
        Err(error) => Err(Fault::Unopenable(format!("{error:?}"))),
    }
}
