//! The claims of this host's sessions.
//!
//! A claim is the record of which host made the session of a token. It is made, moved and given
//! back only by compare-and-swap, so two hosts that create at the same instant cannot both succeed. While the
//! store is away sessions are made unclaimed; when it is back they are offered to it.
//!
//! | File | What |
//! |---|---|
//! | this | what is asked for, and who is answered |
//! | [`offer`], [`kept`] | sessions without a claim are offered to the store |
//! | [`renew`] | whether sessions still have their claims |
//! | [`release`] | claims of sessions that are over are given back |
//! | [`round`], [`strays`] | now and then all are looked at: those of this host's sessions, and those that nobody gave back |
//! | [`queue`] | all that, a few at a time |

mod kept;
mod offer;
mod queue;
mod release;
mod renew;
mod round;
mod strays;

pub(super) use queue::UNRELEASED_MAX;

use std::collections::BTreeMap;

use datastore::{Answer, Expected, Request, Response, StoreError, Value};
use proto::time::earliest;
use proto::{Epoch, Instant, SessionId, Token};
use sessiond::manager::{Claim, Session};

use super::claim_record::ClaimRecord;
use super::driver::Port;
use super::env::Ctx;
use super::liveness::{Liveness, liveness};
use super::out::Out;
use super::port::{Arrival, StorePort, not_asked, unanswered, value_of};
use super::step::{
    Asker, ClaimRead, PresentationId, ReadClaim, Taken, Taking, ToClaims, ToOperations, ToPresentations,
    ToRecords, ToSessions,
};
use super::sweep::Sweep;
use crate::topology::Change;
use queue::{ClaimTask, Next, Stray, TaskQueue};
use round::Round;

/// What the store is asked for.
#[derive(Clone, Debug)]
enum Wanted {
    /// The claim of a token.
    Read(Asker, Token),
    /// The claim for a session that is about to be made.
    Take { id: PresentationId, token: Token, record: ClaimRecord, is_heir: bool },
    /// A session without a claim is offered.
    Offer { token: Token, record: ClaimRecord },
    /// The record of the session whose claim stands in the way of an offer.
    Keeper(Box<InTheWay>),
    /// A session of an earlier daemon takes its claim along.
    Renew { token: Token, record: ClaimRecord },
    /// Whether a session still has its claim.
    Check { session: SessionId },
    /// The claim of a session that is over is given back.
    Release { token: Token, record: ClaimRecord },
    /// A page of all claims.
    Page,
    /// Whether there is a record of the session that a stray claim names.
    StrayRecord(Box<Stray>),
    /// A claim that names no session is removed.
    Remove,
}

impl Wanted {
    /// Whether nobody at a desk waits for it.
    const fn is_upkeep(&self) -> bool {
        !matches!(self, Self::Read(..) | Self::Take { .. } | Self::Page)
    }
}

/// An offer, and the claim that it found.
#[derive(Clone, Debug)]
struct InTheWay {
    token: Token,
    /// What is offered, as it would take the place of the other.
    record: ClaimRecord,
    held: ClaimRecord,
    /// As it was read.
    read: Value,
}

/// How a session of this host stands with the store, as this machine has decided it: the table of sessions shows it a
/// step later.
#[derive(Clone, Debug)]
struct Own {
    token: Token,
    claim: Claim,
    epoch: Epoch,
    is_replicated: bool,
    /// The daemon before may have died when the store had raised the epoch and the session's process was not told yet:
    /// by one, since nothing else is asked before it is. Of a replicated session the record says.
    may_have_risen: bool,
    /// An earlier daemon has left it, and its record, which may name another home, was not read yet: until it was, nothing
    /// is said of the claim.
    waits: bool,
}

/// The machine that reads, makes, renews and releases claims.
#[derive(Debug)]
pub(super) struct Claims {
    own: BTreeMap<SessionId, Own>,
    port: StorePort<Wanted>,
    /// When sessions without a claim are offered.
    offer_at: Option<Instant>,
    tasks: TaskQueue,
    round: Round,
    sweep: Sweep,
    /// The host stops: nothing but giving back is done. False once that is said.
    gives_back: bool,
    is_stopping: bool,
}

impl Claims {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            own: BTreeMap::new(),
            port: StorePort::new(Port::Claims),
            offer_at: None,
            tasks: TaskQueue::default(),
            round: Round::new(now),
            sweep: Sweep::new(now),
            gives_back: false,
            is_stopping: false,
        }
    }

    /// Claims to be given back, those of which it is not known whether they were, and requests under way, for the bounds
    /// check.
    pub(super) fn sizes(&self) -> [usize; 3] {
        let [releases, unreleased] = self.tasks.sizes();
        [releases, unreleased, self.port.len()]
    }

    pub(super) fn awaits(&self, seq: u64) -> bool {
        self.port.awaits(seq)
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 4] {
        [
            ("offer", self.offer_at),
            ("round of own claims", self.round.poll_at()),
            ("sweep of all claims", self.sweep.poll_at()),
            ("claims, unanswered", self.port.poll_at()),
        ]
    }

    pub(super) fn handle(&mut self, ctx: &Ctx<'_>, step: ToClaims, out: &mut Out<'_>) {
        match step {
            ToClaims::Read { asker, token } => self.read(ctx, asker, token, out),
            ToClaims::Take(taking) => self.take(ctx, *taking, out),
            ToClaims::Release { token, session, epoch } => {
                let record = claim_of(ctx, session, epoch, false);
                self.release(ctx, &token, record, out);
            }
            ToClaims::Made { session, token, claim, epoch, offer_now } => {
                let is_replicated = ctx.sessions.get(session).is_some_and(Session::is_replicated);
                let own = Own { token, claim, epoch, is_replicated, may_have_risen: false, waits: false };
                self.own.insert(session, own);
                self.renew_outdated(ctx, session);
                match (claim, offer_now) {
                    (Claim::Unclaimed, true) => self.offer(ctx, session, out),
                    (Claim::Unclaimed, false) => self.offer_soon(ctx.now),
                    _ => {}
                }
            }
            ToClaims::TakenUp { session } => {
                if let Some(s) = ctx.sessions.get(session) {
                    let (token, claim, epoch) = (s.token.clone(), s.claim, s.epoch);
                    let is_replicated = s.is_replicated();
                    let (may_have_risen, waits) = (!is_replicated, is_replicated);
                    let own = Own { token, claim, epoch, is_replicated, may_have_risen, waits };
                    self.own.insert(session, own);
                    self.tasks.schedule(session, ClaimTask::Renew);
                }
            }
            ToClaims::Stands { session } => {
                if let Some(own) = self.own.get_mut(&session).filter(|own| own.waits) {
                    own.waits = false;
                    self.tasks.schedule(session, ClaimTask::Renew);
                }
            }
            ToClaims::Ended(ended) => self.on_ended(ctx, ended.session, out),
            ToClaims::Shown { session } => self.on_shown(ctx, session, out),
            ToClaims::MovedAway { session } => {
                let epoch = self.own.get(&session).map(|own| own.epoch).unwrap_or_default();
                self.set_claim(session, Claim::Superseded, epoch, out);
            }
            ToClaims::Contested { token } => self.renew_contested(ctx, &token, out),
            ToClaims::Group(change) => self.on_change(ctx, &change),
            ToClaims::OutOfSight => self.renew_all(),
            ToClaims::StoreUp => {
                self.offer_at = Some(ctx.now);
                self.check_all();
                self.sweep.soon(ctx.now);
            }
            ToClaims::Restored => {
                self.renew_all();
                self.sweep.soon(ctx.now);
            }
            ToClaims::GiveBack => self.give_all_back(ctx),
            ToClaims::Stored { seq, outcome } => self.on_stored(ctx, seq, *outcome, out),
            ToClaims::Due => self.on_due(ctx, out),
        }
        self.go_on(ctx, out);
    }

    fn on_due(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        while let Some(wanted) = self.port.overdue(ctx.now, out) {
            self.on_answer(ctx, wanted, Err(unanswered()), out);
        }
        if self.offer_at.is_some_and(|at| at <= ctx.now) {
            self.offer_unclaimed(ctx, out);
        }
        if !self.is_stopping {
            for session in self.round.step(ctx.now, ctx.sessions) {
                self.schedule(session, ClaimTask::Check);
            }
            self.go_on_sweeping(ctx, out);
        }
    }

    /// Does what is scheduled, as far as there is room. While the data store is away everything waits.
    fn go_on(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        while ctx.store.is_up()
            && let Some(next) = self.tasks.next()
        {
            match next {
                Next::Release(token, record) => self.release(ctx, &token, record, out),
                Next::Remove(stray) => self.remove_stray(ctx, stray, out),
                Next::Do(ClaimTask::Check, session) => self.check(ctx, session, out),
                Next::Do(ClaimTask::Renew, session) => self.renew(ctx, session, out),
                Next::Do(ClaimTask::Offer, session) => self.offer(ctx, session, out),
            }
        }
        if self.gives_back && (self.tasks.is_idle() || !ctx.store.is_up()) {
            self.gives_back = false;
            out.step(ToOperations::GivenBack);
        }
    }

    fn schedule(&mut self, session: SessionId, task: ClaimTask) {
        self.tasks.schedule(session, task);
    }

    fn schedule_all(&mut self, task: ClaimTask, which: impl Fn(&Own, SessionId) -> bool) {
        let due = self.own.iter().filter(|(session, own)| which(own, **session));
        for session in due.map(|(session, _)| *session).collect::<Vec<_>>() {
            self.tasks.schedule(session, task);
        }
    }

    /// Asks the store. Too much under way is as if it were away.
    fn ask(&mut self, ctx: &Ctx<'_>, wanted: Wanted, request: Request, out: &mut Out<'_>) {
        let is_upkeep = wanted.is_upkeep();
        if is_upkeep {
            self.tasks.began();
        }
        if let Err(wanted) = self.port.ask(ctx.now, wanted, request, out) {
            self.on_answer(ctx, wanted, Err(not_asked()), out);
        }
    }

    fn on_stored(
        &mut self,
        ctx: &Ctx<'_>,
        seq: u64,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        match self.port.arrived(seq) {
            Some(Arrival::InTime(wanted)) => self.on_answer(ctx, wanted, outcome, out),
            // Whoever wanted it has been told that the store is away.
            Some(Arrival::Late(Wanted::Take { token, record, is_heir: false, .. })) => {
                self.forget_claim(ctx, token, record, outcome, out);
            }
            Some(Arrival::Late(_)) | None => {}
        }
    }

    fn on_answer(
        &mut self,
        ctx: &Ctx<'_>,
        wanted: Wanted,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        if wanted.is_upkeep() {
            self.tasks.ended();
        }
        match wanted {
            Wanted::Read(asker, token) => self.tell_claim(asker, token, outcome, out),
            Wanted::Take { id, token, record, is_heir } => {
                let result = match outcome.map(|response| response.answer) {
                    Ok(Answer::Swapped) => Taken::Won,
                    Ok(_) => Taken::Lost,
                    Err(_) => Taken::Away,
                };
                let ClaimRecord { session, epoch, .. } = record;
                out.step(ToPresentations::Taken { id, token, session, epoch, is_heir, result });
            }
            Wanted::Offer { token, record } => self.on_offered(ctx, &token, record, outcome, out),
            Wanted::Keeper(found) => self.on_keeper(ctx, *found, outcome, out),
            Wanted::Renew { token, record } => self.on_renewed(ctx, &token, record, outcome, out),
            Wanted::Check { session } => self.on_checked(ctx, session, outcome, out),
            Wanted::Release { token, record } => self.on_released(ctx, token, record, outcome, out),
            Wanted::Page => self.on_page(ctx, outcome),
            Wanted::StrayRecord(stray) => self.on_stray_record(ctx, *stray, outcome, out),
            // Who was quicker has written it anew; and one that could not be removed is found in the next round.
            Wanted::Remove => {}
        }
    }

    /// Whose is the token?
    fn read(&mut self, ctx: &Ctx<'_>, asker: Asker, token: Token, out: &mut Out<'_>) {
        match ClaimRecord::key(&token).filter(|_| ctx.store.is_up()) {
            Some(key) => self.ask(ctx, Wanted::Read(asker, token), Request::Get { key }, out),
            None => self.tell_claim(asker, token, Err(not_asked()), out),
        }
    }

    fn tell_claim(
        &self,
        asker: Asker,
        token: Token,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        let result: Box<ReadClaim> = Box::new(value_of(outcome).map(|value| {
            let record = value.as_ref().and_then(|v| ClaimRecord::parse(v.as_bytes()).ok());
            let is_being_made = record.as_ref().is_some_and(|record| self.is_claiming(record.session));
            ClaimRead { value, record, is_being_made }
        }));
        match asker {
            Asker::Presentation(id) => out.step(ToPresentations::Claim { id, token, result }),
            Asker::Operator(req) => out.step(ToOperations::Claim { req, result }),
        }
    }

    /// Makes the claim of a session that is about to be made.
    fn take(&mut self, ctx: &Ctx<'_>, taking: Taking, out: &mut Out<'_>) {
        let Taking { id, token, session, expected, epoch, is_replicated, is_heir } = taking;
        let record = claim_of(ctx, session, epoch.next(ctx.store.generation()), is_replicated);
        let wanted = Wanted::Take { id, token: token.clone(), record: record.clone(), is_heir };
        self.swap(ctx, Expected::from(expected), &token, record, wanted, out);
    }

    /// Asks the store to make `record` the claim of `token`, if what is there is what is expected.
    fn swap(
        &mut self,
        ctx: &Ctx<'_>,
        expected: Expected,
        token: &Token,
        record: ClaimRecord,
        wanted: Wanted,
        out: &mut Out<'_>,
    ) {
        if let (Some(key), Ok(value)) = (ClaimRecord::key(token), record.value()) {
            self.ask(ctx, wanted, Request::Swap { key, expected, new: Some(value) }, out);
        }
    }

    /// Whether the claim of a session is under way, or may have been made though nobody knows of it.
    fn is_claiming(&self, session: SessionId) -> bool {
        self.port
            .keys()
            .any(|wanted| matches!(wanted, Wanted::Take { record, .. } if record.session == session))
    }

    /// The same as [`liveness`], which does not know of claims that are being made here.
    fn liveness(&self, ctx: &Ctx<'_>, claim: &ClaimRecord) -> Liveness {
        match liveness(ctx, claim, None) {
            Liveness::Absent if self.is_claiming(claim.session) => Liveness::Doubtful,
            liveness => liveness,
        }
    }

    /// The epoch of a session rises or stays.
    fn set_claim(&mut self, session: SessionId, claim: Claim, epoch: Epoch, out: &mut Out<'_>) {
        let Some(own) = self.own.get_mut(&session) else { return };
        own.claim = claim;
        own.epoch = own.epoch.max(epoch);
        own.may_have_risen &= claim != Claim::Held;
        out.step(ToSessions::SetClaim { session, claim, epoch: own.epoch });
    }

    /// A session of this host, unless its record is to be read first.
    fn ready(&self, session: SessionId) -> Option<&Own> {
        self.own.get(&session).filter(|own| !own.waits)
    }

    /// Whether a claim of a session that this host runs says that another one goes on with it.
    fn has_moved(&self, ctx: &Ctx<'_>, held: &ClaimRecord) -> bool {
        let own = self.own.get(&held.session).map_or(held.epoch, |own| own.epoch);
        held.host != *ctx.name() && held.epoch > own
    }

    /// Another host goes on with a session of this one: its record says the rest.
    fn move_away(&mut self, session: SessionId, out: &mut Out<'_>) {
        let Some(epoch) = self.own.get(&session).map(|own| own.epoch) else { return };
        self.set_claim(session, Claim::Superseded, epoch, out);
        out.step(ToRecords::Check { session });
    }

    fn on_ended(&mut self, ctx: &Ctx<'_>, session: SessionId, out: &mut Out<'_>) {
        self.tasks.forget(session);
        let Some(own) = self.own.remove(&session) else { return };
        // One that was written without an answer counts as not held, and may be there.
        if own.claim != Claim::Superseded {
            let record = claim_of(ctx, session, own.epoch, own.is_replicated);
            self.release(ctx, &own.token, record, out);
        }
    }

    /// A session is shown at a DTU: it is the token's now.
    fn on_shown(&mut self, ctx: &Ctx<'_>, session: SessionId, out: &mut Out<'_>) {
        let Some(own) = self.own.get(&session) else { return };
        if own.claim == Claim::Superseded && ctx.store.is_up() {
            // Whoever had the claim may have died since.
            self.offer(ctx, session, out);
        }
        self.check(ctx, session, out);
    }

    /// Something has become of another host. One that was down for us may have been alive all the while, and we for it:
    /// then each has lost its claims to the other.
    fn on_change(&mut self, ctx: &Ctx<'_>, change: &Change) {
        match change {
            Change::Down(host) | Change::Left(host) | Change::Restarted(host) => {
                self.sweep.lost(ctx.now, host, matches!(change, Change::Down(_)));
            }
            Change::Up(host) if self.sweep.is_back(host) => self.check_all(),
            Change::Forgotten(host) => self.sweep.forget(ctx.now, host),
            _ => {}
        }
        if let Change::Silent(_) | Change::Left(_) | Change::Restarted(_) = change {
            // It may have held the claim of a token whose session is shown here.
            let is_shown = |s: &Session| s.shown.is_some();
            self.schedule_all(ClaimTask::Offer, |own, session| {
                own.claim == Claim::Superseded && ctx.sessions.get(session).is_some_and(is_shown)
            });
        }
    }

    fn offer_by(&mut self, at: Instant) {
        self.offer_at = earliest(self.offer_at, Some(at));
    }
}

/// A session of this host, as a claim says it.
fn claim_of(ctx: &Ctx<'_>, session: SessionId, epoch: Epoch, is_replicated: bool) -> ClaimRecord {
    let id = &ctx.config.identity;
    ClaimRecord { session, host: id.host.clone(), boot: id.boot, epoch, is_replicated }
}

/// `epoch`, or the next one if the data store gives out none of its generation any more.
fn in_this_generation(ctx: &Ctx<'_>, epoch: Epoch) -> Epoch {
    let generation = ctx.store.generation();
    let is_current = epoch.counter > 0 && epoch.generation >= generation;
    if is_current { epoch } else { epoch.next(generation) }
}
