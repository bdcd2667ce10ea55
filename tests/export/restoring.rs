//! From JSON Lines to a store again: the same store, and one that goes on in the same way.

use std::collections::BTreeSet;
use std::future::{Future as _, poll_fn};
use std::io::{BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use magnetar::export::Export;
use magnetar::{
    ClaimRequest, Completion, DependencyFailure, ErrorKind, ImportOptions, JobSpec, JobState, JobStatus,
    JobStore, Json, NewChunk, OpenOptions, OwnerId, ResetReach, Selection, block_on, limits,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::support::{Living, ManualClock, Place, rounds, seed};
use crate::{places, text_of, zoo};

fn lines_of(store: &Arc<dyn JobStore>) -> String {
    text_of(Export::new(Arc::clone(store)).json_lines()).0
}

fn restore(store: &dyn JobStore, text: &str) -> magnetar::Result<magnetar::Restored> {
    block_on(store.restore(&mut text.as_bytes()))
}

/// Lines with the end that belongs to them.
fn ended(lines: &[&str], revision: u64) -> String {
    let text: String = lines.iter().flat_map(|line| [*line, "\n"]).collect();
    let digest = xxh3_64(text.as_bytes());
    let count = lines.len();
    let end = format!(
        "{{\"kind\":\"end\",\"revision\":{revision},\"job_id_max\":43,\"lines\":{count},\"xxh3\":\"{digest:016x}\"}}\n"
    );
    text + &end
}

/// What the calls of a store show of it, but for its feed.
async fn shown(store: &dyn JobStore) -> Vec<String> {
    let mut facts = vec![format!("{:?}", store.info().await.expect("it tells"))];
    for info in store.list_jobs(None, 1_000).await.expect("listed") {
        let job = info.job_id;
        facts.push(format!("{info:?}"));
        for state in crate::support::chunks_of(store, job).await {
            let on = store.get_dependencies(job, state.chunk).await.expect("it exists");
            let by = store.get_dependents(job, state.chunk).await.expect("it exists");
            facts.push(format!("{state:?} on {on:?} by {by:?}"));
        }
        facts.push(format!("{:?}", store.topo_sort_ready(job).await.expect("it exists")));
        facts.push(format!("{:?}", store.topo_order(job).await.expect("no cycle")));
    }
    facts
}

#[test]
fn every_store_is_restored_into_every_other_and_shows_and_exports_the_same() {
    for (from, original) in places() {
        let original = zoo::open(&*original);
        block_on(zoo::fill(&original));
        let text = lines_of(&original.store);
        for (to, place) in places() {
            let copy = zoo::open(&*place);
            let restored = restore(&*copy.store, &text).expect("it is restored");
            assert_eq!((restored.jobs, restored.chunks), (2, 11), "{from} to {to}");
            assert_eq!(lines_of(&copy.store), text, "{from} to {to}");
            block_on(async {
                assert_eq!(shown(&*copy.store).await, shown(&*original.store).await, "{from} to {to}");
                copy.store.verify().await.expect("it is sound");
            });
        }
    }
}

#[test]
fn a_payload_of_several_lines_stands_on_one_and_comes_back_as_it_was() {
    let payloads = ["[1,\n2]", "[1,\r2]", "[1,\r\n2]", "[1, 2]", "null"];
    for (name, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        let new =
            (0_u64..).zip(payloads).map(|(id, text)| Ok(NewChunk::new(id).payload(Json::from_text(text)?)));
        block_on(store.import(1, &JobSpec::new(), magnetar::chunks(new), &ImportOptions::new()))
            .expect("imported");
        let text = lines_of(&store);
        // Some readers end a line at either of them.
        assert_eq!(
            text.split(['\r', '\n']).filter(|line| !line.is_empty()).count(),
            3 + payloads.len(),
            "{name}"
        );
        let other = block_on(magnetar::open(":memory:")).expect("memory is there");
        restore(&*other, &text).expect("restored");
        for (id, payload) in (0..).zip(payloads) {
            let state = block_on(other.get_chunk(1, id)).expect("the job is there").expect("the chunk too");
            assert_eq!(state.payload.as_ref().map(Json::as_str), Some(payload), "{name}");
        }
    }
}

#[test]
fn what_is_restored_outlives_its_handle() {
    for (name, place) in places().into_iter().filter(|(_, place)| place.keeps()) {
        let (text, shown_before) = {
            let (_, other) = places().remove(0);
            let zoo = zoo::open(&*other);
            block_on(zoo::fill(&zoo));
            (lines_of(&zoo.store), block_on(shown(&*zoo.store)))
        };
        restore(&*zoo::open(&*place).store, &text).expect("it is restored");
        let again = zoo::open(&*place);
        assert_eq!(block_on(shown(&*again.store)), shown_before, "{name}");
        block_on(again.store.verify()).expect("it is sound");
    }
}

#[test]
fn revisions_fences_and_job_ids_go_on_behind_the_originals_and_the_feed_begins_anew() {
    for (name, place) in places() {
        let zoo = zoo::open(&*place);
        block_on(zoo::fill(&zoo));
        let text = lines_of(&zoo.store);
        let (_, place) = places().remove(0);
        let copy = zoo::open(&*place);
        let before = restore(&*copy.store, &text).expect("it is restored").revision;
        block_on(async {
            let store = &copy.store;
            let error = store.changes(0, 100).await.expect_err("what was before is not known");
            assert_eq!(error.kind(), ErrorKind::FeedTruncated, "{name}");
            assert_eq!(store.changes(before, 100).await.expect("from here on").changes, []);
            // A claim of the original, under its fence.
            let held = store.get_chunk(zoo::JOB, 4).await.expect("the job exists").expect("the chunk exists");
            store.complete(&held.claim(), Completion::new()).await.expect("it was carried over");
            // One that its worker let lapse: still taken.
            let lapsed = store.get_chunk(zoo::JOB, 11).await.expect("the job exists").expect("the chunk");
            store.complete(&lapsed.claim(), Completion::new().checksum("")).await.expect("nobody took it");
            let claimed = store.claim_pending(zoo::JOB).await.expect("it exists").expect("one is ready");
            assert!(claimed.fence > before, "{name}: fence {} of {before}", claimed.fence);
            assert_eq!(store.new_job(&JobSpec::new()).await.expect("created"), 44);
            // What a failure had cancelled comes back with it.
            store.retry_failed(zoo::JOB, Selection::All).await.expect("it exists");
            let back = store.get_chunk(zoo::JOB, 8).await.expect("it exists").expect("the chunk");
            assert_eq!((back.status, back.unmet_dependencies), (JobStatus::Pending, 1));
            // What was ignored once stays so.
            let ignores = store.get_chunk(zoo::JOB, 9).await.expect("it exists").expect("the chunk");
            assert_eq!(ignores.unmet_dependencies, 1);
            let changes = store.changes(before, 100).await.expect("from here on").changes;
            assert!(changes.len() >= 4, "{changes:?}");
        });
    }
}

#[test]
fn a_store_that_has_jobs_is_left_alone() {
    for (name, place) in places() {
        let zoo = zoo::open(&*place);
        block_on(zoo::fill(&zoo));
        let (text, before) = (lines_of(&zoo.store), block_on(shown(&*zoo.store)));
        let error = restore(&*zoo.store, &text).expect_err("it has jobs");
        assert_eq!(error.kind(), ErrorKind::Refused, "{name}");
        assert_eq!(block_on(shown(&*zoo.store)), before);
        block_on(async {
            for job in [zoo::JOB, zoo::EMPTY_JOB] {
                zoo.store.delete_job(job).await.expect("deleted");
            }
        });
        // With the jobs deleted it is restored, and its own later revisions are not given twice.
        let revision = block_on(zoo.store.info()).expect("it tells").revision;
        restore(&*zoo.store, &text).expect("it has none now");
        assert!(block_on(zoo.store.info()).expect("it tells").revision > revision, "{name}");
    }
}

/// Nothing of it, and the next one is not hindered by it.
fn is_refused(name: &str, store: &Arc<dyn JobStore>, text: &str, kind: ErrorKind, says: &str) {
    let error = restore(&**store, text).expect_err(says);
    assert_eq!(error.kind(), kind, "{name}: {error}");
    assert!(error.to_string().contains(says), "{name}: {error} does not say {says:?}");
    assert_eq!(block_on(store.list_jobs(None, 10)).expect("listed"), [], "{name}: {error}");
    block_on(store.verify()).expect("it is sound");
}

#[test]
fn a_file_that_is_cut_short_or_damaged_is_refused_and_leaves_nothing() {
    for (name, place) in places() {
        let (_, first) = places().remove(0);
        let original = zoo::open(&*first);
        block_on(zoo::fill(&original));
        let text = lines_of(&original.store);
        let copy = zoo::open(&*place);
        let lines: Vec<&str> = text.lines().collect();
        let joined = |lines: &[&str]| lines.join("\n") + "\n";
        is_refused(name, &copy.store, "", ErrorKind::InvalidInput, "this is no export");
        is_refused(name, &copy.store, "{\"id\":1}\n", ErrorKind::InvalidInput, "this is no export");
        for kept in 1..lines.len() {
            is_refused(name, &copy.store, &joined(&lines[..kept]), ErrorKind::InvalidInput, "cut short");
        }
        for left_out in 1..lines.len() - 1 {
            let mut fewer = lines.clone();
            fewer.remove(left_out);
            let error = restore(&*copy.store, &joined(&fewer)).expect_err("a line is missing");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: without line {left_out}: {error}");
        }
        is_refused(name, &copy.store, &(text.clone() + "{}\n"), ErrorKind::InvalidInput, "behind the end");
        let damaged = text.replace("zwölf", "zwoelf");
        is_refused(name, &copy.store, &damaged, ErrorKind::InvalidInput, "not as they were written");
        let newer = text.replace("\"format\":1", "\"format\":2,\"more\":1");
        is_refused(name, &copy.store, &newer, ErrorKind::NewerFormat, "newer Magnetar");
        let part = text_of(Export::new(Arc::clone(&original.store)).status(JobStatus::Done).json_lines()).0;
        is_refused(name, &copy.store, &part, ErrorKind::InvalidInput, "export of a part");
        let part = text_of(Export::new(Arc::clone(&original.store)).since(0).json_lines()).0;
        is_refused(name, &copy.store, &part, ErrorKind::InvalidInput, "export of a part");
        // After all of this it takes the whole one, exactly.
        restore(&*copy.store, &text).expect("it is restored");
        assert_eq!(block_on(crate::support::chunks_of(&*copy.store, zoo::JOB)), {
            block_on(crate::support::chunks_of(&*original.store, zoo::JOB))
        });
    }
}

#[test]
fn lines_that_no_store_could_have_written_are_refused_by_number() {
    let (_, first) = places().remove(0);
    let original = zoo::open(&*first);
    block_on(zoo::fill(&original));
    let text = lines_of(&original.store);
    let lines: Vec<&str> = text.lines().collect();
    let lines = &lines[..lines.len() - 1];
    let of_chunk = |chunk: u64| {
        let start = format!("{{\"kind\":\"chunk\",\"job_id\":42,\"chunk\":{chunk},");
        lines.iter().position(|line| line.starts_with(&start)).expect("it is there")
    };
    let deep = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    for (name, place) in places() {
        let copy = zoo::open(&*place);
        for (chunk, old, new, says) in [
            (1, "\"status\":\"done\"", "\"status\":\"failed\"", ""),
            (1, "\"status\":\"done\"", "\"status\":\"pending\",\"x\":1", "unknown field"),
            (1, "{\"rows\":3}", "\"\\ud83d\"", "half a character"),
            (1, "{\"rows\":3}", deep.as_str(), "100 levels"),
            (1, "{\"path\":\"a.bin\"}", deep.as_str(), "100 levels"),
            (3, "\"status\":\"cancelled\"", "\"status\":\"processing\"", "a lease belongs to"),
            (4, "\"open_fence\":22", "\"open_fence\":21", "under another fence"),
            (4, "\"status\":\"processing\"", "\"status\":\"done\"", "a lease belongs to"),
            (4, "\"attempts\":0", "\"attempts\":-1", "expected u32, at column "),
            (6, "\"depends_on\":[4,5]", "\"depends_on\":[5,4]", "ascending"),
            (6, "\"depends_on\":[4,5]", "\"depends_on\":[4]", "none of depends_on"),
            (6, "\"depends_on\":[4,5]", "\"depends_on\":[4,5,6]", "depends on itself"),
            (6, "\"depends_on\":[4,5]", "\"depends_on\":[4,5,77]", "77"),
            (5, "\"depends_on\":[]", "\"depends_on\":[6]", "6"),
            (6, "\"unmet_dependencies\":2", "\"unmet_dependencies\":1", "contradicts itself"),
            (7, "\"attempts\":1", "\"attempts\":2", ""),
            (8, "\"cancelled_by\":2", "\"open_fence\":3", "open fence"),
            (9, "\"revision\":10,", "\"revision\":11,", "contradicts itself"),
            (10, "\"created_at_ms\":1700000000000", "\"created_at_ms\":9007199254740992", "2^53"),
            (11, "\"job_id\":42", "\"job_id\":77", "before its job"),
        ] {
            let at = of_chunk(chunk);
            let changed = lines[at].replace(old, new);
            assert_ne!(changed, lines[at], "chunk {chunk} has {old}");
            let mut lines = lines.to_vec();
            lines[at] = &changed;
            let text = ended(&lines, 32);
            if says.is_empty() {
                // A history that could have been: it is what the file says then.
                restore(&*zoo::open(&*places().remove(0).1).store, &text).expect("it could have been so");
                continue;
            }
            let error = restore(&*copy.store, &text).expect_err(says);
            assert!(error.to_string().contains(says), "{name}: {error} does not say {says:?}");
            // The one number of a line is that of the file.
            assert!(!error.to_string().contains(" at line "), "{name}: {error}");
            assert_eq!(block_on(copy.store.list_jobs(None, 10)).expect("listed"), [], "{name}: {error}");
        }
        restore(&*copy.store, &text).expect("the original is fine");
    }
}

#[test]
fn a_restored_store_can_go_on_whatever_numbers_the_file_has() {
    let original = zoo::open(&*places().remove(0).1);
    block_on(zoo::fill(&original));
    let text = lines_of(&original.store);
    let lines: Vec<&str> = text.lines().collect();
    let lines = &lines[..lines.len() - 1];
    let used_up = |line: &&str| {
        let is_held = line.contains("\"status\":\"processing\"");
        if is_held { line.replace("\"attempts\":0", "\"attempts\":4294967295") } else { (*line).to_owned() }
    };
    let spent: Vec<String> = lines.iter().map(used_up).collect();
    let spent: Vec<&str> = spent.iter().map(String::as_str).collect();
    // An export beside a large import ends with a revision below those of some of its lines.
    let revision = block_on(original.store.info()).expect("it tells").revision;
    for (end, newest) in [(5, revision), (limits::RESTORED_REVISION_MAX, limits::RESTORED_REVISION_MAX)] {
        for (name, place) in places() {
            let copy = zoo::open(&*place);
            let past = ended(lines, limits::RESTORED_REVISION_MAX + 1);
            assert_eq!(restore(&*copy.store, &past).expect_err("it is past").kind(), ErrorKind::InvalidInput);
            let restored = restore(&*copy.store, &ended(&spent, end)).expect("it is restored");
            assert_eq!(restored.revision, newest, "{name}");
            for state in block_on(copy.store.get_by_status(42, JobStatus::Processing)).expect("listed") {
                block_on(copy.store.fail(&state.claim(), "again")).expect("it is open");
            }
            let claimed = block_on(copy.store.claim(&ClaimRequest::new())).expect("the store works");
            assert!(claimed[0].fence > newest, "{name}");
        }
    }
}

#[test]
fn a_line_at_the_limit_is_read_and_one_past_it_is_not() {
    for (_, place) in places() {
        let copy = zoo::open(&*place);
        let head = "{\"kind\":\"export\",\"format\":1,\"whole_jobs\":true";
        // White space in front of the brace, and the line break, count as well.
        let room = limits::EXPORT_LINE_BYTES_MAX - head.len() - 1;
        let past = format!("{head}{}}}", " ".repeat(room + 1));
        let error = restore(&*copy.store, &ended(&[&past], 0)).expect_err("it is too long");
        assert!(error.to_string().contains("more than 8388608 bytes"), "{error}");
        let at = format!("{head}{}}}", " ".repeat(room));
        assert_eq!(at.len(), limits::EXPORT_LINE_BYTES_MAX);
        restore(&*copy.store, &ended(&[&at], 0)).expect("it is read");
    }
}

#[test]
fn lines_that_come_once_more_replace_the_first() {
    for (name, place) in places() {
        let zoo = zoo::open(&*place);
        let store = &zoo.store;
        let text = block_on(async {
            let chunks = (0..5_000).map(|id| {
                // Whatever becomes of a dependency, it is met once it is done.
                let policy = [DependencyFailure::Wait, DependencyFailure::Ignore][usize::from(id % 3 == 0)];
                let new = NewChunk::new(id).on_dependency_failure(policy);
                Ok(if id < 2 { new } else { new.depends_on([id % 2]) })
            });
            store
                .import(1, &JobSpec::new(), magnetar::chunks(chunks), &Default::default())
                .await
                .expect("imported");
            for job in [2, 3] {
                let chunks = magnetar::chunks((0..3).map(|id| Ok(NewChunk::new(id))));
                store.import(job, &JobSpec::new(), chunks, &Default::default()).await.expect("imported");
            }
            let mut bytes = Export::new(Arc::clone(store)).json_lines();
            let mut text = bytes.next().await.expect("exported").expect("a piece");
            // Dependents that are written already are met now, some of them are done, one has another dependency; a
            // job has gone, one has come back with another content.
            let claim = store.claim_pending(1).await.expect("it exists").expect("ready").claim();
            store.complete(&claim, Completion::new()).await.expect("held");
            let claim =
                store.claim_pending_batch(1, 2).await.expect("it exists").pop().expect("ready").claim();
            store.complete(&claim, Completion::new()).await.expect("held");
            store.add_dependency(1, 3, vec![9]).await.expect("no cycle");
            store.delete_job(2).await.expect("deleted");
            store.delete_job(3).await.expect("deleted");
            let chunks = magnetar::chunks((7..9).map(|id| Ok(NewChunk::new(id))));
            store
                .import(3, &JobSpec::new().name("anew"), chunks, &Default::default())
                .await
                .expect("imported");
            // All dependents of the first one have been told: from here on nothing changes by itself.
            for looks in 0.. {
                if store.get_stats(1).await.expect("it exists").blocked <= 2_500 {
                    break;
                }
                assert!(looks < 1_000_000, "{name}: the dependents are never told");
            }
            while let Some(piece) = bytes.next().await.expect("exported") {
                text.extend(piece);
            }
            String::from_utf8(text).expect("UTF-8")
        });
        assert!(
            text.lines().filter(|line| line.contains("\"job_id\":1,\"chunk\":3,")).count() == 2,
            "{name}"
        );
        let (_, other) = places().remove(0);
        let copy = zoo::open(&*other);
        restore(&*copy.store, &text).expect("it is restored");
        block_on(async {
            assert_eq!(shown(&*copy.store).await, shown(&**store).await, "{name}");
            copy.store.verify().await.expect("it is sound");
        });
        // Written anew, nothing comes twice, and both come to the same.
        assert_eq!(lines_of(&copy.store), lines_of(store), "{name}");
    }
}

#[test]
fn what_goes_and_comes_again_among_a_few_lines_is_as_the_last_of_them_says() {
    for (name, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        for (job, count) in [(1, 2), (2, 1)] {
            let chunks = magnetar::chunks((0..count).map(|id| Ok(NewChunk::new(id))));
            block_on(store.import(job, &JobSpec::new(), chunks, &Default::default())).expect("imported");
        }
        let text = lines_of(&store);
        let [head, one, first, second, two, third, _end] = text.lines().collect::<Vec<_>>()[..] else {
            panic!("two jobs, three chunks: {text}")
        };
        let chunk_gone =
            |chunk| format!("{{\"kind\":\"chunk_deleted\",\"job_id\":1,\"chunk\":{chunk},\"revision\":1}}");
        let (first_gone, second_gone) = (chunk_gone(0), chunk_gone(1));
        let two_gone = "{\"kind\":\"job_deleted\",\"job_id\":2,\"revision\":1}";
        let lines = [head, one, first, second, &first_gone, &second_gone, first, two, third, two_gone, two];
        let (_, other) = places().remove(0);
        let copy = zoo::open(&*other);
        let revision = block_on(store.info()).expect("it tells").revision;
        restore(&*copy.store, &ended(&lines, revision)).expect("it is restored");
        block_on(async {
            let left = crate::support::chunks_of(&*copy.store, 1).await;
            assert_eq!(left.iter().map(|state| state.chunk).collect::<Vec<_>>(), [0], "{name}");
            assert_eq!(copy.store.get_stats(2).await.expect("it came again").total_chunks, 0, "{name}");
            copy.store.verify().await.expect("it is sound");
        });
    }
}

#[test]
fn a_restore_that_is_dropped_leaves_nothing() {
    for (name, place) in places() {
        let (_, first) = places().remove(0);
        let original = zoo::open(&*first);
        block_on(async {
            let chunks = magnetar::chunks((0..12_000).map(|id| Ok(NewChunk::new(id))));
            original.store.import(1, &JobSpec::new(), chunks, &Default::default()).await.expect("imported");
        });
        let text = lines_of(&original.store);
        let copy = zoo::open(&*place);
        let mut bytes = text.as_bytes();
        let mut task = std::task::Context::from_waker(std::task::Waker::noop());
        let polls = {
            let mut restore = std::pin::pin!(copy.store.restore(&mut bytes));
            let mut polls = 0;
            while polls < 2 && restore.as_mut().poll(&mut task).is_pending() {
                polls += 1;
            }
            polls
        };
        assert!(polls > 0, "{name}: it was over at once");
        // Each call has a turn of its own, and between two of them a slice is taken back.
        let nothing_is_left = || {
            (0..10).for_each(|_| assert_eq!(block_on(copy.store.release_all()).expect("it is open"), 0));
            let info = block_on(copy.store.info()).expect("it tells");
            assert_eq!(info.visible_revision, info.revision, "{name}");
        };
        nothing_is_left();
        let cut = text.rsplit_once("{\"kind\":\"end\"").expect("it has an end").0;
        is_refused(name, &copy.store, cut, ErrorKind::InvalidInput, "cut short");
        nothing_is_left();
        restore(&*copy.store, &text).expect("the next one is not hindered");
        assert_eq!(lines_of(&copy.store), text, "{name}");
    }
}

/// Has whoever asks for the time wait from its end on.
struct Ending<'a> {
    text: &'a [u8],
    clock: &'a ManualClock,
    has_ended: &'a AtomicBool,
}

impl Read for Ending<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.text.read(bytes)
    }
}

impl BufRead for Ending<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.text.is_empty() {
            self.clock.hold();
            self.has_ended.store(true, Ordering::SeqCst);
        }
        Ok(self.text)
    }

    fn consume(&mut self, amount: usize) {
        self.text.consume(amount);
    }
}

#[test]
fn a_restore_that_fails_is_taken_back_though_its_caller_goes_meanwhile() {
    let (_, first) = places().remove(0);
    let original = zoo::open(&*first).store;
    // Both are begun in the first slice.
    for (job, count) in [(1, limits::SLICE_ROWS_MAX as u64 - 10), (2, 20)] {
        let chunks = magnetar::chunks((0..count).map(|id| Ok(NewChunk::new(id))));
        block_on(original.import(job, &JobSpec::new(), chunks, &Default::default())).expect("imported");
    }
    let text = lines_of(&original);
    let cut = text.rsplit_once("{\"kind\":\"end\"").expect("it has an end").0;
    for (name, place) in places() {
        let copy = zoo::open(&*place);
        let has_ended = AtomicBool::new(false);
        let mut lines = Ending { text: cut.as_bytes(), clock: &copy.clock, has_ended: &has_ended };
        let mut restoring = copy.store.restore(&mut lines);
        block_on(poll_fn(|context| {
            let polled = restoring.as_mut().poll(context).map(drop);
            if has_ended.load(Ordering::SeqCst) { Poll::Ready(()) } else { polled }
        }));
        drop(restoring);
        copy.clock.release();
        // Each call has a turn of its own, and between two of them a slice is taken back.
        (0..10).for_each(|_| assert_eq!(block_on(copy.store.release_all()).expect("it is open"), 0));
        let info = block_on(copy.store.info()).expect("it tells");
        assert_eq!(info.visible_revision, info.revision, "{name}: the feed waits for nothing");
    }
}

/// The original's clock was years ahead when its deadlines were set.
#[test]
fn a_clock_that_was_ahead_delays_nobody_after_a_restore() {
    const YEARS_MS: u64 = 30 * 365 * 24 * 3_600_000;
    for (name, place) in places() {
        let (_, first) = places().remove(0);
        let original = zoo::open(&*first);
        let chunks = magnetar::chunks((0..2).map(|id| Ok(NewChunk::new(id))));
        block_on(original.store.import(1, &JobSpec::new(), chunks, &Default::default())).expect("imported");
        original.clock.set(zoo::START_MS + YEARS_MS);
        let claimed = block_on(original.store.claim_pending_batch(1, 2)).expect("both are ready");
        block_on(original.store.fail(&claimed[1].claim(), "oops")).expect("it is open");
        let copy = zoo::open(&*place);
        restore(&*copy.store, &lines_of(&original.store)).expect("it is restored");
        for (what, store) in [("the original", &original.store), (name, &copy.store)] {
            original.clock.set(zoo::START_MS);
            let again = block_on(store.claim_pending_batch(1, 2)).expect("the job exists");
            assert_eq!(again.iter().map(|chunk| chunk.chunk).collect::<Vec<_>>(), [0, 1], "{what}");
        }
    }
}

#[test]
fn whoever_has_restored_is_needed_no_more_once_it_closes() {
    let (_, first) = places().remove(0);
    let original = zoo::open(&*first).store;
    for job in [1, 2] {
        let chunks = magnetar::chunks((0..2).map(|id| Ok(NewChunk::new(id))));
        block_on(original.import(job, &JobSpec::new(), chunks, &Default::default())).expect("imported");
    }
    let text = lines_of(&original);
    let (whole, _end) = text.rsplit_once("{\"kind\":\"end\"").expect("it has an end");
    let two_gone = "{\"kind\":\"job_deleted\",\"job_id\":2,\"revision\":1}";
    let lines: Vec<&str> = whole.lines().chain([two_gone]).collect();
    let revision = block_on(original.info()).expect("it tells").revision;
    for (name, place) in places() {
        let copy = zoo::open(&*place);
        is_refused(name, &copy.store, whole, ErrorKind::InvalidInput, "cut short");
        restore(&*copy.store, &ended(&lines, revision)).expect("it is restored");
        block_on(copy.store.close()).expect("it closes");
        assert!(copy.living.has_retired(zoo::OWNER), "{name}");
    }
}

/// Plays random calls on an original, restores it, and plays the same calls on both: they stay the same.
#[test]
fn a_restored_store_goes_on_just_as_the_original_does() {
    let one = std::env::var_os("MAGNETAR_SEED").is_some();
    let first = seed("restored", 1);
    for seed in first..first + if one { 1 } else { rounds(12, 400) } {
        for ((from, original), (to, copy)) in places().into_iter().zip(places().into_iter().rev()) {
            let clock = Arc::new(ManualClock::at(zoo::START_MS));
            let open = |place: &dyn Place| {
                let options = OpenOptions::new()
                    .clock(clock.clone())
                    .liveness(Arc::new(Living::default()))
                    .owner(OwnerId::from_bytes([3; 16]));
                place.open(&options).expect("it opens")
            };
            let (original, copy) = (open(&*original), open(&*copy));
            block_on(async {
                let mut random = fastrand::Rng::with_seed(seed);
                begin(&*original, &mut random).await;
                for _ in 0..60 {
                    clock.advance(random.u64(0..2_000));
                    call(&*original, &mut random).await;
                }
                let text = lines_of(&original);
                restore_async(&*copy, &text).await;
                assert_eq!(lines_of(&copy), text, "{from} to {to}, seed {seed}");
                for step in 0..60 {
                    clock.advance(random.u64(0..2_000));
                    let mut same = random.clone();
                    let told = call(&*original, &mut random).await;
                    assert_eq!(
                        call(&*copy, &mut same).await,
                        told,
                        "{from} to {to}, seed {seed}, step {step}"
                    );
                }
                assert_eq!(lines_of(&copy), lines_of(&original), "{from} to {to}, seed {seed}");
                copy.verify().await.unwrap_or_else(|e| panic!("{from} to {to}, seed {seed}: {e}"));
            });
        }
    }
}

async fn restore_async(store: &dyn JobStore, text: &str) {
    store.restore(&mut text.as_bytes()).await.expect("it is restored");
}

const CHUNKS: u64 = 24;

async fn begin(store: &dyn JobStore, random: &mut fastrand::Rng) {
    for job in [1, 5] {
        let policies = [DependencyFailure::Wait, DependencyFailure::Cancel, DependencyFailure::Ignore];
        let spec = JobSpec::new().attempts_max(2).on_dependency_failure(policies[random.usize(0..3)]);
        let chunks: Vec<_> = (0..CHUNKS)
            .map(|id| {
                let mut on: Vec<u64> =
                    (0..random.u64(0..3)).map(|_| random.u64(0..=id)).filter(|on| *on < id).collect();
                on.sort_unstable();
                on.dedup();
                let chunk = NewChunk::new(id).depends_on(on).priority(random.i32(0..2));
                let chunk = if random.bool() {
                    chunk
                } else {
                    chunk.on_dependency_failure(policies[random.usize(0..3)])
                };
                let chunk = match random.u8(0..5) {
                    0 => chunk.not_before_ms(zoo::START_MS + random.u64(0..20_000)),
                    _ => chunk,
                };
                Ok(if random.bool() { chunk } else { chunk.payload(Json::new(&id).expect("JSON")) })
            })
            .collect();
        store.import(job, &spec, magnetar::chunks(chunks), &Default::default()).await.expect("imported");
    }
}

/// One random call, and what it answered.
async fn call(store: &dyn JobStore, random: &mut fastrand::Rng) -> String {
    let job = if random.bool() { 1 } else { 5 };
    let chunk = random.u64(0..CHUNKS);
    let state = store.get_chunk(job, chunk).await.expect("the job exists").expect("the chunk exists");
    let claim = JobState::claim(&state);
    let chosen = || Selection::Chunks(vec![chunk]);
    match random.u32(0..14) {
        0..=4 => format!(
            "{:?}",
            store.claim(&ClaimRequest::new().job(job).count(random.usize(1..4)).lease_ms(3_000)).await
        ),
        5..=7 => {
            // Whoever is held, if anybody is.
            let held =
                store.page_by_status(job, Some(JobStatus::Processing), None, 1).await.expect("it exists");
            match held.first() {
                Some(held) if random.bool() => {
                    format!("{:?}", store.complete(&held.claim(), Completion::new()).await)
                }
                Some(held) => format!("{:?}", store.fail(&held.claim(), "no").await),
                None => String::new(),
            }
        }
        8 if state.fence > 0 => format!("{:?}", store.complete(&claim, Completion::new()).await),
        9 => format!("{:?}", store.cancel(job, chosen()).await),
        10 => format!("{:?}", store.retry_failed(job, chosen()).await),
        11 => format!(
            "{:?}",
            store
                .reset(job, chosen(), if random.bool() { ResetReach::Through } else { ResetReach::Direct })
                .await
        ),
        12 => format!("{:?}", store.resume_pending(job).await),
        _ => format!("{:?}", store.mark_status(job, chunk, JobStatus::Failed, Some("marked".into())).await),
    }
}

/// A restore whose client is killed after some of it was committed. `open` opens as a client; `crash` leaves what is
/// stored as it stands.
fn cut_short(
    name: &str,
    text: &'static str,
    open: impl Fn(OpenOptions) -> Arc<dyn JobStore>,
    crash: impl Fn(),
) {
    let living = Arc::new(Living::default());
    let owner = |number: u8| OwnerId::from_bytes([number; 16]);
    let open = |number| open(OpenOptions::new().liveness(living.clone()).owner(owner(number)));
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    // Nothing of the killed client is ever dropped: a drop would take the restore back.
    let killed: &'static Arc<dyn JobStore> = Box::leak(Box::new(open(1)));
    let bytes: &'static mut &'static [u8] = Box::leak(Box::new(text.as_bytes()));
    let mut restore = killed.restore(bytes);
    while block_on(killed.info()).expect("it tells").revision == 0 {
        assert!(restore.as_mut().poll(&mut task).is_pending(), "{name}: it was over at once");
    }
    std::mem::forget(restore);
    assert_eq!(block_on(killed.list_jobs(None, 10)).expect("listed"), [], "{name}: it shows too early");
    crash();
    living.kill(owner(1));
    let next = open(2);
    assert_eq!(block_on(next.list_jobs(None, 10)).expect("listed"), [], "{name}");
    block_on(next.verify()).expect("it is sound");
    block_on(next.restore(&mut text.as_bytes())).expect("the next one is not hindered");
    assert_eq!(lines_of(&next), text, "{name}");
}

#[test]
fn a_restore_that_a_crash_cuts_short_is_taken_back_by_the_next_client() {
    let (_, first) = places().remove(0);
    let original = zoo::open(&*first);
    block_on(async {
        for job in [1, 2] {
            let chunks = magnetar::chunks((0..15_000).map(|id| Ok(NewChunk::new(id))));
            original
                .store
                .import(job, &JobSpec::new(), chunks, &ImportOptions::new())
                .await
                .expect("imported");
        }
    });
    let text: &'static str = lines_of(&original.store).leak();
    #[cfg(feature = "redb")]
    {
        let bytes = std::cell::RefCell::new(crate::support::SharedBytes::default());
        let open = |options| -> Arc<dyn JobStore> {
            let bytes = bytes.borrow().clone();
            let store = magnetar::RedbStore::on_storage(move || Ok(bytes.clone()), &options);
            Arc::new(store.expect("it opens"))
        };
        cut_short("redb", text, open, || {
            let copy = bytes.borrow().copy();
            *bytes.borrow_mut() = copy;
        });
    }
    #[cfg(feature = "sqlite")]
    {
        // Two clients have it open; the second one is told that the first is dead.
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("jobs.db");
        let open = |options| block_on(magnetar::open_with(&path, &options)).expect("it opens");
        cut_short("sqlite", text, open, || {});
    }
}

/// Before, a claim that was settled was one whose owner is named and which is not open.
#[test]
fn an_older_export_that_names_the_owners_of_settled_claims_is_restored_as_what_it_was() {
    let (name, place) = places().into_iter().next().expect("there is a place");
    let original = zoo::open(&*place);
    block_on(zoo::fill(&original));
    let text = lines_of(&original.store);
    let older = text.replace("\"settled\":true", &format!("\"claimed_by\":\"{}\"", "ab".repeat(16)));
    assert_ne!(older, text);
    let lines: Vec<&str> = older.lines().collect();
    let revision = block_on(original.store.info()).expect("it tells").revision;
    let (_, lines) = lines.split_last().expect("it ends");
    let copy = zoo::open(&*place);
    restore(&*copy.store, &ended(lines, revision)).expect("it is restored");
    assert_eq!(lines_of(&copy.store), text, "{name}");
}

/// A reader that does something in the middle of what it gives.
struct Meanwhile<'a, F> {
    rest: &'a [u8],
    until: usize,
    act: Option<F>,
}

impl<'a, F: FnOnce() + Send> Meanwhile<'a, F> {
    /// Far enough behind the first slice of a restore, in front of its last one.
    fn in_the_middle(text: &'a str, act: F) -> Self {
        Meanwhile { rest: text.as_bytes(), until: text.len() / 8, act: Some(act) }
    }
}

impl<F: FnOnce() + Send> Read for Meanwhile<'_, F> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl<F: FnOnce() + Send> BufRead for Meanwhile<'_, F> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.rest.len() <= self.until
            && let Some(act) = self.act.take()
        {
            act();
        }
        Ok(&self.rest[..self.rest.len().min(4096)])
    }

    fn consume(&mut self, read: usize) {
        self.rest = &self.rest[read..];
    }
}

/// An export of one job with so many chunks that a restore goes in two slices. A thousand of them are claimed, and
/// their leases are over before anybody restores them.
fn of_two_slices(job: i64) -> String {
    let original = zoo::open(&*places().remove(0).1);
    block_on(async {
        let chunks = magnetar::chunks((0..12_000).map(|id| Ok(NewChunk::new(id))));
        original.store.import(job, &JobSpec::new(), chunks, &Default::default()).await.expect("imported");
        let claimed = original.store.claim_pending_batch(job, 1_000).await.expect("it exists");
        assert_eq!(claimed.len(), 1_000);
    });
    lines_of(&original.store)
}

/// Where it stands now, whatever else is opened later.
fn revision_of(store: &dyn JobStore) -> u64 {
    block_on(store.info()).expect("it tells").revision
}

/// No two chunks of a store have one fence or one revision.
async fn nothing_is_given_twice(store: &dyn JobStore, name: &str) {
    let (mut fences, mut revisions, mut chunks) = (BTreeSet::new(), BTreeSet::new(), 0);
    for info in store.list_jobs(None, 100).await.expect("listed") {
        revisions.insert(info.revision);
        chunks += 1;
        for state in crate::support::chunks_of(store, info.job_id).await {
            assert!(state.fence == 0 || fences.insert(state.fence), "{name}: fence {} twice", state.fence);
            revisions.insert(state.revision);
            chunks += 1;
        }
    }
    assert_eq!(revisions.len(), chunks, "{name}: a revision was given twice");
    store.verify().await.expect("it is sound");
}

#[test]
fn a_damaged_revision_does_no_harm_to_the_store_that_refuses_it() {
    let text = of_two_slices(1);
    let whole: Vec<&str> = text.lines().collect();
    for (name, place) in places() {
        let copy = zoo::open(&*place);
        for (revision, says) in [
            (limits::ID_MAX, "line 11001 of the export: a revision is above"),
            // No single line of this shows that anything is wrong.
            (limits::RESTORED_REVISION_MAX, "not as they were written"),
        ] {
            let number = revision.to_string();
            let mut damaged: serde_json::Value = serde_json::from_str(whole[11_000]).expect("JSON");
            damaged["revision"] = revision.into();
            damaged["kept"]["content_revision"] = revision.into();
            let damaged = damaged.to_string();
            assert!(damaged.contains(&number));
            let mut lines = whole.clone();
            // Both in the first slice and behind it: it is refused by itself, or with the end.
            lines[11_000] = &damaged;
            let before = revision_of(&*copy.store);
            is_refused(name, &copy.store, &(lines.join("\n") + "\n"), ErrorKind::InvalidInput, says);
            let after = revision_of(&*copy.store);
            assert!(after < before + 10, "{name}: from {before} to {after}");
            lines.swap(5, 11_000);
            let error = restore(&*copy.store, &(lines.join("\n") + "\n")).expect_err("it is damaged");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error}");
            assert!(revision_of(&*copy.store) < after + 10, "{name}");
        }
        restore(&*copy.store, &text).expect("it is as good as new");
        assert_eq!(lines_of(&copy.store), text, "{name}");
    }
}

#[test]
fn of_two_restores_at_once_the_second_is_told_so_and_the_first_goes_on() {
    let (first, second) = (of_two_slices(1), of_two_slices(2));
    for (name, place) in places() {
        let copy = zoo::open(&*place);
        // The same jobs as well: what one takes back is not the other's.
        for inner in [&second, &first] {
            let during = || {
                let error = restore(&*copy.store, inner).expect_err("one is under way");
                assert_eq!((error.kind(), error.job()), (ErrorKind::Busy, Some(1)), "{name}: {error}");
                block_on(copy.store.verify()).expect("it is sound while it is restored");
            };
            let mut reader = Meanwhile::in_the_middle(&first, during);
            block_on(copy.store.restore(&mut reader)).expect("it was first");
            assert!(reader.act.is_none());
            block_on(async {
                nothing_is_given_twice(&*copy.store, name).await;
                copy.store.delete_job(1).await.expect("deleted");
            });
        }
    }
}

/// Somebody else writes between the slices of a restore.
fn is_overtaken_by(act: impl Fn(&dyn JobStore) -> i64 + Sync) {
    let text = of_two_slices(1);
    for (name, place) in places() {
        let copy = zoo::open(&*place);
        let mut made = 0;
        let mut reader = Meanwhile::in_the_middle(&text, || made = act(&*copy.store));
        let error = block_on(copy.store.restore(&mut reader)).expect_err("it was overtaken");
        assert_eq!(error.kind(), ErrorKind::Busy, "{name}: {error}");
        assert!(error.to_string().contains("somebody else has written to the store"), "{name}: {error}");
        block_on(async {
            // What the other one did stays, and nothing of the restore.
            let jobs = copy.store.list_jobs(None, 10).await.expect("listed");
            assert_eq!(jobs.iter().map(|job| job.job_id).collect::<Vec<_>>(), [made], "{name}");
            let chunks = std::iter::once(Ok(NewChunk::new(1)));
            let (spec, chunks) = (JobSpec::new(), magnetar::chunks(chunks));
            copy.store.import(1, &spec, chunks, &Default::default()).await.expect("nothing is in the way");
            nothing_is_given_twice(&*copy.store, name).await;
            let claimed = copy.store.claim(&ClaimRequest::new().job(1)).await.expect("the store works");
            assert!(claimed[0].fence < 1_000, "{name}: it goes on where it stood");
        });
    }
}

#[test]
fn a_restore_gives_way_to_an_import_that_comes_between_its_slices() {
    is_overtaken_by(|store| {
        let chunks = magnetar::chunks((0..3).map(|id| Ok(NewChunk::new(id))));
        block_on(store.import(9, &JobSpec::new(), chunks, &Default::default())).expect("imported");
        9
    });
}

#[test]
fn a_restore_gives_way_to_a_new_job_which_is_none_of_those_that_nobody_sees() {
    is_overtaken_by(|store| {
        let job = block_on(store.new_job(&JobSpec::new())).expect("created");
        assert_ne!(job, 1);
        job
    });
}

#[test]
fn a_restore_waits_for_no_import_that_is_under_way() {
    let text = of_two_slices(1);
    for (name, place) in places() {
        let copy = zoo::open(&*place);
        let chunks = (0..limits::IMPORT_ROWS_PER_COMMIT_MAX as u64 + 2).map(|id| {
            if id > limits::IMPORT_ROWS_PER_COMMIT_MAX as u64 {
                let error = restore(&*copy.store, &text).expect_err("somebody imports");
                assert_eq!((error.kind(), error.job()), (ErrorKind::Busy, Some(7)), "{name}: {error}");
            }
            Ok(NewChunk::new(id))
        });
        let chunks = magnetar::chunks(chunks);
        block_on(copy.store.import(7, &JobSpec::new(), chunks, &Default::default())).expect("imported");
    }
}

#[test]
fn claims_that_are_over_stay_as_they_are_until_all_of_a_restore_is_there() {
    let text = of_two_slices(1);
    for (name, place) in places() {
        let copy = zoo::open(&*place);
        copy.clock.advance(limits::LEASE_MS_DEFAULT + 1);
        let during = || {
            // What falls due is looked for with each claim.
            assert_eq!(block_on(copy.store.claim(&ClaimRequest::new())).expect("it works"), [], "{name}");
            assert_eq!(block_on(copy.store.release_all()).expect("it works"), 0, "{name}");
        };
        block_on(copy.store.restore(&mut Meanwhile::in_the_middle(&text, during))).expect("it goes on");
        assert_eq!(lines_of(&copy.store), text, "{name}");
    }
}

#[test]
fn an_export_without_jobs_keeps_the_revision_and_the_job_ids() {
    for (name, place) in places() {
        let original = zoo::open(&*place);
        let empty = lines_of(&original.store);
        block_on(async {
            let chunks = magnetar::chunks([Ok(NewChunk::new(1))]);
            original.store.import(5, &JobSpec::new(), chunks, &Default::default()).await.expect("imported");
            original.store.claim_pending(5).await.expect("it exists").expect("it is ready");
            original.store.delete_job(5).await.expect("deleted");
        });
        let info = block_on(original.store.info()).expect("it tells");
        for (to, place) in places() {
            let copy = zoo::open(&*place);
            restore(&*copy.store, &empty).expect("nothing is restored");
            assert_eq!(revision_of(&*copy.store), 0, "{name} to {to}");
            let text = lines_of(&original.store);
            assert_eq!(restore(&*copy.store, &text).expect("restored").revision, info.revision);
            assert_eq!(block_on(copy.store.info()).expect("it tells"), info, "{name} to {to}");
            assert_eq!(lines_of(&copy.store), text, "{name} to {to}");
            assert_eq!(block_on(copy.store.new_job(&JobSpec::new())).expect("created"), 6, "{name} to {to}");
        }
    }
}
