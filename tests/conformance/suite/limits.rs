//! Every limit at it and one past it, and every id out of range on every call.

use magnetar::limits::{
    ATTEMPTS_MAX_DEFAULT, BACKOFF_MS_MAX, BATCH_UPDATES_MAX, CHECKSUM_BYTES_MAX, CLAIM_BYTES_MAX,
    CLAIM_COUNT_MAX, DEPENDENCIES_PER_CHUNK_MAX, ERROR_BYTES_MAX, ID_MAX, LEASE_MS, LEASE_MS_DEFAULT,
    LOSSES_MAX_DEFAULT, NAME_BYTES_MAX, OUTPUT_BYTES_MAX, PAGE_ROWS_MAX, PAYLOAD_BYTES_MAX,
};
use magnetar::{
    Backoff, ChunkUpdate, Claim, ClaimRequest, Completion, ErrorKind, GraphFormat, ImportOptions, JobSpec,
    JobStatus, Json, NewChunk, ResetReach, Result, Selection,
};

use super::{JOB, c, changes_nothing, claim, get, import, import_as, try_import};
use crate::fixture::Fixture;
use crate::support::export;

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// JSON of so many bytes.
fn json(bytes: usize) -> Json {
    Json::from_text(&format!("\"{}\"", text(bytes - 2))).expect("it is JSON")
}

async fn try_one(fx: &Fixture, new: NewChunk) -> Result<()> {
    try_import(&**fx, JOB, JobSpec::new(), [new], ImportOptions::new()).await.map(drop)
}

async fn try_spec(fx: &Fixture, spec: JobSpec) -> Result<()> {
    try_import(&**fx, JOB, spec, [], ImportOptions::new()).await.map(drop)
}

pub(crate) async fn ids_out_of_range_are_refused_by_every_call(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let max = i64::try_from(ID_MAX).expect("it fits");
    let before = export(&*fx).await;
    let (any, spec, done) = (ClaimRequest::new(), JobSpec::new(), Completion::new());
    let named = |chunk| Selection::Chunks(vec![chunk]);
    let mut answers: Vec<(&str, Result<()>)> = Vec::new();
    macro_rules! calls {
        ($($name:ident ( $($argument:expr),* ))*) => {
            $(answers.push((stringify!($name), fx.$name($($argument),*).await.map(drop)));)*
        };
    }
    for job in [-1, i64::MIN, max + 1, i64::MAX] {
        let held = Claim { job_id: job, chunk: 1, fence: 1 };
        let of_job = ClaimRequest::new().job(job);
        calls! {
            init_from_manifest(job, &magnetar::Manifest::new())
            import(job, &spec, magnetar::chunks(std::iter::empty()), &ImportOptions::new())
            delete_job(job)
            add_dependency(job, 1, vec![2])
            claim_pending(job)
            claim_pending_batch(job, 2)
            claim(&of_job)
            complete(&held, done.clone())
            complete_and_claim(&held, done.clone(), &any)
            complete_and_claim(&Claim { job_id: JOB, ..held }, done.clone(), &of_job)
            fail(&held, "oops")
            release(&held)
            heartbeat(&held)
            apply_batch_updates(job, vec![])
            mark_status(job, 1, JobStatus::Done, None)
            mark_failed(job, 1, "broken".into())
            retry_failed(job, Selection::All)
            reset(job, Selection::All, ResetReach::Direct)
            cancel(job, Selection::All)
            resume_pending(job)
            get_chunk(job, 1)
            get_by_status(job, JobStatus::Pending)
            page_by_status(job, None, None, 10)
            get_stats(job)
            get_job(job)
            get_dependencies(job, 1)
            get_dependents(job, 1)
            topo_sort_ready(job)
            topo_order(job)
            graph(job, GraphFormat::Mermaid)
            list_jobs(Some(job), 10)
        }
    }
    for chunk in [ID_MAX + 1, 1 << 63, u64::MAX] {
        let held = Claim { job_id: JOB, chunk, fence: 1 };
        calls! {
            add_dependency(JOB, chunk, vec![1])
            add_dependency(JOB, 1, vec![chunk])
            complete(&held, done.clone())
            complete_and_claim(&held, done.clone(), &any)
            fail(&held, "oops")
            release(&held)
            heartbeat(&held)
            apply_batch_updates(JOB, vec![ChunkUpdate::Release(held)])
            apply_batch_updates(JOB, vec![ChunkUpdate::Mark { chunk, status: JobStatus::Done, detail: None }])
            mark_status(JOB, chunk, JobStatus::Done, None)
            mark_failed(JOB, chunk, "broken".into())
            retry_failed(JOB, named(chunk))
            reset(JOB, named(chunk), ResetReach::Direct)
            cancel(JOB, named(chunk))
            get_chunk(JOB, chunk)
            page_by_status(JOB, None, Some(chunk), 10)
            get_dependencies(JOB, chunk)
            get_dependents(JOB, chunk)
            changes(chunk, 10)
        }
        let as_chunk = try_one(&fx, c(chunk)).await;
        let as_dependency = try_one(&fx, c(2).depends_on([chunk])).await;
        for answer in [as_chunk, as_dependency] {
            let kind = answer.map_err(|error| error.kind());
            assert!(matches!(kind, Err(ErrorKind::InvalidInput | ErrorKind::InvalidManifest)), "{kind:?}");
        }
    }
    for (name, answer) in answers {
        assert_eq!(answer.map_err(|error| error.kind()), Err(ErrorKind::InvalidInput), "{name}");
    }
    assert_eq!(export(&*fx).await, before);
}

pub(crate) async fn the_highest_ids_work_like_any_other(mut fx: Fixture) {
    let job = i64::try_from(ID_MAX).expect("it fits");
    let new = [c(ID_MAX).depends_on([ID_MAX - 1]), c(ID_MAX - 1), c(0).depends_on([ID_MAX])];
    try_import(&*fx, job, JobSpec::new(), new, ImportOptions::new()).await.expect("they are in range");
    fx.reopen().await;
    for expected in [ID_MAX - 1, ID_MAX, 0] {
        let state = fx.claim_pending(job).await.expect("the job exists").expect("it is ready");
        assert_eq!((state.job_id, state.chunk), (job, expected));
        fx.complete(&state.claim(), Completion::new()).await.expect("it is open");
    }
    assert_eq!(fx.topo_order(job).await.expect("it exists"), [ID_MAX - 1, ID_MAX, 0]);
    assert_eq!(fx.get_dependents(job, ID_MAX).await.expect("it exists"), [0]);
    assert_eq!(fx.page_by_status(job, None, Some(ID_MAX), 10).await.expect("it is in range"), []);
    assert_eq!(fx.list_jobs(Some(job), 10).await.expect("it is in range"), []);
    assert_eq!(fx.list_jobs(Some(job - 1), 10).await.expect("it is in range").len(), 1);
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn texts_are_taken_up_to_their_limits(mut fx: Fixture) {
    let new = c(1).checksum(text(CHECKSUM_BYTES_MAX)).payload(json(PAYLOAD_BYTES_MAX));
    import_as(&*fx, JobSpec::new().name(text(NAME_BYTES_MAX)), [new]).await;
    let held = claim(&*fx).await;
    let result = Completion::new().checksum(text(CHECKSUM_BYTES_MAX)).output(json(OUTPUT_BYTES_MAX));
    fx.complete(&held.claim(), result).await.expect("it is within the limits");
    fx.reopen().await;
    let state = get(&*fx, 1).await;
    assert_eq!(state.payload, Some(json(PAYLOAD_BYTES_MAX)));
    assert_eq!(state.output, Some(json(OUTPUT_BYTES_MAX)));
    assert_eq!(state.observed_checksum, Some(text(CHECKSUM_BYTES_MAX)));
}

pub(crate) async fn texts_past_their_limits_are_refused(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    let held = claim(&*fx).await.claim();
    let too_large = ErrorKind::TooLarge;
    let checksum = Completion::new().checksum(text(CHECKSUM_BYTES_MAX + 1));
    let output = Completion::new().output(json(OUTPUT_BYTES_MAX + 1));
    changes_nothing!(fx, too_large, fx.complete(&held, checksum.clone()));
    changes_nothing!(fx, too_large, fx.complete(&held, output.clone()));
    let detail = Some(text(CHECKSUM_BYTES_MAX + 1));
    changes_nothing!(fx, too_large, fx.mark_status(JOB, 2, JobStatus::Done, detail.clone()));
    changes_nothing!(fx, too_large, try_one(&fx, c(3).checksum(text(CHECKSUM_BYTES_MAX + 1))));
    changes_nothing!(fx, too_large, try_one(&fx, c(3).payload(json(PAYLOAD_BYTES_MAX + 1))));
    changes_nothing!(fx, too_large, try_spec(&fx, JobSpec::new().name(text(NAME_BYTES_MAX + 1))));
}

pub(crate) async fn error_texts_are_cut_between_characters(fx: Fixture) {
    import(&*fx, [c(1).attempts_max(1), c(2).attempts_max(1), c(3)]).await;
    let exact = text(ERROR_BYTES_MAX);
    let long = format!("{}\u{20ac}\u{20ac}", text(ERROR_BYTES_MAX - 2));
    let held = fx.claim_pending_batch(JOB, 2).await.expect("they are ready");
    fx.fail(&held[0].claim(), &exact).await.expect("it is open");
    fx.fail(&held[1].claim(), &long).await.expect("it is open");
    assert_eq!(get(&*fx, 1).await.error, Some(exact));
    assert_eq!(get(&*fx, 2).await.error, Some(text(ERROR_BYTES_MAX - 2)));
    fx.mark_failed(JOB, 3, long.clone()).await.expect("it may");
    assert_eq!(get(&*fx, 3).await.error, Some(text(ERROR_BYTES_MAX - 2)));
    let again = fx.fail(&held[1].claim(), &long).await.expect("it is the same failure");
    assert_eq!(again, magnetar::Outcome::Unchanged);
}

pub(crate) async fn leases_and_backoffs_are_taken_up_to_their_limits(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    for lease_ms in [*LEASE_MS.start(), *LEASE_MS.end()] {
        let taken = fx.claim(&ClaimRequest::new().lease_ms(lease_ms)).await.expect("it is within the limits");
        assert_eq!(taken[0].lease.map(|lease| lease.duration_ms), Some(lease_ms));
        try_spec(&fx, JobSpec::new().lease_ms(lease_ms)).await.expect("it is within the limits");
    }
    for lease_ms in [LEASE_MS.start() - 1, LEASE_MS.end() + 1] {
        changes_nothing!(fx, ErrorKind::InvalidInput, fx.claim(&ClaimRequest::new().lease_ms(lease_ms)));
        changes_nothing!(fx, ErrorKind::InvalidInput, try_spec(&fx, JobSpec::new().lease_ms(lease_ms)));
    }
    let backoff =
        |initial_ms, max_ms| JobSpec::new().backoff(Backoff::new().initial_ms(initial_ms).max_ms(max_ms));
    for (initial_ms, max_ms) in [(0, 0), (BACKOFF_MS_MAX, BACKOFF_MS_MAX)] {
        try_spec(&fx, backoff(initial_ms, max_ms)).await.expect("it is within the limits");
    }
    for (initial_ms, max_ms) in [(2, 1), (0, BACKOFF_MS_MAX + 1), (u64::MAX, u64::MAX)] {
        changes_nothing!(fx, ErrorKind::InvalidInput, try_spec(&fx, backoff(initial_ms, max_ms)));
    }
}

pub(crate) async fn counts_of_claims_and_pages_are_taken_up_to_their_limits(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    assert_eq!(fx.claim_pending_batch(JOB, CLAIM_COUNT_MAX).await.expect("it is the limit").len(), 1);
    for count in [0, CLAIM_COUNT_MAX + 1, usize::MAX] {
        changes_nothing!(fx, ErrorKind::InvalidInput, fx.claim_pending_batch(JOB, count));
    }
    for limit in [1, PAGE_ROWS_MAX] {
        assert_eq!(
            fx.page_by_status(JOB, None, None, limit).await.expect("it is within the limits").len(),
            1
        );
        assert_eq!(fx.list_jobs(None, limit).await.expect("it is within the limits").len(), 1);
        assert!(!fx.changes(0, limit).await.expect("it is within the limits").changes.is_empty());
    }
    for limit in [0, PAGE_ROWS_MAX + 1, usize::MAX] {
        changes_nothing!(fx, ErrorKind::InvalidInput, fx.page_by_status(JOB, None, None, limit));
        changes_nothing!(fx, ErrorKind::InvalidInput, fx.list_jobs(None, limit));
        changes_nothing!(fx, ErrorKind::InvalidInput, fx.changes(0, limit));
    }
}

pub(crate) async fn a_claim_takes_no_more_than_can_be_handed_over(fx: Fixture) {
    let fit = CLAIM_BYTES_MAX / PAYLOAD_BYTES_MAX;
    let all = fit as u64 + 3;
    import(&*fx, (1..=all).map(|id| c(id).payload(json(PAYLOAD_BYTES_MAX)))).await;
    let claims = fx.claim_pending_batch(JOB, CLAIM_COUNT_MAX).await.expect("they are ready");
    assert_eq!(claims.len(), fit, "the last one made it full");
    let stats = fx.get_stats(JOB).await.expect("the job is there");
    assert_eq!((stats.processing, stats.pending), (fit as u64, 3), "what was not handed over is not claimed");
    let claims = fx.claim(&ClaimRequest::new().count(2)).await.expect("they are ready");
    assert_eq!(claims.len(), 2);
    let last =
        fx.complete_and_claim(&claims[0].claim(), Completion::new(), &ClaimRequest::new().count(9)).await;
    assert_eq!(last.expect("one is left").len(), 1);
}

pub(crate) async fn batches_are_taken_up_to_their_limits(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    let held = claim(&*fx).await.claim();
    let beats = |n| vec![ChunkUpdate::Heartbeat(held); n];
    let answers = fx.apply_batch_updates(JOB, beats(BATCH_UPDATES_MAX)).await.expect("it is the limit");
    assert!(answers.len() == BATCH_UPDATES_MAX && answers.iter().all(Result::is_ok));
    changes_nothing!(fx, ErrorKind::TooLarge, fx.apply_batch_updates(JOB, beats(BATCH_UPDATES_MAX + 1)));
    let named = |n| Selection::Chunks(vec![2; n]);
    assert_eq!(fx.cancel(JOB, named(BATCH_UPDATES_MAX)).await.expect("it is the limit"), 1);
    changes_nothing!(fx, ErrorKind::TooLarge, fx.retry_failed(JOB, named(BATCH_UPDATES_MAX + 1)));
}

pub(crate) async fn dependencies_are_taken_up_to_their_limit(fx: Fixture) {
    let most = DEPENDENCIES_PER_CHUNK_MAX as u64;
    import(&*fx, (0..=most).map(c)).await;
    let last = most + 1;
    changes_nothing!(fx, ErrorKind::TooLarge, try_one(&fx, c(last).depends_on(0..=most)));
    import(&*fx, [c(last).depends_on(0..most)]).await;
    assert_eq!(u64::from(get(&*fx, last).await.unmet_dependencies), most);
    changes_nothing!(fx, ErrorKind::TooLarge, fx.add_dependency(JOB, last, vec![most]));
    changes_nothing!(fx, ErrorKind::TooLarge, fx.add_dependency(JOB, 1, (2..=most + 2).collect()));
}

pub(crate) async fn what_a_job_leaves_open_has_the_documented_defaults(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let state = claim(&*fx).await;
    assert_eq!((state.attempts_max, state.losses_max), (ATTEMPTS_MAX_DEFAULT, LOSSES_MAX_DEFAULT));
    assert_eq!(state.lease.map(|lease| lease.duration_ms), Some(LEASE_MS_DEFAULT));
    assert_eq!((ATTEMPTS_MAX_DEFAULT, LOSSES_MAX_DEFAULT), (3, 10));
}
