//! The shortest way through: a manifest becomes a job, each chunk is claimed, done and marked; a second run finds nothing left.
//!
//! `cargo run --example basic_usage`

#[rustfmt::skip]
use magnetar::{JobStore, JobStatus};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("jobs.db");
    // Any async runtime will do; without one, `block_on` does.
    for run in ["first", "second"] {
        println!("{run} run");
        magnetar::block_on(quick_start(&path))?;
    }
    Ok(())
}

#[rustfmt::skip]
async fn quick_start(path: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let store = magnetar::open(&path).await?;
    let manifest = toml::from_str(r#"[[chunks]]
        id = 1
        checksum = "abc123""#)?;
    store.init_from_manifest(42, &manifest).await?;
    while let Some(chunk) = store.claim_pending(42).await? {
        println!("  working on chunk {}", chunk.chunk);
        store.mark_status(42, chunk.chunk, JobStatus::Done, None).await?;
    }
    show(&*store).await?;
    store.close().await?;
    Ok(())
}

async fn show(store: &dyn JobStore) -> magnetar::Result<()> {
    let stats = store.get_stats(42).await?;
    println!("  {} of {} chunks done ({:.0} %)", stats.done, stats.total_chunks, stats.completion_percent());
    Ok(())
}
