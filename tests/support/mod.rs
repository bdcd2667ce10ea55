//! What several test binaries share: a clock and a liveness that the test steers, and a store's whole state as text.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

mod bytes;
mod clock;
mod living;
pub(crate) mod places;

use std::fmt::Write;

use magnetar::{Change, JobState, JobStore};

pub(crate) use bytes::SharedBytes;
pub(crate) use clock::ManualClock;
pub(crate) use living::Living;
pub(crate) use places::Place;

/// A page that every listing here reads at once.
const PAGE: usize = 1_000;

/// Everything that a store shows of itself, one fact a line: two stores are equal where this is.
pub(crate) async fn export(store: &dyn JobStore) -> String {
    let mut text = String::new();
    let mut after = None;
    loop {
        let jobs = store.list_jobs(after, PAGE).await.expect("jobs can be listed");
        for info in &jobs {
            let job = info.job_id;
            line(&mut text, format_args!("{info:?}"));
            let states = chunks_of(store, job).await;
            let ends = states.first().zip(states.last()).map(|(first, last)| [first.chunk, last.chunk]);
            for state in &states {
                line(&mut text, format_args!("{state:?}"));
                // The feed has what each depends on. Asking each of a large job besides takes longer than all of its test.
                let is_end = ends.is_some_and(|ends| ends.contains(&state.chunk));
                if states.len() <= PAGE || is_end || state.chunk % 100 == 0 {
                    let on = store.get_dependencies(job, state.chunk).await.expect("the chunk exists");
                    let by = store.get_dependents(job, state.chunk).await.expect("the chunk exists");
                    line(&mut text, format_args!("on {on:?} by {by:?}"));
                }
            }
            let ready = store.topo_sort_ready(job).await.expect("the job exists");
            line(&mut text, format_args!("job {job} ready {ready:?}"));
        }
        after = jobs.last().map(|info| info.job_id);
        if jobs.len() < PAGE {
            break;
        }
    }
    for change in changes_since(store, 0).await {
        line(&mut text, format_args!("{change:?}"));
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("memory takes text");
}

/// Every chunk of a job, whatever its status.
pub(crate) async fn chunks_of(store: &dyn JobStore, job: i64) -> Vec<JobState> {
    let mut all: Vec<JobState> = Vec::new();
    loop {
        let after = all.last().map(|state| state.chunk);
        let page = store.page_by_status(job, None, after, PAGE).await.expect("the job exists");
        let more = page.len() == PAGE;
        all.extend(page);
        if !more {
            return all;
        }
    }
}

/// The whole feed after a revision.
pub(crate) async fn changes_since(store: &dyn JobStore, since: u64) -> Vec<Change> {
    let mut all = Vec::new();
    let mut since = since;
    loop {
        let page = store.changes(since, PAGE).await.expect("nothing was pruned");
        let stuck = page.next == since;
        since = page.next;
        all.extend(page.changes);
        if !page.more || stuck {
            return all;
        }
    }
}

/// The seed of a random test: `MAGNETAR_SEED` where it is set. Printed, so that a failure can be run again.
pub(crate) fn seed(name: &str, default: u64) -> u64 {
    let seed = std::env::var("MAGNETAR_SEED").map_or(default, |text| {
        text.parse().unwrap_or_else(|e| panic!("MAGNETAR_SEED {text:?} is not a number: {e}"))
    });
    println!("{name}: MAGNETAR_SEED={seed}");
    seed
}

/// Times as many rounds where `MAGNETAR_PROOF=full` asks for them.
pub(crate) fn rounds(default: u64, full: u64) -> u64 {
    if std::env::var("MAGNETAR_PROOF").is_ok_and(|proof| proof == "full") { full } else { default }
}
