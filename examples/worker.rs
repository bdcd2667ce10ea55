//! The worker runtime: counts primes on four threads, with retries, results and progress.
//!
//! `cargo run --example worker`

use futures_util::future::join;
use magnetar::worker::{Context, Worker};
use magnetar::{Backoff, Completion, JobSpec, JobStatus, JobStore, Json, NewChunk};

const JOB: i64 = 1;
const CHUNKS: u64 = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    magnetar::block_on(async {
        let store = magnetar::open(":memory:").await?;
        let spec = JobSpec::new().name("primes").backoff(Backoff::new().initial_ms(100).max_ms(1_000));
        let chunks = (0..CHUNKS).map(|id| {
            let range = serde_json::json!({ "from": id * 10_000, "to": (id + 1) * 10_000 });
            Ok(NewChunk::new(id).payload(Json::new(&range)?))
        });
        store.import(JOB, &spec, magnetar::chunks(chunks), &magnetar::ImportOptions::new()).await?;

        let worker = Worker::new(store.clone()).job(JOB).concurrency(4).report_every_ms(150);
        let mut progress = worker.progress();
        let watching = async {
            while let Some(report) = progress.next().await {
                println!("{report}");
            }
        };
        // Both in this one task; `worker.run` with an async handler would go the same way.
        let (summary, ()) = join(worker.run_blocking(count_primes), watching).await;
        println!("{}", summary?);
        let primes = total(&*store).await?;
        println!("{primes} primes below a million");
        assert_eq!(primes, 78_498);
        Ok(())
    })
}

/// Each tenth chunk has a bad first day; its retry comes after the backoff.
fn count_primes(context: &Context) -> magnetar::Result<Completion, Box<dyn std::error::Error>> {
    if context.chunk() % 10 == 3 && context.state().attempts == 0 {
        return Err("the machine coughed".into());
    }
    let payload = context.payload().ok_or("the range is missing")?;
    let from: u64 = payload.get("from")?.ok_or("from is missing")?;
    let to: u64 = payload.get("to")?.ok_or("to is missing")?;
    let mut primes = 0_u64;
    for n in from..to {
        if context.is_cancelled() {
            return Err("stopped".into());
        }
        primes += u64::from(is_prime(n));
    }
    Ok(Completion::new().output(Json::new(&primes)?))
}

fn is_prime(n: u64) -> bool {
    n >= 2 && (2..=n.isqrt()).all(|d| !n.is_multiple_of(d))
}

async fn total(store: &dyn JobStore) -> magnetar::Result<u64> {
    let mut total = 0;
    for chunk in store.get_by_status(JOB, JobStatus::Done).await? {
        total += chunk.output.map_or(Ok(0), |primes| primes.parse::<u64>())?;
    }
    Ok(total)
}
