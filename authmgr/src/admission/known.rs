//! What a host remembers of the registry, bounded: so that the data store is not asked twice for one
//! presentation, and that known tokens are admitted while it is away.

use std::collections::BTreeMap;

use datastore::{Key, Value};
use proto::line::LINE_MAX;
use proto::{Instant, Token};

use super::record::Record;
use crate::denial::Denial;

/// Registered tokens that are remembered. A larger registry works; then a token may have to wait for the data
/// store while that is away.
pub(super) const REGISTERED_MAX: usize = 16 * 1024;
/// Tokens that are remembered for not being registered. Strangers can fill these, so they have a shelf of
/// their own.
pub(super) const UNREGISTERED_MAX: usize = 4 * 1024;

/// What the registry has about a token, unread: most of a large registry is never presented here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Registered(Value),
    /// There is something, and it is larger than a record can be.
    Damaged,
    Unregistered,
}

impl Entry {
    /// What is found under a token's key. What is too large is not kept, so a shelf's size in bytes is bounded, too.
    pub(super) fn of(found: Option<Value>) -> Self {
        match found {
            None => Self::Unregistered,
            Some(value) if value.as_bytes().len() > LINE_MAX => Self::Damaged,
            Some(value) => Self::Registered(value),
        }
    }

    /// The record of `token` in it, if there is one; a damaged one is refused.
    pub(super) fn read(&self, token: &Token) -> Result<Option<Record>, Denial> {
        match self {
            Self::Unregistered => Ok(None),
            Self::Damaged => Err(Denial::BadRecord),
            Self::Registered(value) => {
                Record::from_bytes(token, value.as_bytes()).map(Some).map_err(|_| Denial::BadRecord)
            }
        }
    }
}

/// What is remembered by a token's key, the oldest given up first.
#[derive(Debug)]
struct Shelf<T> {
    max: usize,
    by_key: BTreeMap<Key, Item<T>>,
    /// In the order in which they were put here, and so by age.
    by_number: BTreeMap<u64, Key>,
    /// How many were put here.
    put: u64,
}

#[derive(Debug)]
struct Item<T> {
    at: Instant,
    number: u64,
    value: T,
}

impl<T> Shelf<T> {
    const fn new(max: usize) -> Self {
        Self { max, by_key: BTreeMap::new(), by_number: BTreeMap::new(), put: 0 }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(item) = self.by_key.remove(key) {
            self.by_number.remove(&item.number);
        }
    }

    /// Whether another value had to go.
    fn put(&mut self, at: Instant, key: &Key, value: T) -> bool {
        self.put += 1;
        self.by_number.insert(self.put, key.clone());
        let item = Item { at, number: self.put, value };
        if let Some(old) = self.by_key.insert(key.clone(), item) {
            self.by_number.remove(&old.number);
        }
        let overflows = self.by_key.len() > self.max;
        if overflows && let Some((_, oldest)) = self.by_number.pop_first() {
            self.by_key.remove(&oldest);
        }
        overflows
    }

    /// Removes what is older than `at`, and returns the keys.
    fn drop_before(&mut self, at: Instant) -> Vec<Key> {
        let mut dropped = Vec::new();
        while let Some(first) = self.by_number.first_entry()
            && self.by_key.get(first.get()).is_none_or(|item| item.at < at)
        {
            let key = first.remove();
            self.by_key.remove(&key);
            dropped.push(key);
        }
        dropped
    }
}

/// What is remembered. `None` on the first shelf stands for one that was too large.
#[derive(Debug)]
pub(super) struct Known {
    registered: Shelf<Option<Value>>,
    unregistered: Shelf<()>,
    /// When the listing under way began.
    listing_since: Option<Instant>,
    /// When every record was last known to be on the first shelf.
    whole_at: Option<Instant>,
}

impl Known {
    /// Room for so many keys with something under them, and so many with nothing.
    pub(super) const fn new(registered: usize, unregistered: usize) -> Self {
        Self {
            registered: Shelf::new(registered),
            unregistered: Shelf::new(unregistered),
            listing_since: None,
            whole_at: None,
        }
    }

    pub(super) fn put(&mut self, now: Instant, key: &Key, entry: Entry) {
        let value = match entry {
            Entry::Registered(value) => Some(value),
            Entry::Damaged => None,
            Entry::Unregistered => {
                self.registered.remove(key);
                self.unregistered.put(now, key, ());
                return;
            }
        };
        self.unregistered.remove(key);
        if self.registered.put(now, key, value) {
            self.whole_at = None;
            self.listing_since = None;
        }
    }

    /// The same of what a listing found. Returns whether that is news to who knew every record before.
    pub(super) fn put_listed(&mut self, now: Instant, key: &Key, entry: Entry) -> bool {
        let before = self.registered.by_key.get(key).map(|item| &item.value);
        let is_as_before = match (&entry, before) {
            (Entry::Registered(value), Some(Some(before))) => value == before,
            (Entry::Damaged, Some(None)) | (Entry::Unregistered, None) => true,
            _ => false,
        };
        let is_news = self.whole_at.is_some() && !is_as_before;
        self.put(now, key, entry);
        is_news
    }

    /// How many keys are known to have something under them.
    pub(super) fn registered(&self) -> usize {
        self.registered.by_key.len()
    }

    /// What was known for certain at `since` or later.
    pub(super) fn get(&self, since: Instant, key: &Key) -> Option<Entry> {
        let whole = self.whole_at.is_some_and(|at| at >= since);
        if let Some(item) = self.registered.by_key.get(key) {
            let entry = || item.value.clone().map_or(Entry::Damaged, Entry::Registered);
            return (whole || item.at >= since).then(entry);
        }
        let looked_up = self.unregistered.by_key.get(key).is_some_and(|item| item.at >= since);
        (whole || looked_up).then_some(Entry::Unregistered)
    }

    /// What an earlier listing found stays believed while this one is under way, or if it breaks off.
    pub(super) const fn listing_begins(&mut self, now: Instant) {
        self.listing_since = Some(now);
    }

    /// The listing has ended: true as of its beginning, if nobody watched. Without a listing: nothing has
    /// changed. Returns what was known before and is not there any more.
    pub(super) fn is_whole(&mut self, now: Instant) -> Vec<Key> {
        let mut gone = Vec::new();
        if let Some(since) = self.listing_since.take() {
            let dropped = self.registered.drop_before(since);
            if self.whole_at.replace(since).is_some() {
                gone = dropped;
            }
        } else if self.whole_at.is_some() {
            self.whole_at = Some(now);
        }
        gone
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        let (r, u) = (&self.registered, &self.unregistered);
        [r.by_key.len(), r.by_number.len(), u.by_key.len(), u.by_number.len()]
    }
    /// Bytes of the values that are kept.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let values = self.registered.by_key.values().filter_map(|item| item.value.as_ref());
        values.map(|value| value.as_bytes().len()).sum()
    }
}
