//! The whole state machine as a table that a person can read: every situation a chunk can be in, every event, every
//! condition that matters, and what comes of it.
//!
//! The table is made by running [`step`] over all of them and is compared with `table.golden.txt`, which was read line
//! by line. `MAGNETAR_BLESS=1` writes it anew; then read what changed.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Event, Loss, Moment, Rules, Step, Subject, step};
use crate::backends::contract::{Hold, Key, Record};
use crate::model::{Backoff, Completion, Deadline, DependencyFailure, Failure, JobStatus, OwnerId};

const NOW_MS: u64 = 1_000_000;
const REVISION: u64 = 100;
/// The newest claim's fence, where there was one; an older one is one less.
const FENCE: u64 = 50;
const OWNER: OwnerId = OwnerId::from_bytes([1; 16]);
const LIMIT: u32 = 3;

/// What matters of a chunk and of an event, each as a name and a value; the same names for all of one event.
type Conditions = BTreeMap<&'static str, &'static str>;

/// A chunk in a situation.
#[derive(Clone)]
struct Chunk {
    situation: &'static str,
    record: Record,
    unmet: u32,
    expected: Option<&'static str>,
    rules: Rules,
    conditions: Conditions,
}

impl Chunk {
    fn subject(&self) -> Subject<'_> {
        Subject {
            key: Key { job: 7, chunk: 9 },
            expected: self.expected,
            record: &self.record,
            unmet: self.unmet,
            rules: self.rules,
        }
    }
}

/// One way that something can be: its name, and what it does to a chunk.
type Way = (&'static str, fn(&mut Chunk));

/// Each chunk in each of these ways.
fn each(chunks: Vec<Chunk>, name: &'static str, applies: fn(&Chunk) -> bool, ways: &[Way]) -> Vec<Chunk> {
    let mut all = Vec::new();
    for chunk in chunks {
        if !applies(&chunk) {
            all.push(chunk);
            continue;
        }
        for (value, change) in ways {
            let mut next = chunk.clone();
            change(&mut next);
            next.conditions.insert(name, value);
            all.push(next);
        }
    }
    all
}

#[allow(clippy::unnecessary_wraps, reason = "records hold it so")]
const fn deadline(set_at_ms: u64, duration_ms: u64) -> Option<Deadline> {
    Some(Deadline { set_at_ms, duration_ms })
}

/// Every situation: how a chunk comes to have its status.
#[allow(clippy::too_many_lines, reason = "one list, read as a whole")]
fn situations() -> Vec<Chunk> {
    let claimed = Record { fence: FENCE, ..Record::fresh() };
    let held = Record { hold: Hold::Open { owner: OWNER, seq: 4 }, ..claimed.clone() };
    let ended = |status, error: &str| Record { status, error: Some(error.to_owned()), ..claimed.clone() };
    let done = Record { status: JobStatus::Done, ..claimed.clone() };
    let result = |record| Record { observed: Some("abc".into()), ..record };
    let awaiting = |status| Record { status, not_before: deadline(0, NOW_MS + 5_000), ..Record::fresh() };
    let records = [
        ("pending, never claimed", Record::fresh()),
        ("pending, not before its moment", awaiting(JobStatus::Pending)),
        ("pending, claimed before", claimed.clone()),
        (
            "pending, its claim failed",
            Record { hold: Hold::Settled, attempts: 1, ..ended(JobStatus::Pending, "oops") },
        ),
        ("pending, its claim lapsed", Record { losses: 1, ..held.clone() }),
        ("processing", Record { status: JobStatus::Processing, ..held }),
        ("done by its claim", result(Record { hold: Hold::Settled, ..done.clone() })),
        ("done by a mark", result(done)),
        (
            "failed by its claim",
            Record { hold: Hold::Settled, attempts: LIMIT, ..ended(JobStatus::Failed, "oops") },
        ),
        ("failed by its losses", Record { losses: LIMIT, ..ended(JobStatus::Failed, "lost 3 times") }),
        ("failed by a mark", ended(JobStatus::Failed, "oops")),
        ("failed before its moment", awaiting(JobStatus::Failed)),
        ("cancelled before its moment", awaiting(JobStatus::Cancelled)),
        ("cancelled by a caller", Record { status: JobStatus::Cancelled, ..claimed.clone() }),
        ("cancelled by a cascade", Record { cause: Some(2), ..ended(JobStatus::Cancelled, "chunk 2 ...") }),
    ];
    let backoff = Backoff { initial_ms: 1_000, max_ms: 8_000 };
    let rules = Rules {
        attempts_max: LIMIT,
        losses_max: LIMIT,
        lease_ms: 60_000,
        backoff,
        on_dependency_failure: DependencyFailure::Wait,
    };
    let chunk = |(situation, record)| Chunk {
        situation,
        record: Record { revision: 60, updated_at_ms: 5, ..record },
        unmet: 0,
        expected: None,
        rules,
        conditions: Conditions::new(),
    };
    let mut chunks: Vec<Chunk> = records.map(chunk).into();
    chunks[0].record.revision = 0;

    let chunks = each(
        chunks,
        "unmet",
        |c| c.record.status != JobStatus::Processing && c.record.open_fence() == 0,
        &[("none", |_| {}), ("some", |c| c.unmet = 2)],
    );
    let chunks = each(
        chunks,
        "delay",
        |c| c.record.status == JobStatus::Pending && c.record.hold != Hold::Free,
        &[
            ("none", |_| {}),
            ("running", |c| c.record.not_before = deadline(NOW_MS - 999, 1_000)),
            ("over", |c| c.record.not_before = deadline(NOW_MS - 1_000, 1_000)),
            ("set in the future", |c| c.record.not_before = deadline(NOW_MS + 60_001, 1_000)),
        ],
    );
    let chunks = each(
        chunks,
        "lapsed lease",
        |c| c.record.status == JobStatus::Pending && c.record.open_fence() != 0,
        &[
            ("kept", |c| c.record.lease = deadline(NOW_MS - 5_000, 5_000)),
            // By a build that did not keep it.
            ("unknown", |_| {}),
        ],
    );
    let chunks = each(
        chunks,
        "lease",
        |c| c.record.status == JobStatus::Processing,
        &[
            ("running", |c| c.record.lease = deadline(NOW_MS - 999, 1_000)),
            ("over", |c| c.record.lease = deadline(NOW_MS - 1_000, 1_000)),
            ("set in the future", |c| c.record.lease = deadline(NOW_MS + 60_001, 1_000)),
        ],
    );
    let open = |c: &Chunk| c.record.open_fence() != 0;
    let chunks = each(
        chunks,
        "attempts",
        open,
        &[
            ("the first", |c| c.record.attempts = 0),
            ("the last", |c| c.record.attempts = LIMIT - 1),
            ("unlimited", |c| (c.record.attempts, c.rules.attempts_max) = (90, 0)),
        ],
    );
    let chunks = each(
        chunks,
        "losses",
        |c| c.record.status == JobStatus::Processing,
        &[
            ("the first", |c| c.record.losses = 0),
            ("the second", |c| c.record.losses = 1),
            ("the last", |c| c.record.losses = LIMIT - 1),
            ("unlimited", |c| (c.record.losses, c.rules.losses_max) = (90, 0)),
        ],
    );
    let chunks = each(
        chunks,
        "backoff",
        open,
        &[("some", |_| {}), ("none", |c| c.rules.backoff = Backoff { initial_ms: 0, max_ms: 0 })],
    );
    each(chunks, "expected", |_| true, &[("none", |_| {}), ("abc", |c| c.expected = Some("abc"))])
}

/// An event with what matters of it.
struct Happening<'a> {
    name: &'static str,
    conditions: Vec<(&'static str, &'static str)>,
    event: Event<'a>,
}

/// What completions report, by their checksum and their output.
fn results() -> Vec<(&'static str, Completion)> {
    vec![
        ("abc", Completion::new().checksum("abc")),
        ("xyz", Completion::new().checksum("xyz")),
        ("none", Completion::new()),
    ]
}

/// Every event, in every way in which it can come.
fn happenings<'a>(results: &'a [(&'static str, Completion)]) -> Vec<Happening<'a>> {
    let mut all = Vec::new();
    let mut add = |name, conditions: &[(&'static str, &'static str)], event| {
        all.push(Happening { name, conditions: conditions.to_vec(), event });
    };
    for (lease, lease_ms) in [("of the job", None), ("of its own", Some(5_000))] {
        add("claim", &[("length", lease)], Event::Claim { owner: OWNER, seq: 8, lease_ms });
    }
    let fences = [("the newest", FENCE), ("an older one", FENCE - 1), ("0", 0)];
    for (of, fence) in fences {
        for (observed, result) in results {
            add("complete", &[("fence", of), ("observed", observed)], Event::Complete { fence, result });
        }
    }
    for (of, fence) in fences {
        for (text, error) in [("oops", "oops"), ("another", "else")] {
            for (further, failure) in [
                ("may go well", Failure::Retryable),
                ("may later", Failure::RetryableIn(5_000)),
                ("never will", Failure::Permanent),
            ] {
                let conditions = [("fence", of), ("error", text), ("the next", further)];
                add("fail", &conditions, Event::Fail { fence, error, failure });
            }
        }
    }
    for (of, fence) in fences {
        for (delay, delay_ms) in [("none", 0), ("of its own", 5_000)] {
            let conditions = [("fence", of), ("for later", delay)];
            add("release", &conditions, Event::Release { fence, delay_ms });
        }
    }
    for (of, fence) in fences {
        add("heartbeat", &[("fence", of)], Event::Heartbeat { fence });
    }
    add("lapse", &[("because", "of its lease")], Event::Lapse(Loss::Lease));
    add("lapse", &[("because", "its owner is dead")], Event::Lapse(Loss::Owner));
    add("promote", &[], Event::Promote);
    add("retry", &[], Event::Retry);
    add("reset", &[], Event::Reset);
    add("cancel", &[("cause", "a caller")], Event::Cancel { cause: None });
    add("cancel", &[("cause", "a dependency")], Event::Cancel { cause: Some(2) });
    for (observed, checksum) in [("none", None), ("abc", Some("abc")), ("xyz", Some("xyz"))] {
        add("mark done", &[("observed", observed)], Event::MarkDone { checksum });
    }
    for (text, error) in [("none", None), ("oops", Some("oops")), ("another", Some("else"))] {
        add("mark failed", &[("error", text)], Event::MarkFailed { error });
    }
    add("mark pending", &[], Event::MarkPending);
    add("block", &[], Event::Block);
    add("revise", &[], Event::Revise);
    for (of, not_before_ms) in [("over", NOW_MS), ("to come", NOW_MS + 9_000)] {
        add("schedule", &[("moment", of)], Event::Schedule { not_before_ms });
    }
    all
}

/// What came of a step, in words.
fn outcome(before: &Record, result: &Result<Step, crate::Error>) -> String {
    match result {
        Err(error) => format!("refused: {:?}", error.kind()),
        Ok(Step::Unchanged) => "unchanged".to_owned(),
        Ok(Step::Changed(after)) => format!("-> {}{}", after.status, differences(before, after)),
        Ok(Step::Touched(after)) => format!("-> {}, untold{}", after.status, differences(before, after)),
    }
}

fn differences(before: &Record, after: &Record) -> String {
    let mut text = String::new();
    let mut note = |part: String| write!(text, "; {part}").expect("memory takes text");
    let count = |name: &str, old: u32, new: u32| match new {
        _ if new == old => None,
        0 => Some(format!("{name} = 0")),
        _ if new > old => Some(format!("{name} + {}", new - old)),
        _ => Some(format!("{name} - {}", old - new)),
    };
    count("attempts", before.attempts, after.attempts).into_iter().for_each(&mut note);
    count("losses", before.losses, after.losses).into_iter().for_each(&mut note);
    if after.fence != before.fence {
        note("fence = revision".into());
    }
    if after.hold != before.hold {
        note(match after.hold {
            Hold::Open { .. } => "claim open".into(),
            Hold::Settled => "claim settled".into(),
            Hold::Free if before.open_fence() != 0 => "claim closed".into(),
            Hold::Free => "claim forgotten".into(),
        });
    }
    let mut time = |name: &str, old: Option<Deadline>, new: Option<Deadline>| match (old, new) {
        (Some(_), None) => note(format!("{name} ends")),
        (_, Some(new)) if Some(new) != old => {
            note(format!("{name} starts{}", if new.duration_ms == 5_000 { " (of its own)" } else { "" }));
        }
        _ => {}
    };
    // As a caller sees it.
    let lease = |record: &Record| record.lease.filter(|_| record.status == JobStatus::Processing);
    time("lease", lease(before), lease(after));
    time("delay", before.not_before, after.not_before);
    let mut value = |name: &str, old: Option<&str>, new: Option<&str>| match new {
        _ if old == new => {}
        None => note(format!("no {name}")),
        Some(new) => note(format!("{name} {new:?}")),
    };
    value("observed", before.observed.as_deref(), after.observed.as_deref());
    value("error", before.error.as_deref(), after.error.as_deref());
    if after.cause != before.cause {
        note(after.cause.map_or("no cause".into(), |cause| format!("cause {cause}")));
    }
    text
}

/// The cases without the conditions that make no difference, each once.
fn relevant(cases: Vec<(Conditions, String)>) -> Vec<(Conditions, String)> {
    let names: Vec<&str> = cases.first().map(|(c, _)| c.keys().copied().collect()).unwrap_or_default();
    let mut cases = cases;
    for name in names {
        let mut without: Vec<(Conditions, String)> = Vec::new();
        let mut known: BTreeMap<Conditions, String> = BTreeMap::new();
        let mut matters = false;
        for (conditions, outcome) in &cases {
            let mut conditions = conditions.clone();
            conditions.remove(name);
            match known.get(&conditions) {
                None => {
                    known.insert(conditions.clone(), outcome.clone());
                    without.push((conditions, outcome.clone()));
                }
                Some(same) => matters |= same != outcome,
            }
        }
        if !matters {
            cases = without;
        }
    }
    cases
}

/// Lines that say which conditions lead to which outcome: the shortest list that one question after the other gives.
fn explain(cases: &[(Conditions, String)]) -> Vec<(Vec<String>, String)> {
    let (first, rest) = cases.split_first().expect("there is a case");
    if rest.iter().all(|(_, outcome)| *outcome == first.1) {
        return vec![(Vec::new(), first.1.clone())];
    }
    let questions: Vec<&str> =
        first.0.keys().copied().filter(|name| rest.iter().any(|(c, _)| c[name] != first.0[name])).collect();
    questions
        .into_iter()
        .map(|question| ask(question, cases))
        .min_by_key(Vec::len)
        .expect("a condition tells different outcomes apart")
}

/// Lines of the table: conditions, and what they come to.
type Lines = Vec<(Vec<String>, String)>;

fn ask(question: &str, cases: &[(Conditions, String)]) -> Lines {
    let mut by_answer: Vec<(&str, Vec<(Conditions, String)>)> = Vec::new();
    for case in cases {
        let answer = case.0[question];
        match by_answer.iter_mut().find(|(known, _)| *known == answer) {
            Some((_, list)) => list.push(case.clone()),
            None => by_answer.push((answer, vec![case.clone()])),
        }
    }
    let mut joined: Vec<(Vec<&str>, Lines)> = Vec::new();
    for (answer, list) in by_answer {
        let lines = explain(&list);
        match joined.iter_mut().find(|(_, known)| *known == lines) {
            Some((answers, _)) => answers.push(answer),
            None => joined.push((vec![answer], lines)),
        }
    }
    let one = joined.len() == 1;
    let mut all = Vec::new();
    for (answers, lines) in joined {
        for (mut when, outcome) in lines {
            if !one {
                when.insert(0, format!("{question} {}", answers.join(" or ")));
            }
            all.push((when, outcome));
        }
    }
    all
}

/// Calls with every situation and every event.
fn everything(mut look: impl FnMut(&Chunk, &Happening<'_>)) {
    let (chunks, results) = (situations(), results());
    for happening in &happenings(&results) {
        chunks.iter().for_each(|chunk| look(chunk, happening));
    }
}

fn moment() -> Moment {
    Moment { now_ms: NOW_MS, revision: REVISION }
}

fn table() -> String {
    type Cell = (&'static str, &'static str);
    let mut order: Vec<Cell> = Vec::new();
    let mut cells: BTreeMap<Cell, Vec<(Conditions, String)>> = BTreeMap::new();
    everything(|chunk, happening| {
        let cell = (happening.name, chunk.situation);
        let mut conditions = chunk.conditions.clone();
        conditions.extend(happening.conditions.iter().copied());
        let outcome = outcome(&chunk.record, &step(chunk.subject(), happening.event, moment()));
        if !order.contains(&cell) {
            order.push(cell);
        }
        cells.entry(cell).or_default().push((conditions, outcome));
    });
    let mut text = String::from(
        "The state machine, event by event: from | when | what comes of it.\n\
         Made by src/machine/table.rs; every change of it is to be read.\n",
    );
    let mut last = "";
    for cell in order {
        let (event, situation) = cell;
        if event != last {
            write!(text, "\n{event}\n").expect("memory takes text");
            last = event;
        }
        for (when, outcome) in explain(&relevant(cells[&cell].clone())) {
            let when = if when.is_empty() { "always".to_owned() } else { when.join(", ") };
            writeln!(text, "  {situation} | {when} | {outcome}").expect("memory takes text");
        }
    }
    text
}

#[test]
fn the_table_is_the_one_that_was_read() {
    let table = table();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/machine/table.golden.txt");
    if std::env::var_os("MAGNETAR_BLESS").is_some() {
        std::fs::write(path, &table).expect("the table can be written");
    }
    let golden = include_str!("table.golden.txt");
    let differing = table.lines().zip(golden.lines()).find(|(now, read)| now != read);
    assert_eq!(differing, None, "MAGNETAR_BLESS=1 writes the table anew; then read what changed");
    assert_eq!(table.lines().count(), golden.lines().count());
}

/// Calls with every step that changed something.
fn every_change(mut look: impl FnMut(&Chunk, &Happening<'_>, &Record)) {
    let mut changes = 0;
    everything(|chunk, happening| {
        if let Ok(Step::Changed(after) | Step::Touched(after)) =
            step(chunk.subject(), happening.event, moment())
        {
            changes += 1;
            look(chunk, happening, &after);
        }
    });
    assert!(changes > 500, "only {changes} changes were looked at");
}

#[test]
fn done_is_left_by_a_reset_and_failed_and_cancelled_by_a_retry_or_a_mark_alone() {
    every_change(|chunk, happening, after| {
        let (from, to) = (chunk.record.status, after.status);
        let allowed: &[&str] = match from {
            JobStatus::Done => &["reset", "revise"],
            JobStatus::Failed => &["retry", "cancel", "mark done", "mark pending", "revise"],
            JobStatus::Cancelled => &["retry", "mark done", "mark failed", "mark pending", "revise"],
            JobStatus::Pending | JobStatus::Processing => return,
        };
        assert!(from == to || allowed.contains(&happening.name), "{} took {from} to {to}", happening.name);
    });
}

#[test]
fn a_fence_is_set_by_a_claim_alone_and_never_falls() {
    every_change(|chunk, happening, after| {
        let expected = if happening.name == "claim" { REVISION } else { chunk.record.fence };
        assert_eq!(after.fence, expected, "{} from {}", happening.name, chunk.situation);
    });
}

#[test]
fn what_belongs_to_a_status_is_there_in_that_status_alone() {
    every_change(|chunk, happening, after| {
        let what = format!("{} from {} gives {after:?}", happening.name, chunk.situation);
        let (pending, processing) =
            (after.status == JobStatus::Pending, after.status == JobStatus::Processing);
        let of_claim = after.lease.is_none() || after.open_fence() != 0;
        assert!(of_claim && (after.lease.is_some() || !processing), "a lease is of a claim: {what}");
        let may_wait =
            pending || (after.fence == 0 && after.lease.is_none() && after.status != JobStatus::Done);
        assert!(
            after.not_before.is_none() || may_wait,
            "a delay is of a pending chunk, or its manifest's: {what}"
        );
        assert!(after.open_fence() == 0 || pending || processing, "a claim is open in these alone: {what}");
        assert!(!processing || after.open_fence() != 0, "who processes holds a claim: {what}");
        assert!(
            after.cause.is_none() || after.status == JobStatus::Cancelled,
            "a cause is of a cascade: {what}"
        );
        let done = after.status == JobStatus::Done;
        assert!(
            done || (after.observed.is_none() && after.output.is_none()),
            "a result is of what is done: {what}"
        );
    });
}

#[test]
fn every_change_but_a_heartbeats_takes_the_revision_and_the_time() {
    everything(|chunk, happening| match step(chunk.subject(), happening.event, moment()) {
        Ok(Step::Changed(after)) => assert_eq!((after.revision, after.updated_at_ms), (REVISION, NOW_MS)),
        Ok(Step::Touched(after)) => {
            assert_eq!(happening.name, "heartbeat");
            assert_eq!(
                (after.revision, after.updated_at_ms),
                (chunk.record.revision, chunk.record.updated_at_ms)
            );
        }
        Ok(Step::Unchanged) | Err(_) => {}
    });
}

#[test]
fn every_change_changes_something() {
    every_change(|chunk, happening, after| {
        let unstamped = Record {
            revision: chunk.record.revision,
            updated_at_ms: chunk.record.updated_at_ms,
            ..after.clone()
        };
        assert_ne!(unstamped, chunk.record, "{} from {}", happening.name, chunk.situation);
    });
}

#[test]
fn the_same_call_twice_is_never_two_changes() {
    every_change(|chunk, happening, after| {
        let again = Chunk { record: after.clone(), ..chunk.clone() };
        let second =
            step(again.subject(), happening.event, Moment { now_ms: NOW_MS, revision: REVISION + 1 });
        let once = !matches!(second, Ok(Step::Changed(_)));
        // A claim that is sent again is known by its number before it comes here.
        assert!(once, "{} from {} changed {after:?} again", happening.name, chunk.situation);
    });
}

#[test]
fn attempts_are_counted_by_failures_and_losses_by_lapses_alone() {
    every_change(|chunk, happening, after| {
        let restarted = after.attempts == 0 && after.losses == 0;
        let attempts = chunk.record.attempts + u32::from(happening.name == "fail");
        let losses = match happening.name {
            "lapse" => chunk.record.losses + 1,
            // Its owner did not vanish after all.
            "heartbeat" if chunk.record.status == JobStatus::Pending => chunk.record.losses - 1,
            _ => chunk.record.losses,
        };
        let counted = (after.attempts, after.losses) == (attempts, losses);
        assert!(counted || restarted, "{} from {} gives {after:?}", happening.name, chunk.situation);
    });
}
