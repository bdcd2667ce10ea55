//! Somebody works all the time, waits for ever, or is gone for good: the pair is in nobody's way, and nobody in its way.

use std::pin::Pin;

use futures_core::Stream;

use super::*;

/// An import's source that never says anything.
struct Silent;

impl Stream for Silent {
    type Item = Result<NewChunk>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

/// With each page that is copied there is something new, as beside any process that works faster than it is copied.
#[test]
fn the_authority_is_changed_while_others_go_on_working_in_it() {
    const ENOUGH: usize = 500;
    for is_first_copy in [false, true] {
        let world = World::new([redb(), redb()]);
        let (dual, handles) = imported(&world);
        if !is_first_copy {
            block_on(dual.catch_up()).expect("nothing stands in the way");
        }
        let (store, made) = (Arc::clone(&handles[0].store), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&made);
        *world.plans[1].beside.lock().unwrap() = Some(Box::new(move || {
            if count.load(Ordering::SeqCst) < ENOUGH && block_on(store.new_job(&JobSpec::new())).is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }));
        block_on(dual.new_job(&JobSpec::new())).expect("it works");
        let compared = block_on(dual.cut_over()).expect("nothing stands in the way");
        *world.plans[1].beside.lock().unwrap() = None;
        let made = made.load(Ordering::SeqCst);
        assert!((1..ENOUGH).contains(&made), "it went on until nobody worked any more, after {made} jobs");
        assert!(compared.is_equal(), "{compared:?}");
        let jobs = block_on(dual.list_jobs(None, 2 * ENOUGH)).expect("it works").len();
        assert_eq!(jobs, 2 + made, "jobs were lost");
    }
}

#[test]
fn a_pair_is_closed_beside_an_import_whose_source_says_nothing() {
    for is_moved in [false, true] {
        let world = World::new([redb(), redb()]);
        let (dual, _handles) = imported(&world);
        let (spec, options) = (JobSpec::new(), Default::default());
        let mut importing = dual.import(2, &spec, Box::pin(Silent), &options);
        let mut context = Context::from_waker(Waker::noop());
        assert!(importing.as_mut().poll(&mut context).is_pending());
        let mut moving = Box::pin(dual.cut_over());
        if is_moved {
            block_on(dual.catch_up()).expect("nothing stands in the way");
            for _ in 0..1_000 {
                assert!(moving.as_mut().poll(&mut context).is_pending(), "the import is under way");
                std::thread::yield_now();
            }
        }
        let (mut closing, mut moved) = (dual.close(), None);
        let both = std::future::poll_fn(|context| {
            if is_moved && moved.is_none() {
                moved = match moving.as_mut().poll(context) {
                    Poll::Ready(moved) => Some(moved),
                    Poll::Pending => None,
                };
            }
            closing.as_mut().poll(context)
        });
        // Where it waits for the source this never ends.
        block_on(both).expect("nothing stands in the way");
        if is_moved {
            let moved = moved.unwrap_or_else(|| block_on(moving));
            assert_eq!(moved.expect_err("it is closed").kind(), ErrorKind::Closed);
        }
        drop(importing);
        let error = block_on(dual.claim_pending(JOB)).expect_err("it is closed");
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}

/// The one that is gone can be opened no more; the other one failed once, and is well again.
#[test]
fn a_store_that_is_gone_does_not_keep_the_authority_from_being_opened_anew() {
    for gone in [0, 1] {
        let world = World::new([redb(), redb()]);
        let (dual, _handles) = imported(&world);
        block_on(dual.catch_up()).expect("nothing stands in the way");
        if gone == 0 {
            block_on(dual.cut_over()).expect("nothing stands in the way");
        }
        block_on(dual.new_job(&JobSpec::new())).expect("it works");
        let fail = |side: usize, fault| {
            let plan = &world.plans[side];
            *plan.fault.lock().unwrap() = Some((plan.commits.load(Ordering::SeqCst), fault));
        };
        fail(gone, Fault::CrashBefore);
        block_on(dual.catch_up()).expect_err("it cannot be written to");
        fail(1 - gone, Fault::Before);
        let lost = block_on(dual.new_job(&JobSpec::new())).expect_err("the disk failed");
        assert_eq!(lost.retry(), Retry::AfterReopen);
        block_on(dual.reopen()).expect("the authority is well");
        block_on(dual.claim_pending(JOB)).expect("it goes on").expect("all are ready");
        assert!(dual.status().error.is_some(), "nobody says that the copy does not get on");
    }
}
