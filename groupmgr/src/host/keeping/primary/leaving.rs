//! A session moves to its secondary while its host lives.
//!
//! ```text
//!   Protected ── its process is to stand still ──▶ Settling ── it does ──▶ Filling, once more ── all is there ──▶ Leaving
//!       ▲                                              │                       │                                   │
//!       └───────────────── it does not ────────────────┘                       └──▶ Striking ◀── refused, or late ─┤
//!                                                                                                      it runs there: Superseded
//! ```
//!
//! Its process gives its services no input while it stands still, so what a person types stays at the DTU. It is filled
//! anew, and each version waited for, whatever its template says; this host keeps the same, so that it is the secondary's
//! secondary from the first moment. Once that was asked to go on it may be doing so: the process goes on only when the record
//! names it no more.

use proto::time::Duration;
use proto::{HostName, Instant};
use sessiond::control::ToSession;

use super::{Order, Phase, Primary, Why};
use crate::keep::Message;

/// A process that does not stand still by then is of a version that cannot.
const SETTLES_WITHIN: Duration = Duration::from_secs(3);
/// A secondary that was asked to go on with a session has this long: nobody at its desk can type meanwhile.
pub(super) const LEAVES_WITHIN: Duration = Duration::from_secs(2);
/// One that stays is tried again after this time, and after twice as long each time.
const AGAIN_FIRST: Duration = Duration::from_secs(5);
const AGAIN_MAX: Duration = Duration::from_secs(320);

impl Primary {
    /// Whether it is on its way to its secondary.
    pub(in super::super) const fn is_moving(&self) -> bool {
        self.moves.is_under_way
    }

    /// Whether it may be handed over now.
    pub(in super::super) fn can_move(&self, now: Instant) -> bool {
        let is_protected = matches!(self.phase, Phase::Protected { doubt_at: None, .. });
        is_protected && !self.is_moving() && self.moves.again_at.is_none_or(|at| at <= now)
    }

    /// Begins to hand it over.
    pub(in super::super) fn leave(&mut self, now: Instant, out: &mut Vec<Order>) {
        if let Phase::Protected { host, .. } = &self.phase {
            self.phase = Phase::Settling { host: host.clone(), until: now + SETTLES_WITHIN };
            self.moves.is_under_way = true;
            self.moves.sent.clear();
            out.push(Order::Tell(ToSession::Still(true)));
        }
    }

    /// Its process stands still: what is sent from now on is all that there is.
    pub(in super::super) fn stands_still(&mut self, now: Instant, out: &mut Vec<Order>) {
        if let Phase::Settling { host, .. } = &self.phase {
            let host = host.clone();
            self.fill(now, host, true, out);
        }
    }

    /// Remembers what the secondary is sent while the session moves.
    pub(super) fn remember(&mut self, message: &Message) {
        if !self.is_moving() {
            return;
        }
        // What cannot be made here cannot be made there: it asks for the whole.
        let _ = match message {
            Message::Whole { part, object, .. } => {
                self.moves.sent.entry(part.clone()).or_default().take_whole(object.clone())
            }
            Message::Delta { part, delta, .. } => {
                self.moves.sent.entry(part.clone()).or_default().take_delta(delta)
            }
            _ => Ok(()),
        };
    }

    /// The secondary has all, and is asked to go on.
    pub(super) fn hand_over(&mut self, now: Instant, host: HostName, out: &mut Vec<Order>) {
        let sent = core::mem::take(&mut self.moves.sent);
        let objects = sent.into_iter().filter_map(|(part, held)| Some((part, held.encoded()?.clone())));
        self.phase = Phase::Leaving { host: host.clone(), until: now + LEAVES_WITHIN };
        out.push(Order::HandOver(host, objects.collect()));
    }

    /// What the secondary says of that.
    pub(in super::super) fn handed_over(
        &mut self,
        now: Instant,
        from: &HostName,
        done: bool,
        out: &mut Vec<Order>,
    ) {
        match &self.phase {
            Phase::Leaving { host, .. } if host == from && done => out.push(Order::Moved),
            Phase::Leaving { host, .. } if host == from => self.give_up(now, Why::Declined, out),
            _ => {}
        }
    }

    /// Its process did not stand still: nothing has been said to anybody.
    pub(super) fn stays(&mut self, now: Instant, host: HostName, out: &mut Vec<Order>) {
        self.phase = Phase::Protected { host, compare_at: now + self.every, doubt_at: None };
        self.end_move(now, out);
    }

    /// It stays, and its process goes on.
    pub(super) fn end_move(&mut self, now: Instant, out: &mut Vec<Order>) {
        if core::mem::take(&mut self.moves.is_under_way) {
            let pause = self.moves.pause.map_or(AGAIN_FIRST, |pause| (pause * 2).min(AGAIN_MAX));
            (self.moves.again_at, self.moves.pause) = (Some(now + pause), Some(pause));
            out.push(Order::Stays);
            out.push(Order::Tell(ToSession::Still(false)));
        }
    }
}
