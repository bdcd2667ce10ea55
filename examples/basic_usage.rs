//! The shortest way through: a manifest becomes a job, each chunk is claimed, done and marked; a second run finds nothing left.
//!
//! `cargo run --example basic_usage --features sqlite`

use magnetar::{JobStatus, JobStore};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("jobs.db");
    // Any async runtime will do; without one, `block_on` does.
    magnetar::block_on(async {
        println!("first run");
        run(&path).await?;
        println!("second run");
        run(&path).await
    })
}

async fn run(path: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let store = magnetar::open(path).await?;
    let manifest = toml::from_str(
        r#"[[chunks]]
id = 1
checksum = "abc123"

[[chunks]]
id = 2
checksum = "def456"
payload = { url = "https://example.com/part-2" }"#,
    )?;
    let report = store.init_from_manifest(42, &manifest).await?;
    println!("  imported: {} added, {} unchanged", report.added, report.unchanged);
    while let Some(chunk) = store.claim_pending(42).await? {
        println!(
            "  working on chunk {}, expecting {}",
            chunk.chunk,
            chunk.checksum.as_deref().unwrap_or("anything")
        );
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
