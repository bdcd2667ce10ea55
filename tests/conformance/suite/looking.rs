//! What a store shows: lists, pages, counts, orders, drawings, the feed, the watch.

use std::collections::BTreeMap;

use magnetar::{
    Change, Completion, ErrorKind, GraphFormat, ImportOptions, JobSpec, JobStats, JobStatus, JobStore,
    Selection,
};

use super::{JOB, c, changes_nothing, claim, ids, import, mark_done, try_import};
use crate::fixture::Fixture;
use crate::support::{changes_since, chunks_of, seed};

pub(crate) async fn jobs_are_listed_page_by_page(fx: Fixture) {
    for job in [40, 10, 30, 20, 0] {
        try_import(&*fx, job, JobSpec::new().name(format!("job {job}")), [c(1)], ImportOptions::new())
            .await
            .expect("it is fine");
    }
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = fx.list_jobs(after, 2).await.expect("the store is open");
        after = page.last().map(|info| info.job_id).or(after);
        let more = page.len() == 2;
        found.extend(page.iter().map(|info| info.job_id));
        if !more {
            break;
        }
    }
    assert_eq!(found, [0, 10, 20, 30, 40]);
    let info = fx.list_jobs(Some(20), 1).await.expect("the store is open").remove(0);
    assert_eq!((info.job_id, info.spec.name.as_deref()), (30, Some("job 30")));
    assert_eq!(fx.get_job(30).await.expect("it exists"), info);
    assert_eq!(fx.get_stats(30).await.expect("it exists"), info.stats);
}

pub(crate) async fn chunks_are_listed_by_status_in_the_order_of_their_ids(fx: Fixture) {
    import(
        &*fx,
        (1..=9).map(|id| if id == 5 { c(5).depends_on([1]) } else { c(id).priority(i32::from(id == 7)) }),
    )
    .await;
    let seven = claim(&*fx).await;
    let one = claim(&*fx).await;
    assert_eq!((seven.chunk, one.chunk), (7, 1));
    let two = claim(&*fx).await;
    fx.fail(&two.claim(), "oops").await.expect("it is open");
    mark_done(&*fx, [9]).await;
    let list = |status| fx.get_by_status(JOB, status);
    assert_eq!(ids(&list(JobStatus::Pending).await.expect("it exists")), [2, 3, 4, 5, 6, 8]);
    assert_eq!(list(JobStatus::Processing).await.expect("it exists"), [one, seven]);
    assert_eq!(ids(&list(JobStatus::Done).await.expect("it exists")), [9]);
    assert_eq!(ids(&list(JobStatus::Failed).await.expect("it exists")), [0; 0]);
    let page = |after, limit| fx.page_by_status(JOB, Some(JobStatus::Pending), after, limit);
    assert_eq!(ids(&page(None, 2).await.expect("it exists")), [2, 3]);
    assert_eq!(ids(&page(Some(3), 3).await.expect("it exists")), [4, 5, 6]);
    assert_eq!(ids(&page(Some(6), 3).await.expect("it exists")), [8]);
    assert_eq!(ids(&page(Some(8), 3).await.expect("it exists")), [0; 0]);
    assert_eq!(ids(&fx.page_by_status(JOB, None, Some(7), 9).await.expect("it exists")), [8, 9]);
}

/// The index of ready chunks has a list for each priority.
pub(crate) async fn pages_of_many_priorities_list_chunks_in_the_order_of_their_ids(fx: Fixture) {
    // Neighbours, then some that stand alone, then neighbours.
    let ids: Vec<u64> = (0..300).chain((300..400).map(|id| 3 * id)).chain(2_000..2_200).collect();
    let priority = |id: u64| i32::try_from(id * 7_919 % 2_203).expect("small");
    import(&*fx, ids.iter().map(|&id| c(id).priority(priority(id)))).await;
    mark_done(&*fx, (20..120).chain(160..200).chain((200..280).step_by(2)).chain(2_180..2_200)).await;
    for id in (201..280).step_by(4) {
        fx.mark_failed(JOB, id, "no".into()).await.expect("it is pending");
    }
    let all = fx.page_by_status(JOB, None, None, 1_000).await.expect("the job is there");
    assert_eq!(all.len(), ids.len());
    for status in [JobStatus::Pending, JobStatus::Done, JobStatus::Failed] {
        let of_status = all.iter().filter(|chunk| chunk.status == status);
        let expected: Vec<u64> = of_status.map(|chunk| chunk.chunk).collect();
        for limit in [1, 7, 50, 1_000] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = fx.page_by_status(JOB, Some(status), after, limit).await;
                let page = super::ids(&page.expect("the job is there"));
                after = page.last().copied().or(after);
                let is_last = page.len() < limit;
                found.extend(page);
                if is_last {
                    break;
                }
            }
            assert_eq!(found, expected, "{status:?} by {limit}");
        }
    }
}

pub(crate) async fn a_long_list_has_each_chunk_once_with_what_is_its_own(fx: Fixture) {
    // Close together, with single ones missing, then far apart, then close together again.
    let all: Vec<u64> = (0..700).filter(|id| id % 5 > 0).chain((1..40).map(|n| 1_000 * n)).collect();
    let all: Vec<u64> = all.into_iter().chain(50_000..50_500).collect();
    import(&*fx, all.iter().map(|&id| c(id).checksum(format!("sum of {id}")))).await;
    let (done, pending): (Vec<u64>, Vec<u64>) = all.iter().partition(|&id| id % 7 == 0);
    mark_done(&*fx, done.iter().copied()).await;
    for (status, expected) in
        [(None, &all), (Some(JobStatus::Pending), &pending), (Some(JobStatus::Done), &done)]
    {
        for limit in [100, 131, 700, 5_000] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = fx.page_by_status(JOB, status, after, limit).await.expect("it exists");
                assert!(page.iter().all(|state| state.checksum == Some(format!("sum of {}", state.chunk))));
                found.extend(ids(&page));
                if page.len() < limit {
                    break;
                }
                after = found.last().copied();
            }
            assert_eq!(&found, expected, "{status:?}, {limit} at a time");
        }
    }
}

pub(crate) async fn what_does_not_exist_is_an_error_or_none(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    assert_eq!(fx.get_chunk(JOB, 2).await.expect("the job exists"), None);
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.get_chunk(8, 1));
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.get_stats(8));
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.get_job(8));
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.get_by_status(8, JobStatus::Done));
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.page_by_status(8, None, None, 1));
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.resume_pending(8));
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.topo_sort_ready(8));
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.topo_order(8));
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.graph(8, GraphFormat::Dot));
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.get_dependencies(8, 1));
    changes_nothing!(fx, ErrorKind::ChunkNotFound, fx.get_dependencies(JOB, 2));
    changes_nothing!(fx, ErrorKind::ChunkNotFound, fx.get_dependents(JOB, 2));
    changes_nothing!(fx, ErrorKind::ChunkNotFound, fx.add_dependency(JOB, 2, vec![1]));
}

/// The counts of a job from its chunks, one by one.
async fn recount(store: &dyn JobStore) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for state in chunks_of(store, JOB).await {
        let mut count = |name| *counts.entry(name).or_default() += 1;
        count("total");
        count(state.status.as_str());
        if state.status == JobStatus::Pending {
            match (state.unmet_dependencies, state.not_before) {
                (0, None) => count("ready"),
                (0, Some(_)) => count("delayed"),
                _ => count("blocked"),
            }
        }
    }
    counts
}

fn counted(stats: &JobStats) -> BTreeMap<&'static str, u64> {
    let all = [
        ("total", stats.total_chunks),
        ("pending", stats.pending),
        ("processing", stats.processing),
        ("done", stats.done),
        ("failed", stats.failed),
        ("cancelled", stats.cancelled),
        ("ready", stats.ready()),
        ("delayed", stats.delayed),
        ("blocked", stats.blocked),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

pub(crate) async fn the_counts_equal_a_recount_after_every_step_of_a_random_walk(fx: Fixture) {
    let mut random = fastrand::Rng::with_seed(seed("counts", 11));
    let spec = JobSpec::new().losses_max(3).on_dependency_failure(magnetar::DependencyFailure::Cancel);
    let new = (0..30_u64).map(|id| c(id).depends_on((0..id).filter(|on| (on * 7 + id) % 11 == 0)));
    super::import_as(&*fx, spec, new).await;
    let mut held = Vec::new();
    for step in 0..400 {
        let chunk = random.u64(0..32);
        let some = Selection::Chunks(vec![chunk]);
        // Half of these are refused; the counts hold all the same.
        match random.u32(0..12) {
            0..=2 => {
                held.extend(fx.claim_pending_batch(JOB, random.usize(1..4)).await.expect("the job exists"));
            }
            3..=5 if !held.is_empty() => {
                let claim = held.swap_remove(random.usize(0..held.len())).claim();
                drop(match random.u32(0..3) {
                    0 => fx.fail(&claim, "oops").await,
                    1 => fx.release(&claim).await,
                    _ => fx.complete(&claim, Completion::new()).await,
                });
            }
            6 => drop(fx.retry_failed(JOB, some).await),
            7 => drop(fx.reset(JOB, some, magnetar::ResetReach::Through).await),
            8 => drop(fx.cancel(JOB, some).await),
            9 => drop(
                fx.mark_status(JOB, chunk, random.choice(JobStatus::ALL).expect("there are five"), None)
                    .await,
            ),
            10 => drop(import(&*fx, [c(chunk).priority(random.i32(-2..3))]).await),
            _ => fx.clock.advance(random.u64(0..90_000)),
        }
        let stats = fx.get_stats(JOB).await.expect("the job exists");
        assert_eq!(counted(&stats), recount(&*fx).await, "after step {step}");
        let ready = fx.topo_sort_ready(JOB).await.expect("the job exists");
        assert_eq!(ready.len() as u64, stats.ready(), "after step {step}");
    }
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn stats_say_how_far_a_job_is(fx: Fixture) {
    import(&*fx, (0..8).map(c)).await;
    assert!(fx.get_stats(JOB).await.expect("it exists").completion_percent().abs() < 1e-9);
    mark_done(&*fx, [0, 1, 2]).await;
    let stats = fx.get_stats(JOB).await.expect("it exists");
    assert!((stats.completion_percent() - 37.5).abs() < 1e-9 && !stats.is_complete() && !stats.is_stalled());
    mark_done(&*fx, 3..8).await;
    let stats = fx.get_stats(JOB).await.expect("it exists");
    assert!((stats.completion_percent() - 100.0).abs() < 1e-9 && stats.is_complete() && stats.is_finished());
}

pub(crate) async fn topo_order_puts_each_chunk_behind_what_it_depends_on(fx: Fixture) {
    import(&*fx, [c(1).depends_on([4]), c(2).depends_on([1, 3]), c(3), c(4), c(5).depends_on([4])]).await;
    assert_eq!(fx.topo_order(JOB).await.expect("it exists"), [3, 4, 1, 2, 5]);
    mark_done(&*fx, [4]).await;
    assert_eq!(fx.topo_order(JOB).await.expect("it exists"), [3, 4, 1, 2, 5], "whatever is done");
    assert_eq!(fx.topo_sort_ready(JOB).await.expect("it exists"), [1, 3, 5]);
}

pub(crate) async fn the_graph_is_drawn_with_each_chunks_status(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1]), c(3).depends_on([1, 2]), c(4)]).await;
    mark_done(&*fx, [1]).await;
    fx.mark_failed(JOB, 4, "broken".into()).await.expect("it is not done");
    let dot = fx.graph(JOB, GraphFormat::Dot).await.expect("it exists");
    let mermaid = fx.graph(JOB, GraphFormat::Mermaid).await.expect("it exists");
    assert!(dot.starts_with("digraph") && dot.trim_end().ends_with('}'), "{dot}");
    for part in ["1 -> 2;", "1 -> 3;", "2 -> 3;", "done", "blocked", "failed", "pending"] {
        assert!(dot.contains(part), "{part} is not in {dot}");
    }
    assert!(mermaid.starts_with("flowchart LR\n"), "{mermaid}");
    for part in ["c1 --> c2", "c1 --> c3", "c2 --> c3", ":::done", ":::blocked", ":::failed", ":::pending"] {
        assert!(mermaid.contains(part), "{part} is not in {mermaid}");
    }
    assert_eq!(dot.matches(" -> ").count(), 3);
    assert_eq!(mermaid.matches(" --> ").count(), 3);
}

/// What a change is about: job, chunk, what it is.
fn about(change: &Change) -> (i64, Option<u64>, &'static str) {
    match change {
        Change::Chunk { state, .. } => (state.job_id, Some(state.chunk), "is"),
        Change::ChunkDeleted { job_id, chunk, .. } => (*job_id, Some(*chunk), "gone"),
        Change::Job { job, .. } => (job.job_id, None, "is"),
        Change::JobDeleted { job_id, .. } => (*job_id, None, "gone"),
        other => panic!("{other:?} is no change known here"),
    }
}

pub(crate) async fn the_feed_lists_the_newest_state_of_each_thing_in_the_order_of_change(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1]), c(3)]).await;
    let first = fx.changes(0, 100).await.expect("nothing was pruned");
    let all: Vec<_> = first.changes.iter().map(about).collect();
    assert_eq!(all, [(JOB, None, "is"), (JOB, Some(1), "is"), (JOB, Some(2), "is"), (JOB, Some(3), "is")]);
    assert!(!first.more);
    assert_eq!(fx.changes(first.next, 100).await.expect("nothing was pruned").changes, []);
    let held = claim(&*fx).await;
    fx.complete(&held.claim(), Completion::new()).await.expect("it is open");
    fx.mark_failed(JOB, 3, "broken".into()).await.expect("it is not done");
    fx.cancel(JOB, Selection::Chunks(vec![3])).await.expect("it may");
    let second = fx.changes(first.next, 100).await.expect("nothing was pruned");
    let states: Vec<_> = second
        .changes
        .iter()
        .map(|change| match change {
            Change::Chunk { state, depends_on, .. } => (state.chunk, state.status, depends_on.clone()),
            other => panic!("{other:?} is not of a chunk"),
        })
        .collect();
    let pending = (2, JobStatus::Pending, vec![1]);
    assert_eq!(states, [(1, JobStatus::Done, vec![]), pending, (3, JobStatus::Cancelled, vec![])]);
    let whole = changes_since(&*fx, 0).await;
    let order: Vec<u64> = whole.iter().map(Change::revision).collect();
    assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    let depends_on = whole.iter().find_map(|change| match change {
        Change::Chunk { state, depends_on, .. } if state.chunk == 2 => Some(depends_on.clone()),
        _ => None,
    });
    assert_eq!(depends_on, Some(vec![1]));
}

pub(crate) async fn the_feed_in_small_pages_is_the_feed_in_one(fx: Fixture) {
    for job in 0..4 {
        let new = (0..9).map(|id| c(id).depends_on((id > 3).then(|| id - 1)));
        try_import(&*fx, job, JobSpec::new(), new, ImportOptions::new()).await.expect("it is fine");
    }
    let some = fx.claim(&magnetar::ClaimRequest::new().count(7)).await.expect("they are ready");
    fx.release(&some[2].claim()).await.expect("it is open");
    fx.delete_job(1).await.expect("it exists");
    let whole = changes_since(&*fx, 0).await;
    for limit in 1..=5 {
        let (mut since, mut found) = (0, Vec::new());
        loop {
            let page = fx.changes(since, limit).await.expect("nothing was pruned");
            assert!(page.changes.len() <= limit && page.next >= since);
            assert!(page.next > since || !page.more, "stuck at {since}");
            since = page.next;
            found.extend(page.changes);
            if !page.more {
                break;
            }
        }
        assert_eq!(found, whole, "in pages of {limit}");
    }
}

pub(crate) async fn the_feed_tells_of_what_was_deleted(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    try_import(&*fx, 8, JobSpec::new(), [c(1)], ImportOptions::new()).await.expect("it is fine");
    let since = fx.changes(0, 100).await.expect("nothing was pruned").next;
    let delete = ImportOptions::new().on_missing(magnetar::OnMissing::Delete);
    try_import(&*fx, JOB, JobSpec::new(), [c(2)], delete).await.expect("it is fine");
    fx.delete_job(8).await.expect("it exists");
    let told: Vec<_> = changes_since(&*fx, since).await.iter().map(about).collect();
    assert_eq!(told, [(JOB, Some(1), "gone"), (8, None, "gone")]);
    try_import(&*fx, 8, JobSpec::new(), [c(1)], ImportOptions::new()).await.expect("it is fine");
    let told: Vec<_> = changes_since(&*fx, since).await.iter().map(about).collect();
    assert_eq!(told[1..], [(8, None, "gone"), (8, None, "is"), (8, Some(1), "is")]);
}

pub(crate) async fn a_heartbeat_is_not_told_to_the_feed(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await;
    let since = fx.changes(0, 100).await.expect("nothing was pruned").next;
    fx.clock.advance(10);
    fx.heartbeat(&held.claim()).await.expect("it is open");
    let page = fx.changes(since, 100).await.expect("nothing was pruned");
    assert_eq!((page.changes.len(), page.next), (0, since));
}

pub(crate) async fn a_changed_dependency_is_told_to_the_feed(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    let since = fx.changes(0, 100).await.expect("nothing was pruned").next;
    fx.add_dependency(JOB, 2, vec![1]).await.expect("it may");
    match &changes_since(&*fx, since).await[..] {
        [Change::Chunk { state, depends_on, .. }] => {
            assert_eq!((state.chunk, &depends_on[..], state.unmet_dependencies), (2, &[1][..], 1));
        }
        other => panic!("{other:?}"),
    }
}

/// Brings a picture of the chunks up to date by the feed.
async fn follow(
    fx: &Fixture,
    picture: &mut BTreeMap<u64, magnetar::JobState>,
    since: &mut u64,
    limit: usize,
) {
    loop {
        let page = fx.changes(*since, limit).await.expect("nothing was pruned");
        let revisions: Vec<u64> = page.changes.iter().map(Change::revision).collect();
        assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
        assert!(revisions.iter().all(|told| *told > *since && *told <= page.next), "{revisions:?}");
        assert!(page.next <= page.newest && page.more == (page.next < page.newest));
        *since = page.next;
        for change in page.changes {
            if let Change::Chunk { state, .. } = change {
                picture.insert(state.chunk, *state);
            }
        }
        if !page.more {
            return;
        }
    }
}

pub(crate) async fn what_a_chunk_waits_for_is_told_to_the_feed(fx: Fixture) {
    import(&*fx, (0..6).map(|id| c(id).depends_on((0..id).filter(|_| id > 2)))).await;
    for limit in [1, 2, 100] {
        let (mut picture, mut since) = (BTreeMap::new(), 0);
        follow(&fx, &mut picture, &mut since, limit).await;
        for step in 0..3 {
            match step {
                0 => mark_done(&*fx, [0, 1, 2]).await,
                1 => mark_done(&*fx, [3]).await,
                _ => {
                    fx.reset(JOB, Selection::All, magnetar::ResetReach::Direct).await.expect("it exists");
                }
            }
            follow(&fx, &mut picture, &mut since, limit).await;
            let chunks: Vec<_> = picture.values().cloned().collect();
            let there = fx.page_by_status(JOB, None, None, 100).await.expect("it exists");
            assert_eq!(chunks, there, "in pages of {limit}, after step {step}");
        }
    }
}

pub(crate) async fn a_job_is_told_to_the_feed_before_its_chunks(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let named = JobSpec::new().name("later");
    try_import(&*fx, JOB, named, [c(1), c(2)], ImportOptions::new()).await.expect("it is fine");
    let page = fx.changes(0, 2).await.expect("nothing was pruned");
    assert_eq!(page.changes.iter().map(about).collect::<Vec<_>>(), [(JOB, None, "is"), (JOB, Some(1), "is")]);
}

pub(crate) async fn a_revision_that_the_store_has_not_come_to_is_refused_by_the_feed(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let newest = fx.info().await.expect("it tells").revision;
    assert_eq!(fx.changes(newest, 1).await.expect("nothing is there yet").next, newest);
    let error = fx.changes(newest + 1, 1).await.expect_err("it is of another store");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains(&newest.to_string()), "{error}");
}

pub(crate) async fn a_watch_tells_of_changes_once_and_many_as_one(fx: Fixture) {
    let mut watch = fx.watch();
    import(&*fx, [c(1), c(2)]).await;
    claim(&*fx).await;
    let newest = changes_since(&*fx, 0).await.last().map(Change::revision);
    assert_eq!(watch.changed().await, newest);
    let held = claim(&*fx).await;
    assert_eq!(watch.changed().await, Some(held.revision));
    fx.close().await.expect("nothing is in the way");
    assert!(watch.changed().await.is_some(), "closing gave both claims back");
    assert_eq!(watch.changed().await, None);
}
