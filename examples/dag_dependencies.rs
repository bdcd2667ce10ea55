//! Chunks that wait for chunks: a diamond frees itself step by step, and a failure takes along only what depends on it.
//!
//! `cargo run --example dag_dependencies`

use magnetar::{
    Completion, DependencyFailure, GraphFormat, JobSpec, JobStatus, JobStore, Json, Manifest, NewChunk,
    Selection,
};

const NAMES: [&str; 6] = ["fetch", "parse", "index", "publish", "thumbnails", "gallery"];

fn chunk(id: u64, depends_on: &[u64]) -> magnetar::Result<NewChunk> {
    let name = NAMES[usize::try_from(id).unwrap_or(usize::MAX)];
    let payload = Json::new(&serde_json::json!({ "step": name }))?;
    Ok(NewChunk::new(id).depends_on(depends_on.iter().copied()).payload(payload))
}

fn names(chunks: &[u64]) -> String {
    let names: Vec<_> = chunks.iter().map(|&id| NAMES[usize::try_from(id).unwrap_or(usize::MAX)]).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn main() -> magnetar::Result<()> {
    magnetar::block_on(async {
        let store = magnetar::open(":memory:").await?;
        // fetch -> parse, index -> publish is the diamond; thumbnails -> gallery may fail without harm to it.
        let spec =
            JobSpec::new().name("site").attempts_max(1).on_dependency_failure(DependencyFailure::Cancel);
        let chunks = [
            chunk(0, &[])?,
            chunk(1, &[0])?,
            chunk(2, &[0])?,
            chunk(3, &[1, 2])?,
            chunk(4, &[0])?,
            chunk(5, &[4])?,
        ];
        store.init_from_manifest(7, &Manifest::new().job(spec).chunks(chunks)).await?;
        println!("order: {}", names(&store.topo_order(7).await?));

        let circle = store.add_dependency(7, 0, vec![3]).await.expect_err("fetch cannot wait for publish");
        println!("refused: {circle}\n");

        println!("ready: {}", names(&store.topo_sort_ready(7).await?));
        work(&*store, false).await?;
        println!("\n{}", store.graph(7, GraphFormat::Mermaid).await?);

        println!("retrying what failed; what that had cancelled comes back too");
        store.retry_failed(7, Selection::All).await?;
        work(&*store, true).await?;
        assert!(store.get_stats(7).await?.is_complete());
        Ok(())
    })
}

/// Takes what is ready until nothing is; the thumbnails only work once the tool is installed.
async fn work(store: &dyn JobStore, tool_installed: bool) -> magnetar::Result<()> {
    while let Some(chunk) = store.claim_pending(7).await? {
        let name = NAMES[usize::try_from(chunk.chunk).unwrap_or(usize::MAX)];
        if name == "thumbnails" && !tool_installed {
            store.fail(&chunk.claim(), "the image tool is missing").await?;
            println!("  {name} failed");
        } else {
            store.complete(&chunk.claim(), Completion::new()).await?;
            println!("  {name} done");
        }
        println!("ready: {}", names(&store.topo_sort_ready(7).await?));
    }
    for status in [JobStatus::Failed, JobStatus::Cancelled] {
        for chunk in store.get_by_status(7, status).await? {
            println!("{status}: {}: {}", names(&[chunk.chunk]), chunk.error.unwrap_or_default());
        }
    }
    Ok(())
}
