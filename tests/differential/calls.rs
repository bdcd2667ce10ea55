//! Random calls: every call of the trait, with few ids, so that they meet.

use std::collections::BTreeMap;

use fastrand::Rng;
use magnetar::{
    Backoff, ChunkUpdate, Claim, ClaimRequest, Completion, DependencyFailure, GraphFormat, ImportOptions,
    JobSpec, JobStatus, Json, NewChunk, OnConflict, OnMissing, OwnerId, ResetReach, Selection, limits,
};

/// One step of a sequence: a call, or something that happens around the store.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Import(i64, JobSpec, Vec<NewChunk>, ImportOptions),
    NewJob(JobSpec),
    DeleteJob(i64),
    AddDependency(i64, u64, Vec<u64>),
    Claim(ClaimRequest),
    Complete(Claim, Completion),
    CompleteAndClaim(Claim, Completion, ClaimRequest),
    Fail(Claim, &'static str),
    FailWithDelay(Claim, &'static str, u64),
    FailPermanently(Claim, &'static str),
    Release(Claim),
    ReleaseWithDelay(Claim, u64),
    Heartbeat(Claim),
    Updates(i64, Vec<ChunkUpdate>),
    Mark(i64, u64, JobStatus, Option<String>),
    MarkFailed(i64, u64),
    Retry(i64, Selection),
    Reset(i64, Selection, ResetReach),
    Cancel(i64, Selection),
    ResumePending(i64),
    ReleaseAll,
    GetByStatus(i64, JobStatus),
    Page(i64, Option<JobStatus>, Option<u64>, usize),
    GetChunk(i64, u64),
    GetStats(i64),
    ListJobs(Option<i64>, usize),
    Dependencies(i64, u64),
    Dependents(i64, u64),
    TopoSortReady(i64),
    TopoOrder(i64),
    Graph(i64, GraphFormat),
    Changes(u64, usize),
    /// The clock moves on.
    Wait(u64),
    /// The clock shows another time altogether.
    Jump(u64),
    /// An owner is proven dead from now on.
    Kill(OwnerId),
    /// The handle is dropped, and the store opened by a client.
    OpenAs(OwnerId),
    /// The storage is opened anew under the handle.
    Reopen,
}

/// The clients of a sequence.
pub(crate) const OWNERS: [OwnerId; 3] =
    [OwnerId::from_bytes([1; 16]), OwnerId::from_bytes([2; 16]), OwnerId::from_bytes([3; 16])];

/// The time at which every sequence begins.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// How many chunks a job may have.
const CHUNKS: u64 = 10;

const YEAR_MS: u64 = 365 * 24 * 3_600_000;

/// Makes calls out of a seed and of what was claimed so far.
pub(crate) struct Calls {
    random: Rng,
    /// Every claim ever given out; stale ones are as good as open ones.
    pub(crate) claims: Vec<Claim>,
    /// What was last imported of each chunk.
    manifests: BTreeMap<(i64, u64), NewChunk>,
    made: usize,
    pub(crate) revision: u64,
}

impl Calls {
    pub(crate) fn new(seed: u64) -> Self {
        Calls {
            random: Rng::with_seed(seed),
            claims: Vec::new(),
            manifests: BTreeMap::new(),
            made: 0,
            revision: 0,
        }
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.u32(0..n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.usize(0..from.len())]
    }

    fn job(&mut self) -> i64 {
        if self.one_in(50) { 9 } else { self.random.i64(1..3) }
    }

    fn chunk(&mut self) -> u64 {
        if self.one_in(50) { 50 } else { self.random.u64(0..CHUNKS) }
    }

    fn chunks(&mut self, most: usize) -> Vec<u64> {
        (0..self.random.usize(0..=most)).map(|_| self.chunk()).collect()
    }

    fn selection(&mut self) -> Selection {
        if self.one_in(3) { Selection::All } else { Selection::Chunks(self.chunks(3)) }
    }

    fn status(&mut self) -> JobStatus {
        self.pick(&JobStatus::ALL)
    }

    fn checksum(&mut self) -> Option<String> {
        self.pick(&[None, None, Some("a"), Some("b")]).map(str::to_owned)
    }

    fn json(&mut self) -> Option<Json> {
        // Two of them are long.
        let text = self.pick(&[None, None, None, Some("1"), Some("{\"a\":[]}"), Some("a"), Some("b")]);
        text.map(|text| match text {
            "a" | "b" => Json::new(&text.repeat(3_000)).expect("a text has a JSON form"),
            text => Json::from_text(text).expect("it is JSON"),
        })
    }

    fn policy(&mut self) -> Option<DependencyFailure> {
        use DependencyFailure::{Cancel, Ignore, Wait};
        self.pick(&[None, None, Some(Wait), Some(Cancel), Some(Ignore)])
    }

    fn spec(&mut self) -> JobSpec {
        let mut spec = JobSpec::new();
        spec.name = self.pick(&[None, None, Some("n"), Some("m")]).map(str::to_owned);
        spec.attempts_max = self.pick(&[None, None, Some(0), Some(1), Some(2)]);
        spec.losses_max = self.pick(&[None, None, Some(0), Some(1), Some(2)]);
        spec.lease_ms = self.pick(&[None, None, Some(1_000), Some(30_000)]);
        let none = Backoff::NONE;
        spec.backoff =
            self.pick(&[None, None, Some(none), Some(Backoff::new().initial_ms(1_000).max_ms(3_000))]);
        spec.on_dependency_failure = self.policy();
        spec
    }

    fn new_chunk(&mut self, id: u64) -> NewChunk {
        let mut new = NewChunk::new(id);
        new.checksum = self.checksum();
        new.payload = self.json();
        new.priority = self.pick(&[0, 0, 0, 1, -1, i32::MAX, i32::MIN]);
        new.attempts_max = self.pick(&[None, None, None, Some(1), Some(0)]);
        new.losses_max = self.pick(&[None, None, None, Some(1), Some(0)]);
        new.on_dependency_failure = self.policy();
        new.not_before_ms = self.moment();
        new
    }

    fn moment(&mut self) -> Option<u64> {
        let wait =
            self.pick(&[None, None, None, None, Some(0), Some(30_000), Some(3_600_000), Some(YEAR_MS)]);
        wait.map(|wait| START_MS + wait)
    }

    /// What a chunk depends on: mostly lower ids, so that most imports are without a circle.
    fn depends_on(&mut self, id: u64, known: &[u64]) -> Vec<u64> {
        if self.one_in(60) {
            return self.chunks(3);
        }
        let mut on: Vec<u64> = known.iter().copied().filter(|on| *on < id).collect();
        on.retain(|_| self.one_in(3));
        if self.one_in(3) {
            on.reverse();
        }
        on
    }

    fn import(&mut self) -> Call {
        let mut options = ImportOptions::new();
        options.on_conflict =
            self.pick(&[OnConflict::Refuse, OnConflict::Keep, OnConflict::Keep, OnConflict::Reset]);
        let missing = [OnMissing::Keep, OnMissing::Keep, OnMissing::Cancel, OnMissing::Delete];
        options.on_missing = self.pick(&missing);
        let spec = if self.one_in(2) { self.spec() } else { JobSpec::new() };
        let job = self.job();
        let few = self.one_in(2);
        let mut ids: Vec<u64> = (0..CHUNKS).collect();
        ids.retain(|_| if few { self.one_in(4) } else { !self.one_in(8) });
        self.random.shuffle(&mut ids);
        if self.one_in(30) && !ids.is_empty() {
            ids.push(ids[0]);
        }
        // Most of an import that comes again is as it was.
        let mut new = Vec::new();
        for &id in &ids {
            let again = self.manifests.get(&(job, id)).cloned().filter(|_| !self.random.bool() || few);
            let mut chunk = again.unwrap_or_else(|| self.new_chunk(id));
            if self.one_in(2) {
                let known = if few && self.one_in(2) { (0..CHUNKS).collect() } else { ids.clone() };
                chunk.depends_on = self.depends_on(id, &known);
            }
            if self.one_in(6) {
                chunk.on_dependency_failure = self.policy();
            }
            if self.one_in(8) {
                chunk.not_before_ms = self.moment();
            }
            if !few {
                chunk.depends_on.retain(|on| ids.contains(on) || *on >= CHUNKS);
            }
            self.manifests.insert((job, id), chunk.clone());
            new.push(chunk);
        }
        Call::Import(job, spec, new, options)
    }

    fn request(&mut self) -> ClaimRequest {
        let mut request = ClaimRequest::new().count(self.random.usize(1..5));
        request.job_id = if self.one_in(3) { None } else { Some(self.job()) };
        request.lease_ms = self.pick(&[None, None, Some(1_000), Some(500_000)]);
        request
    }

    fn claim(&mut self) -> Claim {
        let made_up = Claim { job_id: self.job(), chunk: self.chunk(), fence: self.random.u64(1..100) };
        if self.claims.is_empty() || self.one_in(30) {
            return made_up;
        }
        // The newer ones are more likely to be open.
        let newest = self.claims.len().min(if self.one_in(5) { usize::MAX } else { 5 });
        self.claims[self.claims.len() - 1 - self.random.usize(0..newest)]
    }

    fn completion(&mut self) -> Completion {
        let mut result = Completion::new();
        (result.checksum, result.output) = (self.checksum(), self.json());
        result
    }

    fn error(&mut self) -> &'static str {
        self.pick(&["oops", "oops", "other", ""])
    }

    /// At times none, and at times more than there may be.
    fn delay(&mut self) -> u64 {
        self.pick(&[0, 1, 700, 30_000, 3_600_000, limits::BACKOFF_MS_MAX, limits::BACKOFF_MS_MAX + 1])
    }

    fn update(&mut self) -> ChunkUpdate {
        match self.random.u32(0..9) {
            0 | 1 => ChunkUpdate::Complete(self.claim(), self.completion()),
            2 => ChunkUpdate::Fail(self.claim(), self.error().to_owned()),
            3 => ChunkUpdate::Release(self.claim()),
            4 => ChunkUpdate::Heartbeat(self.claim()),
            5 => ChunkUpdate::FailPermanently(self.claim(), self.error().to_owned()),
            6 => ChunkUpdate::FailWithDelay(self.claim(), self.error().to_owned(), self.delay()),
            7 => ChunkUpdate::ReleaseWithDelay(self.claim(), self.delay()),
            _ => ChunkUpdate::Mark { chunk: self.chunk(), status: self.status(), detail: self.checksum() },
        }
    }

    fn updates(&mut self) -> Call {
        let updates: Vec<_> = (0..self.random.usize(0..4)).map(|_| self.update()).collect();
        let of_claim = updates.iter().find_map(|update| match update {
            ChunkUpdate::Complete(claim, _)
            | ChunkUpdate::Fail(claim, _)
            | ChunkUpdate::FailWithDelay(claim, ..)
            | ChunkUpdate::FailPermanently(claim, _)
            | ChunkUpdate::Release(claim)
            | ChunkUpdate::ReleaseWithDelay(claim, _)
            | ChunkUpdate::Heartbeat(claim) => Some(claim.job_id),
            _ => None,
        });
        Call::Updates(of_claim.unwrap_or_else(|| self.job()), updates)
    }

    fn look(&mut self) -> Call {
        match self.random.u32(0..13) {
            0 => Call::GetByStatus(self.job(), self.status()),
            1 => {
                let status = if self.one_in(2) { None } else { Some(self.status()) };
                let after = if self.one_in(2) { None } else { Some(self.chunk()) };
                Call::Page(self.job(), status, after, self.random.usize(1..5))
            }
            2 => Call::GetChunk(self.job(), self.chunk()),
            3 => Call::GetStats(self.job()),
            4 => {
                let after = if self.one_in(2) { None } else { Some(self.job()) };
                Call::ListJobs(after, self.random.usize(1..5))
            }
            5 => Call::Dependencies(self.job(), self.chunk()),
            6 => Call::Dependents(self.job(), self.chunk()),
            7 | 8 => Call::TopoSortReady(self.job()),
            9 => Call::TopoOrder(self.job()),
            10 => Call::Graph(self.job(), self.pick(&[GraphFormat::Dot, GraphFormat::Mermaid])),
            _ => Call::Changes(self.random.u64(0..=self.revision), self.random.usize(1..20)),
        }
    }

    fn around(&mut self) -> Call {
        match self.random.u32(0..12) {
            0..=3 => Call::Wait(self.random.u64(0..2_000)),
            4 | 5 => Call::Wait(self.random.u64(20_000..90_000)),
            6 => Call::Wait(3_600_000),
            7 => {
                let far = [START_MS, START_MS + 30 * YEAR_MS, START_MS - 50_000, START_MS + 70_000, 0];
                Call::Jump(self.pick(&far))
            }
            8 => Call::Kill(self.pick(&OWNERS)),
            9 | 10 => Call::OpenAs(self.pick(&OWNERS)),
            _ => Call::Reopen,
        }
    }

    /// The next call.
    pub(crate) fn next(&mut self) -> Call {
        self.made += 1;
        if self.made <= 3 {
            return self.import();
        }
        match self.random.u32(0..100) {
            0..=7 => self.import(),
            8 => Call::NewJob(self.spec()),
            9 if self.one_in(6) => Call::DeleteJob(self.job()),
            9..=13 => Call::Mark(self.job(), self.chunk(), JobStatus::Done, None),
            14..=18 => Call::AddDependency(self.job(), self.chunk(), self.chunks(3)),
            19..=34 => Call::Claim(self.request()),
            35..=44 => Call::Complete(self.claim(), self.completion()),
            45..=47 => Call::CompleteAndClaim(self.claim(), self.completion(), self.request()),
            48..=50 => Call::Fail(self.claim(), self.error()),
            51 => Call::FailWithDelay(self.claim(), self.error(), self.delay()),
            52 => Call::FailPermanently(self.claim(), self.error()),
            53 => Call::Release(self.claim()),
            54 => Call::ReleaseWithDelay(self.claim(), self.delay()),
            55..=58 => Call::Heartbeat(self.claim()),
            59..=61 => self.updates(),
            62..=66 => {
                let to = self.status();
                let detail = if self.one_in(2) { None } else { self.checksum() };
                Call::Mark(self.job(), self.chunk(), to, detail)
            }
            67 => Call::MarkFailed(self.job(), self.chunk()),
            68..=70 => Call::Retry(self.job(), self.selection()),
            71..=73 => {
                let reach = self.pick(&[ResetReach::Direct, ResetReach::Through]);
                Call::Reset(self.job(), self.selection(), reach)
            }
            74 => Call::Cancel(self.job(), self.selection()),
            75..=76 => Call::ResumePending(self.job()),
            77 => Call::ReleaseAll,
            78..=87 => self.look(),
            _ => self.around(),
        }
    }
}
