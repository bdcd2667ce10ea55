//! A `.redb` file that another program wrote, a browser's export or Node's own: looks into it, and works it off.
//!
//! `cargo run --example job_file --features redb -- work jobs.redb`

use magnetar::{Completion, JobStore, Json, RedbStore, Result};

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["work", path] => magnetar::block_on(work(path)),
        ["hold", path] => hold(path),
        _ => {
            eprintln!(
                "job_file work FILE: do what is left, and list it all\njob_file hold FILE: hold it until the input ends"
            );
            return std::process::ExitCode::FAILURE;
        }
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:?}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn work(path: &str) -> Result<()> {
    let store = RedbStore::open(path)?;
    for job in store.list_jobs(None, 100).await? {
        while let Some(chunk) = store.claim_pending(job.job_id).await? {
            let output = Json::new("done natively")?;
            store.complete(&chunk.claim(), Completion::new().output(output)).await?;
        }
        for chunk in store.page_by_status(job.job_id, None, None, 100).await? {
            let output = chunk.output.map_or_else(String::new, |output| output.to_string());
            println!("{} {} {output}", chunk.chunk, chunk.status);
        }
    }
    store.close().await
}

fn hold(path: &str) -> Result<()> {
    let store = RedbStore::open(path)?;
    println!("open");
    // Ends with the other side.
    let _ = std::io::read_to_string(std::io::stdin());
    magnetar::block_on(store.close())
}
