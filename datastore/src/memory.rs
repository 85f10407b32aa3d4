//! A data store in memory: the synchronous heart of tests and of the simulated world.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;

use crate::decide::decide;
use crate::error::Refusal;
use crate::key::{Key, Prefix};
use crate::message::{Answer, Event, Generation, Page, Request, Response, Revision};
use crate::value::Value;

/// A data store that forgets everything when it is dropped.
///
/// Whoever drives it keeps the watches: every change comes out of [`MemoryStore::apply`] as an event, and
/// [`Prefix::holds`] says whose it is.
///
/// ```
/// use datastore::{Answer, Expected, MemoryStore, Request, Value};
///
/// let (mut store, mut events) = (MemoryStore::default(), Vec::new());
/// let swap = |expected| Request::Swap {
///     key: "claim/card.7".parse().unwrap(),
///     expected,
///     new: Some(Value::new(b"host-a").unwrap()),
/// };
/// assert_eq!(store.apply(swap(Expected::Absent), &mut events).answer, Answer::Swapped);
/// assert!(matches!(store.apply(swap(Expected::Absent), &mut events).answer, Answer::Lost { .. }));
/// assert_eq!(events.len(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct MemoryStore {
    generation: Generation,
    revision: Revision,
    entries: BTreeMap<Key, Value>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Generation::FIRST)
    }
}

impl MemoryStore {
    /// An empty store of this generation.
    #[must_use]
    pub const fn new(generation: Generation) -> Self {
        Self { generation, revision: Revision(0), entries: BTreeMap::new() }
    }

    /// The generation of the contents: another one after a restored backup.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The value of a key, for whoever looks without asking.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.entries.get(key)
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.entries.iter()
    }

    /// What restoring a backup does: the entries are those of `backup`, the generation is above both.
    pub fn restore(&mut self, backup: Self) {
        self.generation = self.generation.max(backup.generation).next();
        self.revision = backup.revision;
        self.entries = backup.entries;
    }

    /// Does one request. Pushes what changed.
    pub fn apply(&mut self, request: Request, changed: &mut Vec<Event>) -> Response {
        let answer = match request {
            Request::Get { key } => Answer::Value(self.entries.get(&key).cloned()),
            Request::Scan { prefix, after, limit } => Answer::Page(self.scan(&prefix, after.as_ref(), limit)),
            Request::Watch { .. } => Answer::Watching,
            Request::Unwatch { .. } => Answer::Unwatched,
            Request::Ping => Answer::Pong,
            Request::Status => Answer::Failed(Refusal::NotHere.into()),
            write => self.write(&write, changed),
        };
        Response { generation: self.generation, revision: self.revision, answer }
    }

    fn write(&mut self, request: &Request, changed: &mut Vec<Event>) -> Answer {
        let Ok(decision) = decide(request, |key| Ok::<_, Infallible>(self.entries.get(key).cloned()));
        let Some(decision) = decision else { return Answer::Failed(Refusal::NotHere.into()) };
        for change in decision.changes {
            self.revision = self.revision.next();
            match &change.value {
                Some(value) => self.entries.insert(change.key.clone(), value.clone()),
                None => self.entries.remove(&change.key),
            };
            changed.push(Event { revision: self.revision, change });
        }
        decision.answer
    }

    fn scan(&self, prefix: &Prefix, after: Option<&Key>, limit: u16) -> Page {
        let start = match after {
            Some(key) if key.as_str() >= prefix.as_str() => Bound::Excluded(key.as_str()),
            _ => Bound::Included(prefix.as_str()),
        };
        let entries = self
            .entries
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| prefix.holds(key))
            .map(|(key, value)| Ok::<_, Infallible>((key.clone(), value.clone())));
        let Ok(page) = Page::fill(limit, entries);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Expected;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    fn value(text: &str) -> Value {
        Value::new(text.as_bytes()).unwrap()
    }

    fn ask(store: &mut MemoryStore, request: Request) -> Answer {
        store.apply(request, &mut Vec::new()).answer
    }

    #[test]
    fn of_two_swaps_that_expect_the_same_the_second_loses_and_learns_why() {
        let mut store = MemoryStore::default();
        let claim =
            |v: &str| Request::Swap { key: key("c"), expected: Expected::Absent, new: Some(value(v)) };
        assert_eq!(ask(&mut store, claim("a")), Answer::Swapped);
        assert_eq!(ask(&mut store, claim("b")), Answer::Lost { current: Some(value("a")) });
        let release = Request::Swap { key: key("c"), expected: Expected::Exactly(value("a")), new: None };
        assert_eq!(ask(&mut store, release), Answer::Swapped);
        assert_eq!(ask(&mut store, Request::Get { key: key("c") }), Answer::Value(None));
    }

    #[test]
    fn what_changes_nothing_raises_no_revision_and_is_not_told() {
        let mut store = MemoryStore::default();
        let mut changed = Vec::new();
        let absent = Request::Swap { key: key("a"), expected: Expected::Absent, new: None };
        assert_eq!(store.apply(absent, &mut changed).answer, Answer::Swapped);
        let response = store.apply(Request::Delete { key: key("a") }, &mut changed);
        assert_eq!((response.revision, response.answer), (Revision(0), Answer::Deleted { existed: false }));
        assert!(changed.is_empty());
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap_whatever_their_limit() {
        let mut store = MemoryStore::default();
        let keys: Vec<String> = (0..25).map(|n| format!("k/{n:02}")).collect();
        for k in keys.iter().map(String::as_str).chain(["j", "k", "k0", "l"]) {
            ask(&mut store, Request::Put { key: key(k), value: value(k) });
        }
        for limit in [0, 1, 7, 24, 25, 26, u16::MAX] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let prefix: Prefix = "k/".parse().unwrap();
                let scan = Request::Scan { prefix, after: after.take(), limit };
                let Answer::Page(page) = ask(&mut store, scan) else { panic!() };
                after = page.entries.last().map(|(key, _)| key.clone());
                found.extend(page.entries.into_iter().map(|(key, _)| key.to_string()));
                if !page.more {
                    break;
                }
            }
            assert_eq!(found, keys, "limit {limit}");
        }
    }

    #[test]
    fn a_page_ends_when_it_holds_enough_bytes() {
        let mut store = MemoryStore::default();
        let large = Value::new(&[1; Value::LEN_MAX]).unwrap();
        for n in 0..8 {
            ask(&mut store, Request::Put { key: key(&format!("v{n}")), value: large.clone() });
        }
        let Answer::Page(page) = ask(&mut store, Request::scan(Prefix::default())) else { panic!() };
        assert_eq!((page.entries.len(), page.more), (4, true));
    }

    #[test]
    fn a_restored_store_has_a_generation_above_its_own_and_the_backup_s() {
        for (own, backup, wanted) in [(3, 1, 4), (1, 7, 8), (2, 2, 3)] {
            let mut store = MemoryStore::new(Generation(own));
            store.restore(MemoryStore::new(Generation(backup)));
            assert_eq!(store.generation(), Generation(wanted));
        }
    }
}
