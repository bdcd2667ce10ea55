//! Somebody works all the time, and is in nobody's way.

use super::*;

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
