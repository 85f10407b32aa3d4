//! The claim names a session that outlives its host, whose home is gone: this host becomes its home, and goes on with
//! what another one has kept of it.
//!
//! ```text
//!  [create] the claim names one of a dead host
//!      │
//!   its record is read ─ another host was quicker ─────▶ looked up again
//!      │                └ nobody has a copy, or with it ─▶ a fresh session, and the desk is told
//!   its objects are fetched from the secondary, or from a home that never began it
//!      │                └ no answer ───────────────────▶ asked again, for a while
//!   record swapped ──────── lost ─────────────────────────▶ looked up again
//!      │
//!   claim swapped, both of the same session ─▶ made here with its objects ─▶ attached
//! ```
//!
//! Without the data store nobody becomes a home: the desk waits, and is told what for.

use authmgr::Denial;
use proto::time::Duration;
use proto::{HostName, Instant, SessionId};
use sessiond::manager::{Claim, Restore, Session};
use sessiond::template::{Continuity, Template};

use super::super::claim_record::ClaimRecord;
use super::super::env::Ctx;
use super::super::liveness::{Liveness, liveness};
use super::super::note::Note;
use super::super::out::Out;
use super::super::session_record::SessionRecord;
use super::super::step::{
    Fetched, NotFetched, PresentationId, ReadRecord, TakeOver, Taken, Taking, ToClaims, ToKeeping, ToRecords,
};
use super::Presentations;
use super::create::template_name;
use super::stage::{Decision, Early, Heir, NewClaim, Stage};
use crate::directory::Found;
use crate::topology::{Row, Standing};

/// How soon the data store is asked again.
const STORE_AGAIN: Duration = Duration::from_millis(500);
/// How soon it is looked again whether a host does what it is about to do.
const AGAIN: Duration = Duration::from_millis(150);
/// How often a home that is there, and does not have the session yet, is waited for.
const HOME_DOUBTS_MAX: u32 = 12;
/// How long the host that keeps a copy may say nothing before the state is given up.
const KEEPER_WITHIN: Duration = Duration::from_secs(10);

impl Presentations {
    /// The claim names a session that may be gone on with.
    pub(super) fn read_record(
        &mut self,
        id: PresentationId,
        session: SessionId,
        claim: NewClaim,
        out: &mut Out<'_>,
    ) {
        self.turn(id.conn, Stage::ReadingRecord(claim), out);
        out.step(ToRecords::Read { id, session });
    }

    pub(super) fn on_record(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        session: SessionId,
        result: ReadRecord,
        out: &mut Out<'_>,
    ) {
        let is_taken_here = self.heirs.get(&session).is_some_and(|by| *by != id && self.takes(*by, session));
        let Some(decision) = self.find(id) else { return };
        let Stage::ReadingRecord(claim) = decision.stage().clone() else { return };
        let Ok(found) = result else { return self.await_store(ctx, id, out) };
        if ctx.sessions.get(session).is_some_and(Session::is_usable) {
            return self.attach_when_running(ctx, id, session, out);
        }
        // Or what runs of it here is still ending: it had another home since.
        if is_taken_here || ctx.sessions.get(session).is_some() {
            return self.wait(ctx, id, AGAIN, "", out);
        }
        let Some((read, record)) = found.filter(|(_, record)| record.is_replicated()) else {
            return match why_over(ctx, &claim) {
                Some(why) => self.lose_state(ctx, id, claim, why, out),
                None => self.prepare(ctx, id, claim, out),
            };
        };
        let is_moved = decision.unasked.as_ref().is_some_and(|unasked| unasked.is_handed_over);
        if !self.is_free(ctx, id, session, &record, out) {
            return;
        }
        let Some(decision) = self.find(id) else { return };
        let Some(keeper) = keeper_of(ctx, session, &record, decision.found.as_deref()) else {
            return self.lose_state(ctx, id, claim, &record.unkept(), out);
        };
        let lost = Some(record.home.clone()).filter(|home| home != ctx.name());
        // Whoever hands it over keeps it until this host has another secondary.
        let is_kept_elsewhere = is_moved || keeper != *ctx.name();
        let restore = Restore { objects: Vec::new(), lost, is_kept_elsewhere, is_moved };
        // A home that never began it keeps it for the next, as any other host would.
        let record = SessionRecord { secondary: Some(keeper.clone()), ..record };
        decision.heir = Some(Box::new(Heir { session, read, record, restore }));
        self.heirs.insert(session, id);
        self.fetch(ctx, id, claim, keeper, out);
    }

    /// Whether the home of a session is gone, or has handed it over; if not, the desk waits or is refused.
    fn is_free(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        session: SessionId,
        record: &SessionRecord,
        out: &mut Out<'_>,
    ) -> bool {
        let Some(decision) = self.find(id) else { return false };
        if let Some(unasked) = &decision.unasked {
            if !unasked.is_as_told(ctx, record) {
                self.remove(id.conn, out);
                return false;
            }
            if unasked.is_handed_over {
                return true;
            }
        }
        match liveness(ctx, &record.as_claim(session), decision.found.as_deref()) {
            Liveness::Dead | Liveness::Absent => return true,
            Liveness::Unknown(rest) => self.wait(ctx, id, rest + Duration::from_millis(1), "", out),
            Liveness::Restarting => {
                let notice = format!("Waiting for host {}, which has your session.", record.home);
                self.wait(ctx, id, AGAIN, &notice, out);
            }
            // It has just become its home, as far as can be known.
            Liveness::Alive | Liveness::Doubtful if decision.doubts < HOME_DOUBTS_MAX => {
                decision.doubts += 1;
                self.wait(ctx, id, AGAIN, "", out);
            }
            Liveness::Doubtful => return true,
            Liveness::Alive => self.deny(id, Denial::SessionFailed, "", out),
        }
        false
    }

    /// The other sessions of a token whose first this host has taken over: those whose homes are gone, too, are gone on with here,
    /// though no desk shows them yet.
    pub(super) fn on_seconds(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        claims: Vec<ClaimRecord>,
        out: &mut Out<'_>,
    ) {
        let Some(first) = self.decisions.get(&id.conn).filter(|decision| decision.id == id) else { return };
        let (presented, dtu, admitted) = (first.presented.clone(), first.dtu, first.admitted.clone());
        let found = first.found.clone();
        let is_gone = |claim: &ClaimRecord| {
            ctx.sessions.get(claim.session).is_none()
                && matches!(liveness(ctx, claim, found.as_deref()), Liveness::Dead | Liveness::Absent)
        };
        for claim in claims.into_iter().filter(is_gone) {
            let id = self.of_nobody();
            let swap = NewClaim::Swap { expected: None, epoch: claim.epoch, heir: Some(claim.session) };
            let mut decision = Decision::new(id, presented.clone(), dtu, Stage::Placing(swap.clone()));
            (decision.admitted, decision.found, decision.is_second) = (admitted.clone(), found.clone(), true);
            (decision.claim, decision.template) = (Early::Gone, Early::Gone);
            self.decisions.insert(id.conn, decision);
            self.read_record(id, claim.session, swap, out);
        }
    }

    /// Whether a decision is about to take a session over.
    fn takes(&self, id: PresentationId, session: SessionId) -> bool {
        let decision = self.decisions.get(&id.conn).filter(|decision| decision.id == id);
        decision.and_then(|decision| decision.heir.as_ref()).is_some_and(|heir| heir.session == session)
    }

    /// Asks the host that keeps a copy, which may be this one.
    fn fetch(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        claim: NewClaim,
        keeper: HostName,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        let Some(heir) = decision.heir.as_ref() else { return };
        let (session, epoch, floor) =
            (heir.session, heir.record.epoch, heir.record.floor.unwrap_or_default());
        let standing = (keeper != *ctx.name()).then(|| ctx.members.row(&keeper).map(Row::standing));
        // What a daemon keeps is gone with it.
        let is_gone = decision.found.as_ref().is_some_and(|found| found.gone.contains(&keeper));
        match standing {
            _ if is_gone && standing.is_some() => self.lose_both(ctx, id, claim, out),
            None | Some(Some(Standing::Up | Standing::Silent)) => {
                self.turn(id.conn, Stage::Fetching(claim), out);
                out.step(ToKeeping::Fetch { id, session, epoch, floor, secondary: keeper });
            }
            Some(Some(Standing::Down | Standing::Left)) => self.lose_both(ctx, id, claim, out),
            Some(_) => self.await_keeper(ctx, id, claim, out),
        }
    }

    pub(super) fn on_fetched(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        session: SessionId,
        objects: Fetched,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        let Stage::Fetching(claim) = decision.stage().clone() else { return };
        let Some(heir) = decision.heir.as_mut().filter(|heir| heir.session == session) else { return };
        match objects {
            Ok(objects) => {
                heir.restore.objects = objects.into_iter().collect();
                self.prepare(ctx, id, claim, out);
            }
            Err(NotFetched::Nothing) => self.lose_both(ctx, id, claim, out),
            Err(NotFetched::Stale) => self.look_again(ctx, id, out),
            Err(NotFetched::Lost) => {
                decision.keeper_refused += 1;
                match decision.keeper_refused {
                    // The link may have been lost, and not the host.
                    1 => self.await_keeper(ctx, id, claim, out),
                    _ => self.lose_both(ctx, id, claim, out),
                }
            }
            Err(_) => self.await_keeper(ctx, id, claim, out),
        }
    }

    /// The host that keeps a copy does not answer: it is waited for, but not for ever.
    fn await_keeper(&mut self, ctx: &Ctx<'_>, id: PresentationId, claim: NewClaim, out: &mut Out<'_>) {
        let Some(decision) = self.find(id) else { return };
        let since: Instant = *decision.keeper_since.get_or_insert(ctx.now);
        if ctx.now.since(since) >= KEEPER_WITHIN {
            return self.lose_both(ctx, id, claim, out);
        }
        let Some(heir) = decision.heir.take() else { return };
        // As long as for the data store, if it must be.
        decision.attempts = decision.attempts.saturating_sub(1);
        let keeper = heir.record.secondary.as_ref().map(ToString::to_string).unwrap_or_default();
        self.wait(ctx, id, AGAIN, &format!("Waiting for host {keeper}, which keeps your session."), out);
    }

    fn lose_both(&mut self, ctx: &Ctx<'_>, id: PresentationId, claim: NewClaim, out: &mut Out<'_>) {
        let record = self.find(id).and_then(|d| d.heir.as_ref()).map(|heir| heir.record.clone());
        let Some(record) = record else { return };
        let why = match record.secondary.as_ref().filter(|keeper| **keeper != record.home) {
            Some(keeper) => {
                format!("it was on host {} and kept by host {keeper}, and both are gone", record.home)
            }
            None => record.unkept(),
        };
        self.lose_state(ctx, id, claim, &why, out);
    }

    /// Nobody can go on with the session: there is a fresh one in its place.
    fn lose_state(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        claim: NewClaim,
        why: &str,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        if decision.is_unattended() {
            return self.remove(id.conn, out);
        }
        decision.heir = None;
        if let NewClaim::Swap { heir: Some(session), .. } = claim {
            let (token, why) = (decision.token().clone(), why.to_owned());
            out.note(Note::StateLost { token, session, why });
        }
        out.done("state_lost");
        self.tell(id, format!("Your session is lost: {why}. This is a new one."), out);
        self.prepare(ctx, id, claim, out);
    }

    /// Somebody else was quicker, and is found by asking.
    fn look_again(&mut self, ctx: &Ctx<'_>, id: PresentationId, out: &mut Out<'_>) {
        let Some(decision) = self.find(id) else { return };
        decision.heir = None;
        out.done("claim_lost");
        self.wait(ctx, id, Duration::ZERO, "", out);
    }

    /// Nobody becomes the home of a session without the data store: the desk waits as long as it takes.
    pub(super) fn await_store(&mut self, ctx: &Ctx<'_>, id: PresentationId, out: &mut Out<'_>) {
        let Some(decision) = self.find(id) else { return };
        decision.heir = None;
        decision.attempts = decision.attempts.saturating_sub(1);
        let notice = "Your session is kept. Waiting for the data store, which says where it goes on.";
        self.wait(ctx, id, STORE_AGAIN, notice, out);
    }

    /// Whether the data store is needed to know what becomes of the token's session: somebody keeps a copy.
    pub(super) fn is_kept(ctx: &Ctx<'_>, decision: &Decision) -> bool {
        let answers = decision.found.iter().flat_map(|found| &found.answers);
        ctx.kept.keeps(decision.token()) || answers.clone().any(|answer| answer.keeps)
    }

    /// Writes the record of a session that is to outlive this host, before the claim that points to it.
    pub(super) fn write_record(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        fresh: SessionId,
        (claim, mut template): (NewClaim, Box<Template>),
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        let NewClaim::Swap { epoch, .. } = claim else { return };
        template.continuity = Continuity::Replicated;
        let (name, token) = (template_name(decision), decision.token().clone());
        let of = &ctx.config.identity;
        let before =
            decision.heir.as_ref().map(|heir| (heir.session, heir.read.clone(), heir.record.clone()));
        let (session, expected, record) = match before {
            Some((session, read, record)) => (session, Some(read), Some(record)),
            None => (fresh, None, None),
        };
        let epoch = record.as_ref().map_or(epoch, |record| record.epoch.max(epoch));
        let keeper = match &decision.unasked {
            Some(unasked) if unasked.is_handed_over => Some(unasked.home.clone()),
            _ => record.as_ref().and_then(|record| record.secondary.clone()),
        };
        let record = SessionRecord {
            token,
            name,
            class: Continuity::Replicated,
            home: of.host.clone(),
            boot: of.boot,
            epoch: epoch.next(ctx.store.generation()),
            secondary: keeper.filter(|keeper| *keeper != of.host),
            floor: record.and_then(|record| record.floor),
            expiry: None,
        };
        self.turn(id.conn, Stage::Recording(template, claim, epoch), out);
        out.step(ToRecords::Take(Box::new(TakeOver { id, session, expected, record })));
    }

    pub(super) fn on_record_taken(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        session: SessionId,
        result: &Taken,
        out: &mut Out<'_>,
    ) {
        let stage = self.find(id).map(|decision| decision.stage().clone());
        let Some(Stage::Recording(template, NewClaim::Swap { expected, .. }, epoch)) = stage else {
            // The DTU left meanwhile.
            return out.step(ToRecords::GaveUp { session });
        };
        let Some(decision) = self.find(id) else { return };
        let (token, is_heir) = (decision.token().clone(), decision.heir.is_some());
        match result {
            // Its own claim points to it all the while.
            Taken::Won if decision.is_second => {
                let made = (session, Claim::Superseded, epoch.next(ctx.store.generation()));
                self.make(ctx, id, made, *template, out);
            }
            Taken::Won => {
                self.turn(id.conn, Stage::Claiming(template), out);
                let taking = Taking { id, token, session, expected, epoch, is_replicated: true, is_heir };
                out.step(ToClaims::Take(Box::new(taking)));
            }
            Taken::Lost => self.look_again(ctx, id, out),
            Taken::Away if is_heir => self.await_store(ctx, id, out),
            Taken::Away => self.create_unclaimed(ctx, id, out),
        }
    }
}

/// Who keeps what a session was: whom its record names, or else a home that took it over from what it kept itself, and then
/// never began it, since its desk had left.
fn keeper_of(
    ctx: &Ctx<'_>,
    session: SessionId,
    record: &SessionRecord,
    found: Option<&Found>,
) -> Option<HostName> {
    let has_not_begun = match record.home == *ctx.name() {
        true => ctx.kept.has(session, record.epoch),
        false => liveness(ctx, &record.as_claim(session), found) == Liveness::Doubtful,
    };
    record.secondary.clone().or_else(|| has_not_begun.then(|| record.home.clone()))
}

/// Why a session is over whose record is gone, for who comes for it; none if it has just ended here, as everybody knows who
/// was there.
fn why_over(ctx: &Ctx<'_>, claim: &NewClaim) -> Option<&'static str> {
    let NewClaim::Swap { expected, .. } = claim else { return None };
    let claim = expected.as_ref().and_then(|value| ClaimRecord::parse(value.as_bytes()).ok())?;
    match claim.epoch.generation == ctx.store.generation() {
        _ if claim.host == *ctx.name() => None,
        // Records of homes that are gone are removed for nothing else.
        true => Some("it has expired, since nobody came for it"),
        false => Some("nothing is known of it any more"),
    }
}
