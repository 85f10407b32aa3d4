//! What a host counts: what it dropped or refused, by reason, and what it did, by kind.
//!
//! The names are literals of the code, so no stranger can make the tables grow.

use std::collections::BTreeMap;

use super::presentations::stage;
use super::step::Machine;

/// How often each edge between so many was taken, by the numbers of its ends.
type Edges<const N: usize> = [[u64; N]; N];
const MACHINES: usize = Machine::DUE_ORDER.len();
const STAGES: usize = stage::Kind::Settled as usize + 1;

/// Two tables of counts, and how often each edge of the two diagrams was taken.
#[derive(Clone, Debug)]
pub struct Counters {
    refused: BTreeMap<&'static str, u64>,
    done: BTreeMap<&'static str, u64>,
    told: Edges<MACHINES>,
    turned: Edges<STAGES>,
}

impl Default for Counters {
    fn default() -> Self {
        let (told, turned) = ([[0; MACHINES]; MACHINES], [[0; STAGES]; STAGES]);
        Self { refused: BTreeMap::new(), done: BTreeMap::new(), told, turned }
    }
}

impl Counters {
    /// Counts something dropped or refused.
    pub fn refused(&mut self, reason: &'static str) {
        *self.refused.entry(reason).or_default() += 1;
    }

    /// Counts something done.
    pub fn done(&mut self, kind: &'static str) {
        *self.done.entry(kind).or_default() += 1;
    }

    /// Counts that a machine told another something.
    pub(super) const fn told(&mut self, from: Machine, to: Machine) {
        self.told[from as usize][to as usize] += 1;
    }

    /// Counts that a presentation went from one stage to another.
    pub(super) const fn turned(&mut self, from: stage::Kind, to: stage::Kind) {
        self.turned[from as usize][to as usize] += 1;
    }

    /// How often a machine told another something.
    pub(super) const fn times_told(&self, from: Machine, to: Machine) -> u64 {
        self.told[from as usize][to as usize]
    }

    /// How often a presentation went from one stage to another.
    pub(super) const fn times_turned(&self, from: stage::Kind, to: stage::Kind) -> u64 {
        self.turned[from as usize][to as usize]
    }

    /// How often something was refused for this reason.
    #[must_use]
    pub fn refused_for(&self, reason: &str) -> u64 {
        self.refused.get(reason).copied().unwrap_or(0)
    }

    /// How often this was done.
    #[must_use]
    pub fn times(&self, kind: &str) -> u64 {
        self.done.get(kind).copied().unwrap_or(0)
    }

    /// What was refused so far, by reason.
    #[must_use]
    pub fn all_refused(&self) -> BTreeMap<String, u64> {
        named(&self.refused)
    }

    /// All that was done.
    #[must_use]
    pub fn all_done(&self) -> BTreeMap<String, u64> {
        named(&self.done)
    }
}

fn named(table: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    table.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}
