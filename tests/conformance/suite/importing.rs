//! Importing is an upsert: what a manifest says becomes what the store holds, as far as the work done allows.

use magnetar::{
    Completion, Deadline, DependencyFailure, ErrorKind, ImportOptions, ImportReport, JobSpec, JobStatus,
    Json, Manifest, NewChunk, OnConflict, OnMissing, Outcome, Selection, limits,
};

use super::{
    JOB, c, changes_nothing, claim, claim_ids, get, import, import_as, mark_done, refused, status, statuses,
    try_import,
};
use crate::fixture::Fixture;
use crate::support::export;

use JobStatus::{Cancelled, Done, Failed, Pending, Processing};

/// added, updated, unchanged, kept, reset, cancelled, deleted
fn counts(report: &ImportReport) -> [u64; 7] {
    [
        report.added,
        report.updated,
        report.unchanged,
        report.kept,
        report.reset,
        report.cancelled,
        report.deleted,
    ]
}

async fn with(fx: &Fixture, new: impl IntoIterator<Item = NewChunk>, options: ImportOptions) -> [u64; 7] {
    let report = try_import(&**fx, JOB, JobSpec::new(), new, options).await.expect("the import is fine");
    counts(&report)
}

/// Chunks 1 to 5: pending, processing, done, failed, cancelled.
async fn one_of_each(fx: &Fixture) {
    import(&**fx, (1..=5).map(|id| c(id).checksum("old").priority(i32::from(id == 2)))).await;
    assert_eq!(claim(&**fx).await.chunk, 2);
    mark_done(&**fx, [3]).await;
    fx.mark_failed(JOB, 4, "broken".into()).await.expect("it may");
    fx.cancel(JOB, Selection::Chunks(vec![5])).await.expect("it may");
}

pub(crate) async fn the_same_import_twice_changes_nothing(fx: Fixture) {
    let payload = Json::new(&serde_json::json!({"a": [1, 2.5, null]})).expect("it is JSON");
    let spec = JobSpec::new().name("nightly").attempts_max(4).lease_ms(5_000).losses_max(0);
    let new = [
        c(1).checksum("x").payload(payload).priority(-3).attempts_max(0).losses_max(1),
        c(2).depends_on([3, 1]).on_dependency_failure(DependencyFailure::Ignore),
        c(3),
    ];
    assert_eq!(counts(&import_as(&*fx, spec.clone(), new.clone()).await), [3, 0, 0, 0, 0, 0, 0]);
    let before = export(&*fx).await;
    fx.clock.advance(1_000);
    assert_eq!(counts(&import_as(&*fx, spec, new.clone()).await), [0, 0, 3, 0, 0, 0, 0]);
    let reversed = new.into_iter().rev();
    assert_eq!(counts(&import(&*fx, reversed).await), [0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(export(&*fx).await, before);
}

pub(crate) async fn the_same_import_over_work_in_progress_changes_nothing(fx: Fixture) {
    one_of_each(&fx).await;
    let before = export(&*fx).await;
    let same = (1..=5).map(|id| c(id).checksum("old").priority(i32::from(id == 2)));
    assert_eq!(counts(&import(&*fx, same).await), [0, 0, 5, 0, 0, 0, 0]);
    assert_eq!(export(&*fx).await, before);
}

pub(crate) async fn a_manifest_is_imported_with_its_job(fx: Fixture) {
    let manifest =
        Manifest::new().job(JobSpec::new().name("n").attempts_max(9)).chunks([c(1), c(2).depends_on([1])]);
    let report = fx.init_from_manifest(JOB, &manifest).await.expect("the manifest is fine");
    assert_eq!(counts(&report), [2, 0, 0, 0, 0, 0, 0]);
    let info = fx.get_job(JOB).await.expect("the job exists");
    assert_eq!((info.spec, info.stats.total_chunks, info.stats.blocked), (manifest.job.clone(), 2, 1));
    assert_eq!(get(&*fx, 2).await.attempts_max, 9);
    let again = fx.init_from_manifest(JOB, &manifest).await.expect("the manifest is fine");
    assert_eq!(counts(&again), [0, 0, 2, 0, 0, 0, 0]);
}

pub(crate) async fn a_job_without_chunks_exists(fx: Fixture) {
    assert_eq!(counts(&import(&*fx, []).await), [0; 7]);
    let stats = fx.get_stats(JOB).await.expect("the job exists");
    assert_eq!((stats.total_chunks, stats.is_stalled()), (0, false));
    assert_eq!(claim_ids(&*fx).await, [0; 0]);
}

pub(crate) async fn changed_scheduling_is_taken_over_while_a_chunk_is_not_under_way_or_done(fx: Fixture) {
    one_of_each(&fx).await;
    let new = (1..=5).map(|id| c(id).checksum("old").priority(50).attempts_max(77));
    assert_eq!(counts(&import(&*fx, new.clone()).await), [0, 3, 0, 2, 0, 0, 0]);
    assert_eq!(statuses(&*fx).await, [Pending, Processing, Done, Failed, Cancelled]);
    for (chunk, priority) in [(1, 50), (2, 1), (3, 0), (4, 50), (5, 50)] {
        assert_eq!(get(&*fx, chunk).await.priority, priority, "chunk {chunk}");
    }
    assert_eq!(get(&*fx, 4).await.error.as_deref(), Some("broken"));
    assert_eq!(counts(&import(&*fx, new).await), [0, 0, 3, 2, 0, 0, 0]);
}

pub(crate) async fn a_changed_priority_changes_the_order_of_claims(fx: Fixture) {
    import(&*fx, [c(1), c(2), c(3)]).await;
    import(&*fx, [c(1).priority(-1), c(2), c(3).priority(1)]).await;
    assert_eq!(claim_ids(&*fx).await, [3, 2, 1]);
}

pub(crate) async fn changed_content_starts_a_chunk_over_that_is_not_under_way_or_done(fx: Fixture) {
    one_of_each(&fx).await;
    let new = [1, 4, 5].map(|id| c(id).checksum("new"));
    assert_eq!(counts(&import(&*fx, new).await), [0, 3, 0, 0, 0, 0, 0]);
    assert_eq!(statuses(&*fx).await, [Pending, Processing, Done, Pending, Pending]);
    for chunk in [1, 4, 5] {
        let state = get(&*fx, chunk).await;
        assert_eq!((state.checksum.as_deref(), state.error, state.attempts), (Some("new"), None, 0));
    }
}

pub(crate) async fn a_changed_payload_is_changed_content_and_its_spelling_is_too(fx: Fixture) {
    let payload = |text| Json::from_text(text).expect("it is JSON");
    import(&*fx, [c(1).payload(payload("{\"a\":1}"))]).await;
    mark_done(&*fx, [1]).await;
    let changed = [c(1).payload(payload("{\"a\":2}"))];
    let none = ImportOptions::new();
    refused(try_import(&*fx, JOB, JobSpec::new(), changed, none).await, ErrorKind::ContentConflict);
    refused(try_import(&*fx, JOB, JobSpec::new(), [c(1)], none).await, ErrorKind::ContentConflict);
    let same = [c(1).payload(payload("{\"a\":1}"))];
    assert_eq!(with(&fx, same, none).await, [0, 0, 1, 0, 0, 0, 0]);
}

pub(crate) async fn changed_content_under_way_or_done_refuses_the_whole_import_and_lists_the_chunks(
    fx: Fixture,
) {
    one_of_each(&fx).await;
    let new = || (1..=6).map(|id| c(id).checksum("new"));
    let error = changes_nothing!(
        fx,
        ErrorKind::ContentConflict,
        try_import(&*fx, JOB, JobSpec::new().name("other"), new(), ImportOptions::new())
    );
    assert_eq!((error.job(), error.conflicts()), (Some(JOB), &[2, 3][..]));
    assert!(error.to_string().contains("2, 3"), "{error}");
}

pub(crate) async fn changed_content_can_be_left_out_where_it_conflicts(fx: Fixture) {
    one_of_each(&fx).await;
    let held = get(&*fx, 2).await;
    let new = (1..=5).map(|id| c(id).checksum("new"));
    let keep = ImportOptions::new().on_conflict(OnConflict::Keep);
    assert_eq!(with(&fx, new, keep).await, [0, 3, 0, 2, 0, 0, 0]);
    assert_eq!(get(&*fx, 2).await, held);
    assert_eq!(get(&*fx, 3).await.checksum.as_deref(), Some("old"));
    fx.complete(&held.claim(), Completion::new().checksum("old")).await.expect("its claim stayed open");
}

pub(crate) async fn changed_content_can_take_back_what_is_under_way_or_done(fx: Fixture) {
    one_of_each(&fx).await;
    import(&*fx, [c(6).depends_on([3])]).await;
    let held = get(&*fx, 2).await;
    let new = (1..=5).map(|id| c(id).checksum("new"));
    let reset = ImportOptions::new().on_conflict(OnConflict::Reset);
    assert_eq!(with(&fx, new, reset).await, [0, 3, 0, 0, 2, 0, 0]);
    assert_eq!(statuses(&*fx).await, [Pending; 6]);
    assert_eq!(get(&*fx, 6).await.unmet_dependencies, 1, "what it depends on is to be done again");
    refused(fx.complete(&held.claim(), Completion::new()).await, ErrorKind::Superseded);
}

pub(crate) async fn chunks_that_are_missing_are_kept_by_default(fx: Fixture) {
    one_of_each(&fx).await;
    assert_eq!(with(&fx, [c(6)], ImportOptions::new()).await, [1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(statuses(&*fx).await, [Pending, Processing, Done, Failed, Cancelled, Pending]);
}

pub(crate) async fn chunks_that_are_missing_can_be_cancelled(fx: Fixture) {
    one_of_each(&fx).await;
    let held = get(&*fx, 2).await;
    let cancel = ImportOptions::new().on_missing(OnMissing::Cancel);
    assert_eq!(with(&fx, [c(6)], cancel).await, [1, 0, 0, 0, 0, 3, 0]);
    assert_eq!(statuses(&*fx).await, [Cancelled, Cancelled, Done, Cancelled, Cancelled, Pending]);
    refused(fx.complete(&held.claim(), Completion::new()).await, ErrorKind::Superseded);
    assert_eq!(with(&fx, [c(6)], cancel).await, [0, 0, 1, 0, 0, 0, 0]);
}

pub(crate) async fn chunks_that_are_missing_can_be_deleted(fx: Fixture) {
    one_of_each(&fx).await;
    let held = get(&*fx, 2).await;
    let delete = ImportOptions::new().on_missing(OnMissing::Delete);
    assert_eq!(with(&fx, [c(1).checksum("old"), c(6)], delete).await, [1, 0, 1, 0, 0, 0, 4]);
    assert_eq!(super::ids(&crate::support::chunks_of(&*fx, JOB).await), [1, 6]);
    refused(fx.complete(&held.claim(), Completion::new()).await, ErrorKind::ChunkNotFound);
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").total_chunks, 2);
    import(&*fx, [c(2)]).await;
    refused(fx.complete(&held.claim(), Completion::new()).await, ErrorKind::Superseded);
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn a_missing_chunk_that_another_depends_on_is_not_deleted(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1]), c(3).depends_on([1])]).await;
    let delete = ImportOptions::new().on_missing(OnMissing::Delete);
    let unknown = [c(2).depends_on([1]).priority(9), c(3)];
    changes_nothing!(
        fx,
        ErrorKind::UnknownDependency,
        try_import(&*fx, JOB, JobSpec::new(), unknown.clone(), delete)
    );
    mark_done(&*fx, [1, 2]).await;
    let kept = [c(2), c(3)];
    let error =
        changes_nothing!(fx, ErrorKind::Refused, try_import(&*fx, JOB, JobSpec::new(), kept.clone(), delete));
    assert!(error.to_string().contains("chunk 2"), "{error}");
    assert_eq!(with(&fx, [c(3)], delete).await, [0, 1, 0, 0, 0, 0, 2]);
    assert_eq!(fx.get_dependencies(JOB, 3).await.expect("it exists"), [0; 0]);
    assert_eq!(claim_ids(&*fx).await, [3]);
}

pub(crate) async fn of_very_many_dependents_the_last_one_keeps_a_missing_chunk_too(fx: Fixture) {
    let last = limits::DEPENDENTS_PER_COMMIT_MAX as u64 + 1;
    import(&*fx, std::iter::once(c(0)).chain((1..=last).map(|id| c(id).depends_on([0])))).await;
    mark_done(&*fx, [0]).await;
    for _ in 0..3 {
        // Behind the slices that are left.
        fx.release_all().await.expect("the store is open");
    }
    mark_done(&*fx, [last]).await;
    let delete = ImportOptions::new().on_missing(OnMissing::Delete);
    let new = || (1..=last).map(c);
    changes_nothing!(fx, ErrorKind::Refused, try_import(&*fx, JOB, JobSpec::new(), new(), delete));
}

pub(crate) async fn dependencies_are_replaced_by_those_of_the_new_manifest(fx: Fixture) {
    import(&*fx, [c(1), c(2), c(3).depends_on([1]), c(4).depends_on([1, 2])]).await;
    let report = import(&*fx, [c(3).depends_on([2]), c(4)]).await;
    assert_eq!(counts(&report), [0, 2, 0, 0, 0, 0, 0]);
    assert_eq!(fx.get_dependencies(JOB, 3).await.expect("it exists"), [2]);
    assert_eq!(fx.get_dependents(JOB, 1).await.expect("it exists"), [0; 0]);
    assert_eq!(claim_ids(&*fx).await, [1, 2, 4]);
    mark_done(&*fx, [2]).await;
    assert_eq!(claim_ids(&*fx).await, [3]);
}

pub(crate) async fn a_changed_policy_counts_at_once(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1]), c(3).depends_on([1])]).await;
    fx.mark_failed(JOB, 1, "broken".into()).await.expect("it is not done");
    assert_eq!(claim_ids(&*fx).await, [0; 0]);
    let ignore = c(2).depends_on([1]).on_dependency_failure(DependencyFailure::Ignore);
    let cancel = c(3).depends_on([1]).on_dependency_failure(DependencyFailure::Cancel);
    assert_eq!(counts(&import(&*fx, [ignore, cancel]).await), [0, 2, 0, 0, 0, 0, 0]);
    assert_eq!(claim_ids(&*fx).await, [2]);
    assert_eq!(status(&*fx, 3).await, Cancelled);
}

pub(crate) async fn a_changed_policy_of_the_job_is_told_of_every_failure_however_many(fx: Fixture) {
    let last = limits::PAGE_ROWS_MAX as u64;
    import(&*fx, (0..=last).map(c).chain([c(last + 1).depends_on([last])])).await;
    for some in [(0..last).collect(), vec![last]] {
        fx.cancel(JOB, Selection::Chunks(some)).await.expect("they are pending");
    }
    assert_eq!(status(&*fx, last + 1).await, Pending);
    import_as(&*fx, JobSpec::new().on_dependency_failure(DependencyFailure::Cancel), [c(0)]).await;
    assert_eq!(status(&*fx, last + 1).await, Cancelled);
}

pub(crate) async fn each_setting_of_a_chunk_that_changes_is_taken_over(fx: Fixture) {
    let changes: [fn(NewChunk) -> NewChunk; 7] = [
        |c| c.priority(3),
        |c| c.attempts_max(9),
        |c| c.losses_max(8),
        |c| c.on_dependency_failure(DependencyFailure::Ignore),
        |c| c.depends_on([1]),
        |c| c.checksum("abc"),
        |c| c.payload(Json::new(&[1]).expect("it is JSON")),
    ];
    let mut chunk = c(2);
    import(&*fx, [c(1), chunk.clone()]).await;
    for (at, change) in changes.into_iter().enumerate() {
        chunk = change(chunk);
        assert_eq!(counts(&import(&*fx, [chunk.clone()]).await), [0, 1, 0, 0, 0, 0, 0], "change {at}");
        assert_eq!(counts(&import(&*fx, [chunk.clone()]).await), [0, 0, 1, 0, 0, 0, 0], "change {at}");
    }
    let state = get(&*fx, 2).await;
    assert_eq!((state.priority, state.attempts_max, state.losses_max), (3, 9, 8));
    assert_eq!((state.unmet_dependencies, state.checksum.as_deref()), (1, Some("abc")));
    fx.mark_failed(JOB, 1, "broken".into()).await.expect("it is not done");
    assert_eq!(claim_ids(&*fx).await, [2], "the failure is ignored");
}

pub(crate) async fn a_failure_that_was_ignored_stays_so_under_a_changed_priority(fx: Fixture) {
    let spec = JobSpec::new().on_dependency_failure(DependencyFailure::Ignore);
    import_as(&*fx, spec, [c(1), c(2).depends_on([1])]).await;
    fx.mark_failed(JOB, 1, "broken".into()).await.expect("it is not done");
    fx.retry_failed(JOB, Selection::All).await.expect("the job exists");
    import(&*fx, [c(2).depends_on([1]).priority(1)]).await;
    assert_eq!(get(&*fx, 2).await.unmet_dependencies, 0, "the policy is the job's still");
    assert_eq!(claim_ids(&*fx).await, [2, 1]);
}

pub(crate) async fn a_failure_that_was_ignored_stays_so_under_another_policy_of_the_job(fx: Fixture) {
    let spec = |policy| JobSpec::new().on_dependency_failure(policy);
    import_as(&*fx, spec(DependencyFailure::Ignore), [c(1), c(2).depends_on([1])]).await;
    fx.mark_failed(JOB, 1, "broken".into()).await.expect("it is not done");
    import_as(&*fx, spec(DependencyFailure::Cancel), [c(1)]).await;
    assert_eq!(claim_ids(&*fx).await, [2]);
}

pub(crate) async fn dependencies_may_name_what_the_job_has_already(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    mark_done(&*fx, [1]).await;
    import(&*fx, [c(3).depends_on([1]), c(4).depends_on([1, 2, 5]), c(5)]).await;
    assert_eq!(get(&*fx, 4).await.unmet_dependencies, 2);
    assert_eq!(claim_ids(&*fx).await, [2, 3, 5]);
}

pub(crate) async fn an_unknown_dependency_refuses_the_whole_import(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    for new in [vec![c(2).depends_on([1, 9])], vec![c(1).depends_on([9]), c(2)]] {
        let error = changes_nothing!(
            fx,
            ErrorKind::UnknownDependency,
            try_import(&*fx, JOB, JobSpec::new(), new.clone(), ImportOptions::new())
        );
        assert!(error.to_string().contains("chunk 9"), "{error}");
    }
    let elsewhere = try_import(&*fx, 8, JobSpec::new(), [c(2).depends_on([1])], ImportOptions::new());
    changes_nothing!(fx, ErrorKind::UnknownDependency, elsewhere);
}

pub(crate) async fn a_circle_refuses_the_whole_import_and_is_named(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1])]).await;
    let within = vec![c(3).depends_on([4]), c(4).depends_on([5]), c(5).depends_on([3])];
    let across = vec![c(1).depends_on([3]), c(3).depends_on([2])];
    for (new, named) in [(within, ["3", "4", "5"]), (across, ["1", "2", "3"])] {
        let error = changes_nothing!(
            fx,
            ErrorKind::DependencyCycle,
            try_import(&*fx, JOB, JobSpec::new(), new.clone(), ImportOptions::new())
        );
        assert!(named.iter().all(|id| error.to_string().contains(id)), "{error}");
    }
    let turned_round = [c(1).depends_on([2]), c(2)];
    assert_eq!(counts(&import(&*fx, turned_round).await), [0, 2, 0, 0, 0, 0, 0]);
    assert_eq!(claim_ids(&*fx).await, [2]);
}

pub(crate) async fn a_chunk_that_depends_on_itself_is_refused(fx: Fixture) {
    let own = [c(1), c(2).depends_on([2])];
    let error = changes_nothing!(
        fx,
        ErrorKind::DependencyCycle,
        try_import(&*fx, JOB, JobSpec::new(), own.clone(), ImportOptions::new())
    );
    assert_eq!(error.chunk(), Some(2));
}

pub(crate) async fn an_import_over_a_failed_dependency_follows_the_policy(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    fx.mark_failed(JOB, 1, "broken".into()).await.expect("it is not done");
    let policies = [DependencyFailure::Wait, DependencyFailure::Cancel, DependencyFailure::Ignore];
    import(&*fx, (2..).zip(policies).map(|(id, p)| c(id).depends_on([1]).on_dependency_failure(p))).await;
    assert_eq!(statuses(&*fx).await, [Failed, Pending, Cancelled, Pending]);
    assert_eq!(claim_ids(&*fx).await, [4]);
}

pub(crate) async fn what_a_manifest_leaves_open_of_the_job_stays(fx: Fixture) {
    import_as(&*fx, JobSpec::new().name("first").attempts_max(5).lease_ms(9_000), [c(1)]).await;
    import_as(&*fx, JobSpec::new().name("second"), []).await;
    let spec = fx.get_job(JOB).await.expect("the job exists").spec;
    assert_eq!(
        (spec.name.as_deref(), spec.attempts_max, spec.lease_ms),
        (Some("second"), Some(5), Some(9_000))
    );
}

pub(crate) async fn an_error_in_the_stream_refuses_the_whole_import(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let bad = "finished".parse::<JobStatus>().expect_err("that is no status");
    let before = export(&*fx).await;
    let stream = magnetar::chunks([Ok(c(2)), Err(bad), Ok(c(3))]);
    let error = refused(
        fx.import(JOB, &JobSpec::new(), stream, &ImportOptions::new()).await,
        ErrorKind::InvalidInput,
    );
    assert_eq!(error.job(), Some(JOB));
    assert_eq!(export(&*fx).await, before);
}

pub(crate) async fn new_job_gives_ids_that_were_never_used(fx: Fixture) {
    let first = fx.new_job(&JobSpec::new().name("a")).await.expect("the store is open");
    let second = fx.new_job(&JobSpec::new()).await.expect("the store is open");
    assert!(second > first);
    try_import(&*fx, 500, JobSpec::new(), [c(1)], ImportOptions::new()).await.expect("it is fine");
    fx.delete_job(500).await.expect("it exists");
    assert!(fx.new_job(&JobSpec::new()).await.expect("the store is open") > 500);
    assert_eq!(fx.get_job(first).await.expect("it exists").spec.name.as_deref(), Some("a"));
    let report =
        try_import(&*fx, first, JobSpec::new(), [c(1)], ImportOptions::new()).await.expect("it is fine");
    assert_eq!(report.added, 1);
}

pub(crate) async fn new_job_says_when_the_ids_are_used_up(fx: Fixture) {
    let last = i64::try_from(limits::ID_MAX).expect("it fits");
    try_import(&*fx, last, JobSpec::new(), [c(1)], ImportOptions::new()).await.expect("it is fine");
    changes_nothing!(fx, ErrorKind::InvalidInput, fx.new_job(&JobSpec::new()));
}

pub(crate) async fn a_deleted_job_is_gone_and_its_fences_are_never_used_again(mut fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1])]).await;
    let old = claim(&*fx).await;
    assert_eq!(fx.delete_job(JOB).await.expect("it exists"), Outcome::Changed);
    assert_eq!(fx.delete_job(JOB).await.expect("it is gone already"), Outcome::Unchanged);
    refused(fx.get_stats(JOB).await, ErrorKind::JobNotFound);
    refused(fx.claim_pending(JOB).await, ErrorKind::JobNotFound);
    fx.reopen().await;
    import(&*fx, [c(1), c(2).depends_on([1])]).await;
    assert_eq!(get(&*fx, 1).await.fence, 0);
    assert!(claim(&*fx).await.fence > old.fence);
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn a_chunk_that_is_for_later_waits_for_its_moment(fx: Fixture) {
    let at_ms = fx.clock.get() + 3_600_000;
    let chunks =
        [c(1).not_before_ms(at_ms), c(2), c(3).depends_on([2]).not_before_ms(at_ms), c(4).not_before_ms(1)];
    import(&*fx, chunks.clone()).await;
    let waits = get(&*fx, 1).await;
    let delay = Deadline { set_at_ms: 0, duration_ms: at_ms };
    assert_eq!((waits.status, waits.not_before, waits.fence), (Pending, Some(delay), 0));
    let stats = fx.get_stats(JOB).await.expect("the job exists");
    assert_eq!((stats.ready(), stats.delayed, stats.blocked, stats.is_stalled()), (2, 1, 1, false));
    // The same manifest once more changes nothing, before its moment and after.
    let again = import(&*fx, chunks.clone()).await;
    assert_eq!((again.unchanged, again.updated), (4, 0));
    fx.clock.set(at_ms - 1);
    assert_eq!(claim_ids(&*fx).await, [2, 4]);
    for id in [2, 4] {
        let held = get(&*fx, id).await.claim();
        fx.complete(&held, Completion::new()).await.expect("it is open");
    }
    assert!(claim_ids(&*fx).await.is_empty(), "what 3 depends on is done, and its moment is to come");
    // A clock that is put back brings no moment forward.
    fx.clock.set(at_ms - 2_000_000);
    assert!(claim_ids(&*fx).await.is_empty());
    fx.clock.set(at_ms);
    let again = import(&*fx, chunks).await;
    assert_eq!((again.unchanged, again.updated), (4, 0));
    assert_eq!(claim_ids(&*fx).await, [1, 3]);
    fx.verify().await.expect("the store is whole");
}

pub(crate) async fn a_chunk_that_was_cancelled_or_failed_before_its_moment_still_waits_for_it(
    mut fx: Fixture,
) {
    let at_ms = fx.clock.get() + 3_600_000;
    let cancel = JobSpec::new().on_dependency_failure(DependencyFailure::Cancel);
    let later = |id| c(id).not_before_ms(at_ms);
    let chunks = || [c(1), later(2).depends_on([1]), later(3), later(4), c(5).depends_on([1])];
    import_as(&*fx, cancel.clone(), chunks()).await;
    fx.mark_failed(JOB, 1, "no".into()).await.expect("it is pending");
    fx.cancel(JOB, Selection::Chunks(vec![3])).await.expect("it is pending");
    fx.mark_failed(JOB, 4, "no".into()).await.expect("it is pending");
    assert_eq!(statuses(&*fx).await, [Failed, Cancelled, Cancelled, Failed, Cancelled]);
    assert_eq!(import_as(&*fx, cancel.clone(), chunks()).await.unchanged, 5);
    fx.reopen().await;
    // A moment can be given to what is cancelled, too; what revives it in the same import does not lose it.
    let chunks =
        || [c(1).checksum("new"), later(2).depends_on([1]), later(3), later(4), later(5).depends_on([1])];
    assert_eq!(import_as(&*fx, cancel.clone(), chunks()).await.updated, 2);
    assert_eq!(import_as(&*fx, cancel, chunks()).await.unchanged, 5);
    fx.retry_failed(JOB, Selection::Chunks(vec![3, 4])).await.expect("they are not wanted");
    assert_eq!(claim_ids(&*fx).await, [1]);
    let held = get(&*fx, 1).await.claim();
    fx.complete(&held, Completion::new()).await.expect("it is open");
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").delayed, 4);
    assert!(claim_ids(&*fx).await.is_empty(), "their moment is to come");
    fx.verify().await.expect("the store is whole");
    fx.clock.set(at_ms);
    assert_eq!(claim_ids(&*fx).await, [2, 3, 4, 5]);
}

pub(crate) async fn a_manifest_moves_a_chunk_that_nobody_has_had(mut fx: Fixture) {
    let now_ms = fx.clock.get();
    let later = |ms| now_ms + ms;
    import(&*fx, [c(1).not_before_ms(later(5_000)), c(2), c(3)]).await;
    // Later, for the first time, and sooner.
    let moved =
        import(&*fx, [c(1).not_before_ms(later(9_000)), c(2).not_before_ms(later(1_000)), c(3)]).await;
    assert_eq!((moved.updated, moved.unchanged), (2, 1));
    assert_eq!(claim_ids(&*fx).await, [3]);
    let moved = import(&*fx, [c(1).not_before_ms(now_ms), c(2), c(3).not_before_ms(later(1_000))]).await;
    assert_eq!((moved.updated, moved.unchanged), (1, 2), "2 is left as it is, 3 is somebody's");
    assert_eq!(claim_ids(&*fx).await, [1]);
    // Whoever had a chunk says when it comes back.
    let held = get(&*fx, 3).await.claim();
    fx.release(&held).await.expect("it is open");
    let moved = import(&*fx, [c(3).not_before_ms(later(1_000))]).await;
    assert_eq!((moved.updated, moved.unchanged), (0, 1));
    // New content begins anew, and so does its moment.
    let moved = import(&*fx, [c(3).checksum("abc").not_before_ms(later(1_000))]).await;
    assert_eq!(moved.updated, 1);
    fx.reopen().await;
    let waits = [get(&*fx, 2).await.not_before, get(&*fx, 3).await.not_before];
    assert_eq!(waits.map(|delay| delay.map(Deadline::at_ms)), [Some(later(1_000)); 2]);
    fx.clock.set(later(1_000));
    assert_eq!(claim_ids(&*fx).await, [2, 3]);
    let never = [c(4).not_before_ms(u64::MAX)];
    let result = try_import(&*fx, JOB, JobSpec::new(), never, ImportOptions::new()).await;
    refused(result, ErrorKind::InvalidManifest);
}

/// What had cancelled it would bring it back, and is none of its dependencies any more.
pub(crate) async fn an_import_brings_back_what_the_failure_of_a_former_dependency_had_cancelled(fx: Fixture) {
    let spec = || JobSpec::new().on_dependency_failure(DependencyFailure::Cancel);
    let chunks = [c(1), c(2), c(3).depends_on([1, 2]), c(4).depends_on([3]), c(5).depends_on([1])];
    import_as(&*fx, spec(), chunks).await;
    fx.mark_failed(JOB, 1, "broken".into()).await.expect("it is not done");
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").cancelled, 3);
    import_as(&*fx, spec(), [c(3).depends_on([2])]).await;
    let stats = fx.get_stats(JOB).await.expect("the job exists");
    assert_eq!((stats.cancelled, stats.blocked, stats.ready()), (1, 2, 1), "of 5 alone");

    // Another one of those that it gets says the same, and brings it back in turn.
    fx.mark_failed(JOB, 2, "broken".into()).await.expect("it is not done");
    import_as(&*fx, spec(), [c(3).depends_on([1])]).await;
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").cancelled, 3);
    fx.retry_failed(JOB, Selection::Chunks(vec![1])).await.expect("it failed");
    let stats = fx.get_stats(JOB).await.expect("the job exists");
    assert_eq!((stats.cancelled, stats.blocked, stats.ready()), (0, 3, 1));
    fx.verify().await.expect("nothing is damaged");
}
