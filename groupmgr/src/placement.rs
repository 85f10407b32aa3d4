//! Where a new session goes: to the most lightly loaded of the hosts its DTU can reach.
//!
//! The most lightly loaded server is wanted, as far as can be known. What
//! counts is the run queue per processor, the processors and their clock, the sessions and the memory. A host tells
//! them in its tokenR as they are at that moment, with the sessions that it is starting ([`Starts`]) and the DTUs that
//! are on their way to it ([`Arrivals`]); whoever sends it one says so at once ([`Notices`]). Of a host of an older
//! version they are known from its last beacon.
//!
//! Even so the figures are as old as an answer takes, and many hosts may ask at the same moment. So only two candidates
//! drawn at random are compared: if all took the least loaded one, all would take the same. And the asking host keeps
//! what the better of both would carry only a little more lightly: a redirect costs the DTU a handshake.

mod arrivals;
mod notices;

use std::collections::{BTreeMap, VecDeque};

use proto::host_message::Load;
use proto::time::Duration;
use proto::{HostName, Instant};

pub use arrivals::{ARRIVALS_MAX, Arrivals, Starts};
pub use notices::{NOTICES_MAX, Notices};

use arrivals::STARTING_WEIGHT;
use proto::rng::SecretRng;

/// What a placement knows of one host.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The host that could take the session.
    pub host: HostName,
    /// Whether it is the asking host.
    pub own: bool,
    /// How busy it is.
    pub load: Load,
    /// What was placed there since then is not in `load`.
    pub as_of: Instant,
    /// Processors of its machine.
    pub cpus: u16,
    /// Their clock, MHz.
    pub clock: u32,
    /// Whether it takes no new sessions.
    pub drain: bool,
}

/// Run queue that one session adds on the average, times 100: most wait for their user.
const SESSION_WEIGHT: u64 = 5;
/// The asking host keeps a session unless another one is less busy by more than this, in percent of itself.
const WORTH_A_REDIRECT: u64 = 10;
/// Below this much free memory a host is chosen only if all are.
const MEM_LOW_MIB: u32 = 128;

/// Placements elsewhere are remembered for so long: by then the answer to any lookup holds them.
const PLACED_FOR: Duration = Duration::from_secs(2);
/// And so many for each host.
const PLACED_MAX: usize = 16_384;

/// Counts what this host has placed elsewhere, and when.
#[derive(Debug, Default)]
pub struct Placement {
    placed: BTreeMap<HostName, VecDeque<Instant>>,
}

impl Placement {
    /// Nothing placed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { placed: BTreeMap::new() }
    }

    /// Chooses the host for a new session, and counts it as placed there if that is another one: this one's own figures
    /// hold it at once. A draining host is chosen only when there is no other; `None` only without any candidate.
    pub fn choose(
        &mut self,
        now: Instant,
        candidates: &[Candidate],
        entropy: &mut SecretRng,
    ) -> Option<HostName> {
        let willing: Vec<&Candidate> = candidates.iter().filter(|c| !c.drain).collect();
        let pool = if willing.is_empty() { candidates.iter().collect() } else { willing };
        let first = pool.get(entropy.below(pool.len()))?;
        // The second draw leaves out the first, so that of two hosts the better one always wins.
        let others: Vec<&&Candidate> = pool.iter().filter(|c| c.host != first.host).collect();
        let second = others.get(entropy.below(others.len())).map_or(first, |second| *second);
        let mut best = if self.cost(second) < self.cost(first) { second } else { first };
        if let Some(own) = pool.iter().find(|c| c.own) {
            let ((own_short, own_cost, _), (best_short, best_cost, _)) = (self.cost(own), self.cost(best));
            if own_short == best_short && own_cost * (100 - WORTH_A_REDIRECT) <= best_cost * 100 {
                best = own;
            }
        }
        if !best.own {
            self.note_placed(now, &best.host);
        }
        Some(best.host.clone())
    }

    fn note_placed(&mut self, now: Instant, host: &HostName) {
        self.placed.retain(|_, times| times.back().is_some_and(|at| now.since(*at) < PLACED_FOR));
        let times = self.placed.entry(host.clone()).or_default();
        while times.len() >= PLACED_MAX || times.front().is_some_and(|at| now.since(*at) >= PLACED_FOR) {
            times.pop_front();
        }
        times.push_back(now);
    }

    /// What this host has placed there and its figures do not hold.
    fn placed_since(&self, host: &HostName, as_of: Instant) -> usize {
        self.placed.get(host).map_or(0, |times| times.len() - times.partition_point(|at| *at < as_of))
    }

    /// The busier, the higher; ties are broken by name, so that the choice is repeatable.
    fn cost<'a>(&self, c: &'a Candidate) -> (bool, u64, &'a HostName) {
        let placed = self.placed_since(&c.host, c.as_of) as u64;
        let cpus = u64::from(c.cpus.max(1));
        let demand = u64::from(c.load.run_queue) * cpus
            + u64::from(c.load.sessions) * SESSION_WEIGHT
            + placed * (STARTING_WEIGHT + SESSION_WEIGHT)
            + STARTING_WEIGHT;
        // In thousandths of what a GHz processor does; a host that does not say its clock counts as 1 GHz.
        let capacity = cpus * u64::from(if c.clock == 0 { 1_000 } else { c.clock });
        // None at all means that it has not said yet.
        let short_of_memory = (1..MEM_LOW_MIB).contains(&c.load.mem_mib);
        (short_of_memory, demand * 1_000_000 / capacity, &c.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, run_queue: u32) -> Candidate {
        Candidate {
            host: name.parse().unwrap(),
            own: false,
            load: Load { run_queue, mem_mib: 4_000, sessions: 0 },
            as_of: Instant::ZERO,
            cpus: 2,
            clock: 2_000,
            drain: false,
        }
    }

    fn chosen(candidates: &[Candidate], times: usize) -> BTreeMap<String, usize> {
        let (mut placement, mut entropy) = (Placement::new(), SecretRng::new([9; 32]));
        let mut count = BTreeMap::new();
        for _ in 0..times {
            let host = placement.choose(Instant::ZERO, candidates, &mut entropy).unwrap();
            *count.entry(host.to_string()).or_default() += 1;
        }
        count
    }

    #[test]
    fn of_two_hosts_the_more_lightly_loaded_one_gets_the_session() {
        assert_eq!(chosen(&[candidate("a", 300), candidate("b", 10)], 1), [("b".into(), 1)].into());
    }

    #[test]
    fn twice_the_processors_or_the_clock_carry_twice_as_much() {
        let mut wide = candidate("wide", 100);
        wide.cpus = 8;
        let mut quick = candidate("quick", 100);
        quick.clock = 8_000;
        for better in [wide, quick] {
            let name = better.host.to_string();
            assert_eq!(chosen(&[candidate("a", 100), better], 1), [(name, 1)].into());
        }
    }

    #[test]
    fn what_was_placed_after_a_host_was_asked_counts_and_what_was_before_is_in_its_answer() {
        let at = |ms: u64| Instant::from_micros(ms * 1_000);
        let (mut placement, mut entropy) = (Placement::new(), SecretRng::new([9; 32]));
        let mut candidates = [candidate("a", 0), candidate("b", 20)];
        assert_eq!(placement.choose(at(5), &candidates, &mut entropy), Some("a".parse().unwrap()));
        assert_eq!(placement.choose(at(6), &candidates, &mut entropy), Some("b".parse().unwrap()));
        candidates[0].as_of = at(6);
        assert_eq!(placement.choose(at(7), &candidates, &mut entropy), Some("a".parse().unwrap()));
        assert_eq!(placement.placed_since(&"a".parse().unwrap(), at(0)), 2);
        // What is older than any answer is forgotten.
        placement.note_placed(at(2_007), &"b".parse().unwrap());
        assert_eq!(placement.placed_since(&"a".parse().unwrap(), at(0)), 0);
    }

    #[test]
    fn what_was_placed_since_the_last_word_counts_so_that_nobody_herds() {
        let hosts: Vec<_> = (0..10).map(|n| candidate(&format!("h{n}"), 50)).collect();
        let count = chosen(&hosts, 1_000);
        assert_eq!(count.len(), 10);
        assert!(count.values().all(|n| (80..=120).contains(n)), "{count:?}");
    }

    #[test]
    fn the_asking_host_keeps_what_another_would_carry_only_a_little_more_lightly() {
        let mut own = candidate("own", 100);
        own.own = true;
        assert_eq!(chosen(&[own.clone(), candidate("b", 90)], 1), [("own".into(), 1)].into());
        assert_eq!(chosen(&[own, candidate("b", 10)], 1), [("b".into(), 1)].into());
    }

    #[test]
    fn a_draining_host_is_used_only_when_it_is_the_only_one() {
        let mut draining = candidate("a", 0);
        draining.drain = true;
        assert_eq!(chosen(&[draining.clone(), candidate("b", 900)], 50), [("b".into(), 50)].into());
        assert_eq!(chosen(&[draining], 1), [("a".into(), 1)].into());
    }

    #[test]
    fn a_host_without_free_memory_is_the_last_choice() {
        let mut full = candidate("a", 0);
        full.load.mem_mib = 10;
        assert_eq!(chosen(&[full, candidate("b", 500)], 20), [("b".into(), 20)].into());
    }
}
