//! Effects: writes that are done once, however often they are asked for.
//!
//! A session's program does something that must not be done again, and its host dies before the program could keep that
//! it was done. At the session's next home the program does not know, and asks for the same effect again. So the store
//! remembers under the session's record what was done, in the same batch as the write itself, and answers the second time
//! with what it has answered the first time.
//!
//! What is remembered of a session is one value, under [`memory_key`]: of each service the effects of its latest
//! operation. It goes with the record, when that is deleted. What lies outside of the store is done by others;
//! of that the store remembers that it was begun, and what came of it ([`Deed::Begin`], [`Deed::End`]).

use std::collections::BTreeMap;

use proto::ServiceName;
use serde::{Deserialize, Serialize};

use crate::guard::Write;
use crate::key::Key;
use crate::value::Value;

/// Effects of one operation, at most.
pub const STEPS_MAX: u8 = 16;
/// What [`Deed::End`] may say, in bytes.
pub const OUTCOME_MAX: usize = 256;

/// Names an effect within its session for good: every attempt at the same one has the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EffectId {
    /// The service whose program does it.
    pub service: ServiceName,
    /// The epoch in which its operation was begun first: generation and counter.
    pub epoch: (u32, u32),
    /// Its operation, as the service counts them.
    pub operation: u64,
    /// Which effect of the operation it is, from 1 to [`STEPS_MAX`].
    pub step: u8,
}

impl EffectId {
    const fn order(&self) -> ((u32, u32), u64) {
        (self.epoch, self.operation)
    }
}

/// What is to be done once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// A write of the store. A swap that loses has done nothing, and is not remembered.
    Write(Write),
    /// Something outside of the store begins. Answered by [`crate::Answer::Begun`] the first time.
    Begin,
    /// That has happened, and this came of it; at most [`OUTCOME_MAX`] bytes.
    End(Value),
}

/// What is remembered of an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Past {
    /// A value was stored, as [`crate::Answer::Stored`] says.
    Stored,
    /// A key was as expected, as [`crate::Answer::Swapped`] says.
    Swapped,
    /// A key was deleted, as [`crate::Answer::Deleted`] says.
    Deleted {
        /// Whether the key had a value.
        existed: bool,
    },
    /// It was begun. Whether it came to its end nobody has said.
    Begun,
    /// It has happened, and this came of it.
    Ended(Value),
}

/// The effects of the latest operation of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Latest {
    epoch: (u32, u32),
    operation: u64,
    steps: BTreeMap<u8, Past>,
}

/// What is remembered of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory(BTreeMap<ServiceName, Latest>);

/// What is known of an effect before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: it is done now.
    Nothing,
    /// It has happened.
    Past(Past),
    /// The service has gone on to a later operation: what became of this one is not remembered.
    Forgotten,
}

/// Where it is remembered what has happened under a record. `None` for a key that leaves no room for it.
#[must_use]
pub fn memory_key(record: &Key) -> Option<Key> {
    format!("once/{record}").parse().ok()
}

impl Memory {
    /// What was remembered; `None` if it cannot be read.
    pub(crate) fn read(value: Option<&Value>) -> Option<Self> {
        value.map_or_else(|| Some(Self::default()), |value| postcard::from_bytes(value.as_bytes()).ok())
    }

    /// As it is stored; `None` if there is more of it than a value may have.
    pub(crate) fn to_value(&self) -> Option<Value> {
        postcard::to_stdvec(self).ok().and_then(|bytes| Value::new(&bytes).ok())
    }

    pub(crate) fn knows(&self, effect: &EffectId) -> Known {
        let Some(latest) = self.0.get(&effect.service) else { return Known::Nothing };
        match (latest.epoch, latest.operation).cmp(&effect.order()) {
            core::cmp::Ordering::Less => Known::Nothing,
            core::cmp::Ordering::Equal => {
                latest.steps.get(&effect.step).map_or(Known::Nothing, |past| Known::Past(past.clone()))
            }
            core::cmp::Ordering::Greater => Known::Forgotten,
        }
    }

    pub(crate) fn remember(&mut self, effect: &EffectId, past: Past) {
        let fresh = || Latest { epoch: effect.epoch, operation: effect.operation, steps: BTreeMap::new() };
        let latest = self.0.entry(effect.service.clone()).or_insert_with(fresh);
        if (latest.epoch, latest.operation) < effect.order() {
            *latest = fresh();
        }
        latest.steps.insert(effect.step, past);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Refusal, StoreError};
    use crate::guard::Guard;
    use crate::memory::MemoryStore;
    use crate::message::{Answer, Event, Expected, Request};

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    fn value(text: &str) -> Value {
        Value::new(text.as_bytes()).unwrap()
    }

    /// A store with the record of a session whose home is in epoch 1.3.
    fn store() -> MemoryStore {
        let mut store = MemoryStore::default();
        store.apply(
            Request::Put { key: key("session/7"), value: value("session epoch=1.3") },
            &mut Vec::new(),
        );
        store
    }

    fn once(operation: u64, step: u8, deed: Deed) -> Request {
        let effect = EffectId { service: "shop".parse().unwrap(), epoch: (1, 3), operation, step };
        Request::Once {
            guard: Some(Guard { key: key("session/7"), generation: 1, counter: 3 }),
            effect,
            deed,
        }
    }

    fn put(text: &str) -> Deed {
        Deed::Write(Write::Put { key: key("data/a"), value: value(text) })
    }

    /// The answer, and how many keys have changed.
    fn ask(store: &mut MemoryStore, request: Request) -> (Answer, usize) {
        let mut changed: Vec<Event> = Vec::new();
        let answer = store.apply(request, &mut changed).answer;
        (answer, changed.len())
    }

    #[test]
    fn the_second_time_an_effect_only_says_what_it_said_the_first_time() {
        let mut store = store();
        assert_eq!(ask(&mut store, once(1, 1, put("x"))), (Answer::Stored, 2));
        assert_eq!(ask(&mut store, once(1, 1, put("y"))), (Answer::Already(Past::Stored), 0));
        let delete = || Deed::Write(Write::Delete { key: key("data/a") });
        assert_eq!(ask(&mut store, once(1, 2, delete())), (Answer::Deleted { existed: true }, 2));
        assert_eq!(
            ask(&mut store, once(1, 2, delete())),
            (Answer::Already(Past::Deleted { existed: true }), 0)
        );
        assert_eq!(ask(&mut store, once(1, 3, Deed::Begin)), (Answer::Begun, 1));
        assert_eq!(ask(&mut store, once(1, 3, Deed::Begin)), (Answer::Already(Past::Begun), 0));
        assert_eq!(ask(&mut store, once(1, 3, Deed::End(value("z")))), (Answer::Ended, 1));
        let ended = || (Answer::Already(Past::Ended(value("z"))), 0);
        assert_eq!(ask(&mut store, once(1, 3, Deed::Begin)), ended());
        assert_eq!(ask(&mut store, once(1, 3, Deed::End(value("other")))), ended());
    }

    #[test]
    fn a_swap_that_lost_has_done_nothing_and_may_be_tried_again() {
        let mut store = store();
        let swap = |old: Option<&str>| {
            let expected = Expected::from(old.map(value));
            Deed::Write(Write::Swap { key: key("data/a"), expected, new: Some(value("n")) })
        };
        assert_eq!(ask(&mut store, once(1, 1, swap(Some("x")))), (Answer::Lost { current: None }, 0));
        assert_eq!(ask(&mut store, once(1, 1, swap(None))), (Answer::Swapped, 2));
        assert_eq!(ask(&mut store, once(1, 1, swap(None))), (Answer::Already(Past::Swapped), 0));
    }

    #[test]
    fn of_a_service_only_its_latest_operation_is_remembered_and_nothing_when_the_session_is_over() {
        let mut store = store();
        for step in 1..=STEPS_MAX {
            ask(&mut store, once(1, step, put("x")));
        }
        assert_eq!(ask(&mut store, once(2, 1, put("y"))).0, Answer::Stored);
        assert_eq!(ask(&mut store, once(1, 1, put("x"))).0, Answer::Failed(Refusal::Superseded.into()));
        let memory = memory_key(&key("session/7")).unwrap();
        assert!(store.get(&memory).unwrap().as_bytes().len() < 40);
        assert_eq!(ask(&mut store, Request::Delete { key: key("session/7") }).1, 2);
        assert_eq!(store.get(&memory), None);
        assert_eq!(ask(&mut store, once(3, 1, put("z"))).0, Answer::Failed(Refusal::Fenced.into()));
    }

    #[test]
    fn an_effect_of_nobody_or_of_a_later_epoch_or_out_of_bounds_is_refused() {
        let mut store = store();
        let Request::Once { guard, effect, deed } = once(1, 1, put("x")) else { panic!() };
        let refused = |store: &mut MemoryStore, request| {
            let (answer, changed) = ask(store, request);
            assert!(changed == 0 && matches!(answer, Answer::Failed(_)), "{answer:?}");
            answer
        };
        let not_here = Answer::Failed(Refusal::NotHere.into());
        let bare = Request::Once { guard: None, effect: effect.clone(), deed: deed.clone() };
        assert_eq!(refused(&mut store, bare), not_here);
        let later = EffectId { epoch: (1, 4), ..effect };
        assert_eq!(refused(&mut store, Request::Once { guard, effect: later, deed }), not_here);
        for step in [0, STEPS_MAX + 1] {
            assert_eq!(refused(&mut store, once(1, step, put("x"))), not_here);
        }
        let long = Deed::End(value(&"x".repeat(OUTCOME_MAX + 1)));
        let too_large = refused(&mut store, once(1, 1, long));
        assert!(matches!(too_large, Answer::Failed(StoreError::TooLarge { .. })));
        // What another version has written is neither read nor overwritten.
        let memory = memory_key(&key("session/7")).unwrap();
        ask(&mut store, Request::Put { key: memory, value: value("?") });
        assert_eq!(refused(&mut store, once(1, 1, put("x"))), not_here);
    }
}
