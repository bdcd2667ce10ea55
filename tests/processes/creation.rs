//! One new file, created by many processes at the same moment.

use magnetar::{Completion, ErrorKind, ImportOptions, JobSpec, NewChunk, block_on, chunks};

use crate::child::{Running, say, told, wait_for_go};

const PROCESSES: i64 = 8;

#[test]
#[ignore = "a child process of the tests here, which tell it what to create"]
fn creator() {
    let Some(told) = told() else { return };
    let [path, job] = &told[..] else { panic!("told {told:?}") };
    let job: i64 = job.parse().expect("a job");
    say("ready");
    wait_for_go();
    let store = match block_on(magnetar::open(path)) {
        Ok(store) => store,
        Err(error) if error.kind() == ErrorKind::Locked => return say("locked"),
        Err(error) => panic!("{error:?}"),
    };
    block_on(async {
        let new = (0..3).map(|id| Ok(NewChunk::new(id)));
        store.import(job, &JobSpec::new(), chunks(new), &ImportOptions::new()).await?;
        let chunk = store.claim_pending(job).await?.expect("three are ready");
        store.complete(&chunk.claim(), Completion::new()).await?;
        store.close().await
    })
    .unwrap_or_else(|e| panic!("{e:?}"));
    say("created");
}

/// Starts all of them, lets them go at once, and gives the jobs of those that got in.
fn race(path: &str) -> Vec<i64> {
    let mut children: Vec<(i64, Running)> = (1..=PROCESSES)
        .map(|job| (job, Running::start("creation::creator", &[path, &job.to_string()])))
        .collect();
    for (_, child) in &mut children {
        assert_eq!(child.next().as_deref(), Some("ready"));
    }
    children.iter_mut().for_each(|(_, child)| child.go());
    let mut created = Vec::new();
    for (job, child) in &mut children {
        let said = child.next();
        let (ended_well, text) = child.wait();
        assert!(ended_well, "job {job}: {text}");
        match said.as_deref() {
            Some("created") => created.push(*job),
            Some("locked") => {}
            other => panic!("job {job} said {other:?}: {text}"),
        }
    }
    created
}

fn look(path: &str, jobs: &[i64]) {
    block_on(async {
        let store = magnetar::open(path).await?;
        store.verify().await?;
        let found = store.list_jobs(None, 100).await?;
        assert_eq!(found.iter().map(|job| job.job_id).collect::<Vec<_>>(), jobs);
        assert!(found.iter().all(|job| job.stats.done == 1 && job.stats.pending == 2), "{found:?}");
        store.close().await
    })
    .unwrap_or_else(|e| panic!("{e:?}"));
}

#[cfg(feature = "sqlite")]
#[test]
fn eight_processes_that_create_one_sqlite_file_at_once_all_get_in() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for round in 0..3 {
        let path = folder.path().join(format!("{round}.db"));
        let path = path.to_str().expect("a path in text");
        let created = race(path);
        assert_eq!(created, (1..=PROCESSES).collect::<Vec<_>>());
        look(path, &created);
    }
}

#[cfg(feature = "redb")]
#[test]
fn of_eight_processes_that_create_one_redb_file_at_once_the_others_are_told_that_it_is_locked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for round in 0..3 {
        let path = folder.path().join(format!("{round}.redb"));
        let path = path.to_str().expect("a path in text");
        let created = race(path);
        assert!(!created.is_empty(), "one of them has to get in");
        look(path, &created);
    }
}
