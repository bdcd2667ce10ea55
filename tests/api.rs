//! What users rely on: futures may go to another thread, values may be shared and printed, and read again as they were written.
#![allow(missing_docs, reason = "a test crate documents itself by its names")]

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use magnetar::dual::{DualOptions, DualStore, StatusWatch, migrate};
use magnetar::export::Export;
use magnetar::worker::{Context, Progress, Shutdown, Worker};
use magnetar::{
    Backing, Completion, ImportOptions, JobSpec, JobState, JobStore, Json, NewChunk, OpenOptions, Store,
    Watch, block_on,
};

/// Takes a future that an executor of many threads takes too.
fn spawn<T>(future: impl Future<Output = T> + Send + 'static) {
    drop(future);
}

fn is_shared<T: Send + Sync + Debug>() {}

#[test]
fn every_future_may_go_to_another_thread() {
    spawn(magnetar::open("never.db"));
    spawn(async { magnetar::open_with("never.db", &OpenOptions::new()).await });
    spawn(async { DualStore::open("never.db", "ever.db", &OpenOptions::new(), &DualOptions::new()).await });
}

/// Compiled, and never called.
#[allow(dead_code)]
fn of_handles<A: Backing, B: Backing>(
    one: Store<A>,
    other: Store<B>,
    dual: DualStore,
    store: Arc<dyn JobStore>,
) {
    let (a, b) = (one.clone(), other.clone());
    spawn(async move { DualStore::new(&a, &b, &DualOptions::new()).await });
    spawn(async move { migrate(&one, &other, |_| {}).await });
    spawn(async move {
        dual.catch_up().await?;
        dual.compare().await?;
        dual.cut_over().await?;
        dual.roll_back().await?;
        dual.digest().await?;
        dual.watch_status().next().await;
        dual.watch().changed().await;
        dual.detach().await
    });
    let export = Export::new(Arc::clone(&store));
    let (csv, lines) = (export.clone().csv(), export.json_lines());
    spawn(async move { csv.write_to(&mut Vec::new()).await });
    spawn(async move {
        let mut lines = lines;
        lines.next().await
    });
    spawn(async move {
        let mut watch = store.watch();
        watch.changed().await;
        store.close().await
    });
}

/// Compiled, and never called.
#[allow(dead_code)]
fn of_one_engine<B: Backing>(store: Store<B>) {
    spawn(async move {
        store.id().await?;
        store.digest().await?;
        store.leave_pair().await?;
        store.reap().await?;
        store.fold_by_status(1, None, None, 10, 0, |_: &mut u64, _: JobState| true).await
    });
}

/// Compiled, and never called.
#[allow(dead_code)]
fn of_workers(store: &Arc<dyn JobStore>) {
    let worker = || Worker::new(Arc::clone(store)).job(1);
    spawn(worker().run(async |context: Context| {
        context.cancelled().await;
        Ok::<_, String>(Completion::new())
    }));
    let shared = Arc::clone(store);
    spawn(worker().run(move |context: Context| {
        let shared = Arc::clone(&shared);
        async move { shared.get_stats(context.job_id()).await.map(|_| Completion::new()) }
    }));
    spawn(worker().run_blocking(|_: &Context| Ok::<_, String>(Completion::new())));
    let mut progress = worker().progress();
    spawn(async move { progress.next().await });
}

#[test]
fn every_handle_may_be_shared_and_printed() {
    is_shared::<Arc<dyn JobStore>>();
    is_shared::<DualStore>();
    is_shared::<OpenOptions>();
    is_shared::<Watch>();
    is_shared::<StatusWatch>();
    is_shared::<Worker>();
    is_shared::<Context>();
    is_shared::<Progress>();
    is_shared::<Shutdown>();
    is_shared::<magnetar::Error>();
    is_shared::<magnetar::Manifest>();
    is_shared::<Export<Arc<dyn JobStore>>>();
}

#[test]
fn a_page_of_changes_that_was_written_as_json_is_read_as_it_was() {
    let page = block_on(async {
        let store = magnetar::open(":memory:").await?;
        let payload = Json::from_text(r#"{"b": 1.10, "a": 12345678901234567890123}"#)?;
        let first = NewChunk::new(1).payload(payload);
        let (spec, options) = (JobSpec::new(), ImportOptions::new().on_missing(magnetar::OnMissing::Delete));
        let both = [first.clone(), NewChunk::new(2).depends_on([1])];
        store.import(1, &spec, magnetar::chunks(both.into_iter().map(Ok)), &options).await?;
        store.new_job(&spec).await?;
        store.delete_job(2).await?;
        store.import(1, &spec, magnetar::chunks([Ok(first)]), &options).await?;
        store.changes(0, 100).await
    })
    .unwrap();
    let text = serde_json::to_string(&page).unwrap();
    for kind in ["chunk", "chunk_deleted", "job", "job_deleted"] {
        assert!(text.contains(&format!(r#""kind":"{kind}""#)), "{kind}: {text}");
    }
    assert_eq!(serde_json::from_str::<magnetar::Changes>(&text).unwrap(), page);
    let cut = serde_json::from_str::<magnetar::Change>(r#"{"kind":"chunk_deleted","job_id":1,"revision":2}"#);
    assert!(cut.unwrap_err().to_string().contains("`chunk`"));
}
