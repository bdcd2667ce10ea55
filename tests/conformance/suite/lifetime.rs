//! Closing, reopening, and futures that nobody waits for.

use std::pin::Pin;
use std::task::{Context, Waker};

use magnetar::{
    ChunkUpdate, Claim, ClaimRequest, Completion, ErrorKind, GraphFormat, ImportOptions, JobSpec, JobState,
    JobStatus, JobStore, Manifest, OwnerId, Persistence, ResetReach, Result, Selection,
};

use super::{JOB, c, claim, claim_ids, get, ids, import, refused};
use crate::fixture::{Fixture, ME};
use crate::support::export;

/// Every call of the trait, in a job that exists or not, each with its name.
async fn every_call(store: &dyn JobStore) -> Vec<(&'static str, Result<()>)> {
    let held = Claim { job_id: JOB, chunk: 1, fence: 1 };
    let done = Completion::new();
    let any = ClaimRequest::new();
    let spec = JobSpec::new();
    let all = || Selection::All;
    macro_rules! calls {
        ($($name:ident ( $($argument:expr),* ))*) => {
            vec![$((stringify!($name), store.$name($($argument),*).await.map(drop))),*]
        };
    }
    calls! {
        init_from_manifest(JOB, &Manifest::new())
        import(JOB, &spec, magnetar::chunks(std::iter::empty()), &ImportOptions::new())
        new_job(&spec)
        delete_job(JOB)
        add_dependency(JOB, 1, vec![2])
        claim_pending(JOB)
        claim_pending_batch(JOB, 2)
        claim(&any)
        complete(&held, done.clone())
        complete_and_claim(&held, done.clone(), &any)
        fail(&held, "oops")
        release(&held)
        heartbeat(&held)
        apply_batch_updates(JOB, vec![ChunkUpdate::Release(held)])
        mark_status(JOB, 1, JobStatus::Done, None)
        mark_failed(JOB, 1, "broken".into())
        retry_failed(JOB, all())
        reset(JOB, all(), ResetReach::Direct)
        cancel(JOB, all())
        resume_pending(JOB)
        release_all()
        reopen()
        verify()
        close()
        get_chunk(JOB, 1)
        get_by_status(JOB, JobStatus::Pending)
        page_by_status(JOB, None, None, 10)
        get_stats(JOB)
        get_job(JOB)
        list_jobs(None, 10)
        get_dependencies(JOB, 1)
        get_dependents(JOB, 1)
        topo_sort_ready(JOB)
        topo_order(JOB)
        graph(JOB, GraphFormat::Dot)
        changes(0, 10)
    }
}

pub(crate) async fn a_closed_store_refuses_every_call(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let mut watch = fx.watch();
    fx.close().await.expect("nothing is in the way");
    for (name, answer) in every_call(&*fx).await {
        let kind = answer.map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::Closed), "{name}");
    }
    assert_eq!(watch.changed().await, None);
    assert_eq!(fx.owner(), ME);
}

pub(crate) async fn closing_gives_back_what_is_held(mut fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    claim(&*fx).await;
    fx.close().await.expect("nothing is in the way");
    fx.reopen_as(OwnerId::from_bytes([9; 16]));
    let state = get(&*fx, 1).await;
    assert_eq!((state.status, state.losses, state.owner), (JobStatus::Pending, 0, None));
}

pub(crate) async fn what_was_acknowledged_is_there_after_reopening(mut fx: Fixture) {
    import(&*fx, [c(1).checksum("a"), c(2).depends_on([1]), c(3), c(4), c(5)]).await;
    let held = fx.claim_pending_batch(JOB, 3).await.expect("they are ready");
    fx.complete(&held[0].claim(), Completion::new().checksum("a")).await.expect("it is open");
    fx.fail(&held[1].claim(), "oops").await.expect("it is open");
    fx.cancel(JOB, Selection::Chunks(vec![5])).await.expect("it may");
    let before = export(&*fx).await;
    for _ in 0..3 {
        fx.reopen().await;
        assert_eq!(export(&*fx).await, before);
        fx.verify().await.expect("nothing is damaged");
    }
}

pub(crate) async fn a_store_says_where_it_is_and_who_asks(fx: Fixture) {
    assert_eq!(fx.owner(), ME);
    assert!(fx.recovers_at_once());
    match fx.persistence() {
        Persistence::File(path) => assert!(path.is_absolute(), "{}", path.display()),
        Persistence::Memory | Persistence::Host => {}
        other => panic!("{other:?} is no place known here"),
    }
}

/// Polls a call once and drops it.
fn give_up<T>(mut call: Pin<Box<dyn Future<Output = T> + Send + '_>>) {
    let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

pub(crate) async fn a_claim_that_nobody_waits_for_strands_nothing(fx: Fixture) {
    import(&*fx, (1..=40).map(c)).await;
    for _ in 0..30 {
        drop(fx.claim_pending(JOB));
        give_up(Box::pin(fx.claim_pending_batch(JOB, 3)));
        let request = ClaimRequest::new();
        give_up(Box::pin(fx.claim(&request)));
    }
    // Comes behind whatever they left.
    fx.verify().await.expect("nothing is damaged");
    fx.new_job(&JobSpec::new()).await.expect("the store is open");
    let held = fx.get_by_status(JOB, JobStatus::Processing).await.expect("the job exists");
    assert_eq!(ids(&held), [0; 0]);
    assert_eq!(claim_ids(&*fx).await.len(), 40);
}

pub(crate) async fn a_completion_that_nobody_waits_for_is_whole_or_not_at_all(fx: Fixture) {
    import(&*fx, (1..=20).map(c)).await;
    let held = fx.claim_pending_batch(JOB, 20).await.expect("they are ready");
    for state in &held {
        let claim = state.claim();
        give_up(Box::pin(fx.complete(&claim, Completion::new().checksum("x"))));
    }
    fx.verify().await.expect("nothing is damaged");
    for JobState { status, observed_checksum, .. } in crate::support::chunks_of(&*fx, JOB).await {
        match status {
            JobStatus::Done => assert_eq!(observed_checksum.as_deref(), Some("x")),
            JobStatus::Processing => assert_eq!(observed_checksum, None),
            other => panic!("neither done nor held: {other}"),
        }
    }
    for state in &held {
        fx.complete(&state.claim(), Completion::new().checksum("x"))
            .await
            .expect("it is open, or done with the same");
    }
    assert!(fx.get_stats(JOB).await.expect("the job exists").is_complete());
}

pub(crate) async fn an_import_that_nobody_waits_for_leaves_the_job_free(fx: Fixture) {
    for _ in 0..5 {
        let (spec, options) = (JobSpec::new(), ImportOptions::new());
        let new = magnetar::chunks((1..=100).map(|id| Ok(c(id))));
        give_up(Box::pin(fx.import(JOB, &spec, new, &options)));
    }
    fx.verify().await.expect("nothing is damaged");
    let report = import(&*fx, (1..=100).map(c)).await;
    assert_eq!(report.added + report.unchanged, 100);
}

pub(crate) async fn a_handle_outlives_its_reopening(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    let (one, two) = (fx.handle(), fx.handle());
    one.reopen().await.expect("the store reopens");
    let state = two.claim_pending(JOB).await.expect("the job exists").expect("it is ready");
    one.complete(&state.claim(), Completion::new()).await.expect("it is open");
    refused(two.fail(&state.claim(), "late").await, ErrorKind::Superseded);
}
