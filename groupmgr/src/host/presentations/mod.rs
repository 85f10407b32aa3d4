//! What is decided about presented tokens: authenticate, look up, claim, place, create or send
//! elsewhere, attach.
//!
//! ```text
//!  presented ─ ticket ok? ── yes ───────────────────────────┐ bound: never sent on
//!      │ no                                                 │
//!   [admit]  registry, policy, card  ── no ─▶ denied        │
//!      │ yes                                                │
//!   [admit]  tokenQ to whoever may have a session           │
//!      │         ├─ newest session is here ──▶ attached     │
//!      │         ├─ it is elsewhere ──▶ sent there          │
//!      │ none    └─ its daemon is away, it keeps ─▶ waits   │
//!      │                                                    ▼
//!   [create] claim read ─ names a host not asked ─▶ looked up again
//!      └─────────────────▶ placement ─ elsewhere ─▶ sent there
//!                             └ here ─▶ claimed ─▶ made ─▶ attached
//! ```
//!
//! Each decision is a value ([`stage::Decision`]) with a table of its stages. A token that is presented anew, or decided
//! about anew because an operator wants it, makes a new value; an answer for one that is gone is dropped, and a claim
//! taken for it is given back.

mod admit;
mod create;
pub(super) mod stage;
mod takeover;
mod unasked;

use std::collections::{BTreeMap, BTreeSet};

use authmgr::{Denial, Order, Presentation};
use proto::alp::DisconnectCause;
use proto::ticket::{Ticket, TicketClaims};
use proto::time::Duration;
use proto::{Instant, SessionId, Token};
use sessiond::manager::Session;

use super::admin::Reply;
use super::driver::{AdminReq, ConnId};
use super::env::Ctx;
use super::guests::Guests;
use super::note::Note;
use super::out::Out;
use super::sessions::LocalSessions;
use super::step::{
    Attach, EndedSession, PresentationId, Taken, ToAttachments, ToClaims, ToConnections, ToDirectory,
    ToKeeping, ToOperations, ToPlacing, ToPresentations, ToRecords, ToSessions,
};
use crate::reach::Dtu;
use proto::rng::SecretRng;
use stage::{Decision, Stage};

/// A decision is made anew this often (lost claims, hosts that come back) before the token is denied.
const ATTEMPTS_MAX: u32 = 60;
/// A session that lived shorter than this is not made anew by itself: its shell cannot start.
const WORTH_ANOTHER: Duration = Duration::from_secs(2);

/// The machine that takes each presented token from infoReq to its end.
#[derive(Debug)]
pub(super) struct Presentations {
    /// The newest decision of each connection.
    decisions: BTreeMap<ConnId, Decision>,
    /// The number of the last one.
    last: u64,
    /// Who waits for a session to start.
    waiting: BTreeMap<SessionId, BTreeSet<ConnId>>,
    /// Which is tried again when.
    due: BTreeSet<(Instant, ConnId)>,
    /// Which decision was the last to take a session over.
    heirs: BTreeMap<SessionId, PresentationId>,
    guests: Guests,
    is_stopping: bool,
    entropy: SecretRng,
}

impl Presentations {
    pub(super) fn new(entropy: SecretRng) -> Self {
        Self {
            decisions: BTreeMap::new(),
            last: 0,
            waiting: BTreeMap::new(),
            due: BTreeSet::new(),
            heirs: BTreeMap::new(),
            guests: Guests::default(),
            is_stopping: false,
            entropy,
        }
    }

    /// The token that is presented at a connection.
    pub(super) fn presented_at(&self, conn: ConnId) -> Option<&Token> {
        self.decisions.get(&conn).map(|decision| &decision.presented.token)
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 2] {
        [("next attempt", self.due.first().map(|(at, _)| *at)), ("guests", self.guests.poll_at())]
    }

    pub(super) fn handle(&mut self, ctx: &Ctx<'_>, step: ToPresentations, out: &mut Out<'_>) {
        match step {
            ToPresentations::Presented { conn, dtu, presentation } => {
                self.on_presented(ctx, conn, dtu, *presentation, out);
            }
            ToPresentations::Removed { conn } => self.remove(conn, out),
            ToPresentations::CardAnswered { conn, token_seq, result } => {
                if let Some(id) = self.challenged(conn, token_seq) {
                    self.on_judgement(ctx, id, *result, out);
                }
            }
            ToPresentations::GoOn(unasked) => self.go_on(*unasked, out),
            ToPresentations::Redeemed { id, good } => self.on_redeemed(ctx, id, good, out),
            ToPresentations::Verdict { id, judgement } => self.on_verdict(ctx, id, *judgement, out),
            ToPresentations::Found { id, skips, found } => self.on_found(ctx, id, skips, found, out),
            ToPresentations::TooManyLookups { id } => self.deny(id, Denial::Full, "", out),
            ToPresentations::Claim { id, token, result } => self.on_claim_read(ctx, id, &token, *result, out),
            ToPresentations::Rivals { id, lowest } => self.on_rivals(ctx, id, lowest.as_ref(), out),
            ToPresentations::Placed { id, elsewhere } => self.on_placed(ctx, id, elsewhere, out),
            ToPresentations::Template { id, name, result } => {
                self.on_template_read(ctx, id, &name, result, out);
            }
            ToPresentations::Taken { id, token, session, epoch, is_heir, result } => {
                if self.find(id).is_some() {
                    self.on_taken(ctx, id, session, epoch, &result, out);
                } else {
                    // The DTU left meanwhile: nobody needs the session, unless somebody keeps its state.
                    if !is_heir && !matches!(result, Taken::Lost) {
                        out.step(ToClaims::Release { token, session, epoch });
                    }
                    out.step(ToRecords::GaveUp { session });
                }
            }
            ToPresentations::Record { id, session, result } => {
                self.on_record(ctx, id, session, *result, out);
            }
            ToPresentations::Fetched { id, session, objects } => {
                self.on_fetched(ctx, id, session, objects, out);
            }
            ToPresentations::Seconds { id, claims } => self.on_seconds(ctx, id, claims, out),
            ToPresentations::RecordTaken { id, session, result } => {
                self.on_record_taken(ctx, id, session, &result, out);
            }
            ToPresentations::Queued { id } => {
                let text = format!("Host {} has many sessions to start. Yours is in line.", ctx.name());
                self.tell(id, text, out);
            }
            ToPresentations::NotMade { id, new } => self.on_not_made(id, &new, out),
            ToPresentations::Ready { session } => {
                for conn in self.waiting.get(&session).cloned().unwrap_or_default() {
                    self.attach(ctx, conn, session, out);
                }
            }
            ToPresentations::TakenUp { session, guest } => {
                if let Some(from) = guest {
                    self.guests.add(ctx.now, session, from);
                }
            }
            ToPresentations::Ended(ended) => self.on_ended(&ended, out),
            ToPresentations::Over { conn, lived } => self.on_over(ctx, conn, lived, out),
            ToPresentations::Again { req, token } => self.present_again(ctx, req, &token, out),
            ToPresentations::StoreUp => self.go_on_with_store(ctx.now),
            ToPresentations::Stop => self.is_stopping = true,
            ToPresentations::Due => self.on_due(ctx, out),
        }
    }

    /// The decision of this id, unless it is over or another one has taken its place.
    fn find(&mut self, id: PresentationId) -> Option<&mut Decision> {
        let decision = self.decisions.get_mut(&id.conn).filter(|decision| decision.id == id)?;
        (!matches!(decision.stage(), Stage::Settled)).then_some(decision)
    }

    /// A token is presented: whatever was being decided for this DTU is void.
    fn on_presented(
        &mut self,
        ctx: &Ctx<'_>,
        conn: ConnId,
        dtu: Dtu,
        presentation: Presentation,
        out: &mut Out<'_>,
    ) {
        if self.presented_at(conn).is_some_and(|token| *token != presentation.token) {
            out.step(ToAttachments::Detach { conn });
        }
        self.begin(ctx, conn, dtu, presentation, out);
    }

    fn begin(
        &mut self,
        ctx: &Ctx<'_>,
        conn: ConnId,
        dtu: Dtu,
        presentation: Presentation,
        out: &mut Out<'_>,
    ) {
        self.remove(conn, out);
        self.last += 1;
        let id = PresentationId { conn, number: self.last };
        let ticket = presentation.ticket.filter(|ticket| is_good(ctx, ticket, &presentation));
        if presentation.ticket.is_some() && ticket.is_none() {
            out.refused("bad_ticket");
        }
        let stage = match &ticket {
            Some(ticket) => Stage::Redeeming(ticket.session),
            None => Stage::Admitting,
        };
        let token = presentation.token.clone();
        self.decisions.insert(conn, Decision::new(id, presentation, dtu, stage));
        match ticket {
            _ if self.is_stopping => self.deny(id, Denial::HostLeaving, "", out),
            Some(ticket) => out.step(ToDirectory::Redeem { id, grant: ticket.grant }),
            None => self.ask_admission(id, token, out),
        }
    }

    /// The grant of a ticket is used up, or was not good.
    fn on_redeemed(&mut self, ctx: &Ctx<'_>, id: PresentationId, good: bool, out: &mut Out<'_>) {
        let Some(decision) = self.find(id) else { return };
        let Stage::Redeeming(session) = *decision.stage() else { return };
        decision.bound = good;
        let token = decision.presented.token.clone();
        match session {
            _ if !good => out.refused("bad_ticket"),
            // It was sent here to get a new session.
            None => out.step(ToPlacing::Expect { conn: id.conn }),
            Some(session) if ctx.sessions.get(session).is_some_and(Session::is_usable) => {
                return self.attach_when_running(ctx, id, session, out);
            }
            Some(_) => {}
        }
        self.turn(id.conn, Stage::Admitting, out);
        self.ask_admission(id, token, out);
    }

    /// Goes on to another stage.
    fn turn(&mut self, conn: ConnId, next: Stage, out: &mut Out<'_>) -> Option<Stage> {
        let decision = self.decisions.get_mut(&conn)?;
        if matches!(next, Stage::Waiting { .. } | Stage::Starting(_) | Stage::Settled) {
            decision.heir = None;
        }
        if let Some(at) = decision.due() {
            self.due.remove(&(at, conn));
        }
        if let Stage::Starting(session) = next {
            self.waiting.entry(session).or_default().insert(conn);
        }
        let before = decision.turn(next);
        out.counters.turned(before.kind(), decision.stage().kind());
        if let Some(at) = decision.due() {
            self.due.insert((at, conn));
        }
        if matches!(decision.stage(), Stage::Starting(_) | Stage::Settled) {
            out.step(ToPlacing::GaveUp { conn });
        }
        if let Stage::Starting(session) = before {
            self.stop_waiting(session, conn);
        }
        Some(before)
    }

    /// The token is gone, or is presented anew.
    fn remove(&mut self, conn: ConnId, out: &mut Out<'_>) {
        let Some(decision) = self.decisions.remove(&conn) else { return };
        self.heirs.retain(|_, by| *by != decision.id);
        if let Some(unasked) = &decision.unasked {
            out.step(ToKeeping::NotGoneOn { session: unasked.session });
        }
        if let Some(at) = decision.due() {
            self.due.remove(&(at, conn));
        }
        if let Stage::Starting(session) = *decision.stage() {
            self.stop_waiting(session, conn);
        }
        out.step(ToPlacing::GaveUp { conn });
    }

    fn stop_waiting(&mut self, session: SessionId, conn: ConnId) {
        if let Some(conns) = self.waiting.get_mut(&session) {
            conns.remove(&conn);
            if conns.is_empty() {
                self.waiting.remove(&session);
            }
        }
    }

    /// Denies a session; the person at the screen is told the reason, unless it is empty.
    fn deny(&mut self, id: PresentationId, why: Denial, reason: &str, out: &mut Out<'_>) {
        let Some(decision) = self.find(id) else { return };
        if decision.is_unattended() {
            out.refused(why.word());
            return self.remove(id.conn, out);
        }
        let Presentation { token_seq, token, serial, .. } = decision.presented.clone();
        out.refused(why.word());
        let told = if reason.is_empty() { why.word().into() } else { format!("{}: {reason}", why.word()) };
        out.note(Note::Denied { token, serial, why: told });
        self.turn(id.conn, Stage::Settled, out);
        order(id.conn, Order::Deny { token_seq, why, reason: reason.to_owned() }, out);
    }

    /// A session could not be made, for a reason that also operators are told.
    fn fail(&mut self, id: PresentationId, why: &str, out: &mut Out<'_>) {
        let Some(token) = self.find(id).map(|decision| decision.token().clone()) else { return };
        out.step(ToOperations::Failed { token, why: why.to_owned() });
        self.deny(id, Denial::SessionFailed, why, out);
    }

    /// Waits a little and decides anew; the person at the screen is told what for.
    fn wait(&mut self, ctx: &Ctx<'_>, id: PresentationId, pause: Duration, notice: &str, out: &mut Out<'_>) {
        let Some(decision) = self.find(id) else { return };
        if decision.is_unattended() {
            return self.remove(id.conn, out);
        }
        // For the data store a desk waits as long as it takes.
        decision.attempts += u32::from(decision.admitted.is_some());
        if decision.attempts > ATTEMPTS_MAX {
            return self.deny(id, Denial::SessionFailed, "", out);
        }
        if !notice.is_empty() {
            self.tell(id, notice.to_owned(), out);
        }
        self.turn(id.conn, Stage::Waiting { again_at: ctx.now + pause }, out);
    }

    /// Shows the person at the screen a line.
    fn tell(&mut self, id: PresentationId, text: String, out: &mut Out<'_>) {
        if self.find(id).is_some_and(|decision| !decision.is_unattended()) {
            order(id.conn, Order::Notice(text), out);
        }
    }

    /// Shows a session at the DTU, now or as soon as it has started.
    fn attach_when_running(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        session: SessionId,
        out: &mut Out<'_>,
    ) {
        if ctx.sessions.get(session).is_some_and(Session::is_running) {
            self.attach(ctx, id.conn, session, out);
        } else {
            self.turn(id.conn, Stage::Starting(session), out);
        }
    }

    fn attach(&mut self, ctx: &Ctx<'_>, conn: ConnId, session: SessionId, out: &mut Out<'_>) {
        if let Some(decision) = self.decisions.get_mut(&conn).filter(|decision| decision.is_unattended()) {
            decision.unasked = None;
            return self.remove(conn, out);
        }
        self.turn(conn, Stage::Settled, out);
        let Some(decision) = self.decisions.get(&conn) else { return };
        if decision.is_registered()
            && let Some(from) = ctx.sessions.get(session).and_then(|s| s.guest)
        {
            self.guests.remove(session, from);
            out.step(ToSessions::Adopt { session });
        }
        let Presentation { token_seq, serial, size, .. } = decision.presented.clone();
        let (dtu, last_heard) = (decision.dtu, decision.last_heard());
        let attach = Attach { conn, token_seq, session, serial, dtu, size, last_heard };
        out.step(ToAttachments::Attach(Box::new(attach)));
    }

    fn on_ended(&mut self, ended: &EndedSession, out: &mut Out<'_>) {
        if let Some(from) = ended.guest {
            self.guests.remove(ended.session, from);
        }
        // Who waited for the session is told why it did not begin.
        for conn in self.waiting.get(&ended.session).cloned().unwrap_or_default() {
            if let Some(id) = self.decisions.get(&conn).map(|decision| decision.id) {
                self.deny(id, Denial::SessionFailed, &ended.why, out);
            }
        }
    }

    /// Who was shown a session that has ended gets another one, as after a logout.
    fn on_over(&mut self, ctx: &Ctx<'_>, conn: ConnId, lived: Duration, out: &mut Out<'_>) {
        match self.decisions.get(&conn) {
            Some(_) if lived >= WORTH_ANOTHER && !self.is_stopping => self.begin_again(ctx, conn, out),
            _ => order(conn, Order::Disconnect(DisconnectCause::Ended), out),
        }
    }

    fn begin_again(&mut self, ctx: &Ctx<'_>, conn: ConnId, out: &mut Out<'_>) {
        let Some(decision) = self.decisions.get(&conn) else { return };
        let again = Presentation { ticket: None, avoid: None, ..decision.presented.clone() };
        self.begin(ctx, conn, decision.dtu, again, out);
    }

    /// Decides anew about a token wherever it is presented here; says at how many DTUs.
    fn present_again(&mut self, ctx: &Ctx<'_>, req: AdminReq, token: &Token, out: &mut Out<'_>) {
        // By an alias a card presents another token than its session's.
        let presents = |decision: &Decision| decision.presented.token == *token || decision.token() == token;
        let presenting = self.decisions.iter().filter(|(_, decision)| presents(decision));
        let presenting: Vec<ConnId> = presenting.map(|(conn, _)| *conn).collect();
        for conn in &presenting {
            out.step(ToAttachments::Detach { conn: *conn });
            self.begin_again(ctx, *conn, out);
        }
        out.answer(req, Reply::At(presenting.len()));
    }

    /// The data store is back: who waits for it need not wait for the next attempt.
    fn go_on_with_store(&mut self, now: Instant) {
        let waits = |decision: &&Decision| decision.admitted.is_none() && decision.due().is_some();
        let waiting = self.decisions.values().filter(waits).map(|decision| decision.id.conn);
        for conn in waiting.collect::<Vec<_>>() {
            if let Some(decision) = self.decisions.get_mut(&conn)
                && let Some(before) = decision.hurry(now)
            {
                self.due.remove(&(before, conn));
                self.due.insert((now, conn));
            }
        }
    }

    fn on_due(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        let due = self.due.iter().take_while(|(at, _)| *at <= ctx.now).map(|(_, conn)| *conn);
        for conn in due.collect::<Vec<_>>() {
            let Some(decision) = self.decisions.get(&conn) else { continue };
            let (id, token) = (decision.id, decision.presented.token.clone());
            if decision.admitted.is_none() {
                self.turn(conn, Stage::Admitting, out);
                self.ask_admission(id, token, out);
            } else if decision.bound {
                // Who was sent here is not sent on: only the claim may have changed.
                self.read_claim(ctx, id, out);
            } else {
                self.look_up(id, out);
            }
        }
        if self.guests.poll_at().is_some_and(|at| at <= ctx.now) {
            let is_left = |id| is_left(ctx.sessions, &self.waiting, id);
            for session in self.guests.look(ctx.now, ctx.config.guests.idle, is_left) {
                out.done("guest_ended_idle");
                out.step(ToSessions::End { session });
            }
        }
    }
}

/// Whether no desk is shown a session or waits for it.
fn is_left(
    sessions: &LocalSessions,
    waiting: &BTreeMap<SessionId, BTreeSet<ConnId>>,
    session: SessionId,
) -> bool {
    sessions.get(session).is_some_and(|s| s.shown.is_none()) && !waiting.contains_key(&session)
}

/// Whether a ticket was made for this presentation here. Whether its grant is still good is the directory's to say.
fn is_good(ctx: &Ctx<'_>, ticket: &Ticket, presentation: &Presentation) -> bool {
    let claims = TicketClaims {
        grant: ticket.grant,
        token: presentation.token.clone(),
        session: ticket.session,
        serial: presentation.serial.clone(),
        target: ctx.name().clone(),
        boot: ctx.config.identity.boot,
    };
    ticket.is_for(&ctx.config.ring, &claims)
}

fn order(conn: ConnId, order: Order, out: &mut Out<'_>) {
    out.step(ToConnections::Order { conn, order: Box::new(order) });
}
