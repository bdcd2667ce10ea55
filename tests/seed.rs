//! The seed's habits: what programs written for it do works as the names say. What differs, knowingly, is in the README.
#![allow(missing_docs, reason = "a test crate documents itself by its names")]
#![cfg(all(feature = "sqlite", feature = "redb"))]

use magnetar::{ErrorKind, JobStats, JobStatus, JobStore, RedbStore, SqliteStore};

type Tested = Result<(), Box<dyn std::error::Error>>;

/// The same on every store that a program of the seed could have.
async fn each(test: impl AsyncFn(&dyn JobStore) -> Tested) -> Tested {
    // The seed's programs hand over files that are there already, empty and without an ending.
    let (first, second) = (tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?);
    let sqlite = SqliteStore::open(first.path()).await?;
    test(&sqlite).await?;
    sqlite.close().await?;
    let redb = RedbStore::open(second.path())?;
    test(&redb).await?;
    redb.close().await?;
    Ok(())
}

async fn three_chunks(store: &dyn JobStore) -> Tested {
    let manifest = toml::from_str(
        r#"
        [[chunks]]
        id = 1
        checksum = "a"

        [[chunks]]
        id = 2
        checksum = "b"

        [[chunks]]
        id = 3
        checksum = "c"
        "#,
    )?;
    store.init_from_manifest(1, &manifest).await?;
    Ok(())
}

#[tokio::test(flavor = "current_thread")]
async fn a_chunk_is_claimed_once_and_marked_without_a_claim() -> Tested {
    each(async |store| {
        three_chunks(store).await?;
        let claimed = store.claim_pending(1).await?.ok_or("three are pending")?;
        assert_eq!((claimed.job_id, claimed.chunk, claimed.status), (1, 1, JobStatus::Processing));
        assert_eq!(claimed.checksum.as_deref(), Some("a"));
        store.mark_status(1, 1, JobStatus::Done, None).await?;
        // Straight from pending.
        store.mark_status(1, 2, JobStatus::Done, Some("b".into())).await?;
        let left = store.resume_pending(1).await?;
        assert_eq!(left.iter().map(|state| state.chunk).collect::<Vec<_>>(), [3]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "current_thread")]
async fn dependencies_hold_chunks_back_until_they_are_done() -> Tested {
    each(async |store| {
        three_chunks(store).await?;
        store.add_dependency(1, 3, vec![1, 2]).await?;
        assert_eq!(store.get_dependencies(1, 3).await?, [1, 2]);
        assert_eq!(store.topo_sort_ready(1).await?, [1, 2]);
        store.mark_status(1, 1, JobStatus::Done, None).await?;
        assert_eq!(store.topo_sort_ready(1).await?, [2]);
        store.mark_status(1, 2, JobStatus::Done, None).await?;
        assert_eq!(store.topo_sort_ready(1).await?, [3]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "current_thread")]
async fn a_failed_chunk_is_listed_with_its_error() -> Tested {
    each(async |store| {
        three_chunks(store).await?;
        let chunk = store.claim_pending(1).await?.ok_or("three are pending")?.chunk;
        store.mark_failed(1, chunk, "no space left".to_string()).await?;
        let failed = store.get_by_status(1, JobStatus::Failed).await?;
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].error.as_deref(), Some("no space left"));
        assert!(store.get_stats(1).await?.has_failures());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "current_thread")]
async fn statistics_count_and_a_deleted_job_is_gone() -> Tested {
    each(async |store| {
        three_chunks(store).await?;
        store.mark_status(1, 1, JobStatus::Done, None).await?;
        let stats: JobStats = store.get_stats(1).await?;
        assert_eq!((stats.total_chunks, stats.done, stats.pending), (3, 1, 2));
        assert!((stats.completion_percent() - 100.0 / 3.0).abs() < 0.001);
        assert!(!stats.is_complete());
        assert_eq!(store.get_chunk(1, 1).await?.map(|state| state.status), Some(JobStatus::Done));
        assert_eq!(store.get_chunk(1, 9).await?, None);
        store.delete_job(1).await?;
        assert_eq!(store.get_stats(1).await.unwrap_err().kind(), ErrorKind::JobNotFound);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "current_thread")]
async fn the_path_chooses_the_engine() -> Tested {
    let folder = tempfile::tempdir()?;
    for (name, begins) in [
        ("jobs.db", &b"SQLite format 3\0"[..]),
        ("jobs.sqlite", b"SQLite format 3\0"),
        ("jobs.sqlite3", b"SQLite format 3\0"),
        ("jobs", b"SQLite format 3\0"),
        ("jobs.redb", b"magnetar"),
        ("jobs.magnetar", b"magnetar"),
    ] {
        let path = folder.path().join(name);
        let store = magnetar::open(&path).await?;
        three_chunks(&*store).await?;
        store.close().await?;
        assert!(std::fs::read(&path)?.starts_with(begins), "{name}");
    }
    Ok(())
}
