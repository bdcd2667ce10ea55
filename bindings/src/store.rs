//! The class that JavaScript sees.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use magnetar::{Error, JobStore as _, OpenOptions, OwnerId, RedbStore, block_on};
use serde::Deserialize;
use serde_json::value::RawValue;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use crate::answer::{Answer, Failure, Lines};
use crate::call::{self, Fields, Running};
use crate::feed::Feed;
use crate::host::{self, HostClock};
use crate::living::Living;

/// An open store. Made by the worker that has the file to itself.
#[wasm_bindgen]
pub struct JobStore {
    store: RedbStore,
    /// The host's handle, released with the store.
    storage: Option<u32>,
    living: Arc<Living>,
    /// A few at most: the imports under way, each named by its client and the number of the call that began it. No other
    /// import ever has that name, of whichever engine.
    feeds: Vec<(OwnerId, u64, Feed)>,
    id: String,
    /// A write failed and its outcome is unknown.
    is_poisoned: bool,
    watch: magnetar::Watch,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    /// The host's handle of the storage.
    storage: u32,
    /// The store's own owner id, random.
    owner: OwnerId,
    /// Clients that are known to live.
    living: Vec<OwnerId>,
    cache_bytes: Option<usize>,
}

type Answered = Result<Answer, Failure>;

/// A call on its way: its number, and what it comes to.
enum Task<'a> {
    Running(Running<'a>),
    Done(Answered),
}

#[wasm_bindgen]
impl JobStore {
    /// Opens a store as a JSON text says. Throws the error as JSON text.
    pub fn open(config: &str) -> Result<JobStore, JsValue> {
        JobStore::try_open(config).map_err(|failure| JsValue::from_str(&failure.json()))
    }

    /// Carries out what a client asks for: `[[id, seq, name, fields], ...]`. Gives the answers, see `answer`.
    pub fn call(&mut self, client: &str, batch: &str) -> Vec<u8> {
        let mut lines = Lines::default();
        match client.parse() {
            Ok(client) => self.run(client, batch, &mut lines),
            Err(error) => lines.push(0, Err(Failure::from(error))),
        }
        lines.into_bytes()
    }

    /// A client lives: its claims are left alone. To be told before its first call.
    pub fn lives(&self, client: &str) {
        if let Ok(client) = client.parse() {
            self.living.add(client);
        }
    }

    /// A client has died: what it held is pending again, and its imports are taken back. Gives an error as JSON text.
    pub fn died(&mut self, client: &str) -> Option<String> {
        let client: OwnerId = client.parse().ok()?;
        self.living.remove(client);
        self.feeds.retain(|(owner, ..)| *owner != client);
        let reaped = block_on(self.store.reap());
        self.look_around();
        reaped.err().map(|error| self.noted(error))
    }

    /// Which store it is: no other file has this id but copies.
    #[wasm_bindgen(getter)]
    pub fn id(&self) -> String {
        self.id.clone()
    }

    /// The revision of the newest change.
    #[allow(clippy::cast_precision_loss, reason = "revisions are exact in JavaScript")]
    #[wasm_bindgen(getter)]
    pub fn revision(&self) -> f64 {
        self.watch.revision() as f64
    }

    /// Whether a write failed with its outcome unknown: nothing goes on before the file is opened anew.
    #[wasm_bindgen(getter, js_name = isPoisoned)]
    pub fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }

    /// Has the file such that damage to a copy of it is found. Gives an error as JSON text.
    pub fn checkpoint(&mut self) -> Option<String> {
        block_on(self.store.checkpoint()).err().map(|error| self.noted(error))
    }

    /// Releases the file. Claims stay with their clients. Gives an error as JSON text.
    pub fn close(&mut self) -> Option<String> {
        self.feeds.clear();
        let closed = block_on(self.store.close()).err().map(|error| self.noted(error));
        let released = self.storage.take().map_or(Ok(()), host::release);
        closed.or(released.err().map(|error| Failure::from(Error::from_source(error)).json()))
    }
}

impl JobStore {
    fn try_open(config: &str) -> Result<Self, Failure> {
        let config: Config = serde_json::from_str(config).map_err(|e| Failure::input(&e))?;
        let living = Arc::new(Living::default());
        config.living.into_iter().for_each(|client| living.add(client));
        let mut options =
            OpenOptions::new().clock(Arc::new(HostClock)).owner(config.owner).liveness(living.clone());
        if let Some(bytes) = config.cache_bytes {
            options = options.cache_bytes(bytes);
        }
        let handle = config.storage;
        let store = RedbStore::on_storage(move || host::storage(handle), &options).inspect_err(|_| {
            // Why it cannot be opened says more than why it cannot be released.
            let _ = host::release(handle);
        })?;
        let watch = store.watch();
        let id = block_on(store.id())?;
        Ok(JobStore {
            store,
            storage: Some(handle),
            living,
            feeds: Vec::new(),
            id,
            is_poisoned: false,
            watch,
        })
    }

    fn run(&mut self, client: OwnerId, batch: &str, lines: &mut Lines) {
        let mut ids = Vec::new();
        let mut tasks = Vec::new();
        if let Ok(calls) = serde_json::from_str::<Vec<(u64, u64, &str, Fields<'_>)>>(batch) {
            for (id, seq, name, fields) in calls {
                ids.push(id);
                tasks.push(self.task(client, seq, name, fields));
            }
        } else {
            let calls: Vec<(u64, u64, &str, &RawValue)> = match serde_json::from_str(batch) {
                Ok(calls) => calls,
                Err(error) => return lines.push(0, Err(Failure::input(&error))),
            };
            for (id, seq, name, fields) in calls {
                ids.push(id);
                // Each by itself: one that cannot be read does not take the others along.
                tasks.push(match serde_json::from_str(fields.get()) {
                    Ok(fields) => self.task(client, seq, name, fields),
                    Err(error) => Task::Done(Err(Failure::input(&error))),
                });
            }
        }
        let answers = block_on(all(tasks));
        for (id, answer) in ids.into_iter().zip(answers) {
            self.is_poisoned |= answer.as_ref().is_err_and(|failure| failure.is_poison);
            lines.push(id, answer);
        }
        self.look_around();
    }

    fn task<'a>(&mut self, client: OwnerId, seq: u64, name: &'a str, fields: Fields<'a>) -> Task<'a> {
        Task::Done(match name {
            "importBegin" => self.begin(client, seq, fields),
            "importPiece" => self.piece(client, &fields),
            "importAbort" => Ok(Answer::of(&self.end(client, fields.import))),
            name => match call::begin(self.store.on_behalf_of(client, seq), name, fields) {
                Ok(running) => return Task::Running(running),
                Err(failure) => Err(failure),
            },
        })
    }

    /// Begins an import whose chunks come piece by piece. Gives the number under which they do: that of this call.
    fn begin(&mut self, client: OwnerId, seq: u64, mut fields: Fields<'_>) -> Answered {
        let (job, options) = (fields.job()?, fields.import_options()?);
        let spec = fields.spec.take().unwrap_or_default();
        self.feeds.push((client, seq, Feed::new(self.store.clone(), job, spec, options)));
        Ok(Answer::of(&seq))
    }

    fn piece(&mut self, client: OwnerId, fields: &Fields<'_>) -> Answered {
        let is_meant =
            |(owner, seq, _): &&mut (OwnerId, u64, Feed)| (*owner, Some(*seq)) == (client, fields.import);
        let Some((_, _, feed)) = self.feeds.iter_mut().find(is_meant) else {
            return Err(Failure::import_lost());
        };
        let pushed = feed.push(fields.text.as_deref().unwrap_or_default(), fields.last);
        if fields.last || pushed.is_err() {
            self.end(client, fields.import);
        }
        Ok(Answer::of(&pushed?))
    }

    /// Drops an import; says whether it was under way.
    fn end(&mut self, client: OwnerId, import: Option<u64>) -> bool {
        let before = self.feeds.len();
        self.feeds.retain(|(owner, seq, _)| (*owner, Some(*seq)) != (client, import));
        self.feeds.len() < before
    }

    /// Notes what was committed.
    fn look_around(&mut self) {
        let changed = std::pin::pin!(self.watch.changed());
        let _ = changed.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    }

    fn noted(&mut self, error: Error) -> String {
        let failure = Failure::from(error);
        self.is_poisoned |= failure.is_poison;
        failure.json()
    }
}

/// Polls all of them until each is done: those that write share a commit.
async fn all(mut tasks: Vec<Task<'_>>) -> Vec<Answered> {
    poll_fn(|context| {
        let mut is_done = true;
        for task in &mut tasks {
            if let Task::Running(running) = task {
                match running.as_mut().poll(context) {
                    Poll::Ready(answer) => *task = Task::Done(answer),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    tasks
        .into_iter()
        .filter_map(|task| match task {
            Task::Done(answer) => Some(answer),
            Task::Running(_) => None,
        })
        .collect()
}
