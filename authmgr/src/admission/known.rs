//! What a host remembers of the registry, bounded: so that the data store is not asked twice for one
//! presentation, and that known tokens are admitted while it is away (DESIGN 5).

use std::collections::{BTreeMap, BTreeSet};

use proto::{Instant, Token};

use super::record::Record;

/// Registered tokens that are remembered. A larger registry works; then a token may have to wait for the data
/// store while that is away.
pub(super) const REGISTERED_MAX: usize = 16 * 1024;
/// Tokens that are remembered for not being registered. Strangers can fill these, so they have a shelf of
/// their own.
pub(super) const UNREGISTERED_MAX: usize = 4 * 1024;

/// What the registry says about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Registered(Record),
    /// There is a record and it cannot be read.
    Damaged,
    Unregistered,
}

/// Values by token, the oldest given up first.
#[derive(Debug)]
struct Shelf<T> {
    max: usize,
    by_token: BTreeMap<Token, (Instant, T)>,
    by_age: BTreeSet<(Instant, Token)>,
}

impl<T> Shelf<T> {
    const fn new(max: usize) -> Self {
        Self { max, by_token: BTreeMap::new(), by_age: BTreeSet::new() }
    }

    fn remove(&mut self, token: &Token) {
        if let Some((at, _)) = self.by_token.remove(token) {
            self.by_age.remove(&(at, token.clone()));
        }
    }

    /// Whether another value had to go.
    fn put(&mut self, at: Instant, token: &Token, value: T) -> bool {
        self.remove(token);
        self.by_token.insert(token.clone(), (at, value));
        self.by_age.insert((at, token.clone()));
        let overflows = self.by_token.len() > self.max;
        if overflows && let Some((_, oldest)) = self.by_age.pop_first() {
            self.by_token.remove(&oldest);
        }
        overflows
    }

    /// Removes what is older than `at`.
    fn drop_before(&mut self, at: Instant) {
        while let Some((age, _)) = self.by_age.first()
            && *age < at
            && let Some((_, token)) = self.by_age.pop_first()
        {
            self.by_token.remove(&token);
        }
    }
}

/// What is remembered. `None` on the first shelf stands for a damaged record.
#[derive(Debug)]
pub(super) struct Known {
    registered: Shelf<Option<Record>>,
    unregistered: Shelf<()>,
    /// When the listing under way began.
    listing_since: Option<Instant>,
    /// When every record was last known to be on the first shelf.
    whole_at: Option<Instant>,
}

impl Known {
    pub(super) const fn new() -> Self {
        Self {
            registered: Shelf::new(REGISTERED_MAX),
            unregistered: Shelf::new(UNREGISTERED_MAX),
            listing_since: None,
            whole_at: None,
        }
    }

    pub(super) fn put(&mut self, now: Instant, token: &Token, entry: Entry) {
        let record = match entry {
            Entry::Registered(record) => Some(record),
            Entry::Damaged => None,
            Entry::Unregistered => {
                self.registered.remove(token);
                self.unregistered.put(now, token, ());
                return;
            }
        };
        self.unregistered.remove(token);
        if self.registered.put(now, token, record) {
            self.whole_at = None;
            self.listing_since = None;
        }
    }

    /// What was known for certain at `since` or later.
    pub(super) fn get(&self, since: Instant, token: &Token) -> Option<Entry> {
        let whole = self.whole_at.is_some_and(|at| at >= since);
        if let Some((at, record)) = self.registered.by_token.get(token) {
            let entry = || record.clone().map_or(Entry::Damaged, Entry::Registered);
            return (whole || *at >= since).then(entry);
        }
        let looked_up = self.unregistered.by_token.get(token).is_some_and(|(at, ())| *at >= since);
        (whole || looked_up).then_some(Entry::Unregistered)
    }

    /// What an earlier listing found stays believed while this one is under way, or if it breaks off.
    pub(super) const fn listing_begins(&mut self, now: Instant) {
        self.listing_since = Some(now);
    }

    /// The listing has ended: true as of its beginning, if nobody watched. Without a listing: nothing has
    /// changed.
    pub(super) fn is_whole(&mut self, now: Instant) {
        if let Some(since) = self.listing_since.take() {
            self.registered.drop_before(since);
            self.whole_at = Some(since);
        } else if self.whole_at.is_some() {
            self.whole_at = Some(now);
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        let (r, u) = (&self.registered, &self.unregistered);
        [r.by_token.len(), r.by_age.len(), u.by_token.len(), u.by_age.len()]
    }
}
