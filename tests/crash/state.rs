//! Everything that a store shows, in a form that can be compared.
#![allow(dead_code, reason = "several suites share it, and each uses a part")]

use std::collections::BTreeMap;

use magnetar::{Change, JobInfo, JobState, JobStatus, JobStore, Result};

/// All that a store holds: the whole change feed, and every job with its chunks and dependencies, read the other way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) feed: Vec<Change>,
    pub(crate) jobs: BTreeMap<i64, Job>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) info: JobInfo,
    pub(crate) chunks: Vec<(JobState, Vec<u64>)>,
}

const PAGE: usize = 1_000;

impl State {
    /// Reads everything. What the feed says and what the jobs say must be the same.
    pub(crate) async fn of(store: &dyn JobStore) -> Result<Self> {
        let mut feed = Vec::new();
        let mut since = 0;
        loop {
            let page = store.changes(since, PAGE).await?;
            feed.extend(page.changes);
            since = page.next;
            if !page.more {
                break;
            }
        }
        let mut depends_on = BTreeMap::new();
        for change in &feed {
            if let Change::Chunk { state, depends_on: on, .. } = change {
                depends_on.insert((state.job_id, state.chunk), (&**state, on));
            }
        }
        let mut jobs = BTreeMap::new();
        for info in store.list_jobs(None, PAGE).await? {
            let mut chunks: Vec<(JobState, Vec<u64>)> = Vec::new();
            loop {
                let after = chunks.last().map(|(state, _)| state.chunk);
                let page = store.page_by_status(info.job_id, None, after, PAGE).await?;
                let full = page.len() == PAGE;
                for state in page {
                    let Some((same, on)) = depends_on.remove(&(state.job_id, state.chunk)) else {
                        panic!("torn: the feed lacks {state:?}")
                    };
                    assert_eq!(*same, state, "torn: the feed has another state than the job");
                    chunks.push((state, on.clone()));
                }
                if !full {
                    break;
                }
            }
            count(&info, &chunks);
            jobs.insert(info.job_id, Job { info, chunks });
        }
        assert!(depends_on.is_empty(), "torn: the feed has chunks that no job has: {:?}", depends_on.keys());
        Ok(State { feed, jobs })
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = &JobState> {
        self.jobs.values().flat_map(|job| &job.chunks).map(|(state, _)| state)
    }

    /// How the two differ, the first few differences.
    pub(crate) fn difference(&self, other: &State) -> String {
        let ours = self.feed.iter().filter(|change| !other.feed.contains(change)).take(2);
        let theirs = other.feed.iter().filter(|change| !self.feed.contains(change)).take(2);
        format!("{:#?}\ninstead of\n{:#?}", ours.collect::<Vec<_>>(), theirs.collect::<Vec<_>>())
    }

    /// Why this is not `before` with every claim put back as a loss; `None` where it is.
    pub(crate) fn after_a_death(&self, before: &State) -> Option<String> {
        if !self.jobs.keys().eq(before.jobs.keys()) {
            return Some("other jobs".to_owned());
        }
        for (now, then) in self.jobs.values().zip(before.jobs.values()) {
            if now.chunks.len() != then.chunks.len() {
                return Some(format!("other chunks in job {}", now.info.job_id));
            }
            for ((now, now_on), (then, then_on)) in now.chunks.iter().zip(&then.chunks) {
                let fits = if then.status == JobStatus::Processing {
                    let mut put_back = then.clone();
                    put_back.status = JobStatus::Pending;
                    put_back.losses += 1;
                    (put_back.owner, put_back.lease) = (None, None);
                    // Whether a loss sets a delay and a text is for the tests of the rules.
                    (put_back.not_before, put_back.error) = (now.not_before, now.error.clone());
                    (put_back.revision, put_back.updated_at_ms) = (now.revision, now.updated_at_ms);
                    *now == put_back && now.revision > then.revision
                } else {
                    now == then
                };
                if !fits || now_on != then_on {
                    return Some(format!("{now:#?}\nafter a death at\n{then:#?}"));
                }
            }
        }
        None
    }
}

/// The counters that are kept must be those that a count gives.
fn count(info: &JobInfo, chunks: &[(JobState, Vec<u64>)]) {
    let count =
        |test: &dyn Fn(&JobState) -> bool| chunks.iter().filter(|(state, _)| test(state)).count() as u64;
    let of = |status: JobStatus| count(&|state: &JobState| state.status == status);
    let stats = &info.stats;
    assert_eq!(
        [stats.total_chunks, stats.pending, stats.processing, stats.done, stats.failed, stats.cancelled],
        [
            chunks.len() as u64,
            of(JobStatus::Pending),
            of(JobStatus::Processing),
            of(JobStatus::Done),
            of(JobStatus::Failed),
            of(JobStatus::Cancelled)
        ],
        "torn: the counters of job {} are wrong",
        info.job_id
    );
    let blocked =
        count(&|state: &JobState| state.status == JobStatus::Pending && state.unmet_dependencies > 0);
    assert_eq!(stats.blocked, blocked, "torn: the count of blocked chunks of job {} is wrong", info.job_id);
}
