//! Nobody has a session for the token: whose is the claim, where does a new session go, and making it.

use authmgr::Denial;
use datastore::StoreError;
use proto::time::Duration;
use proto::{Epoch, HostName, SessionId, Token};
use sessiond::manager::Claim;
use sessiond::template::Template;

use super::super::env::Ctx;
use super::super::guests::Room;
use super::super::liveness::{Liveness, liveness, returning_host};
use super::super::new_session::{DEFAULT_TEMPLATE, new_session, template_of};
use super::super::out::Out;
use super::super::step::{
    Asker, ClaimRead, LookupScope, NotMade, PresentationId, Taken, Taking, ToAdmission, ToClaims,
    ToDirectory, ToPlacing, ToRecords, ToSessions,
};
use super::stage::{Decision, Early, NewClaim, Stage};
use super::{Presentations, is_left};
use crate::directory::Answer;

/// How often a host that may come back with the session is asked for.
const RESTARTING_AGAIN: Duration = Duration::from_millis(250);
/// How soon everybody is asked again when the claim's host knew nothing of it; then after twice as long.
const DOUBT_FIRST: Duration = Duration::from_millis(20);
/// How often everybody is asked again, at most, because of a doubt.
const DOUBTS_MAX: u32 = 5;
/// How long a higher host lets a lower one go first while there is no data store to decide.
const LOWER_FIRST: Duration = Duration::from_millis(60);
/// How often a host waits for one of a lower name to go first.
const LOWER_FIRST_TIMES: u32 = 3;
/// How soon a host that can make no session looks again whether it can.
const UNFIT_AGAIN: Duration = Duration::from_millis(250);

/// What the claim of a token, if it has any, leaves to be done.
enum Outlook {
    /// Nobody's session is in the way, as everybody can know: a new one goes where it fits best.
    Free,
    /// The same, as this host alone knows.
    FreeHere,
    Wait(Duration),
    /// Its host may come back with it.
    Returns(HostName),
    /// Its host knows nothing of it: gone, or claimed after the host was asked.
    Doubtful,
    /// It lives where this DTU cannot go.
    OutOfReach,
}

impl Presentations {
    /// Reads the claim, unless it was read together with the record of the token, or is being read.
    pub(super) fn read_claim(&mut self, ctx: &Ctx<'_>, id: PresentationId, out: &mut Out<'_>) {
        let Some(decision) = self.find(id) else { return };
        let token = decision.token().clone();
        let early = if token == decision.presented.token {
            core::mem::replace(&mut decision.claim, Early::Gone)
        } else {
            Early::Gone
        };
        self.turn(id.conn, Stage::ReadingClaim, out);
        match early {
            Early::Known(claim) => self.on_claim(ctx, id, Ok(*claim), out),
            Early::Asked => {}
            Early::Gone => out.step(ToClaims::Read { asker: Asker::Presentation(id), token }),
        }
    }

    pub(super) fn on_claim_read(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        token: &Token,
        claim: Result<ClaimRead, StoreError>,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        if matches!(decision.stage(), Stage::ReadingClaim) {
            if decision.token() == token {
                self.on_claim(ctx, id, claim, out);
            }
        } else if decision.presented.token == *token {
            decision.claim.put(claim.ok().map(Box::new));
        }
    }

    fn on_claim(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        claim: Result<ClaimRead, StoreError>,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        if decision.unasked.is_some() {
            return match claim {
                Ok(read) => self.on_unasked_claim(ctx, id, read, out),
                Err(_) => self.remove(id.conn, out),
            };
        }
        let Ok(read) = claim else { return self.create_unclaimed(ctx, id, out) };
        let record = read.record.as_ref();
        // Made here for another DTU while this one was being decided about.
        let here = record.and_then(|r| ctx.sessions.get(r.session)).filter(|s| s.is_usable());
        if let Some(session) = here.map(|s| s.id) {
            return self.attach_when_running(ctx, id, session, out);
        }
        let named = record.map(|r| &r.host).filter(|host| Self::was_skipped(ctx, decision, host));
        if let Some(host) = named.cloned() {
            return self.widen_lookup(id, LookupScope::Named(host), out);
        }
        let outlook = outlook(ctx, decision, &read);
        let (bound, has_asked) = (decision.bound, decision.found.is_some());
        let heir = record.filter(|r| r.is_replicated).map(|r| r.session);
        // What the session needs to go on would only have to be sent elsewhere.
        let stays =
            heir.is_some() && ctx.kept.keeps(decision.token()) && !ctx.members.drain() && !ctx.is_full();
        let epoch = read.record.map_or(Epoch::default(), |r| r.epoch);
        let swap = NewClaim::Swap { expected: read.value, epoch, heir };
        match outlook {
            Outlook::Free if !bound && !stays => self.place(id, swap, out),
            Outlook::Free | Outlook::FreeHere => self.create(ctx, id, swap, out),
            Outlook::Wait(pause) => self.wait(ctx, id, pause + Duration::from_millis(1), "", out),
            Outlook::Returns(host) => {
                let notice = format!("Waiting for host {host}, which has your session.");
                self.wait(ctx, id, RESTARTING_AGAIN, &notice, out);
            }
            Outlook::Doubtful => {
                let doubts = decision.doubts;
                if doubts >= DOUBTS_MAX {
                    return self.create(ctx, id, swap, out);
                }
                decision.doubts += 1;
                self.wait(ctx, id, DOUBT_FIRST * (1 << doubts), "", out);
            }
            // Whoever sent the DTU has asked and knows more: a host that has just been killed is up for all who have
            // not. Its DTUs come by the hundred, and none of them is to be sent to and fro for that.
            Outlook::OutOfReach if bound && !has_asked => self.look_up(id, out),
            // The DTU goes back to whoever sent it, who asks everybody again.
            Outlook::OutOfReach if bound => self.deny(id, Denial::SessionFailed, "", out),
            Outlook::OutOfReach => self.create(ctx, id, NewClaim::Beside, out),
        }
    }

    /// Has the host chosen that takes the new session.
    fn place(&mut self, id: PresentationId, claim: NewClaim, out: &mut Out<'_>) {
        let Some(decision) = self.find(id) else { return };
        let answers: Vec<Answer> = decision.found.as_ref().map(|f| f.answers.clone()).unwrap_or_default();
        let dtu = decision.dtu;
        self.turn(id.conn, Stage::Placing(claim), out);
        out.step(ToPlacing::Place { id, dtu, answers });
    }

    pub(super) fn on_placed(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        elsewhere: Option<Box<Answer>>,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else {
            // It was counted as being made here after it had gone.
            return out.step(ToPlacing::GaveUp { conn: id.conn });
        };
        let Stage::Placing(claim) = decision.stage().clone() else { return };
        match elsewhere {
            Some(answer) => self.redirect(ctx, id, &answer, None, out),
            None => self.create(ctx, id, claim, out),
        }
    }

    /// The data store is away. No claim tells of a session that digests do not show yet, so everybody is asked
    /// first. Of several hosts that are asked at once the lowest goes ahead, which it learns from their questions;
    /// and what it makes is unclaimed until the store is back.
    pub(super) fn create_unclaimed(&mut self, ctx: &Ctx<'_>, id: PresentationId, out: &mut Out<'_>) {
        let Some(decision) = self.find(id) else { return };
        if decision.skips {
            return self.widen_lookup(id, LookupScope::Everybody, out);
        }
        if Self::is_kept(ctx, decision) {
            return self.await_store(ctx, id, out);
        }
        // Without a claim nobody can tell whose sessions are waiting there.
        let returning = returning_host(ctx, decision.found.as_deref());
        let own = || ctx.sessions.has_stragglers().then(|| ctx.name().clone());
        if let Some(host) = returning.or_else(own) {
            let notice = format!("Waiting for host {host}, which may have your session.");
            return self.wait(ctx, id, RESTARTING_AGAIN, &notice, out);
        }
        let token = decision.token().clone();
        self.turn(id.conn, Stage::AskingRivals, out);
        out.step(ToDirectory::Rivals { id, token });
    }

    pub(super) fn on_rivals(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        lowest: Option<&HostName>,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        if !matches!(decision.stage(), Stage::AskingRivals) {
            return;
        }
        let is_lower = lowest.is_some_and(|host| host < ctx.name());
        if is_lower && !decision.bound && decision.attempts < LOWER_FIRST_TIMES {
            self.wait(ctx, id, LOWER_FIRST, "", out);
        } else {
            self.create(ctx, id, NewClaim::Unclaimed, out);
        }
    }

    /// Makes the session here: template, claim, process, in this order.
    pub(super) fn create(&mut self, ctx: &Ctx<'_>, id: PresentationId, claim: NewClaim, out: &mut Out<'_>) {
        let Some(decision) = self.find(id) else { return };
        let (bound, registered) = (decision.bound, decision.is_registered());
        let is_asked = decision.unasked.is_none();
        let from = decision.presented.addr;
        if ctx.is_full() {
            return self.deny(id, Denial::Full, "", out);
        }
        // Whoever sent the DTU here did not know yet, and chooses anew when it comes back.
        if (bound || !is_asked) && !ctx.members.lacks().is_empty() {
            return self.deny(id, Denial::SessionFailed, "", out);
        }
        if ctx.members.fitness().is_hopeless() {
            let text = format!("Host {} can make no session at the moment. It is being mended.", ctx.name());
            return self.wait(ctx, id, UNFIT_AGAIN, &text, out);
        }
        if !registered && is_asked && !self.takes_guest(ctx, from, out) {
            return self.deny(id, Denial::TooManyGuests, "", out);
        }
        match claim {
            NewClaim::Swap { heir: Some(session), .. } => self.read_record(id, session, claim, out),
            _ => self.prepare(ctx, id, claim, out),
        }
    }

    /// Gets the template of a session that is made here.
    pub(super) fn prepare(&mut self, ctx: &Ctx<'_>, id: PresentationId, claim: NewClaim, out: &mut Out<'_>) {
        self.turn(id.conn, Stage::Preparing(claim), out);
        let Some(decision) = self.find(id) else { return };
        let name = template_name(decision);
        let early = if name == DEFAULT_TEMPLATE {
            core::mem::replace(&mut decision.template, Early::Gone)
        } else {
            Early::Gone
        };
        match early {
            Early::Known(template) => self.on_template(ctx, id, Ok(template), out),
            Early::Asked => {}
            Early::Gone => out.step(ToAdmission::Template { asker: Asker::Presentation(id), name }),
        }
    }

    pub(super) fn on_template_read(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        name: &str,
        result: Result<Box<Template>, String>,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        if matches!(decision.stage(), Stage::Preparing(_)) {
            if template_name(decision) == name {
                self.on_template(ctx, id, result, out);
            }
        } else if name == DEFAULT_TEMPLATE {
            decision.template.put(result.ok());
        }
    }

    /// Whether a session may be made for a guest at `from`. One that was left behind may end for it.
    fn takes_guest(&mut self, ctx: &Ctx<'_>, from: std::net::Ipv4Addr, out: &mut Out<'_>) -> bool {
        let limits = ctx.config.guests;
        if limits.sessions > 0 && self.guests.len() >= limits.sessions {
            out.refused("guests_of_host");
            return false;
        }
        let is_left = |id| is_left(ctx.sessions, &self.waiting, id);
        match self.guests.room(ctx.now, from, limits.left, is_left) {
            Room::Free => true,
            Room::None => {
                out.refused("guests_of_address");
                false
            }
            Room::After(session) => {
                out.done("guest_ended_for_another");
                out.step(ToSessions::End { session });
                true
            }
        }
    }

    fn on_template(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        result: Result<Box<Template>, String>,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        let Stage::Preparing(claim) = decision.stage().clone() else { return };
        let token = decision.token().clone();
        let template = match result {
            Ok(template) => template,
            Err(why) => return self.fail(id, &why, out),
        };
        let is_heir = decision.heir.is_some();
        let session = SessionId(self.entropy.u128());
        match claim {
            NewClaim::Swap { .. } if is_heir || template.is_replicated() => {
                self.write_record(ctx, id, session, (claim, template), out);
            }
            NewClaim::Swap { expected, epoch, .. } => {
                self.turn(id.conn, Stage::Claiming(template), out);
                let (is_replicated, is_heir) = (false, false);
                let taking = Taking { id, token, session, expected, epoch, is_replicated, is_heir };
                out.step(ToClaims::Take(Box::new(taking)));
            }
            NewClaim::Unclaimed => {
                self.make(ctx, id, (session, Claim::Unclaimed, Epoch::default()), *template, out);
            }
            NewClaim::Beside => {
                // It has an epoch and a record, though not the token's claim.
                let epoch = Epoch::default().next(ctx.store.generation());
                self.make(ctx, id, (session, Claim::Superseded, epoch), *template, out);
            }
        }
    }

    pub(super) fn on_taken(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        session: SessionId,
        epoch: Epoch,
        result: &Taken,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        let Stage::Claiming(template) = decision.stage().clone() else { return };
        let is_heir = decision.heir.is_some();
        match result {
            Taken::Won => self.make(ctx, id, (session, Claim::Held, epoch), *template, out),
            // Whoever was quicker has the session now, and asking finds it. Where a DTU was sent here only the claim is
            // read again: it may be another DTU of this very host that was quicker. If not, the DTU returns to its
            // source, which asks everybody again and finds the winner.
            Taken::Lost => {
                out.done("claim_lost");
                out.step(ToRecords::GaveUp { session });
                self.wait(ctx, id, Duration::ZERO, "", out);
            }
            Taken::Away => {
                out.step(ToRecords::GaveUp { session });
                match is_heir {
                    true => self.await_store(ctx, id, out),
                    false => self.create_unclaimed(ctx, id, out),
                }
            }
        }
    }

    pub(super) fn make(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        (session, claim, epoch): (SessionId, Claim, Epoch),
        template: Template,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        let Some(admitted) = decision.admitted.clone() else { return };
        let (size, from) = (decision.presented.size, decision.presented.addr);
        let (name, is_second) = (template_name(decision), decision.is_second);
        let restore = decision.heir.take().map(|heir| Box::new(heir.restore));
        let guest = (!admitted.registered).then_some(from);
        let mut new = new_session(ctx, session, &admitted, (name, template), (claim, epoch));
        (new.size, new.guest, new.restore) = (size, guest, restore);
        if let Some(from) = guest {
            self.guests.add(ctx.now, session, from);
        }
        if new.restore.is_some() && !is_second {
            out.step(ToRecords::Seconds { id, token: new.token.clone() });
        }
        self.turn(id.conn, Stage::Starting(session), out);
        out.step(ToSessions::Make { asker: Asker::Presentation(id), new: Box::new(new) });
    }

    /// There is no room for a session, which may be claimed already.
    pub(super) fn on_not_made(&mut self, id: PresentationId, new: &NotMade, out: &mut Out<'_>) {
        if let Some(from) = new.guest {
            self.guests.remove(new.session, from);
        }
        out.step(ToRecords::GaveUp { session: new.session });
        // The next host goes on with one that is kept.
        if new.claim == Claim::Held && !new.is_heir {
            let (token, session, epoch) = (new.token.clone(), new.session, new.epoch);
            out.step(ToClaims::Release { token, session, epoch });
        }
        self.deny(id, Denial::Full, "", out);
    }
}

/// From which template: of a session that is gone on with, from its own.
pub(super) fn template_name(decision: &Decision) -> String {
    if let Some(heir) = &decision.heir {
        return heir.record.name.clone();
    }
    decision.admitted.as_ref().map_or_else(|| DEFAULT_TEMPLATE.to_owned(), template_of)
}

fn outlook(ctx: &Ctx<'_>, decision: &Decision, read: &ClaimRead) -> Outlook {
    let Some(claim) = &read.record else { return Outlook::Free };
    match liveness(ctx, claim, decision.found.as_deref()) {
        Liveness::Dead => Outlook::Free,
        Liveness::Absent if read.is_being_made => Outlook::Doubtful,
        Liveness::Absent => Outlook::FreeHere,
        Liveness::Unknown(rest) => Outlook::Wait(rest),
        Liveness::Doubtful => Outlook::Doubtful,
        Liveness::Restarting => Outlook::Returns(claim.host.clone()),
        // Its process is being ended.
        Liveness::Alive if claim.host == *ctx.name() => Outlook::Doubtful,
        // The DTU has tried it and says that it cannot get there. Should it be dying, everybody knows soon.
        Liveness::Alive if decision.presented.avoid.as_ref() == Some(&claim.host) => {
            if decision.doubts < DOUBTS_MAX { Outlook::Doubtful } else { Outlook::OutOfReach }
        }
        Liveness::Alive => {
            // One that could be asked by now; whoever was sent here has to go back for that.
            let reachable = || ctx.members.reachable(ctx.now, decision.dtu);
            let missed = !decision.bound && reachable().iter().any(|r| r.host == claim.host);
            if missed { Outlook::Doubtful } else { Outlook::OutOfReach }
        }
    }
}
