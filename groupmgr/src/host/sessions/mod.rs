//! The sessions of this host and their processes: what comes from session processes, and what other machines order.
//!
//! A daemon whose predecessor kept its sessions takes them up before it is a host of the group. Until it knows whose they
//! are it could only answer that it has none, and another host would make a second session of the token. So nothing is
//! opened before: whoever asks is refused by the kernel, as while there is no daemon, and waits
//! ([`LocalSessions::is_ready`]).

mod table;
mod take_up;

pub(super) use table::LocalSessions;

use authmgr::Denial;
use proto::{Instant, SessionId, Token};
use sessiond::manager::{Claim, NewSession, SessionEffect, SessionEvent, SessionPhase, Sessions};

use super::admin::Reply;
use super::driver::{ConnId, Effect};
use super::env::Env;
use super::note::Note;
use super::out::Out;
use super::step::{
    Asker, EndedSession, NotMade, ToAttachments, ToClaims, ToKeeping, ToMembership, ToOperations, ToPlacing,
    ToPresentations, ToRecords, ToRelay, ToSessions,
};
use take_up::TakeUp;

/// The machine that runs this host's sessions.
#[derive(Debug)]
pub(super) struct SessionHost {
    table: LocalSessions,
    take_up: TakeUp,
}

impl SessionHost {
    pub(super) fn new(env: &Env<'_>) -> Self {
        let sessions = Sessions::new(env.name().clone(), env.config.tools.clone());
        Self { table: LocalSessions::new(sessions), take_up: TakeUp::new(env.now, env.config.kept) }
    }

    pub(super) const fn table(&self) -> &LocalSessions {
        &self.table
    }

    /// The table as `sessiond` keeps it.
    pub(super) const fn all(&self) -> &Sessions {
        &self.table.sessions
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 2] {
        [("start or end of a session", self.table.poll_at()), ("take up", self.take_up.poll_at())]
    }

    pub(super) fn handle(&mut self, env: &Env<'_>, step: ToSessions, out: &mut Out<'_>) {
        match step {
            ToSessions::Spawned { session, kept } => {
                if kept {
                    self.take_up.told();
                }
                self.run(env, out, |s, fx| s.on_spawned(env.now, session, kept, fx));
            }
            ToSessions::SpawnFailed { session, reason } => {
                self.run(env, out, |s, fx| s.on_spawn_failed(env.now, session, reason, fx));
            }
            ToSessions::Exited { session } => self.run(env, out, |s, fx| s.on_exited(env.now, session, fx)),
            ToSessions::Said { session, said } => {
                self.run(env, out, |s, fx| s.on_said(env.now, session, *said, fx));
            }
            ToSessions::Display { conn, session } => self.hand_over(conn, session, out),
            ToSessions::Make { asker, new } => self.make(env, asker, *new, out),
            ToSessions::Attach { session, last, ticket, serial, size } => {
                self.run(env, out, |s, fx| s.attach(session, last, ticket, &serial, size, fx));
            }
            ToSessions::Detach { session } => self.run(env, out, |s, fx| s.detach(session, fx)),
            ToSessions::Unseen { session } => self.table.sessions.lose_sight(session),
            ToSessions::End { session } => {
                self.run(env, out, |s, fx| s.end(env.now, session, fx));
            }
            ToSessions::SetClaim { session, claim, epoch } => {
                self.run(env, out, |s, fx| s.set_claim(session, claim, epoch, fx));
                out.step(ToRecords::Changed { session });
            }
            ToSessions::Recorded { session } => self.run(env, out, |s, fx| s.note_recorded(session, fx)),
            ToSessions::SetLast { session, last } => {
                self.run(env, out, |s, fx| s.prefer(session, last, fx));
            }
            ToSessions::Adopt { session } => self.table.sessions.adopt(session),
            ToSessions::StartService { req, session, service } => {
                let is_told = self.run(env, out, |s, fx| s.start_service(session, *service, fx));
                let why = "the session does not run, or has as many services as a session may have";
                out.answer(req, if is_told { Reply::Done } else { Reply::Refused(why.into()) });
            }
            ToSessions::StopService { req, session, service } => {
                let is_known = self.run(env, out, |s, fx| s.stop_service(session, &service, fx));
                out.answer(req, if is_known { Reply::Done } else { Reply::no_service(&service, session) });
            }
            ToSessions::SetReplication { session, replication } => {
                self.run(env, out, |s, fx| s.set_replication(session, replication, fx));
                out.step(ToKeeping::Adjust { session, replication });
            }
            ToSessions::Keep { session, message } => {
                if self.table.get(session).is_some() {
                    out.effect(Effect::Tell { session, message });
                }
            }
            ToSessions::WasAway(gap) => {
                self.table.sessions.was_away(gap);
                self.take_up.was_away(gap);
            }
            ToSessions::Due => self.run(env, out, |s, fx| s.on_timeout(env.now, fx)),
        }
        let straggles = !self.table.is_ready && self.table.has_stragglers();
        self.table.is_ready = self.take_up.is_over(env.now, straggles);
    }

    /// Makes a session, unless there is no room for it.
    fn make(&mut self, env: &Env<'_>, asker: Asker, new: NewSession, out: &mut Out<'_>) {
        let (session, token, guest) = (new.id, new.token.clone(), new.guest);
        let (claim, epoch, is_heir) = (new.claim, new.epoch, new.restore.is_some());
        let is_full = env.config.sessions_max > 0 && self.table.len() >= env.config.sessions_max;
        if is_full || !self.run(env, out, |s, fx| s.make(env.now, new, fx)) {
            match asker {
                Asker::Presentation(id) => {
                    let new = Box::new(NotMade { session, token, claim, epoch, guest, is_heir });
                    out.step(ToPresentations::NotMade { id, new });
                }
                Asker::Operator(req) => out.step(ToOperations::Made { req, result: Err(Denial::Full) }),
            }
            return;
        }
        self.note_token(env, &token, out);
        let conn = match asker {
            Asker::Presentation(id) => {
                if self.table.get(session).is_some_and(|s| s.phase == SessionPhase::Queued) {
                    out.step(ToPresentations::Queued { id });
                }
                Some(id.conn)
            }
            Asker::Operator(req) => {
                out.step(ToOperations::Made { req, result: Ok(session) });
                None
            }
        };
        out.step(ToPlacing::Begun { conn });
        out.done("session_made");
        out.note(Note::Made { token: token.clone(), session, claimed: claim == Claim::Held });
        let offer_now = conn.is_none();
        out.step(ToClaims::Made { session, token, claim, epoch, offer_now });
        out.step(ToRecords::Changed { session });
    }

    /// A connection wants the display of a session. The session's process asks for the ticket; here it is only
    /// found.
    fn hand_over(&self, conn: ConnId, session: SessionId, out: &mut Out<'_>) {
        if self.table.get(session).is_some() {
            out.effect(Effect::HandOver { conn, session });
        } else {
            out.refused("display_of_no_session");
            out.effect(Effect::Close { conn });
        }
    }

    /// Runs a step of the session manager and tells what follows from it.
    fn run<R>(
        &mut self,
        env: &Env<'_>,
        out: &mut Out<'_>,
        step: impl FnOnce(&mut Sessions, &mut Vec<SessionEffect>) -> R,
    ) -> R {
        let mut effects = Vec::new();
        let result = step(&mut self.table.sessions, &mut effects);
        for effect in effects {
            match effect {
                SessionEffect::Spawn(spec) => out.effect(Effect::Spawn(spec)),
                SessionEffect::Tell(session, message) => out.effect(Effect::Tell { session, message }),
                SessionEffect::Kill(session) => out.effect(Effect::Kill(session)),
                SessionEffect::Event(event) => self.on_event(env, event, out),
            }
        }
        result
    }

    fn on_event(&mut self, env: &Env<'_>, event: SessionEvent, out: &mut Out<'_>) {
        match event {
            SessionEvent::Ready(session) => {
                if let Some(token) = self.table.get(session).map(|s| s.token.clone()) {
                    out.step(ToOperations::Started(token));
                }
                out.step(ToPresentations::Ready { session });
                out.step(ToRecords::Changed { session });
            }
            SessionEvent::TakenUp(session) => {
                let Some(s) = self.table.get(session) else { return };
                let (token, guest) = (s.token.clone(), s.guest);
                self.note_token(env, &token, out);
                out.done("session_taken_up");
                out.step(ToAttachments::TakenUp { session });
                out.step(ToPresentations::TakenUp { session, guest });
                out.step(ToClaims::TakenUp { session });
                out.step(ToRecords::TakenUp { session });
            }
            SessionEvent::OnScreen(..) => out.done("on_screen"),
            SessionEvent::Ended { session, token, guest, lived, why, failed, .. } => {
                if self.table.of_token(&token).is_empty()
                    && let Some(tag) = self.table.forget_token(&env.config.ring, &token)
                {
                    out.step(ToMembership::Token { tag, is_here: false });
                }
                out.done("session_ended");
                out.note(Note::Ended { token: token.clone(), session, why: why.clone() });
                let ended = EndedSession { session, token, guest, lived, why, failed };
                // The five that have to know.
                out.step(ToRecords::Ended { session });
                out.step(ToClaims::Ended(Box::new(ended.clone())));
                out.step(ToOperations::Ended(Box::new(ended.clone())));
                out.step(ToPresentations::Ended(Box::new(ended.clone())));
                out.step(ToAttachments::Ended(Box::new(ended)));
            }
            SessionEvent::ServiceSettled { session, service } => {
                out.step(ToOperations::ServiceSettled { session, service });
            }
            SessionEvent::Committed { session, part, update } => {
                out.step(ToKeeping::Said { session, part, update });
            }
            SessionEvent::Parts { session, parts } => out.step(ToKeeping::Parts { session, parts }),
            SessionEvent::Still(session) => out.step(ToKeeping::Still { session }),
            SessionEvent::Data { session, client, request } => {
                let owner = self.table.get(session).map(|s| s.owner.clone());
                if let Some(owner) = owner {
                    out.step(ToRelay::Data { session, owner, client, request });
                }
            }
        }
    }

    /// The token has sessions here.
    fn note_token(&mut self, env: &Env<'_>, token: &Token, out: &mut Out<'_>) {
        if let Some(tag) = self.table.note_token(&env.config.ring, token) {
            out.step(ToMembership::Token { tag, is_here: true });
        }
    }
}
