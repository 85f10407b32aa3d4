//! One session that runs here, and the host that keeps its objects.
//!
//! ```text
//!   Lacking ── a host is chosen ──▶ Filling ── it has all parts ──▶ Naming ── the record names it ──▶ Protected
//!      ▲                              │ │                             │                                  │
//!      │◀──── it fails, unnamed ──────┘ └── it fails, named ──────────┼───────── it fails ───────────────┘
//!      │                                        ▼                     ▼ the store is away
//!      └──── the record names nobody ──────── Striking ◀──────────────┘
//! ```
//!
//! Whoever takes the session over believes the record. So it names a host only when that has all that was shown to
//! anybody, and nothing is shown that the named host does not have before it is struck from the record. From `Filling` to
//! `Protected` the process waits with everything that was not acknowledged; what is acknowledged before the record names
//! the host is told to the process only then.
//!
//! It is decided here; what follows is an [`Order`].

mod leaving;
mod standing;

use std::collections::{BTreeMap, BTreeSet};

use continuity::{Delta, Encoded, Hash, Stamp};
use proto::time::{Duration, earliest};
use proto::{Epoch, HostName, Instant, SessionId, Token};
use sessiond::control::{Bytes, Part, Protection, ToSession, Update};
use sessiond::template::{Promote, Replication};

use super::super::step::Recorded;
use super::phase::{Move, Order, Phase, Why, how};
use crate::keep::message::PARTS_MAX;
use crate::keep::{Message, Standing};

/// A secondary that does not acknowledge within this time is struck: so long a session waits for it.
pub(super) const ACK_WITHIN: Duration = Duration::from_millis(200);
/// One that is being filled has longer for each part: it may be a whole window of bytes.
pub(super) const FILL_WITHIN: Duration = Duration::from_millis(500);
/// Both hosts compare what they have this often.
pub(super) const COMPARE_EVERY: Duration = Duration::from_secs(10);
/// And this often where the secondary is in a makeshift place: a better one is wanted.
const COMPARE_NEAR: Duration = Duration::from_secs(4);
/// A secondary that is silent is struck after this time though nothing waits for it.
const STRUCK_AFTER: Duration = Duration::from_secs(3);
/// After a change of the record that the data store did not answer it is tried again.
const RECORD_AGAIN: Duration = Duration::from_secs(1);
/// A process that does not say what it has is asked again after this time.
const UNSAID_FOR: Duration = Duration::from_secs(4);
/// A secondary is chosen so long after the last one was given up at the earliest: what the process has said for that one
/// has come by then.
const SETTLES: Duration = Duration::from_millis(50);

/// What is known of one part at the secondary.
#[derive(Clone, Debug)]
struct Sent {
    stamp: Stamp,
    hash: Hash,
    /// Since when an acknowledgement is waited for.
    since: Option<Instant>,
    /// Whether the process waits to be told of it.
    is_untold: bool,
}

/// A session of the class `replicated`.
#[derive(Debug)]
pub(super) struct Primary {
    pub(super) session: SessionId,
    pub(super) token: Token,
    pub(super) epoch: Epoch,
    pub(super) replication: Replication,
    phase: Phase,
    /// How often it is looked at while it is protected.
    every: Duration,
    told: Option<(Protection, String)>,
    /// What the process has said that there is, since filling began.
    listed: Option<BTreeSet<Part>>,
    parts: BTreeMap<Part, Sent>,
    /// Whether an answer of the record is awaited: one change follows the other.
    is_recording: bool,
    moves: Move,
    /// Bytes of updates so far, and how many there were.
    pub(super) sent_bytes: u64,
    pub(super) sent_versions: u64,
}

impl Primary {
    /// One that begins here and has no secondary.
    pub(super) fn new(
        now: Instant,
        (session, epoch): (SessionId, Epoch),
        token: Token,
        replication: Replication,
    ) -> Self {
        Self {
            session,
            token,
            epoch,
            replication,
            phase: Phase::Lacking { choose_at: now },
            every: COMPARE_EVERY,
            told: None,
            listed: None,
            parts: BTreeMap::new(),
            is_recording: false,
            moves: Move::default(),
            sent_bytes: 0,
            sent_versions: 0,
        }
    }

    pub(super) const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The host that is sent its objects.
    pub(super) const fn peer(&self) -> Option<&HostName> {
        match &self.phase {
            Phase::Filling { host, .. }
            | Phase::Naming { host }
            | Phase::Protected { host, .. }
            | Phase::Settling { host, .. }
            | Phase::Leaving { host, .. } => Some(host),
            Phase::Lacking { .. } | Phase::Striking { .. } | Phase::Superseded => None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let acked_by = || self.waits_since().map(|since| since + ACK_WITHIN);
        match &self.phase {
            Phase::Lacking { choose_at } => Some(*choose_at),
            Phase::Filling { until, .. } | Phase::Leaving { until, .. } => Some(*until),
            Phase::Settling { until, .. } => earliest(Some(*until), acked_by()),
            Phase::Protected { compare_at, doubt_at, .. } => {
                earliest(earliest(Some(*compare_at), *doubt_at), acked_by())
            }
            Phase::Striking { again, .. } => *again,
            Phase::Naming { .. } | Phase::Superseded => None,
        }
    }

    /// This host was not run for so long: nobody is given up for what could not be heard meanwhile.
    pub(super) fn was_away(&mut self, gap: Duration) {
        if let Phase::Filling { until, .. } | Phase::Settling { until, .. } | Phase::Leaving { until, .. } =
            &mut self.phase
        {
            *until += gap;
        }
        self.parts.values_mut().filter_map(|sent| sent.since.as_mut()).for_each(|since| *since += gap);
    }

    /// It begins here. The record names this secondary already, since an earlier primary, or none.
    pub(super) fn begin(&mut self, now: Instant, secondary: Option<(HostName, bool)>, out: &mut Vec<Order>) {
        match secondary {
            Some((host, true)) => self.fill(now, host, true, out),
            Some((host, false)) => {
                self.tell(Protection::Held, "its secondary is gone", out);
                self.phase = Phase::Striking { host, why: Why::Gone, again: None };
                self.record(None, out);
            }
            None => {
                self.tell_bare("", out);
                self.phase = Phase::Lacking { choose_at: now + SETTLES };
            }
        }
    }

    /// It has no secondary, and there is no host that could be one until then.
    pub(super) fn wait(&mut self, until: Instant, why: Option<&str>, out: &mut Vec<Order>) {
        self.phase = Phase::Lacking { choose_at: until };
        if let Some(why) = why {
            self.tell_bare(why, out);
        }
    }

    /// There may be a host now.
    pub(super) fn look(&mut self, now: Instant) {
        if let Phase::Lacking { choose_at } = &mut self.phase {
            *choose_at = now;
        }
    }

    /// Fills a host, which the record names already if `named`.
    pub(super) fn fill(&mut self, now: Instant, host: HostName, named: bool, out: &mut Vec<Order>) {
        self.parts.clear();
        self.listed = None;
        // A process that sends already sends no more than what is new: it begins anew.
        if named {
            let moves = format!("it moves to host {host}");
            let why = if self.is_moving() { &moves } else { "another host is to keep it" };
            self.tell(Protection::Held, why, out);
        }
        self.phase = Phase::Filling { host, until: now + FILL_WITHIN, named };
        self.tell(Protection::Each, "", out);
    }

    /// Its secondary is in a makeshift place, or not.
    pub(super) fn is_near(&mut self, is_near: bool) {
        self.every = if is_near { COMPARE_NEAR } else { COMPARE_EVERY };
    }

    /// The process has said which parts there are.
    pub(super) fn list(&mut self, now: Instant, parts: Vec<Part>, out: &mut Vec<Order>) {
        self.listed = Some(parts.into_iter().take(PARTS_MAX).collect());
        self.check_filled(now, out);
    }

    /// The process has a new version. Returns whether it could be read, and was not of another epoch.
    pub(super) fn said(&mut self, now: Instant, part: Part, update: Update, out: &mut Vec<Order>) -> bool {
        let Some(host) = self.peer().filter(|_| !matches!(self.phase, Phase::Leaving { .. })).cloned() else {
            return true;
        };
        let (session, epoch) = (self.session, self.epoch);
        let bytes = match &update {
            Update::Whole(bytes) | Update::Delta(bytes) => bytes.0.len() as u64,
        };
        let (message, stamp, hash) = match update {
            Update::Whole(Bytes(bytes)) => {
                let Ok(object) = Encoded::open(&bytes) else { return false };
                let (stamp, hash) = (object.stamp(), object.hash());
                let token = self.token.clone();
                (Message::Whole { session, epoch, token, part: part.clone(), object }, stamp, hash)
            }
            Update::Delta(Bytes(bytes)) => {
                let Ok(delta) = Delta::from_bytes(&bytes) else { return false };
                // What builds on something that was sent to another host is of no use to this one.
                if !self.parts.contains_key(&part) {
                    out.push(Order::Tell(ToSession::Whole(part)));
                    return true;
                }
                let (stamp, hash) = (delta.result(), delta.hash());
                (Message::Delta { session, epoch, part: part.clone(), delta }, stamp, hash)
            }
        };
        let is_new = !self.parts.contains_key(&part);
        if stamp.epoch > epoch || (is_new && self.parts.len() >= PARTS_MAX) {
            return false;
        }
        self.sent_versions += 1;
        self.sent_bytes += bytes;
        self.parts.insert(part, Sent { stamp, hash, since: Some(now), is_untold: false });
        if let Phase::Filling { until, .. } = &mut self.phase {
            *until = now + FILL_WITHIN;
        }
        self.remember(&message);
        out.push(Order::Say(host, message));
        true
    }

    /// The secondary has a version.
    pub(super) fn kept(
        &mut self,
        now: Instant,
        from: &HostName,
        part: Part,
        stamp: Stamp,
        out: &mut Vec<Order>,
    ) {
        if self.peer() != Some(from) {
            return;
        }
        let Some(sent) = self.parts.get_mut(&part) else { return };
        match stamp.cmp(&sent.stamp) {
            core::cmp::Ordering::Less => {}
            core::cmp::Ordering::Greater => self.give_up(now, Why::Lies, out),
            core::cmp::Ordering::Equal => {
                sent.since = None;
                let is_named = match &mut self.phase {
                    Phase::Filling { until, named, .. } => {
                        *until = now + FILL_WITHIN;
                        *named
                    }
                    Phase::Protected { .. } | Phase::Settling { .. } => true,
                    _ => false,
                };
                sent.is_untold = !is_named;
                if is_named {
                    out.push(Order::Tell(ToSession::Protected { part, stamp }));
                }
                self.check_filled(now, out);
            }
        }
    }

    /// The secondary needs the whole of a part.
    pub(super) fn wanted(&mut self, from: &HostName, part: Part, out: &mut Vec<Order>) {
        if self.peer() == Some(from)
            && let Some(sent) = self.parts.get_mut(&part)
        {
            // It waits for the process now.
            sent.since = None;
            out.push(Order::Tell(ToSession::Whole(part)));
        }
    }

    /// The secondary is of no further use.
    pub(super) fn lost(&mut self, now: Instant, host: &HostName, why: Why, out: &mut Vec<Order>) {
        // Who goes on with it takes nothing more of this host.
        let is_meant = why != Why::Stale || !matches!(self.phase, Phase::Leaving { .. });
        if self.peer() == Some(host) && is_meant {
            self.give_up(now, why, out);
        }
    }

    /// The secondary is silent, or is heard again. Whoever is cut off itself must not strike a host that may be about to go
    /// on with the session: while nothing waits for an acknowledgement there is time.
    pub(super) fn is_silent(&mut self, now: Instant, host: &HostName, is_silent: bool, out: &mut Vec<Order>) {
        match &mut self.phase {
            Phase::Protected { host: secondary, doubt_at, .. } if secondary == host => {
                *doubt_at = is_silent.then(|| now + STRUCK_AFTER);
            }
            _ if is_silent => self.lost(now, host, Why::Gone, out),
            _ => {}
        }
    }

    /// What came of a change of the record.
    pub(super) fn recorded(
        &mut self,
        now: Instant,
        secondary: Option<&HostName>,
        result: Recorded,
        out: &mut Vec<Order>,
    ) {
        self.is_recording = false;
        match (&self.phase, result) {
            (_, Recorded::Lost) => {
                self.phase = Phase::Superseded;
                self.tell(Protection::Held, "another host has the session", out);
            }
            (Phase::Naming { host }, Recorded::Done) if secondary == Some(host) => {
                let host = host.clone();
                self.phase =
                    Phase::Protected { host: host.clone(), compare_at: now + self.every, doubt_at: None };
                self.protected(host, out);
            }
            (Phase::Naming { host }, Recorded::Away) if secondary == Some(host) => {
                // It may be named all the same.
                let (host, again) = (host.clone(), Some(now + RECORD_AGAIN));
                self.phase = Phase::Striking { host, why: Why::Better, again };
                self.tell_away(out);
            }
            (Phase::Striking { host, why, .. }, Recorded::Done) if secondary.is_none() => {
                let (host, why) = (host.clone(), *why);
                // What it keeps is of no use any more, and it is free to be chosen again.
                out.push(Order::Say(
                    host.clone(),
                    Message::Drop { session: self.session, epoch: self.epoch },
                ));
                self.bare(now, &host, why, out);
            }
            (Phase::Striking { host, why, .. }, Recorded::Away) => {
                let (host, why) = (host.clone(), *why);
                self.phase = Phase::Striking { host, why, again: Some(now + RECORD_AGAIN) };
                self.tell_away(out);
            }
            // It was given up while the record was about to name it.
            (Phase::Striking { .. }, Recorded::Done) => self.record(None, out),
            _ => {}
        }
    }

    /// Does what is due, but for choosing.
    pub(super) fn due(&mut self, now: Instant, out: &mut Vec<Order>) {
        let is_late = self.waits_since().is_some_and(|since| since + ACK_WITHIN <= now);
        match &mut self.phase {
            Phase::Filling { until, .. } if *until <= now => {
                let why = if self.waits_since().is_some() { Why::Late } else { Why::Unsaid };
                self.give_up(now, why, out);
            }
            Phase::Striking { again, .. } if again.is_some_and(|at| at <= now) => {
                *again = None;
                self.record(None, out);
            }
            Phase::Leaving { until, .. } if *until <= now => self.give_up(now, Why::Declined, out),
            Phase::Settling { .. } if is_late => self.give_up(now, Why::Late, out),
            Phase::Settling { host, until } if *until <= now => {
                let host = host.clone();
                self.stays(now, host, out);
            }
            Phase::Protected { doubt_at: Some(at), .. } if *at <= now => self.give_up(now, Why::Gone, out),
            Phase::Protected { host, compare_at, .. } => {
                if *compare_at <= now {
                    *compare_at = now + self.every;
                    let host = host.clone();
                    let standing = |(part, sent): (&Part, &Sent)| Standing {
                        part: part.clone(),
                        stamp: sent.stamp,
                        hash: sent.hash,
                    };
                    let parts = self.parts.iter().map(standing).collect();
                    let (session, epoch) = (self.session, self.epoch);
                    out.push(Order::Say(host, Message::Compare { session, epoch, parts }));
                }
                if is_late {
                    self.give_up(now, Why::Late, out);
                }
            }
            _ => {}
        }
    }

    /// The session is over.
    pub(super) fn ended(&self, out: &mut Vec<Order>) {
        let host = match &self.phase {
            Phase::Striking { host, .. } => Some(host),
            _ => self.peer(),
        };
        let (session, epoch) = (self.session, self.epoch);
        out.extend(host.map(|host| Order::Say(host.clone(), Message::Drop { session, epoch })));
    }

    /// Whether the secondary has all that there is.
    fn check_filled(&mut self, now: Instant, out: &mut Vec<Order>) {
        let Phase::Filling { host, named, .. } = &self.phase else { return };
        let has = |part: &Part| self.parts.get(part).is_some_and(|sent| sent.since.is_none());
        if !self.listed.as_ref().is_some_and(|listed| listed.iter().all(has)) {
            return;
        }
        let host = host.clone();
        if self.is_moving() {
            self.hand_over(now, host, out);
        } else if *named {
            self.phase =
                Phase::Protected { host: host.clone(), compare_at: now + self.every, doubt_at: None };
            self.protected(host, out);
        } else {
            self.phase = Phase::Naming { host: host.clone() };
            self.record(Some(host), out);
        }
    }

    /// The record names the host that has everything.
    fn protected(&mut self, host: HostName, out: &mut Vec<Order>) {
        if self.replication.promote == Promote::Ping {
            let (session, epoch) = (self.session, self.epoch);
            out.push(Order::Say(host.clone(), Message::Watch { session, epoch }));
        }
        out.push(Order::Kept(host));
        self.tell(how(self.replication.ack), "", out);
        for (part, sent) in self.parts.iter_mut().filter(|(_, sent)| sent.is_untold) {
            sent.is_untold = false;
            out.push(Order::Tell(ToSession::Protected { part: part.clone(), stamp: sent.stamp }));
        }
    }

    /// Gives the secondary up: the record must not name it before the session goes on without.
    fn give_up(&mut self, now: Instant, why: Why, out: &mut Vec<Order>) {
        match self.phase.clone() {
            Phase::Filling { host, named: false, .. } => self.bare(now, &host, why, out),
            Phase::Filling { host, .. }
            | Phase::Naming { host }
            | Phase::Protected { host, .. }
            | Phase::Settling { host, .. }
            | Phase::Leaving { host, .. } => {
                self.phase = Phase::Striking { host, why, again: None };
                self.record(None, out);
            }
            Phase::Lacking { .. } | Phase::Striking { .. } | Phase::Superseded => {}
        }
    }

    /// Has the record changed, unless a change is under way: then its answer is waited for.
    fn record(&mut self, secondary: Option<HostName>, out: &mut Vec<Order>) {
        if !core::mem::replace(&mut self.is_recording, true) {
            out.push(Order::Record(secondary));
        }
    }

    /// Nobody keeps it any more, and the record names nobody.
    fn bare(&mut self, now: Instant, host: &HostName, why: Why, out: &mut Vec<Order>) {
        if !why.is_excused() {
            out.push(Order::Shun(host.clone()));
        }
        self.parts.clear();
        self.end_move(now, out);
        let pause = if why == Why::Unsaid { UNSAID_FOR } else { SETTLES };
        self.phase = Phase::Lacking { choose_at: now + pause };
        self.tell_bare(&format!("{host} {}", why.text()), out);
    }
}

#[cfg(test)]
mod tests;
