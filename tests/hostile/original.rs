//! A store with some of everything in it, closed in good order.

use std::path::Path;

use magnetar::{
    Backoff, Completion, ImportOptions, JobSpec, JobStatus, Json, NewChunk, Selection, block_on, chunks,
    limits,
};

const CHUNKS: u64 = 60;

/// Writes it to a new file. Nothing in it depends on the time of its reading.
pub(crate) fn write(path: &Path) {
    block_on(async {
        let store = magnetar::open(path).await?;
        for job in 1..=3 {
            let week = Backoff::new().initial_ms(limits::BACKOFF_MS_MAX).max_ms(limits::BACKOFF_MS_MAX);
            let spec = JobSpec::new().name(format!("job number {job}")).attempts_max(2).backoff(week);
            let new = (0..CHUNKS).map(|id| {
                let payload = Json::new(&"payload".repeat(usize::try_from(id).expect("a small number")))?;
                let chunk = NewChunk::new(id).checksum(format!("sum of {id}")).payload(payload);
                Ok(chunk.priority(i32::from(id % 7 == 0)).depends_on((id % 5 == 4).then(|| id - 2)))
            });
            store.import(job, &spec, chunks(new), &ImportOptions::new()).await?;
            for (turn, chunk) in store.claim_pending_batch(job, 20).await?.into_iter().enumerate() {
                match turn % 4 {
                    0 => store.fail(&chunk.claim(), "the network was down").await?,
                    1 => store.release(&chunk.claim()).await?,
                    _ => {
                        let result = Completion::new().output(Json::new(&turn)?);
                        store
                            .complete(&chunk.claim(), result.checksum(format!("sum of {}", chunk.chunk)))
                            .await?
                    }
                };
            }
            store.mark_failed(job, CHUNKS - 1, "given up".to_owned()).await?;
            store.cancel(job, Selection::Chunks(vec![CHUNKS - 3])).await?;
        }
        store.delete_job(2).await?;
        let stats = store.get_stats(1).await?;
        for status in JobStatus::ALL {
            let has = !store.get_by_status(1, status).await?.is_empty();
            assert_eq!(has, status != JobStatus::Processing, "{status} in {stats:?}");
        }
        store.close().await
    })
    .expect("a new file");
}
