//! One group commit, and what readers see while it is not safe yet.
//!
//! Many writers share one fsync. Their writes are decided one after another, each against the newest value,
//! be it already safe or only decided a moment ago in the same [`Batch`]. Nobody is answered and nobody sees
//! anything of the batch before the whole of it is safe on disk; until then [`Hidden`] stands between the
//! engine, which holds the new values already, and every reader.

use std::collections::BTreeMap;
use std::iter::Peekable;

use crate::decide::decide;
use crate::key::{Key, Prefix};
use crate::message::{Answer, Event, Request, Revision};
use crate::quota::Usage;
use crate::value::Value;

/// Writes that become safe and visible together.
#[derive(Debug)]
pub struct Batch {
    revision: Revision,
    keys: BTreeMap<Key, Touched>,
    events: Vec<Event>,
    requests: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Touched {
    /// The value before the batch: what readers still see.
    before: Option<Value>,
    /// The value after all writes decided so far.
    now: Option<Value>,
}

impl Batch {
    /// A batch takes no more once it holds so many requests.
    pub const REQUESTS_MAX: usize = 1024;
    /// A batch takes no more once it holds so many bytes of values.
    pub const BYTES_MAX: usize = 4 * 1024 * 1024;

    /// An empty batch on a store at `revision`.
    #[must_use]
    pub const fn new(revision: Revision) -> Self {
        Self { revision, keys: BTreeMap::new(), events: Vec::new(), requests: 0, bytes: 0 }
    }

    /// Whether it takes another request.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.requests < Self::REQUESTS_MAX && self.bytes < Self::BYTES_MAX
    }

    /// How many requests it holds.
    #[must_use]
    pub const fn requests(&self) -> usize {
        self.requests
    }

    /// Decides one write. The answer holds as soon as the batch is safe, and not before: even a lost swap
    /// may have lost against a value that is not safe yet. `None` for a request that writes nothing.
    ///
    /// What is more than a quota allows is not done. `usage` counts what the batch will have stored.
    ///
    /// # Errors
    /// Whatever `stored` says, which reads a key's value from before the batch.
    pub fn admit<E>(
        &mut self,
        request: &Request,
        usage: &mut Usage,
        mut stored: impl FnMut(&Key) -> Result<Option<Value>, E>,
    ) -> Result<Option<Answer>, E> {
        let decision = decide(request, |key| self.newest(key, &mut stored))?;
        let Some(decision) = decision else { return Ok(None) };
        self.requests += 1;
        let mut changes = Vec::new();
        for change in decision.changes {
            let before = self.newest(&change.key, &mut stored)?;
            if let Err(error) = usage.check(&change.key, before.as_ref(), change.value.as_ref()) {
                return Ok(Some(Answer::Failed(error)));
            }
            changes.push((before, change));
        }
        for (before, change) in changes {
            usage.change(&change.key, before.as_ref(), change.value.as_ref());
            self.bytes += change.value.as_ref().map_or(0, |v| v.as_bytes().len());
            self.revision = self.revision.next();
            let touched = self.keys.entry(change.key.clone()).or_insert(Touched { before, now: None });
            touched.now.clone_from(&change.value);
            self.events.push(Event { revision: self.revision, change });
        }
        Ok(Some(decision.answer))
    }

    /// The value of a key after all writes decided so far.
    fn newest<E>(
        &self,
        key: &Key,
        stored: &mut impl FnMut(&Key) -> Result<Option<Value>, E>,
    ) -> Result<Option<Value>, E> {
        match self.keys.get(key) {
            Some(touched) => Ok(touched.now.clone()),
            None => stored(key),
        }
    }

    /// Whether there is anything to make safe.
    #[must_use]
    pub fn changes_something(&self) -> bool {
        !self.events.is_empty()
    }

    /// The revision after it.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// What to write: the last value of every key it touches.
    pub fn writes(&self) -> impl Iterator<Item = (&Key, Option<&Value>)> {
        self.keys.iter().map(|(key, touched)| (key, touched.now.as_ref()))
    }

    /// What readers see until it is safe.
    #[must_use]
    pub fn hidden(&self) -> Hidden {
        Hidden(self.keys.iter().map(|(key, touched)| (key.clone(), touched.before.clone())).collect())
    }

    /// What watchers are told once it is safe, in order.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        self.events
    }
}

/// The values from before a batch that is in the engine and not yet safe.
#[derive(Debug, Default)]
pub struct Hidden(BTreeMap<Key, Option<Value>>);

impl Hidden {
    /// The value readers see instead of the engine's, if the key is hidden.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Option<Value>> {
        self.0.get(key)
    }

    /// Corrects a listing of the engine, which may hold any part of the batch: `stored` are its entries
    /// under `prefix` after `after`, in order.
    pub fn correct<'a, E: 'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Option<&'a Key>,
        stored: impl Iterator<Item = Result<(Key, Value), E>> + 'a,
    ) -> impl Iterator<Item = Result<(Key, Value), E>> + 'a {
        let hidden = self.0.iter().filter(move |(key, _)| prefix.holds(key) && after < Some(key));
        Corrected { stored: stored.peekable(), hidden: hidden.peekable() }
    }
}

struct Corrected<S: Iterator, H: Iterator> {
    stored: Peekable<S>,
    hidden: Peekable<H>,
}

impl<'a, E, S, H> Iterator for Corrected<S, H>
where
    S: Iterator<Item = Result<(Key, Value), E>>,
    H: Iterator<Item = (&'a Key, &'a Option<Value>)>,
{
    type Item = Result<(Key, Value), E>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((key, before)) = self.hidden.peek().copied() else { return self.stored.next() };
            match self.stored.peek() {
                Some(Err(_)) => return self.stored.next(),
                Some(Ok((stored, _))) if stored < key => return self.stored.next(),
                Some(Ok((stored, _))) if stored == key => drop(self.stored.next()),
                _ => {}
            }
            self.hidden.next();
            if let Some(value) = before {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{Guard, Write};
    use crate::memory::MemoryStore;
    use crate::message::{Expected, Page};
    use crate::once::{Deed, EffectId};
    use crate::quota::Quota;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn value(n: u8) -> Value {
        Value::new(&[n]).unwrap()
    }

    fn requests() -> impl Strategy<Value = Vec<Request>> {
        let key = "[ab]/[a-d]".prop_map(|k| k.parse::<Key>().unwrap());
        let expected =
            prop_oneof![Just(Expected::Absent), (0_u8..3).prop_map(|n| Expected::Exactly(value(n)))];
        let one =
            (key, expected, proptest::option::of(0_u8..3), 0..3_u8).prop_map(|(key, expected, new, kind)| {
                match (kind, new) {
                    (0, Some(n)) => Request::Put { key, value: value(n) },
                    (0, None) => Request::Delete { key },
                    _ => Request::Swap { key, expected, new: new.map(value) },
                }
            });
        let record = |counter: u32| Value::new(format!("session epoch=1.{counter}").as_bytes()).unwrap();
        let moved = (0_u32..4).prop_map(move |n| match n {
            0 => Request::Delete { key: "session/s".parse().unwrap() },
            n => Request::Put { key: "session/s".parse().unwrap(), value: record(n) },
        });
        let guarded = (one.clone(), 1_u32..4).prop_map(|(request, counter)| {
            request.guarded(Guard { key: "session/s".parse().unwrap(), generation: 1, counter })
        });
        let effect = |(request, counter, operation, step): (Request, u32, u64, u8)| {
            let effect = EffectId { service: "s".parse().unwrap(), epoch: (1, 1), operation, step };
            let deed = Write::try_from(request).map_or(Deed::Begin, Deed::Write);
            let guard = Guard { key: "session/s".parse().unwrap(), generation: 1, counter };
            Request::Once { guard: Some(guard), effect, deed }
        };
        let effects = (one.clone(), 1_u32..4, 1_u64..3, 1_u8..3).prop_map(effect);
        proptest::collection::vec(prop_oneof![2 => one, 1 => moved, 2 => guarded, 2 => effects], 0..20)
    }

    fn all(store: &mut MemoryStore) -> Vec<(Key, Value)> {
        let response = store.apply(Request::scan(Prefix::default()), &mut Vec::new());
        let Answer::Page(Page { entries, .. }) = response.answer else { panic!() };
        entries
    }

    proptest! {
        /// The simple store is the oracle: a batch answers as it does, ends as it does, and hides all of it.
        #[test]
        fn a_batch_does_what_its_requests_do_one_by_one_and_hides_it(before in requests(), batched in requests(), applied in 0_usize..20) {
            let mut store = MemoryStore::default();
            for request in before {
                store.apply(request, &mut Vec::new());
            }
            let untouched = all(&mut store);
            let old: BTreeMap<Key, Value> = untouched.iter().cloned().collect();
            let start = store.apply(Request::Ping, &mut Vec::new()).revision;

            let mut batch = Batch::new(start);
            let mut told = Vec::new();
            let mut usage = Usage::new(Quota::default());
            for request in &batched {
                let answer = batch.admit(request, &mut usage, |key| Ok::<_, Infallible>(old.get(key).cloned())).unwrap();
                prop_assert_eq!(answer, Some(store.apply(request.clone(), &mut told).answer));
            }

            // Any part of the batch may be in the engine while it is hidden.
            let mut engine = old;
            for (n, (key, now)) in batch.writes().enumerate() {
                let before = engine.clone();
                match now {
                    Some(value) => drop(engine.insert(key.clone(), value.clone())),
                    None => drop(engine.remove(key)),
                }
                if n == applied {
                    let hidden = batch.hidden();
                    for (prefix, after) in [("", None), ("a/", None), ("", Some("a/b")), ("b", Some("b/a"))] {
                        let prefix: Prefix = prefix.parse().unwrap();
                        let after: Option<Key> = after.map(|k| k.parse().unwrap());
                        let shown = |(key, _): &&(Key, Value)| prefix.holds(key) && after.as_ref() < Some(key);
                        let stored = before.iter().map(|(k, v)| (k.clone(), v.clone())).collect::<Vec<_>>();
                        let stored: Vec<_> = stored.iter().filter(shown).cloned().map(Ok::<_, Infallible>).collect();
                        let seen: Vec<_> = hidden.correct(&prefix, after.as_ref(), stored.into_iter()).map(Result::unwrap).collect();
                        prop_assert_eq!(seen, untouched.iter().filter(shown).cloned().collect::<Vec<_>>());
                    }
                }
            }
            prop_assert_eq!(engine.into_iter().collect::<Vec<_>>(), all(&mut store));
            prop_assert_eq!(batch.revision(), store.apply(Request::Ping, &mut Vec::new()).revision);
            prop_assert_eq!(batch.into_events(), told);
        }
    }
}
