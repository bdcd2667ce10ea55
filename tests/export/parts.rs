//! Exports of a part: by job, by status, since a revision; and exports beside workers.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use magnetar::export::Export;
use magnetar::{
    ChunkRecords, Completion, ErrorKind, ImportOptions, JobSpec, JobStatus, JobStore, Json, NewChunk,
    OnMissing, block_on, limits,
};

use crate::{places, rows_of, text_of, zoo};

async fn add(store: &dyn JobStore, job: i64, chunks: std::ops::Range<u64>) {
    let chunks = magnetar::chunks(chunks.map(|id| Ok(NewChunk::new(id))));
    store.import(job, &JobSpec::new(), chunks, &ImportOptions::new()).await.expect("imported");
}

async fn work(store: &dyn JobStore, job: i64, count: usize) {
    for state in store.claim_pending_batch(job, count).await.expect("the job exists") {
        store.complete(&state.claim(), Completion::new()).await.expect("it is held");
    }
}

fn ids(text: &str) -> Vec<(i64, u64)> {
    rows_of(text)
        .iter()
        .map(|row| (row["job_id"].parse().expect("an id"), row["chunk"].parse().expect("an id")))
        .collect()
}

/// The lines, each as its kind, its job and its chunk.
fn lines_of(text: &str) -> Vec<(String, Option<i64>, Option<u64>)> {
    text.lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
            (
                line["kind"].as_str().expect("a kind").to_owned(),
                line["job_id"].as_i64(),
                line["chunk"].as_u64(),
            )
        })
        .collect()
}

#[test]
fn jobs_and_statuses_are_picked_and_nothing_else_comes() {
    for (_, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        block_on(async {
            for job in [1, 2, 3] {
                add(&*store, job, 0..4).await;
                work(&*store, job, 2).await;
            }
            store.mark_status(2, 2, JobStatus::Failed, None).await.expect("it is pending");
        });
        let export = || Export::new(Arc::clone(&store));
        let picked = |export: Export<Arc<dyn JobStore>>| ids(&text_of(export.csv()).0);
        assert_eq!(picked(export()).len(), 12);
        assert_eq!(picked(export().job(2)), [(2, 0), (2, 1), (2, 2), (2, 3)]);
        assert_eq!(picked(export().job(3).job(1)).len(), 8);
        assert_eq!(picked(export().status(JobStatus::Failed)), [(2, 2)]);
        assert_eq!(
            picked(export().job(2).status(JobStatus::Failed).status(JobStatus::Pending)),
            [(2, 2), (2, 3)]
        );
        assert_eq!(picked(export().status(JobStatus::Cancelled)), []);
        let missing = block_on(export().job(9).csv().next()).expect_err("there is no job 9");
        assert_eq!((missing.kind(), missing.job()), (ErrorKind::JobNotFound, Some(9)));
    }
}

#[test]
fn exports_since_the_one_before_add_up_to_the_store() {
    for (name, place) in places() {
        let zoo::Zoo { store, clock, .. } = zoo::open(&*place);
        let export = || Export::new(Arc::clone(&store));
        block_on(add(&*store, 1, 0..5));
        let (_, first) = text_of(export().csv());
        let (text, none) = text_of(export().since(first.revision).csv());
        assert_eq!((ids(&text), none.revision), (vec![], first.revision), "{name}");

        block_on(async {
            clock.advance(10);
            work(&*store, 1, 2).await;
            add(&*store, 2, 0..1).await;
            add(&*store, 3, 0..1).await;
            store.delete_job(3).await.expect("deleted");
            let fewer = magnetar::chunks((0..4).map(|id| Ok(NewChunk::new(id))));
            let options = ImportOptions::new().on_missing(OnMissing::Delete);
            store.import(1, &JobSpec::new(), fewer, &options).await.expect("imported");
        });
        let (text, second) = text_of(export().since(first.revision).csv());
        assert_eq!(ids(&text), [(1, 0), (1, 1), (2, 0)], "{name}");
        assert_eq!(second.revision, block_on(store.info()).expect("it tells").revision);
        let (text, _) = text_of(export().since(first.revision).job(1).status(JobStatus::Done).csv());
        assert_eq!(ids(&text), [(1, 0), (1, 1)], "{name}");

        let (text, _) = text_of(export().since(first.revision).status(JobStatus::Pending).csv());
        assert_eq!(ids(&text), [(2, 0)], "{name}");

        let (text, _) = text_of(export().since(first.revision).job(2).json_lines());
        let kinds: Vec<_> = lines_of(&text).into_iter().map(|(kind, job, _)| (kind, job)).collect();
        let told = [("export", None), ("job", Some(2)), ("chunk", Some(2)), ("end", None)];
        assert_eq!(kinds, told.map(|(kind, job)| (kind.to_owned(), job)), "{name}");
        let (text, _) = text_of(export().since(first.revision).job(1).json_lines());
        assert!(lines_of(&text).iter().all(|(_, job, _)| job.is_none_or(|job| job == 1)), "{name}: {text}");

        let (text, _) = text_of(export().since(first.revision).json_lines());
        let lines = lines_of(&text);
        let line = |kind: &str, job, chunk| (kind.to_owned(), job, chunk);
        assert_eq!(lines.first(), Some(&line("export", None, None)));
        assert!(
            text.starts_with("{\"kind\":\"export\",\"format\":1,\"whole_jobs\":false,\"since\":"),
            "{text}"
        );
        for told in [
            line("chunk", Some(1), Some(0)),
            line("job", Some(2), None),
            line("job_deleted", Some(3), None),
            line("chunk_deleted", Some(1), Some(4)),
        ] {
            assert!(lines.contains(&told), "{name}: {told:?} is not in {lines:?}");
        }
        let ahead =
            block_on(export().since(second.revision + 1).csv().next()).expect_err("nothing is there yet");
        assert_eq!(ahead.kind(), ErrorKind::InvalidInput);
    }
}

/// Each piece is pulled while the store changes: the rows are each as they once stood, and the lines end as the store
/// stands.
#[test]
fn json_lines_catch_up_with_what_changed_while_they_were_written() {
    for (name, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        block_on(async {
            add(&*store, 1, 0..5_000).await;
            add(&*store, 2, 0..10).await;
            add(&*store, 4, 0..10).await;
            let mut bytes = Export::new(Arc::clone(&store)).json_lines();
            let mut text = Vec::new();
            let mut pieces = 0;
            while let Some(piece) = bytes.next().await.expect("it is exported") {
                assert_eq!(piece.last(), Some(&b'\n'), "a piece ends with a line");
                text.extend(piece);
                pieces += 1;
                if pieces == 1 {
                    // Of what is read already, of what is not, of what comes and of what goes.
                    work(&*store, 1, 3).await;
                    work(&*store, 2, 3).await;
                    add(&*store, 3, 0..1).await;
                    store.delete_job(4).await.expect("deleted");
                }
            }
            assert!(pieces > 2, "{pieces} pieces");
            let text = String::from_utf8(text).expect("UTF-8");
            let mut last = std::collections::BTreeMap::new();
            for line in text.lines() {
                let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
                let job = line["job_id"].as_i64().unwrap_or(-1);
                match line["kind"].as_str() {
                    Some("chunk") => {
                        last.insert((job, line["chunk"].as_u64().expect("an id")), line);
                    }
                    Some("job_deleted") => last.retain(|(of, _), _| *of != job),
                    _ => {}
                }
            }
            for job in [1, 2, 3] {
                for state in crate::support::chunks_of(&*store, job).await {
                    let line = last.remove(&(job, state.chunk)).expect("it is there");
                    assert_eq!(
                        line["status"],
                        state.status.as_str(),
                        "{name}: job {job} chunk {}",
                        state.chunk
                    );
                    assert_eq!(line["revision"], state.revision);
                }
            }
            assert_eq!(last.len(), 0, "{name}: what is left was deleted");
            let revision = store.info().await.expect("it tells").revision;
            assert_eq!(bytes.exported().revision, revision);
            assert!(
                text.trim_end().lines().last().is_some_and(|line| line.contains(&format!(":{revision},")))
            );
        });
    }
}

#[test]
fn a_job_that_is_deleted_while_csv_is_written_is_cut_short_and_the_rest_comes() {
    for (_, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        block_on(async {
            add(&*store, 1, 0..5_000).await;
            add(&*store, 2, 0..10).await;
            let mut bytes = Export::new(Arc::clone(&store)).csv();
            let mut text = bytes.next().await.expect("exported").expect("a piece");
            store.delete_job(1).await.expect("deleted");
            while let Some(piece) = bytes.next().await.expect("exported") {
                text.extend(piece);
            }
            let ids = ids(&String::from_utf8(text).expect("UTF-8"));
            assert!(ids.iter().filter(|(job, _)| *job == 1).count() < 5_000);
            assert_eq!(ids.iter().filter(|(job, _)| *job == 2).count(), 10);
        });
    }
}

#[test]
fn a_stream_gives_the_pieces_and_ends() {
    for (_, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        block_on(add(&*store, 1, 0..5_000));
        let whole = text_of(Export::new(Arc::clone(&store)).csv()).0;
        let mut stream = Box::pin(Export::new(Arc::clone(&store)).csv().into_stream());
        let mut text = Vec::new();
        block_on(async {
            while let Some(piece) =
                std::future::poll_fn(|task| futures_core::Stream::poll_next(stream.as_mut(), task)).await
            {
                text.extend(piece.expect("exported"));
            }
        });
        assert_eq!(String::from_utf8(text).expect("UTF-8"), whole);
    }
}

/// A disk that fills up.
struct Full {
    left: usize,
}

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        if taken == 0 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_that_fails_is_an_error_that_says_so() {
    for (_, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        block_on(add(&*store, 1, 0..100));
        let error =
            block_on(Export::new(store).csv().write_to(&mut Full { left: 500 })).expect_err("it is full");
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("export could not be written"), "{error}");
    }
}

/// A sink that has room for all that it is given only until it is to let go of it.
struct Unflushed;

impl std::io::Write for Unflushed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Err(std::io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn what_a_sink_has_kept_is_flushed_before_the_export_is_said_to_be_done() {
    for (_, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        let error =
            block_on(Export::new(store).csv().write_to(&mut Unflushed)).expect_err("it cannot let go of it");
        assert_eq!(error.kind(), ErrorKind::Io);
    }
}

#[test]
fn after_an_error_an_export_is_over_and_has_no_end() {
    for (_, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        block_on(add(&*store, 1, 0..3));
        let mut bytes = Export::new(store).job(1).job(2).json_lines();
        let missing = block_on(bytes.next()).expect_err("there is no job 2");
        assert_eq!(missing.kind(), ErrorKind::JobNotFound);
        assert_eq!(block_on(bytes.next()).expect("the error was told"), None);
    }
}

#[test]
fn a_page_of_records_is_bounded_in_rows_and_in_bytes_and_says_whether_there_is_more() {
    for (name, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        block_on(async {
            add(&*store, 1, 0..300).await;
            work(&*store, 1, 10).await;
            // Each is a sixteenth of what a page holds, so that 16 would do; a page is found out in time all the same.
            let text = format!("\"{}\"", "x".repeat(limits::RECORD_PAGE_BYTES / 16));
            let large = (0..300).map(|id| Ok(NewChunk::new(id).payload(Json::from_text(&text)?)));
            store
                .import(2, &JobSpec::new(), magnetar::chunks(large), &ImportOptions::new())
                .await
                .expect("imported");
            let ids =
                |page: &ChunkRecords| -> Vec<u64> { page.records.iter().map(|r| r.state.chunk).collect() };
            let page = store.page_records(1, None, None, 300).await.expect("the job exists");
            assert_eq!(ids(&page), (0..300).collect::<Vec<_>>(), "{name}");
            assert!(!store.page_records(1, None, None, 301).await.expect("the job exists").more, "{name}");
            let page = store.page_records(1, None, Some(297), 2).await.expect("the job exists");
            assert_eq!(ids(&page), [298, 299]);
            let page =
                store.page_records(1, Some(JobStatus::Done), Some(4), 100).await.expect("the job exists");
            assert_eq!((ids(&page), page.more), ((5..10).collect(), false));

            let page = store.page_records(2, None, None, 300).await.expect("the job exists");
            assert!((16..300).contains(&page.records.len()) && page.more, "{name}: {}", page.records.len());
            let mut all = ids(&page);
            while let page = store.page_records(2, None, all.last().copied(), 300).await.expect("it exists")
                && !page.records.is_empty()
            {
                all.extend(ids(&page));
            }
            assert_eq!(all, (0..300).collect::<Vec<_>>(), "{name}");

            // As large as payloads can be: of these no page has many more than it should.
            let text = format!("\"{}\"", "x".repeat(limits::PAYLOAD_BYTES_MAX - 2));
            let large = (0..20).map(|id| Ok(NewChunk::new(id).payload(Json::from_text(&text)?)));
            let since = store.info().await.expect("it tells").revision;
            let large = magnetar::chunks(large);
            store.import(3, &JobSpec::new(), large, &ImportOptions::new()).await.expect("imported");
            let page = store.page_records(3, None, None, 300).await.expect("the job exists");
            assert!(page.records.len() <= 8 && page.more, "{name}: {}", page.records.len());
            let page = store.changes(since, 300).await.expect("it is kept");
            assert!(page.changes.len() <= 8 && page.more, "{name}: {}", page.changes.len());

            for limit in [0, limits::PAGE_ROWS_MAX + 1] {
                let error = store.page_records(1, None, None, limit).await.expect_err("it is out of range");
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
            }
            store.page_records(1, None, None, limits::PAGE_ROWS_MAX).await.expect("it is in range");
            let error = store.page_records(9, None, None, 1).await.expect_err("there is no such job");
            assert_eq!(error.kind(), ErrorKind::JobNotFound);
        });
    }
}

/// A large import is invisible until it is there whole, but its slices have revisions.
#[test]
fn an_export_beside_a_large_import_says_a_revision_from_which_the_next_one_misses_nothing() {
    const LARGE: u64 = limits::IMPORT_ROWS_PER_COMMIT_MAX as u64 + 10;
    for (name, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        block_on(add(&*store, 1, 0..5));
        let export = || Export::new(Arc::clone(&store));
        let (mut before, mut lines) = (None, None);
        let new = (0..LARGE).map(|id| {
            if id == LARGE - 1 {
                before = Some(text_of(export().csv()));
                lines = Some(block_on(export().json_lines().write_to(&mut Vec::new())));
            }
            Ok(NewChunk::new(id))
        });
        block_on(store.import(2, &JobSpec::new(), magnetar::chunks(new), &ImportOptions::new()))
            .expect("imported");
        let (text, exported) = before.expect("it came to its second slice");
        assert_eq!(ids(&text).len(), 5, "{name}: nothing of the import is to be seen");
        let error = lines.expect("as well").expect_err("the store is between two moments");
        assert_eq!(error.kind(), ErrorKind::Busy, "{name}");
        let (text, _) = text_of(export().since(exported.revision).job(2).csv());
        assert_eq!(ids(&text).len() as u64, LARGE, "{name}: of all its chunks");
        let info = block_on(store.info()).expect("it tells");
        assert_eq!(info.visible_revision, info.revision);
    }
}

/// Asks once, and goes away. Whether it had to.
fn gone_before<T>(asking: impl Future<Output = T>) -> bool {
    pin!(asking).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[test]
fn an_export_of_which_a_piece_was_not_waited_for_does_not_pass_for_whole() {
    let mut gone = 0;
    for (name, place) in places() {
        let store = place.open(&magnetar::OpenOptions::new()).expect("a store");
        block_on(add(&*store, 1, 0..3));
        // The answer may be there at once.
        for _ in 0..100 {
            let mut lines = Export::new(Arc::clone(&store)).json_lines();
            if !gone_before(lines.next()) {
                continue;
            }
            gone += 1;
            let error = block_on(lines.next()).expect_err("it would be the end without a beginning");
            assert_eq!(error.kind(), ErrorKind::Refused, "{name}: {error}");
            assert!(error.to_string().contains("begin the export anew"), "{name}: {error}");
            assert_eq!(block_on(lines.next()).expect("after an error there is nothing more"), None, "{name}");
            break;
        }
        #[cfg(all(feature = "analytics", not(target_family = "wasm")))]
        for _ in 0..100 {
            let mut batches = Export::new(Arc::clone(&store)).record_batches();
            if gone_before(batches.next()) {
                assert_eq!(block_on(batches.next()).expect_err("a gap").kind(), ErrorKind::Refused, "{name}");
                break;
            }
        }
    }
    assert!(gone > 0, "no store had anybody wait");
}
