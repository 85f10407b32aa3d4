//! Who is well, and since when: what the other checkers hold a death, a loss or a delay against.

use std::collections::BTreeMap;

use proto::time::Duration;
use proto::{HostName, Instant};

use crate::world::{DeskId, Fate, Observation};

/// A time during which somebody was well, or was not.
#[derive(Clone, Copy, Debug)]
struct Spell {
    is_well: bool,
    since: Instant,
}

/// Of a host two things are said: that it is well with all its ways, which is said when it changes, and what becomes
/// of it. One that starts again on ways that are not sound is not well.
#[derive(Clone, Copy, Debug)]
struct HostSpell {
    is_well: bool,
    runs: bool,
    since: Instant,
    /// Nothing has happened to it since it started for the first time.
    is_untouched: bool,
    /// Its machine and its ways, whatever its daemon does.
    ways: Spell,
    /// When its daemon was last away, from and to.
    away: Option<(Instant, Option<Instant>)>,
    /// And when it came back before that.
    back_before: Instant,
}

impl HostSpell {
    fn daemon(&mut self, at: Instant, fate: Fate) {
        match (fate, self.away) {
            (Fate::Starts(_), Some((from, None))) => self.away = Some((from, Some(at))),
            (Fate::Starts(_), _) => self.back_before = at,
            // It says goodbye before it is gone.
            (Fate::Leaves | Fate::Dies, Some((_, None))) => {}
            (Fate::Leaves | Fate::Dies, before) => {
                self.back_before = before.and_then(|(_, to)| to).unwrap_or(self.back_before);
                self.away = Some((at, None));
            }
        }
    }
}

/// What is known of everybody's health.
#[derive(Debug, Default)]
pub struct Health {
    hosts: BTreeMap<HostName, HostSpell>,
    desks: BTreeMap<DeskId, Spell>,
    store: Option<Spell>,
    restored: Option<Instant>,
}

impl Health {
    /// Takes in what was seen.
    pub fn see(&mut self, at: Instant, observation: &Observation) {
        let spell = |is_well| Spell { is_well, since: at };
        match observation {
            Observation::HostWell { host, well } => {
                let spell = self.host_mut(host);
                (spell.is_well, spell.since) = (*well, at);
                spell.is_untouched &= *well;
            }
            Observation::WaysWell { host, well } => self.host_mut(host).ways = spell(*well),
            // One that starts has not been well for long, however short it was away.
            Observation::Host { host, fate } => {
                let is_first = !self.hosts.contains_key(host);
                let spell = self.host_mut(host);
                (spell.runs, spell.since) = (matches!(fate, Fate::Starts(_)), at);
                spell.is_untouched &= is_first;
                spell.daemon(at, *fate);
            }
            Observation::DeskWell { desk, well } => {
                self.desks.insert(*desk, spell(*well));
            }
            Observation::StoreWell(well) => self.store = Some(spell(*well)),
            Observation::Restored => self.restored = Some(at),
            _ => {}
        }
    }

    fn host_mut(&mut self, host: &HostName) -> &mut HostSpell {
        let since = Instant::ZERO;
        let ways = Spell { is_well: true, since };
        let unknown = HostSpell {
            is_well: true,
            runs: true,
            since,
            is_untouched: true,
            ways,
            away: None,
            back_before: Instant::ZERO,
        };
        self.hosts.entry(host.clone()).or_insert(unknown)
    }

    /// Whether a host has been well for so long.
    #[must_use]
    pub fn host(&self, now: Instant, host: &HostName, time: Duration) -> bool {
        let is_well = |spell: &HostSpell| spell.is_well && spell.runs && now.since(spell.since) >= time;
        self.hosts.get(host).is_some_and(is_well)
    }

    /// Whether nothing has happened to a host for so long, or since it started for the first time: what wears off within
    /// that time is not there.
    #[must_use]
    pub fn undisturbed(&self, now: Instant, host: &HostName, time: Duration) -> bool {
        self.host(now, host, time) || self.hosts.get(host).is_some_and(|spell| spell.is_untouched)
    }

    /// Whether nothing has happened to a host for so long but that its daemon was once away, for at most `away`.
    #[must_use]
    pub fn only_restarted(&self, now: Instant, host: &HostName, time: Duration, away: Duration) -> bool {
        let Some(spell) = self.hosts.get(host) else { return false };
        let Some((from, to)) = spell.away else { return false };
        let sound = spell.ways.is_well && now.since(spell.ways.since) >= time;
        let once = from.since(spell.back_before) >= time;
        sound && once && to.unwrap_or(now).since(from) < away
    }

    /// Whether a desk has. One of which nothing was said always was.
    #[must_use]
    pub fn desk(&self, now: Instant, desk: DeskId, time: Duration) -> bool {
        self.desks.get(&desk).is_none_or(|spell| spell.is_well && now.since(spell.since) >= time)
    }

    /// Whether the data store has, with nothing of it undone by a backup meanwhile.
    #[must_use]
    pub fn store(&self, now: Instant, time: Duration) -> bool {
        let undone = self.restored.is_some_and(|at| now.since(at) < time);
        !undone && self.store.is_none_or(|spell| spell.is_well && now.since(spell.since) >= time)
    }
}
