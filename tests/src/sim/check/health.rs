//! Who is well, and since when: what the other checkers hold a death, a loss or a delay against.

use std::collections::BTreeMap;

use proto::time::Duration;
use proto::{HostName, Instant};

use crate::world::{DeskId, Fate, Sight};

/// A time during which somebody was well, or was not.
#[derive(Clone, Copy, Debug)]
struct Spell {
    is_well: bool,
    since: Instant,
}

/// What is known of everybody's health.
#[derive(Debug, Default)]
pub struct Health {
    hosts: BTreeMap<HostName, Spell>,
    desks: BTreeMap<DeskId, Spell>,
    store: Option<Spell>,
    restored: Option<Instant>,
}

impl Health {
    /// Takes in what was seen.
    pub fn see(&mut self, at: Instant, sight: &Sight) {
        let spell = |is_well| Spell { is_well, since: at };
        match sight {
            Sight::HostWell { host, well } => {
                self.hosts.insert(host.clone(), spell(*well));
            }
            // One that starts has not been well for long, however short it was away.
            Sight::Host { host, fate: Fate::Starts(_) } => {
                self.hosts.insert(host.clone(), spell(true));
            }
            Sight::Host { host, .. } => {
                self.hosts.insert(host.clone(), spell(false));
            }
            Sight::DeskWell { desk, well } => {
                self.desks.insert(*desk, spell(*well));
            }
            Sight::StoreWell(well) => self.store = Some(spell(*well)),
            Sight::Restored => self.restored = Some(at),
            _ => {}
        }
    }

    /// Whether a host has been well for so long.
    #[must_use]
    pub fn host(&self, now: Instant, host: &HostName, time: Duration) -> bool {
        self.hosts.get(host).is_some_and(|spell| spell.is_well && now.since(spell.since) >= time)
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
