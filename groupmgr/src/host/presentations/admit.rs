//! Is the token genuine and allowed, and who has a session for it? The session with the most recent last connection
//! wins.

use authmgr::admission::DtuProof;
use authmgr::{Admitted, Denial, Order, Presentation};
use proto::alp::RedirectInf;
use proto::peer::SessionNote;
use proto::ticket::{Ticket, TicketClaims};
use proto::time::Duration;
use proto::{HostName, SessionId, Token};

use super::super::candidates::candidates;
use super::super::driver::ConnId;
use super::super::env::Ctx;
use super::super::new_session::DEFAULT_TEMPLATE;
use super::super::note::Note;
use super::super::out::Out;
use super::super::step::{
    Asker, Judgement, Lookup, LookupScope, PresentationId, ToAdmission, ToClaims, ToDirectory,
};
use super::stage::{Decision, Early, Stage};
use super::{Presentations, order};
use crate::directory::{Answer, Found};

/// How soon a presentation that came before the policy is decided anew.
const POLICY_SOON: Duration = Duration::from_millis(5);
/// How soon one that waits for the data store is.
const STORE_AGAIN: Duration = Duration::from_millis(500);

impl Presentations {
    /// Asks whether the token is genuine and allowed, and reads meanwhile what a session of it will need.
    pub(super) fn ask_admission(&mut self, id: PresentationId, token: Token, out: &mut Out<'_>) {
        let Some(decision) = self.find(id) else { return };
        (decision.claim, decision.template) = (Early::Asked, Early::Asked);
        let Presentation { serial, key, addr, .. } = &decision.presented;
        let proof = || Box::new(DtuProof { serial: serial.clone(), key: *key, addr: *addr });
        let dtu = decision.unasked.is_none().then(proof);
        let (asker, name) = (Asker::Presentation(id), DEFAULT_TEMPLATE.to_owned());
        out.step(ToAdmission::Admit { asker, token: token.clone(), dtu });
        // Most cards are no aliases and have no template of their own. An early read of the claim is safe: it is made by a
        // swap against exactly what was read.
        out.step(ToClaims::Read { asker, token });
        out.step(ToAdmission::Template { asker, name });
    }

    pub(super) fn on_verdict(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        judgement: Judgement,
        out: &mut Out<'_>,
    ) {
        if self.find(id).is_some_and(|decision| matches!(decision.stage(), Stage::Admitting)) {
            self.on_judgement(ctx, id, judgement, out);
        }
    }

    /// The decision whose card was asked.
    pub(super) fn challenged(&self, conn: ConnId, token_seq: u32) -> Option<PresentationId> {
        let is_asked = |decision: &&Decision| {
            decision.presented.token_seq == token_seq && matches!(decision.stage(), Stage::Challenged)
        };
        self.decisions.get(&conn).filter(is_asked).map(|decision| decision.id)
    }

    pub(super) fn on_judgement(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        judgement: Judgement,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        match judgement {
            Judgement::Admit(admitted) => self.on_admitted(ctx, id, admitted, out),
            // Whoever made the ticket has asked the card, and so has whoever made the session.
            Judgement::Challenge(challenge) if decision.bound || decision.unasked.is_some() => {
                self.on_admitted(ctx, id, challenge.waive(), out);
            }
            Judgement::Challenge(challenge) => {
                let token_seq = decision.presented.token_seq;
                self.turn(id.conn, Stage::Challenged, out);
                order(id.conn, Order::Challenge { token_seq, challenge }, out);
            }
            // What needs the data store waits for it, and says so.
            Judgement::Refuse(Denial::StoreAway) => {
                self.wait(ctx, id, STORE_AGAIN, Denial::StoreAway.notice(), out);
            }
            Judgement::NotYet => self.wait(ctx, id, POLICY_SOON, "", out),
            Judgement::Refuse(why) => {
                let remedy = remedy(why, &decision.presented);
                self.deny(id, why, &remedy, out);
            }
        }
    }

    fn on_admitted(&mut self, ctx: &Ctx<'_>, id: PresentationId, admitted: Admitted, out: &mut Out<'_>) {
        let Some(decision) = self.find(id) else { return };
        if decision.admitted.is_none() && !decision.bound && decision.unasked.is_none() {
            let Presentation { token, serial, .. } = decision.presented.clone();
            out.note(Note::Admitted { token, serial, of: admitted.token.clone() });
        }
        let (token, bound) = (admitted.token.clone(), decision.bound);
        decision.admitted = Some(admitted);
        if let Some(unasked) = &decision.unasked {
            if unasked.is_handed_over {
                return self.read_claim(ctx, id, out);
            }
            decision.scope = LookupScope::Named(unasked.home.clone());
        }
        if !bound {
            return self.look_up(id, out);
        }
        // Sent here to make a session, or the one it was sent for has gone; another of its may be here.
        match ctx.sessions.of_token(&token).first().map(|s| s.id) {
            Some(session) => self.attach_when_running(ctx, id, session, out),
            None => self.read_claim(ctx, id, out),
        }
    }

    /// Asks whoever may have a session.
    pub(super) fn look_up(&mut self, id: PresentationId, out: &mut Out<'_>) {
        let Some(decision) = self.find(id) else { return };
        let lookup = Lookup {
            id,
            token: decision.token().clone(),
            dtu: decision.dtu,
            avoid: decision.presented.avoid.clone(),
            scope: decision.scope.clone(),
        };
        self.turn(id.conn, Stage::LookingUp, out);
        out.step(ToDirectory::Look(Box::new(lookup)));
    }

    /// Asks again, and more hosts than before.
    pub(super) fn widen_lookup(&mut self, id: PresentationId, scope: LookupScope, out: &mut Out<'_>) {
        if let Some(decision) = self.find(id) {
            decision.scope = scope;
        }
        out.done("asked_besides");
        self.look_up(id, out);
    }

    pub(super) fn on_found(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        skips: bool,
        mut found: Box<Found>,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        if !matches!(decision.stage(), Stage::LookingUp) {
            return;
        }
        // A daemon that has refused a question before is gone until it is heard: the next one has its sockets before it
        // answers, and is silent meanwhile.
        let is_unheard = |host: &&HostName| ctx.members.row(host).is_some_and(|row| !row.is_up());
        let refused = decision.found.iter().flat_map(|before| &before.gone).filter(is_unheard);
        found.gone.extend(refused.cloned());
        decision.skips = skips;
        if decision.unasked.is_some() {
            return self.on_unasked_found(ctx, id, found, out);
        }
        let (token, bound) = (decision.token().clone(), decision.bound);
        let local = ctx.sessions.of_token(&token).first().map(|s| (s.last, s.id));
        let remote = newest(&found).map(|(answer, note)| (note.last, answer.clone(), note.session));
        decision.found = Some(found);
        match (local, remote) {
            (Some((here, session)), Some((there, _, _))) if here >= there => {
                self.attach_when_running(ctx, id, session, out);
            }
            // Who was sent here is not sent on, but goes back and is sent again.
            (None, Some(_)) if bound => self.deny(id, Denial::SessionFailed, "", out),
            (Some((_, session)), _) if bound => self.attach_when_running(ctx, id, session, out),
            (_, Some((_, answer, session))) => self.redirect(ctx, id, &answer, Some(session), out),
            (Some((_, session)), None) => self.attach_when_running(ctx, id, session, out),
            (None, None) => self.read_claim(ctx, id, out),
        }
    }

    /// Whether `host` could have been asked by the last lookup and was not, for its digest gave no reason to.
    pub(super) fn was_skipped(ctx: &Ctx<'_>, decision: &Decision, host: &HostName) -> bool {
        let was_asked = |found: &Found| {
            let answered = found.answers.iter().any(|answer| answer.reach.host == *host);
            answered || found.gone.contains(host) || found.mute.contains(host)
        };
        let could_be = || {
            let avoid = decision.presented.avoid.as_ref();
            let all = candidates(ctx.now, ctx.members, decision.dtu, avoid);
            all.iter().any(|target| target.reach.host == *host)
        };
        decision.skips
            && decision.scope != LookupScope::Named(host.clone())
            && !decision.found.as_deref().is_some_and(was_asked)
            && could_be()
    }

    /// Sends a DTU to another host, with the ticket that lets it in there.
    pub(super) fn redirect(
        &mut self,
        ctx: &Ctx<'_>,
        id: PresentationId,
        to: &Answer,
        session: Option<SessionId>,
        out: &mut Out<'_>,
    ) {
        let Some(decision) = self.find(id) else { return };
        let Presentation { token_seq, token, serial, .. } = decision.presented.clone();
        let claims = TicketClaims {
            grant: to.grant,
            token: token.clone(),
            session,
            serial: serial.clone(),
            target: to.reach.host.clone(),
            boot: to.reach.boot,
        };
        let ticket = Ticket::issue(&ctx.config.ring, &claims);
        let redirect = Box::new(RedirectInf {
            addr: to.reach.addr,
            props: ticket.map(|t| t.to_string()),
            host: Some(to.reach.host.clone()),
            // The gate knows by which number the DTU goes.
            token_seq: None,
        });
        out.done("redirected");
        out.note(Note::Redirected { token, serial, to: to.reach.host.clone() });
        self.turn(id.conn, Stage::Settled, out);
        order(id.conn, Order::Redirect { token_seq, redirect }, out);
    }
}

/// What an administrator can do about a DTU that is refused; nothing for another reason.
fn remedy(why: Denial, Presentation { serial, key, .. }: &Presentation) -> String {
    let how = if key.is_some() { "has another key" } else { "proves no key" };
    match why {
        Denial::WrongKey => {
            format!("It {how}; if it was replaced, let it in with: authmgr dtu forget {serial}")
        }
        Denial::NoKey => "To let it in: authmgr policy set dtus=any".into(),
        _ => String::new(),
    }
}

/// The session with the most recent last connection; of two equal ones, that of the lower host, so that all
/// who ask choose alike.
fn newest(found: &Found) -> Option<(&Answer, &SessionNote)> {
    let all = found.answers.iter().flat_map(|answer| answer.sessions.iter().map(move |note| (answer, note)));
    all.min_by_key(|(answer, note)| (core::cmp::Reverse(note.last), &answer.reach.host, note.session))
}
