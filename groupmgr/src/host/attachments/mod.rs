//! Which session is shown on which connection, and nowhere else.
//!
//! Owns that map, the announcement that a token is shown here now, and what is done when another host announces the same
//! with a later time: after a partition two sessions of a token may exist, but one is shown.

mod announce;
mod heard;

pub(super) use announce::REPEATS_MAX;
pub(super) use heard::HEARD_MAX;

use std::collections::BTreeMap;

use authmgr::{Denial, Order};
use proto::alp::{DISPLAYS_MAX, DisconnectCause, Display, Grant};
use proto::peer::{PeerBody, SHOWN_PER_MESSAGE_MAX};
use proto::time::Duration;
use proto::{HostName, Instant, KeyId, Last, Nonce, ServiceName, SessionId, Token, TokenTag, WallTime};
use sessiond::manager::Session;

use super::driver::{ConnId, Effect};
use super::env::Ctx;
use super::note::Note;
use super::out::Out;
use super::step::{
    Attach, EndedSession, ToAttachments, ToClaims, ToConnections, ToPresentations, ToSessions,
};
use crate::directory::Ask;
use announce::Announcements;
use heard::Heard;
use proto::rng::SecretRng;

/// A host that came up is told once more what is shown here, so much later.
const TELL_AGAIN: Duration = Duration::from_millis(500);

/// Where a session is shown.
#[derive(Clone, Copy, Debug)]
struct Shown {
    conn: ConnId,
    /// Its time of last connection as this machine has set it: the table of sessions may show it a step later.
    last: Last,
}

/// The machine that knows which session is shown on which connection.
#[derive(Debug)]
pub(super) struct Attachments {
    shown: BTreeMap<SessionId, Shown>,
    /// The same by connection.
    at: BTreeMap<ConnId, SessionId>,
    heard: Heard,
    announcements: Announcements,
    /// When a host that came up is told once more: what it was told first may have been lost, or have come before it
    /// knew that this host is up.
    tell_again: BTreeMap<HostName, Instant>,
    entropy: SecretRng,
}

impl Attachments {
    pub(super) fn new(entropy: SecretRng) -> Self {
        Self {
            shown: BTreeMap::new(),
            at: BTreeMap::new(),
            heard: Heard::default(),
            announcements: Announcements::default(),
            tell_again: BTreeMap::new(),
            entropy,
        }
    }

    /// Sessions that are shown.
    pub(super) fn len(&self) -> usize {
        self.at.len()
    }

    /// Announcements to be said again, and those of others that are remembered.
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.announcements.repeats(), self.heard.len()]
    }

    /// What a connection is shown.
    pub(super) fn shown_at(&self, conn: ConnId) -> Option<SessionId> {
        self.at.get(&conn).copied()
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 3] {
        let [say, repeat] = self.announcements.poll_at();
        let tell = self.tell_again.values().min().copied();
        [
            ("announcement", say),
            ("repeat of an announcement", repeat),
            ("telling a host that came up again", tell),
        ]
    }

    pub(super) fn handle(&mut self, ctx: &Ctx<'_>, step: ToAttachments, out: &mut Out<'_>) {
        match step {
            ToAttachments::Attach(attach) => self.attach(ctx, &attach, out),
            ToAttachments::Detach { conn } => {
                if let Some(session) = self.remove(conn) {
                    detach(ctx, session, out);
                }
            }
            ToAttachments::Unseen { conn } => {
                if let Some(session) = self.remove(conn) {
                    out.step(ToSessions::Unseen { session });
                }
            }
            ToAttachments::Evict { session, cause, end } => {
                self.evict(ctx, session, cause, out);
                if end {
                    out.step(ToSessions::End { session });
                }
            }
            ToAttachments::Named { session } => {
                if let Some((shown, cookie)) = self.shown.get(&session).zip(ctx.cookies.get(session)) {
                    out.step(ToConnections::Cookie { conn: shown.conn, cookie: Box::new(cookie.clone()) });
                }
            }
            ToAttachments::TakenUp { session } => self.correct_last(ctx, ctx.group_time(), session, out),
            ToAttachments::MovedAway { session } => self.follow(ctx, session, out),
            ToAttachments::Ended(ended) => self.on_ended(&ended, out),
            ToAttachments::ShownAt { host, tagged, tokens } => {
                self.on_shown_at(ctx, &host, tagged, &tokens, out);
            }
            ToAttachments::HostUp(host) => {
                self.tell_what_is_shown(ctx, &host, out);
                self.tell_again.insert(host, ctx.now + TELL_AGAIN);
            }
            ToAttachments::ClockSetBack => self.correct_lasts(ctx, out),
            ToAttachments::Due => {
                let due = self.announcements.due(ctx.now, |token, last| {
                    let sessions = ctx.sessions.of_token(token);
                    sessions.iter().any(|s| s.last == last && self.shown.contains_key(&s.id))
                });
                for part in due {
                    ctx.members.broadcast(&shown_message(ctx, &part), out);
                }
                let is_due = |(host, at): (&HostName, &Instant)| (*at <= ctx.now).then(|| host.clone());
                for host in self.tell_again.iter().filter_map(is_due).collect::<Vec<_>>() {
                    self.tell_again.remove(&host);
                    self.tell_what_is_shown(ctx, &host, out);
                }
            }
        }
    }

    /// Shows a session at a DTU, and nowhere else. The order of what is told matters: whoever shows the token lets go
    /// before it is shown anew, and others hear of it after.
    fn attach(&mut self, ctx: &Ctx<'_>, attach: &Attach, out: &mut Out<'_>) {
        let Attach { conn, token_seq, session, serial, dtu, size, last_heard } = attach;
        let (conn, session, token_seq) = (*conn, *session, *token_seq);
        let Some(s) = ctx.sessions.get(session).filter(|s| s.is_running()) else {
            let (why, reason) = (Denial::SessionFailed, String::new());
            order(conn, Order::Deny { token_seq, why, reason }, out);
            return;
        };
        let token = s.token.clone();
        let announced = self.heard.of(&ctx.config.ring, &token);
        let last = Last::next(ctx.group_time(), Some(self.last_of(s).max(announced).max(*last_heard)));
        self.take_from_others(ctx, conn, session, &token, out);
        let ticket = Nonce(self.entropy.u128());
        let (serial, size) = (serial.clone(), *size);
        out.step(ToSessions::Attach { session, last, ticket, serial: serial.clone(), size });
        self.shown.insert(session, Shown { conn, last });
        self.at.insert(conn, session);
        out.note(Note::Attached { token: token.clone(), session, serial });
        out.done("attached");
        self.announcements.add(ctx.now, token.clone(), last);
        // Without TLS anybody on the way could say it.
        let cookie = ctx.cookies.get(session).filter(|_| !dtu.plain);
        let keeper = cookie.and_then(|cookie| cookie.secondary.as_ref());
        let grant = Grant {
            host: ctx.name().clone(),
            standbys: ctx.members.standbys(ctx.now, *dtu, keeper),
            anchor: ctx.members.anchor(),
            displays: displays(ctx, s, dtu.addr, ticket),
            displays_total: s.displays().len(),
            cookie: cookie.cloned(),
        };
        order(conn, Order::Grant { token_seq, token, grant: Box::new(grant) }, out);
        out.step(ToClaims::Shown { session });
    }

    /// Whatever else on this host shows the token no longer does: another DTU (the card was moved, or there are
    /// two), or another session of the token. And the DTU shows nothing else.
    fn take_from_others(
        &mut self,
        ctx: &Ctx<'_>,
        conn: ConnId,
        session: SessionId,
        token: &Token,
        out: &mut Out<'_>,
    ) {
        let before = self.shown_at(conn).filter(|before| *before != session);
        if let Some(before) = before {
            self.remove(conn);
            detach(ctx, before, out);
        }
        let others: Vec<SessionId> = ctx
            .sessions
            .of_token(token)
            .into_iter()
            .filter(|s| Some(s.id) != before && (s.shown.is_some() || self.shown.contains_key(&s.id)))
            .map(|s| s.id)
            .collect();
        for other in others {
            let at = self.shown.get(&other).map(|shown| shown.conn);
            if other != session || at.is_some_and(|at| at != conn) {
                self.evict(ctx, other, DisconnectCause::ShownElsewhere, out);
            }
        }
    }

    /// Takes a session off whatever DTU shows it, which is told why.
    fn evict(&mut self, ctx: &Ctx<'_>, session: SessionId, cause: DisconnectCause, out: &mut Out<'_>) {
        if let Some(Shown { conn, .. }) = self.shown.get(&session).copied() {
            self.remove(conn);
            order(conn, Order::Disconnect(cause), out);
        }
        detach(ctx, session, out);
    }

    /// What a connection showed, which it no longer does.
    fn remove(&mut self, conn: ConnId) -> Option<SessionId> {
        let session = self.at.remove(&conn)?;
        self.shown.remove(&session);
        Some(session)
    }

    fn last_of(&self, session: &Session) -> Last {
        self.shown.get(&session.id).map_or(session.last, |shown| shown.last.max(session.last))
    }

    fn on_ended(&mut self, ended: &EndedSession, out: &mut Out<'_>) {
        if let Some(Shown { conn, .. }) = self.shown.get(&ended.session).copied() {
            self.remove(conn);
            out.step(ToPresentations::Over { conn, lived: ended.lived });
        }
    }

    /// Another host goes on with a session: it ends here, and the DTU that shows it is sent there.
    fn follow(&mut self, ctx: &Ctx<'_>, session: SessionId, out: &mut Out<'_>) {
        let shown = self.shown.get(&session).map(|shown| shown.conn);
        // The DTU is not to see how it ends.
        if let Some(conn) = shown {
            self.remove(conn);
            detach(ctx, session, out);
        }
        out.step(ToSessions::End { session });
        if let Some(conn) = shown {
            out.step(ToPresentations::Over { conn, lived: Duration::MAX });
        }
    }

    /// The group's time was set back. Times that it gave before may now be as absurd as those of others whose clock
    /// is wrong: they would win every comparison for years.
    fn correct_lasts(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        let group_time = ctx.group_time();
        self.heard.forget_absurd(group_time);
        for session in ctx.sessions.iter() {
            self.correct_last(ctx, group_time, session.id, out);
        }
    }

    /// A session whose time of last connection is absurd was last connected when this host had no clock to go by: to
    /// any other that is before theirs. One that is shown is connected now.
    fn correct_last(&mut self, ctx: &Ctx<'_>, group_time: WallTime, session: SessionId, out: &mut Out<'_>) {
        let Some(s) = ctx.sessions.get(session).filter(|s| !s.last.is_plausible(group_time)) else { return };
        let heard = self.heard.of(&ctx.config.ring, &s.token);
        let shown = self.shown.get_mut(&session);
        let last = if shown.is_some() { Last::next(group_time, Some(heard)) } else { Last::default() };
        out.refused("absurd_last");
        out.step(ToSessions::SetLast { session, last });
        if let Some(shown) = shown {
            shown.last = last;
            self.announcements.add(ctx.now, s.token.clone(), last);
        }
    }

    /// A host came up, for the first time or after a partition: it hears what is shown here.
    fn tell_what_is_shown(&self, ctx: &Ctx<'_>, host: &HostName, out: &mut Out<'_>) {
        let Some(to) = ctx.members.row(host).map(|row| row.ask_at(ctx.now)) else { return };
        let shown = self.shown.iter().filter_map(|(id, shown)| Some((ctx.sessions.get(*id)?, shown.last)));
        let tokens: Vec<(Token, Last)> = shown.map(|(s, last)| (s.token.clone(), last)).collect();
        for part in tokens.chunks(SHOWN_PER_MESSAGE_MAX) {
            out.effect(Effect::Ask(Ask { to, bytes: shown_message(ctx, part) }));
        }
    }

    /// Another host shows tokens: where the same is shown here since an earlier time, it is taken off.
    fn on_shown_at(
        &mut self,
        ctx: &Ctx<'_>,
        host: &HostName,
        tagged: KeyId,
        tokens: &[(TokenTag, Last)],
        out: &mut Out<'_>,
    ) {
        let group_time = ctx.group_time();
        for (tag, last) in tokens {
            let is_plausible = last.is_plausible(group_time);
            if is_plausible {
                self.heard.note((tagged, *tag), *last);
            }
            let Some(token) = ctx.sessions.token_of(tagged, *tag).cloned() else { continue };
            if !is_plausible {
                out.refused("absurd_last");
                continue;
            }
            let shown = ctx.sessions.of_token(&token).into_iter().filter(|s| self.shown.contains_key(&s.id));
            // Equal times cannot be told apart by time: then the lower host keeps it.
            let (earlier, later): (Vec<_>, Vec<_>) = shown
                .map(|s| (s.id, self.last_of(s)))
                .partition(|(_, here)| (*here, host) < (*last, ctx.name()));
            for (session, _) in earlier {
                out.done("shown_elsewhere");
                self.evict(ctx, session, DisconnectCause::ShownElsewhere, out);
            }
            // Its host did not hear that, or had no session of the token then and did not care.
            for (_, here) in later {
                self.announcements.add(ctx.now, token.clone(), here);
            }
            // Two sessions of one token: the claim is one's only, and which one's was decided out of our sight.
            out.step(ToClaims::Contested { token });
        }
    }
}

fn order(conn: ConnId, order: Order, out: &mut Out<'_>) {
    out.step(ToConnections::Order { conn, order: Box::new(order) });
}

/// The session's services run on.
fn detach(ctx: &Ctx<'_>, session: SessionId, out: &mut Out<'_>) {
    if let Some(s) = ctx.sessions.get(session) {
        out.note(Note::Detached { token: s.token.clone(), session });
    }
    out.step(ToSessions::Detach { session });
}

fn shown_message(ctx: &Ctx<'_>, tokens: &[(Token, Last)]) -> Vec<u8> {
    let ring = &ctx.config.ring;
    let tagged = ring.signing();
    let tags = tokens.iter().filter_map(|(token, last)| Some((ring.tag(tagged, token)?, *last)));
    ctx.seal_peer(PeerBody::Shown { tagged, tokens: tags.collect() })
}

fn displays(ctx: &Ctx<'_>, session: &Session, addr: std::net::Ipv4Addr, ticket: Nonce) -> Vec<Display> {
    let Some(fp) = session.fingerprint() else { return Vec::new() };
    let at = ctx.members.address_for(addr);
    let display = |service: &ServiceName| Display {
        addr: at,
        session: session.id,
        service: service.clone(),
        ticket,
        fp,
    };
    session.displays().iter().take(DISPLAYS_MAX).map(display).collect()
}
