//! Rounds of news over one chunk with more dependents than one commit tells, as random calls bring them about: each begins
//! before the one before it has ended, and in the end all must stand as if each had been told to all.

use std::pin::Pin;
use std::task::Poll;

use magnetar::{
    Claim, Completion, DependencyFailure, ErrorKind, ImportOptions, JobSpec, JobState, JobStats, JobStatus,
    OnConflict, ResetReach, Result, Selection, limits,
};

use super::{JOB, c, import_as, try_import};
use crate::fixture::Fixture;
use crate::support::{rounds, seed};

/// Half of them take their policy from the job.
const DEPENDENTS: u64 = 1_500;
const HALF: u64 = DEPENDENTS / 2;

/// Calls that are handed in together at most.
const TOGETHER_MAX: usize = 5;

/// A claim of a job that is not there.
const NOBODY: Claim = Claim { job_id: 99, chunk: 1, fence: 1 };

const POLICIES: [DependencyFailure; 3] =
    [DependencyFailure::Wait, DependencyFailure::Cancel, DependencyFailure::Ignore];

#[derive(Debug, Clone, Copy)]
enum Step {
    Done,
    Failed,
    Cancelled,
    Retried,
    Reset(ResetReach),
    OtherContent,
    Policy(DependencyFailure),
}

/// Dependents of one policy: all count as met, or none.
#[derive(Debug, Clone)]
struct Half {
    policy: DependencyFailure,
    met: bool,
    /// Done, or held by a worker; each of the others is cancelled, or none is.
    done: Vec<u64>,
    held: Vec<JobState>,
    cancelled: bool,
}

impl Half {
    fn left(&self) -> u64 {
        HALF - (self.done.len() + self.held.len()) as u64
    }

    fn met(&mut self) {
        (self.met, self.cancelled) = (true, false);
    }

    fn broken(&mut self) {
        match self.policy {
            DependencyFailure::Ignore => self.met = true,
            DependencyFailure::Cancel if !self.met => self.cancelled = true,
            _ => {}
        }
    }

    /// Gives the claims that are void now.
    fn unmet(&mut self, reach: ResetReach) -> Vec<JobState> {
        self.met = false;
        if reach == ResetReach::Through {
            self.done.clear();
        }
        std::mem::take(&mut self.held)
    }
}

/// What is to be, and what was held in vain.
#[derive(Debug)]
struct Model {
    hub: JobStatus,
    checksum: u64,
    halves: [Half; 2],
    void: Vec<JobState>,
}

impl Model {
    fn new(policies: [DependencyFailure; 2]) -> Self {
        let half = |policy| Half { policy, met: false, done: Vec::new(), held: Vec::new(), cancelled: false };
        Model { hub: JobStatus::Pending, checksum: 0, halves: policies.map(half), void: Vec::new() }
    }

    fn is_broken(&self) -> bool {
        matches!(self.hub, JobStatus::Failed | JobStatus::Cancelled)
    }

    /// One that is not refused. Other policies are rare: they end most of what is cancelled.
    fn draw(&self, rng: &mut fastrand::Rng) -> Step {
        let other = *rng.choice(&POLICIES).expect("there are some");
        let steps = match self.hub {
            JobStatus::Done => [
                Step::Reset(ResetReach::Direct),
                Step::Reset(ResetReach::Direct),
                Step::Reset(ResetReach::Through),
                Step::OtherContent,
            ],
            JobStatus::Pending => [Step::Done, Step::Failed, Step::Cancelled, Step::Policy(other)],
            _ => [Step::Done, Step::Retried, Step::Retried, Step::Policy(other)],
        };
        *rng.choice(&steps).expect("there are some")
    }

    fn apply(&mut self, step: Step) {
        let was_broken = self.is_broken();
        match step {
            Step::Done => {
                self.hub = JobStatus::Done;
                self.halves.iter_mut().for_each(Half::met);
            }
            Step::Failed | Step::Cancelled => {
                let failed = matches!(step, Step::Failed);
                self.hub = if failed { JobStatus::Failed } else { JobStatus::Cancelled };
                self.halves.iter_mut().for_each(Half::broken);
            }
            Step::Retried => {
                self.hub = JobStatus::Pending;
                self.halves.iter_mut().for_each(|half| half.cancelled = false);
            }
            Step::Reset(_) | Step::OtherContent => {
                let reach = if let Step::Reset(reach) = step { reach } else { ResetReach::Direct };
                self.checksum += u64::from(matches!(step, Step::OtherContent));
                self.hub = JobStatus::Pending;
                for half in &mut self.halves {
                    self.void.append(&mut half.unmet(reach));
                }
            }
            Step::Policy(policy) => {
                let half = &mut self.halves[0];
                let is_other = half.policy != policy;
                half.policy = policy;
                if is_other && was_broken {
                    half.broken();
                }
            }
        }
    }

    fn ignores(&self) -> bool {
        self.halves.iter().any(|half| half.policy == DependencyFailure::Ignore)
    }

    /// A failure that is over before all were told of it is ignored by those alone who were; where another policy comes
    /// first, the others go by that one.
    fn is_to_be_told_before(&self, step: Step) -> bool {
        self.is_broken()
            && match step {
                Step::Retried => self.ignores(),
                Step::Policy(_) => self.halves[0].policy != DependencyFailure::Wait,
                _ => false,
            }
    }

    async fn check(&self, fx: &Fixture) {
        let stats = nothing_is_left(fx).await;
        let sum = |of: &dyn Fn(&Half) -> u64| self.halves.iter().map(of).sum::<u64>();
        let hub = |status| u64::from(self.hub == status);
        let found = [
            ("ready", stats.ready()),
            ("blocked", stats.blocked),
            ("processing", stats.processing),
            ("done", stats.done),
            ("failed", stats.failed),
            ("cancelled", stats.cancelled),
        ];
        let open = |half: &Half, met| if half.cancelled || half.met != met { 0 } else { half.left() };
        let expected = [
            ("ready", sum(&|half| open(half, true)) + hub(JobStatus::Pending)),
            ("blocked", sum(&|half| open(half, false))),
            ("processing", sum(&|half| half.held.len() as u64)),
            ("done", sum(&|half| half.done.len() as u64) + hub(JobStatus::Done)),
            ("failed", hub(JobStatus::Failed)),
            (
                "cancelled",
                sum(&|half| if half.cancelled { half.left() } else { 0 }) + hub(JobStatus::Cancelled),
            ),
        ];
        assert_eq!(found, expected, "the chunk is {}, its dependents {:?}", self.hub, self.policies());
    }

    fn policies(&self) -> [(DependencyFailure, bool, bool); 2] {
        [0, 1].map(|at| (self.halves[at].policy, self.halves[at].met, self.halves[at].cancelled))
    }

    /// Ends what is held as well as it can be, and claims more.
    async fn work(&mut self, fx: &Fixture, rng: &mut fastrand::Rng) {
        for late in self.void.drain(..) {
            let answer = fx.complete(&late.claim(), Completion::new()).await;
            assert_eq!(answer.expect_err("it came too late").kind(), ErrorKind::Superseded);
        }
        for half in &mut self.halves {
            for held in half.held.drain(..) {
                fx.complete(&held.claim(), Completion::new()).await.expect("nothing has come between");
                half.done.push(held.chunk);
            }
        }
        nothing_is_left(fx).await;
        for state in fx.claim_pending_batch(JOB, rng.usize(1..20)).await.expect("the job exists") {
            if state.chunk == 0 {
                fx.release(&state.claim()).await.expect("it is held");
            } else {
                self.halves[usize::from(state.chunk > HALF)].held.push(state);
            }
        }
    }
}

/// Waits until all are told, and leaves what is held alone: a slice goes before each call, a refused one too.
async fn nothing_is_left(fx: &Fixture) -> JobStats {
    for _ in 0..DEPENDENTS {
        let stats = fx.get_stats(JOB).await.expect("the job exists");
        if !stats.settling {
            return stats;
        }
        fx.heartbeat(&NOBODY).await.expect_err("nobody holds it");
    }
    panic!("the slices come to no end");
}

type Call<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

fn call(fx: &Fixture, step: Step, checksum: u64) -> Call<'_> {
    let hub = Selection::Chunks(vec![0]);
    Box::pin(async move {
        match step {
            Step::Done => fx.mark_status(JOB, 0, JobStatus::Done, None).await.map(drop),
            Step::Failed => fx.mark_failed(JOB, 0, "broken".into()).await.map(drop),
            Step::Cancelled => fx.cancel(JOB, hub).await.map(drop),
            Step::Retried => fx.retry_failed(JOB, hub).await.map(drop),
            Step::Reset(reach) => fx.reset(JOB, hub, reach).await.map(drop),
            Step::OtherContent => {
                let options = ImportOptions::new().on_conflict(OnConflict::Reset);
                let other = c(0).checksum(format!("{checksum}")).priority(-1);
                try_import(&**fx, JOB, JobSpec::new(), [other], options).await.map(drop)
            }
            Step::Policy(policy) => {
                let spec = JobSpec::new().on_dependency_failure(policy);
                try_import(&**fx, JOB, spec, [], ImportOptions::new()).await.map(drop)
            }
        }
    })
}

/// Hands them in at one moment, in this order.
async fn together(mut calls: Vec<Call<'_>>) {
    std::future::poll_fn(|context| {
        calls.retain_mut(|call| match call.as_mut().poll(context) {
            Poll::Ready(answer) => {
                answer.expect("each finds what the one before it left");
                false
            }
            Poll::Pending => true,
        });
        if calls.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

pub(crate) async fn after_any_rounds_dependents_stand_as_the_chunk_and_their_policies_say(mut fx: Fixture) {
    assert!(DEPENDENTS > limits::DEPENDENTS_PER_COMMIT_MAX as u64);
    let mut rng = fastrand::Rng::with_seed(seed("rounds", 1));
    let policies = [(); 2].map(|()| *rng.choice(&POLICIES).expect("there are some"));
    let mut model = Model::new(policies);
    let spec = JobSpec::new().on_dependency_failure(policies[0]);
    let of_job = (1..=HALF).map(|id| c(id).depends_on([0]));
    let own = (HALF + 1..=DEPENDENTS).map(|id| c(id).depends_on([0]).on_dependency_failure(policies[1]));
    import_as(&*fx, spec, [c(0).priority(-1)].into_iter().chain(of_job).chain(own)).await;
    for _ in 0..rounds(20, 1_000) {
        let mut steps = Vec::new();
        for _ in 0..rng.usize(1..=TOGETHER_MAX) {
            let step = model.draw(&mut rng);
            if model.is_to_be_told_before(step) {
                together(std::mem::take(&mut steps)).await;
                nothing_is_left(&fx).await;
            }
            model.apply(step);
            steps.push(call(&fx, step, model.checksum));
        }
        together(steps).await;
        if rng.u8(..4) == 0 {
            fx.reopen().await;
        }
        if rng.bool() {
            model.work(&fx, &mut rng).await;
        }
        model.check(&fx).await;
    }
    fx.verify().await.expect("nothing is damaged");
}
