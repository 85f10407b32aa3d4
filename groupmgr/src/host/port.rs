//! A machine's questions to the data store. A port knows no purposes: it gives back the key it was given with the
//! question, once, when the answer comes or is given up.

use std::collections::BTreeMap;

use datastore::{Answer, Request, Response, StoreError, Value};
use proto::Instant;
use proto::time::{Duration, earliest};

use super::driver::{Effect, Port, StoreReq};
use super::out::Out;
use super::step::ToStore;

/// An answer is given up after this long, and the store counts as away until it answers: a slow store must not hold a
/// desk back for longer than a mute host does.
const ANSWER_WITHIN: Duration = Duration::from_millis(400);
/// What was asked is remembered for so long after that: a claim whose answer comes too late may be held, unknown to
/// anybody.
const LATE_WITHIN: Duration = Duration::from_secs(60);
/// Questions of one port under way at most, those that are late included.
pub(super) const PENDING_MAX: usize = 65_536;

/// The questions of one machine that are under way.
#[derive(Debug)]
pub(super) struct StorePort<K> {
    port: Port,
    /// The number of the last one. The order of numbers is that of deadlines, in both tables.
    last: u64,
    pending: BTreeMap<u64, (K, Instant)>,
    late: BTreeMap<u64, (K, Instant)>,
}

/// Whose answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival<K> {
    /// Of one that waits for it.
    InTime(K),
    /// Of one that was given up.
    Late(K),
}

impl<K: Clone> StorePort<K> {
    pub(super) const fn new(port: Port) -> Self {
        Self { port, last: 0, pending: BTreeMap::new(), late: BTreeMap::new() }
    }

    /// Asks the store.
    ///
    /// # Errors
    /// Too much is under way: the key comes back, and its owner goes on as if the store were away.
    pub(super) fn ask(&mut self, now: Instant, key: K, request: Request, out: &mut Out<'_>) -> Result<(), K> {
        if self.len() >= PENDING_MAX {
            out.refused("store_queue_full");
            return Err(key);
        }
        self.last += 1;
        self.pending.insert(self.last, (key, now + ANSWER_WITHIN));
        let req = StoreReq { port: self.port, seq: self.last };
        out.effect(Effect::Store { req, request: Box::new(request) });
        Ok(())
    }

    /// An answer has come: whose it is, if anybody's.
    pub(super) fn arrived(&mut self, seq: u64) -> Option<Arrival<K>> {
        let in_time = self.pending.remove(&seq).map(|(key, _)| Arrival::InTime(key));
        in_time.or_else(|| self.late.remove(&seq).map(|(key, _)| Arrival::Late(key)))
    }

    /// Gives up the first question that was not answered in time, and says that the store is away.
    pub(super) fn overdue(&mut self, now: Instant, out: &mut Out<'_>) -> Option<K> {
        while self.late.first_entry().is_some_and(|first| first.get().1 <= now) {
            self.late.pop_first();
        }
        let first = self.pending.first_entry().filter(|first| first.get().1 <= now)?;
        let (seq, (key, _)) = first.remove_entry();
        self.late.insert(seq, (key.clone(), now + LATE_WITHIN));
        out.refused("store_late");
        out.step(ToStore::Late);
        Some(key)
    }

    /// Whether somebody waits for this answer.
    pub(super) fn awaits(&self, seq: u64) -> bool {
        self.pending.contains_key(&seq)
    }

    /// Everything that was asked and may yet be answered.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.pending.values().chain(self.late.values()).map(|(key, _)| key)
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len() + self.late.len()
    }

    /// When [`StorePort::overdue`] wants to be called.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        let first = |table: &BTreeMap<u64, (K, Instant)>| table.values().next().map(|(_, at)| *at);
        earliest(first(&self.pending), first(&self.late))
    }
}

/// What a question comes to that was not asked, or not answered.
pub(super) fn away(why: &str) -> StoreError {
    StoreError::Unreachable { at: "-".into(), why: why.into() }
}

/// The same without a better reason: it was not asked.
pub(super) fn not_asked() -> StoreError {
    away("not asked")
}

/// The same: it was not answered in time.
pub(super) fn unanswered() -> StoreError {
    away("no answer in time")
}

/// The value a get found.
pub(super) fn value_of(outcome: Result<Response, StoreError>) -> Result<Option<Value>, StoreError> {
    match outcome?.answer {
        Answer::Value(value) => Ok(value),
        _ => Err(not_asked()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::super::counters::Counters;
    use super::super::step::{Machine, Step};
    use super::*;

    #[derive(Default)]
    struct Bench {
        queue: VecDeque<Step>,
        effects: Vec<Effect>,
        counters: Counters,
    }

    impl Bench {
        fn out(&mut self) -> Out<'_> {
            Out {
                from: Machine::Relay,
                queue: &mut self.queue,
                effects: &mut self.effects,
                counters: &mut self.counters,
            }
        }

        fn asked(&self) -> Vec<u64> {
            let seq = |effect: &Effect| match effect {
                Effect::Store { req, .. } => Some(req.seq),
                _ => None,
            };
            self.effects.iter().filter_map(seq).collect()
        }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    #[test]
    fn each_key_comes_back_once_in_time_or_late_and_nobody_knows_an_answer_twice() {
        let (mut port, mut bench) = (StorePort::new(Port::Relay), Bench::default());
        for key in ["a", "b", "c"] {
            assert_eq!(port.ask(at(0), key, Request::Status, &mut bench.out()), Ok(()));
        }
        let seqs = bench.asked();
        assert_eq!(port.arrived(seqs[1]), Some(Arrival::InTime("b")));
        assert_eq!(port.arrived(seqs[1]), None, "answered already");
        assert_eq!(port.overdue(at(399), &mut bench.out()), None);
        assert_eq!(port.poll_at(), Some(at(400)));
        assert_eq!(port.overdue(at(400), &mut bench.out()), Some("a"));
        assert_eq!(port.overdue(at(400), &mut bench.out()), Some("c"));
        assert_eq!(port.overdue(at(400), &mut bench.out()), None);
        assert!(matches!(
            bench.queue.make_contiguous(),
            [Step::Store(ToStore::Late), Step::Store(ToStore::Late)]
        ));
        assert!(!port.awaits(seqs[0]));
        assert_eq!(port.arrived(seqs[0]), Some(Arrival::Late("a")));
        assert_eq!(port.keys().collect::<Vec<_>>(), [&"c"]);
        assert_eq!(port.overdue(at(60_400), &mut bench.out()), None);
        assert_eq!((port.arrived(seqs[2]), port.len(), port.poll_at()), (None, 0, None));
        assert_eq!(port.arrived(99), None, "never asked");
    }

    #[test]
    fn a_port_that_is_full_gives_the_key_back() {
        let (mut port, mut bench) = (StorePort::new(Port::Relay), Bench::default());
        for key in 0..PENDING_MAX {
            assert_eq!(port.ask(at(0), key, Request::Status, &mut bench.out()), Ok(()));
        }
        assert_eq!(port.ask(at(0), 7, Request::Status, &mut bench.out()), Err(7));
        assert_eq!(bench.counters.refused_for("store_queue_full"), 1);
        assert_eq!(bench.asked().len(), PENDING_MAX);
    }
}
