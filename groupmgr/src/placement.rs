//! Where a new session goes: to the most lightly loaded of the hosts its DTU can reach.
//!
//! Source: seed 003 ("a load balancing mechanism that attempts to find the most lightly-loaded server"). What
//! counts is the run queue per processor, the processors and their clock, the sessions, the memory, what was placed
//! since the host was last heard, and what it has just begun itself ([`Starts`]). Only two candidates drawn at random
//! are compared: with the least loaded of all, every asking host would send everybody to the same one until it speaks
//! again. And the asking host keeps what the better of both would carry only a little more lightly: a redirect costs
//! the DTU a handshake.

use std::collections::BTreeMap;

use proto::host_message::Load;
use proto::time::Duration;
use proto::{HostName, Instant};

use crate::entropy::Entropy;

/// What a placement knows of one host.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which.
    pub host: HostName,
    /// Whether it is the asking host.
    pub own: bool,
    /// How busy it said it is.
    pub load: Load,
    /// Processors.
    pub cpus: u16,
    /// Their clock, MHz.
    pub clock: u32,
    /// Whether it takes no new sessions.
    pub drain: bool,
}

/// Run queue that one session adds on the average, times 100: most wait for their user.
const SESSION_WEIGHT: u64 = 5;
/// Run queue that a session adds while it starts, times 100.
const STARTING_WEIGHT: u64 = 50;
/// The asking host keeps a session unless another one is less busy by more than this, in percent of itself.
const WORTH_A_REDIRECT: u64 = 20;
/// Below this much free memory a host is chosen only if all are.
const MEM_LOW_MIB: u32 = 128;

/// Over so long, and up to twice as long, a session counts as just begun: the run queue shows it by then.
const BEGUN_FOR: Duration = Duration::from_secs(1);

/// The sessions that this host has just begun to make, whoever placed them. They are part of the load that it tells,
/// since its run queue does not show them yet: in a storm all hosts take as many at once, and one that saw only its own
/// would send everybody on to others who do the same.
#[derive(Debug)]
pub struct Starts {
    since: Instant,
    now: u32,
    before: u32,
}

impl Starts {
    /// None so far.
    #[must_use]
    pub const fn new() -> Self {
        Self { since: Instant::ZERO, now: 0, before: 0 }
    }

    /// One more.
    pub fn add(&mut self, now: Instant) {
        self.age(now);
        self.now = self.now.saturating_add(1);
    }

    /// What they add to the run queue per processor, times 100.
    pub fn run_queue(&mut self, now: Instant, cpus: u16) -> u32 {
        self.age(now);
        let starting =
            (u64::from(self.now) + u64::from(self.before)) * STARTING_WEIGHT / u64::from(cpus.max(1));
        u32::try_from(starting).unwrap_or(u32::MAX)
    }

    fn age(&mut self, now: Instant) {
        let passed = now.since(self.since);
        if passed >= BEGUN_FOR {
            self.before = if passed < BEGUN_FOR * 2 { self.now } else { 0 };
            (self.since, self.now) = (now, 0);
        }
    }
}

impl Default for Starts {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts what this host has placed elsewhere since each target was last heard.
#[derive(Debug, Default)]
pub struct Placement {
    placed: BTreeMap<HostName, u32>,
}

impl Placement {
    /// Nothing placed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { placed: BTreeMap::new() }
    }

    /// A host was heard: its own figures hold what was placed there.
    pub fn heard(&mut self, host: &HostName) {
        self.placed.remove(host);
    }

    /// Chooses the host for a new session, and counts it as placed there if that is another one: this one's own figures
    /// hold it at once. A draining host is chosen only when there is no other; `None` only without any candidate.
    pub fn choose(&mut self, candidates: &[Candidate], entropy: &mut Entropy) -> Option<HostName> {
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
            *self.placed.entry(best.host.clone()).or_default() += 1;
        }
        Some(best.host.clone())
    }

    /// The busier, the higher; ties are broken by name, so that the choice is repeatable.
    fn cost<'a>(&self, c: &'a Candidate) -> (bool, u64, &'a HostName) {
        let placed = u64::from(self.placed.get(&c.host).copied().unwrap_or(0));
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
            cpus: 2,
            clock: 2_000,
            drain: false,
        }
    }

    fn chosen(candidates: &[Candidate], times: usize) -> BTreeMap<String, usize> {
        let (mut placement, mut entropy) = (Placement::new(), Entropy::new([9; 32]));
        let mut count = BTreeMap::new();
        for _ in 0..times {
            let host = placement.choose(candidates, &mut entropy).unwrap();
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
    fn what_has_just_begun_counts_until_the_run_queue_shows_it() {
        let at = |ms: u64| Instant::from_micros(ms * 1_000);
        let mut starts = Starts::new();
        for ms in 0..10 {
            starts.add(at(10_000 + ms));
        }
        assert_eq!(starts.run_queue(at(10_900), 2), 250);
        starts.add(at(11_100));
        assert_eq!(starts.run_queue(at(11_100), 2), 275);
        assert_eq!(starts.run_queue(at(12_200), 2), 25);
        assert_eq!(starts.run_queue(at(19_000), 2), 0);
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
