//! Before a host says anything it listens for a little longer than a beacon's interval: if another host of its name
//! lives, it is heard, asked to prove that it is no recording, and this one does not start.
//!
//! A daemon that takes up sessions does not listen first: it starts again on the machine where they are, and while it says
//! nothing, its silence counts as its death and its sessions are made anew elsewhere. If a second host of its name has
//! started while it was away, both notice that.
//!
//! DTUs that connect meanwhile are served as soon as that is over. A host that cannot hear the other one starts; when
//! both hear each other, both say so, and the one that has run for less long takes no new sessions.

use std::net::SocketAddrV4;

use proto::lack::Lack;
use proto::time::Duration;
use proto::{Instant, beacon};

use super::driver::{Effect, Input};
use super::note::Note;
use super::{Clock, Host};
use crate::fitness::{Condition, Finding};
use crate::topology::{Change, Double};

/// Beyond a beacon's interval, for what was on its way.
const MARGIN: Duration = Duration::from_millis(10);
/// How much longer it listens when its own name was heard and the proof is still out; a recording gets no longer.
const FOR_PROOF: Duration = Duration::from_millis(100);
/// Never longer than this, however large the group.
const LISTEN_MAX: Duration = Duration::from_secs(1);

/// What DTUs may say before the host has started. A DTU whose words are dropped says them again.
const HELD_MAX: usize = 4_096;

/// What a host that has just started waits for.
#[derive(Debug, Default)]
pub(super) struct Listening {
    /// Its sessions are there already.
    is_restart: bool,
    /// From when to when; none before it was told of its interfaces, by which it hears.
    time: Option<(Instant, Instant)>,
    has_waited_for_proof: bool,
    /// What DTUs said meanwhile, at most [`HELD_MAX`].
    held: Vec<Input>,
}

impl Listening {
    /// An earlier daemon has left so many session processes.
    pub(super) fn new(kept: usize) -> Self {
        Self { is_restart: kept > 0, ..Self::default() }
    }
}

impl Host {
    /// Whether it has just started and still listens.
    #[must_use]
    pub const fn is_listening(&self) -> bool {
        self.listening.is_some()
    }

    pub(super) fn listens_until(&self) -> Option<Instant> {
        self.listening.as_ref().and_then(|listening| listening.time).map(|(_, until)| until)
    }

    /// It can hear from now on.
    pub(super) fn begin_to_listen(&mut self, now: Instant) {
        if let Some(listening) = &mut self.listening {
            listening.time.get_or_insert((now, now + beacon::INTERVAL + MARGIN));
        }
    }

    /// Keeps back what can only be answered by a host that has started.
    pub(super) fn hold(&mut self, input: Input) -> Option<Input> {
        let Some(listening) = &mut self.listening else { return Some(input) };
        match input {
            Input::Closed { conn } => {
                listening.held.retain(|held| !held.is_of(conn));
                None
            }
            Input::Opened { .. } | Input::Line { .. } => {
                if listening.held.len() < HELD_MAX {
                    listening.held.push(input);
                } else {
                    self.counters.refused("said_too_early");
                }
                None
            }
            input => Some(input),
        }
    }

    /// Ends listening when it is time.
    pub(super) fn poll_listening(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        let Some(listening) = &mut self.listening else { return };
        let Some((since, until)) = &mut listening.time else { return };
        // In a large group beacons are further apart.
        *until = (*until).max(*since + (self.announcer.every() + MARGIN).min(LISTEN_MAX));
        if listening.is_restart {
            *until = *since;
        }
        if clock.now < *until {
            return;
        }
        if self.topology.is_own_name_in_doubt() && !listening.has_waited_for_proof {
            listening.has_waited_for_proof = true;
            *until = clock.now + FOR_PROOF;
            return;
        }
        let held = core::mem::take(&mut listening.held);
        self.listening = None;
        self.announcer.begin(clock.now);
        out.push(Effect::Ready);
        for input in held {
            self.dispatch(clock, input, out);
        }
    }

    /// Two hosts have a name, or no longer have.
    pub(super) fn on_double(&mut self, clock: Clock, change: &Change, out: &mut Vec<Effect>) {
        let (Change::Two(Double { host, .. }) | Change::OneAgain(host)) = change else { return };
        if host != self.name() {
            return;
        }
        let up = clock.now.since(self.started);
        let namesake = self.topology.namesake(clock.now, up);
        if let (Some(_), Some((at, _))) = (&self.listening, namesake) {
            self.stopping = true;
            out.push(Effect::Refuse { at });
            return;
        }
        let how = match namesake {
            Some((at, true)) => Condition::Wrong(format!(
                "another host named {host} was there first, at {at}; stop this one and give it another name (--name)"
            )),
            _ => Condition::Well,
        };
        self.fitness.find(Finding { of: Lack::Name, how });
    }

    /// All names that two hosts have, as this host knows.
    #[must_use]
    pub fn doubles(&self, now: Instant) -> Vec<Double> {
        let host = self.name().clone();
        let namesake = self.topology.namesake(now, now.since(self.started));
        let own = namesake.map(|(theirs, is_first)| self.own_double(host, theirs, is_first));
        own.into_iter().chain(self.topology.doubles()).collect()
    }

    fn own_double(&self, host: proto::HostName, theirs: SocketAddrV4, is_first: bool) -> Double {
        let ours = SocketAddrV4::new(self.announcer.primary(), self.config.identity.port);
        let (first, second) = if is_first { (theirs, ours) } else { (ours, theirs) };
        Double { host, first, second }
    }

    /// A change as operators read it: of its own name a host knows more than its table does.
    pub(super) fn note_of(&self, now: Instant, change: Change) -> Note {
        match change {
            Change::Two(Double { host, second, .. }) if host == *self.name() => {
                let is_first =
                    self.topology.namesake(now, now.since(self.started)).is_some_and(|(_, first)| first);
                Note::Host(Change::Two(self.own_double(host, second, is_first)))
            }
            change => Note::Host(change),
        }
    }
}
