//! One store under test: opens it, opens it again, with a clock and a liveness that the case steers.

use std::ops::Deref;
use std::sync::Arc;

use magnetar::{JobStore, OpenOptions, OwnerId, Result};

use crate::support::{Living, ManualClock};

/// The time at which every case begins, in milliseconds since the Unix epoch.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// The client that a case begins with.
pub(crate) const ME: OwnerId = OwnerId::from_bytes([1; 16]);

/// Another client.
pub(crate) const OTHER: OwnerId = OwnerId::from_bytes([2; 16]);

/// Where a store is, and how it is opened.
pub(crate) trait Place: Send + Sync {
    fn open(&self, options: &OpenOptions) -> Result<Arc<dyn JobStore>>;

    /// Whether what is stored outlives the handle. Where it does not, opening again is a `reopen` of the handle.
    fn keeps(&self) -> bool;
}

/// A store under test.
pub(crate) struct Fixture {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) living: Arc<Living>,
    place: Box<dyn Place>,
    store: Option<Arc<dyn JobStore>>,
}

impl Fixture {
    pub(crate) fn new(place: impl Place + 'static) -> Self {
        let clock = Arc::new(ManualClock::at(START_MS));
        let mut fixture = Fixture { clock, living: Arc::default(), place: Box::new(place), store: None };
        fixture.store = Some(fixture.open_as(ME).expect("a new store opens"));
        fixture
    }

    /// The options that every handle of this case is opened with.
    pub(crate) fn options(&self, owner: OwnerId) -> OpenOptions {
        OpenOptions::new().clock(self.clock.clone()).liveness(self.living.clone()).owner(owner)
    }

    /// One handle more.
    pub(crate) fn open_as(&self, owner: OwnerId) -> Result<Arc<dyn JobStore>> {
        self.place.open(&self.options(owner))
    }

    /// One handle more, with the store's own way to tell the living from the dead.
    pub(crate) fn open_plainly(&self, owner: OwnerId) -> Result<Arc<dyn JobStore>> {
        self.place.open(&OpenOptions::new().clock(self.clock.clone()).owner(owner))
    }

    /// The handle, for a call that keeps it.
    pub(crate) fn handle(&self) -> Arc<dyn JobStore> {
        Arc::clone(self.store.as_ref().expect("the store is open"))
    }

    /// Drops the handle as a process that ends would, and opens the store again as the same client.
    pub(crate) async fn reopen(&mut self) {
        if self.place.keeps() {
            self.reopen_as(ME);
        } else {
            self.handle().reopen().await.expect("the store reopens");
        }
    }

    /// Drops the handle as a process that ends would, and opens the store again as another client.
    pub(crate) fn reopen_as(&mut self, owner: OwnerId) {
        assert!(self.place.keeps(), "this case is for stores that outlive their handle");
        self.store = None;
        self.store = Some(self.open_as(owner).expect("what was stored opens again"));
    }

    /// The same with the store's own way to tell the living from the dead.
    pub(crate) fn reopen_plainly(&mut self, owner: OwnerId) {
        self.store = None;
        self.store = Some(self.open_plainly(owner).expect("what was stored opens again"));
    }
}

impl Deref for Fixture {
    type Target = dyn JobStore;

    fn deref(&self) -> &Self::Target {
        &**self.store.as_ref().expect("the store is open")
    }
}
