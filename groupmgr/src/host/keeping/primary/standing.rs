//! How a session stands, as its process is told and others see it.

use continuity::Stamp;
use proto::Instant;
use sessiond::control::{Protection, ToSession};
use sessiond::template::{Protect, Replication};

use super::super::phase::how;
use super::{Order, Phase, Primary};

impl Primary {
    /// The newest version that was sent, of whatever part.
    pub(in super::super) fn newest(&self) -> Option<Stamp> {
        self.parts.values().map(|sent| sent.stamp).max()
    }

    /// Parts that were sent.
    pub(in super::super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// How it stands in one word, and why.
    pub(in super::super) fn state(&self) -> (&'static str, &str) {
        let (how, why) = self.told.as_ref().map_or((Protection::Alone, ""), |(how, why)| (*how, why));
        match (&self.phase, how) {
            _ if self.is_moving() => ("moving", ""),
            (Phase::Protected { .. }, _) => ("protected", ""),
            (_, Protection::Held) => ("held", why),
            (Phase::Filling { .. } | Phase::Naming { .. } | Phase::Striking { .. }, _) => ("filling", ""),
            _ => ("unprotected", why),
        }
    }

    /// Since when the oldest version waits that is not acknowledged.
    pub(in super::super) fn waits_since(&self) -> Option<Instant> {
        self.parts.values().filter_map(|sent| sent.since).min()
    }

    /// It waits for something else from now on.
    pub(in super::super) fn adjust(&mut self, replication: Replication, out: &mut Vec<Order>) {
        self.replication = replication;
        match &self.phase {
            Phase::Protected { .. } => self.tell(how(replication.ack), "", out),
            Phase::Lacking { .. } => {
                let why = self.told.take().map(|(_, why)| why).unwrap_or_default();
                self.tell_bare(&why, out);
            }
            // It is told when that is over.
            _ => {}
        }
    }

    pub(super) fn tell_bare(&mut self, why: &str, out: &mut Vec<Order>) {
        let how = match self.replication.protect {
            Protect::Best => Protection::Alone,
            Protect::Must => Protection::Held,
        };
        if self.told.as_ref().is_none_or(|(told, _)| *told != how) {
            out.push(Order::Bare(why.to_owned()));
        }
        self.tell(how, why, out);
    }

    /// The record cannot be changed: a host that lacks what would be shown may be named in it.
    pub(super) fn tell_away(&mut self, out: &mut Vec<Order>) {
        self.tell(Protection::Held, "the data store cannot be asked who keeps it", out);
    }

    pub(super) fn tell(&mut self, how: Protection, why: &str, out: &mut Vec<Order>) {
        let told = Some((how, why.to_owned()));
        if self.told != told {
            self.told = told;
            out.push(Order::Tell(ToSession::Protect { how, why: why.to_owned() }));
        }
    }
}
