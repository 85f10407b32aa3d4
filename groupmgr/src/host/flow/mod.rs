//! What is decided about a presented token, step by step (seed 003, Figure 9b):
//!
//! ```text
//!  presented ─ ticket ok? ── yes ───────────────────────────┐ bound: never redirected again
//!      │ no                                                 │
//!   [admit]  registry, policy, card  ── no ─▶ denied        │
//!      │ yes                                                │
//!   [choose] tokenQ to whoever may have a session           │
//!      │         ├─ newest session is here ──▶ shown        │
//!      │         ├─ it is elsewhere ──▶ redirected          │
//!      │ none    └─ its daemon is away, it keeps ─▶ waits   │
//!      │                                                    ▼
//!   [create] claim read ─ names a host not asked ─▶ [choose]
//!      └─────────────────▶ placement ─ elsewhere ─▶ redirected
//!                             └ here ─▶ claimed ─▶ made ─▶ shown
//! ```

mod admit;
mod choose;
mod create;
mod place;

pub(super) use create::{TEMPLATES_MAX, Templates, template_of};
pub(super) use place::Placing;

use authmgr::{Admitted, Denial, Presentation};
use datastore::Value;
use proto::ticket::{Ticket, TicketClaims};
use proto::time::Duration;
use proto::{Instant, Last, SessionId, Token};

use super::digests::Besides;
use super::driver::{ConnId, Effect};
use super::note::Note;
use super::{Clock, Host};
use crate::directory::{Found, LookupId};
use crate::reach::Dtu;

/// A presentation is decided anew this often (lost claims, hosts that come back) before it is denied.
const ATTEMPTS_MAX: u32 = 60;

/// A presentation that is being decided.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) presentation: Presentation,
    /// Where the DTU can go.
    dtu: Dtu,
    /// Whether another host decided it and sent the DTU here: then it is served here or denied.
    bound: bool,
    admitted: Option<Admitted>,
    attempts: u32,
    /// How often the claim named a session that its host knew nothing of.
    doubts: u32,
    /// Whom to ask although no digest calls for it.
    besides: Besides,
    /// Whether the last lookup left anybody out.
    spared: bool,
    /// What the last lookup found.
    found: Option<Found>,
    stage: Stage,
}

/// Where it stands. Each stage is left by one kind of answer; those without a deadline wait for something that
/// has one itself.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// For the token's record; the data store's errand has the deadline.
    Record,
    /// For the card; the gate has the deadline.
    Card,
    /// For other hosts; the directory has the deadline.
    Asking(LookupId),
    /// For a host that may come back, or for a lower one to go first.
    Waiting {
        /// When everybody is asked again.
        again_at: Instant,
    },
    /// For the claim to be read.
    ReadingClaim,
    /// For the template.
    Template(NewClaim),
    /// For the claim to be made.
    Claiming,
    /// For the session to start; the session manager has the deadline.
    Starting(SessionId),
}

/// How a session that is about to be made stands with the data store.
#[derive(Clone, Debug)]
pub(super) enum NewClaim {
    /// To be claimed, in the place of what was read.
    Swap {
        /// What was read.
        expected: Option<Value>,
        /// The epoch of that.
        epoch: proto::Epoch,
    },
    /// Claimed; of this id and epoch.
    Held {
        /// The id that was claimed.
        session: SessionId,
        /// The epoch that was claimed.
        epoch: proto::Epoch,
    },
    /// The store is away.
    Unclaimed,
    /// The claim is another session's, which the DTU cannot reach.
    Beside,
}

impl Flow {
    pub(super) const fn poll_at(&self) -> Option<Instant> {
        match self.stage {
            Stage::Waiting { again_at } => Some(again_at),
            _ => None,
        }
    }

    pub(super) const fn presentation(&self) -> &Presentation {
        &self.presentation
    }

    /// What decides where the DTU can go.
    pub(super) const fn dtu(&self) -> Dtu {
        self.dtu
    }

    /// Whether the registry has a record of the token.
    pub(super) fn is_registered(&self) -> bool {
        self.admitted.as_ref().is_some_and(|admitted| admitted.registered)
    }

    /// The latest time of last connection that any host told of.
    pub(super) fn last_heard(&self) -> Last {
        let notes = self.found.iter().flat_map(|f| &f.answers).flat_map(|a| &a.sessions);
        notes.map(|note| note.last).max().unwrap_or_default()
    }

    /// Whose sessions are looked for: those of the token, or of the one it is an alias of.
    fn token(&self) -> &Token {
        self.admitted.as_ref().map_or(&self.presentation.token, |a| &a.token)
    }
}

impl Host {
    /// A token is presented: whatever was being decided for this DTU is void.
    pub(super) fn begin(
        &mut self,
        clock: Clock,
        conn: ConnId,
        presentation: Presentation,
        out: &mut Vec<Effect>,
    ) {
        self.drop_flow(conn);
        let shows_other = self.conns.get(conn).is_some_and(|c| {
            c.shows.is_some() && c.presented.as_ref().is_some_and(|p| p.token != presentation.token)
        });
        if shows_other {
            self.hide(clock, conn, out);
        }
        let bound = self.redeem_ticket(clock.now, &presentation);
        if bound == Some(None) {
            // It was sent here to get a new session.
            self.placing.expect_here(clock.now, conn);
        }
        if let Some(c) = self.conns.get_mut(conn) {
            c.presented = Some(presentation.clone());
            c.flow = Some(Flow {
                dtu: c.dtu(),
                presentation,
                bound: bound.is_some(),
                admitted: None,
                attempts: 0,
                doubts: 0,
                besides: Besides::default(),
                spared: false,
                found: None,
                stage: Stage::Record,
            });
        }
        if self.stopping {
            self.deny(clock, conn, Denial::HostLeaving, out);
            return;
        }
        match bound.flatten() {
            Some(session)
                if self.sessions.get(session).is_some_and(sessiond::manager::Session::is_usable) =>
            {
                self.show_when_running(clock, conn, session, out);
            }
            _ => self.admit(clock, conn, out),
        }
    }

    /// Whether the presentation carries a ticket that is good, and for which session. Used up by this.
    fn redeem_ticket(&mut self, now: Instant, presentation: &Presentation) -> Option<Option<SessionId>> {
        let ticket: Ticket = presentation.ticket?;
        let claims = TicketClaims {
            grant: ticket.grant,
            token: presentation.token.clone(),
            session: ticket.session,
            serial: presentation.serial.clone(),
            target: self.name().clone(),
            boot: self.config.identity.boot,
        };
        if ticket.is_for(&self.config.ring, &claims) && self.grants.redeem(now, ticket.grant) {
            self.placing.arrived(ticket.grant);
            return Some(ticket.session);
        }
        self.counters.refused("bad_ticket");
        None
    }

    fn flow_mut(&mut self, conn: ConnId) -> Option<&mut Flow> {
        self.conns.get_mut(conn)?.flow.as_mut()
    }

    pub(super) fn set_starting(&mut self, conn: ConnId, session: SessionId) {
        self.set_stage(conn, Stage::Starting(session));
    }

    fn set_stage(&mut self, conn: ConnId, stage: Stage) {
        if matches!(stage, Stage::Starting(_)) {
            self.placing.gave_up(conn);
        }
        if let Some(flow) = self.flow_mut(conn) {
            flow.stage = stage;
        }
        self.conns.rearm(conn);
    }

    pub(super) fn drop_flow(&mut self, conn: ConnId) {
        let flow = self.conns.get_mut(conn).and_then(|c| c.flow.take());
        self.placing.gave_up(conn);
        match flow.map(|flow| flow.stage) {
            Some(Stage::Asking(lookup)) => {
                self.shows.asking.remove(&lookup);
            }
            Some(Stage::Starting(session)) => self.shows.stop_waiting(session, conn),
            _ => {}
        }
        self.conns.rearm(conn);
    }

    /// Whether the flow of `conn` still decides presentation `token_seq`.
    fn decides(&self, conn: ConnId, token_seq: u32) -> bool {
        let flow = self.conns.get(conn).and_then(|c| c.flow.as_ref());
        flow.is_some_and(|flow| flow.presentation.token_seq == token_seq)
    }

    pub(super) fn deny(&mut self, clock: Clock, conn: ConnId, why: Denial, out: &mut Vec<Effect>) {
        self.deny_because(clock, conn, why, "", out);
    }

    /// The same, for a reason that the person at the screen is told.
    pub(super) fn deny_because(
        &mut self,
        clock: Clock,
        conn: ConnId,
        why: Denial,
        reason: &str,
        out: &mut Vec<Effect>,
    ) {
        let Some(flow) = self.conns.get_mut(conn).and_then(|c| c.flow.take()) else { return };
        self.placing.gave_up(conn);
        let Presentation { token_seq, token, serial, .. } = flow.presentation;
        self.counters.refused(why.word());
        let told = if reason.is_empty() { why.word().into() } else { format!("{}: {reason}", why.word()) };
        out.push(Effect::Note(Note::Denied { token, serial, why: told }));
        self.at_gate(clock, conn, out, |gate, now, fx| gate.deny_because(now, token_seq, why, reason, fx));
    }

    /// Waits a little and decides anew; the person at the screen is told what for.
    fn wait(&mut self, clock: Clock, conn: ConnId, pause: Duration, notice: &str, out: &mut Vec<Effect>) {
        let Some(flow) = self.flow_mut(conn) else { return };
        // For the data store a desk waits as long as it takes.
        flow.attempts += u32::from(flow.admitted.is_some());
        if flow.attempts > ATTEMPTS_MAX {
            self.deny(clock, conn, Denial::SessionFailed, out);
            return;
        }
        if !notice.is_empty() {
            self.at_gate(clock, conn, out, |gate, _, fx| gate.notice(notice, fx));
        }
        self.set_stage(conn, Stage::Waiting { again_at: clock.now + pause });
    }

    /// The data store is back: who waits for it need not wait for the next attempt.
    pub(super) fn go_on_with_store(&mut self, now: Instant) {
        let waits = |flow: &Flow| flow.admitted.is_none() && matches!(flow.stage, Stage::Waiting { .. });
        let waiting: Vec<ConnId> =
            self.conns.iter().filter(|(_, c)| c.flow.as_ref().is_some_and(waits)).map(|(id, _)| id).collect();
        for conn in waiting {
            self.set_stage(conn, Stage::Waiting { again_at: now });
        }
    }

    pub(super) fn poll_flow(&mut self, clock: Clock, conn: ConnId, out: &mut Vec<Effect>) {
        let due = self.conns.get(conn).and_then(|c| c.flow.as_ref()).and_then(Flow::poll_at);
        if due.is_none_or(|at| at > clock.now) {
            return;
        }
        let flow = self.conns.get(conn).and_then(|c| c.flow.as_ref());
        match flow {
            Some(flow) if flow.admitted.is_none() => self.admit(clock, conn, out),
            // Who was sent here is not sent on: only the claim may have changed.
            Some(flow) if flow.bound => self.read_claim(clock, conn, out),
            _ => self.look_up(clock, conn, out),
        }
    }
}
