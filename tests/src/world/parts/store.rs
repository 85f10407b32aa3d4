//! The data store, and each daemon's connection to it.

use std::collections::{BTreeMap, VecDeque};

use datastore::client::{Client, Patience};
use datastore::wire::{Call, FromStore};
use datastore::{MemoryStore, Prefix, RequestId};
use groupmgr::host::StoreReq;
use proto::Instant;
use proto::time::Duration;

/// Where the store is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::world) enum Power {
    Runs,
    Stopped,
    Dead,
}

/// The data store of the world.
#[derive(Debug)]
pub(in crate::world) struct StoreNode {
    pub(in crate::world) data: MemoryStore,
    pub(in crate::world) power: Power,
    /// One way between a host and the store.
    pub(in crate::world) delay: Duration,
    /// What a write takes beside that.
    pub(in crate::world) fsync: Duration,
    pub(in crate::world) slowness: Duration,
    /// Whether its disk is full.
    pub(in crate::world) is_full: bool,
    /// Who watches what: by the host, its connection and the request that began it.
    pub(in crate::world) watches: BTreeMap<(usize, u64, RequestId), Prefix>,
    /// What waits for a stopped one.
    pub(in crate::world) held: VecDeque<(usize, u64, Call)>,
}

impl StoreNode {
    pub(in crate::world) fn new() -> Self {
        Self {
            data: MemoryStore::default(),
            power: Power::Runs,
            delay: Duration::from_micros(200),
            fsync: Duration::from_millis(1),
            slowness: Duration::ZERO,
            is_full: false,
            watches: BTreeMap::new(),
            held: VecDeque::new(),
        }
    }
}

impl StoreNode {
    /// Whether it runs, and answers as fast as usual.
    pub(in crate::world) fn is_well(&self) -> bool {
        self.power == Power::Runs && self.slowness.is_zero()
    }
}

/// One daemon's connection to the store.
#[derive(Debug)]
pub(in crate::world) struct StoreLink {
    pub(in crate::world) client: Client,
    /// Counts the connections: what belongs to an earlier one is nobody's.
    pub(in crate::world) number: u64,
    pub(in crate::world) asked: BTreeMap<RequestId, StoreReq>,
    /// Watches that were asked for, and whether they have begun.
    pub(in crate::world) watches: BTreeMap<RequestId, bool>,
    pub(in crate::world) told: bool,
}

impl StoreLink {
    pub(in crate::world) fn new(now: Instant) -> Self {
        Self {
            client: Client::new(now, "store", Patience::default()),
            number: 0,
            asked: BTreeMap::new(),
            watches: BTreeMap::new(),
            told: false,
        }
    }
}

/// What happens on a daemon's connection to the store.
#[derive(Debug)]
pub(in crate::world) struct StoreNews {
    pub(in crate::world) number: u64,
    pub(in crate::world) what: News,
}

#[derive(Debug)]
pub(in crate::world) enum News {
    Connected,
    NotConnected(&'static str),
    Broken,
    Said(FromStore),
}

/// A copy of the store's data.
#[derive(Clone, Debug)]
pub struct Backup(pub(in crate::world) MemoryStore);
