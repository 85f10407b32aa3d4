//! A session is shown here, and nowhere else.
//!
//! Owns who waits for a session to start, the announcement that a token is shown here now, and what is done
//! when another host announces the same with a later time: after a partition two sessions of a token may
//! exist, but one is shown (DESIGN 4.3).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use authmgr::{Denial, Presentation};
use proto::alp::{DISPLAYS_MAX, DisconnectCause, Display, Grant};
use proto::keys::KeyRing;
use proto::peer::{PeerBody, SHOWN_PER_MESSAGE_MAX};
use proto::time::{Duration, earliest};
use proto::{HostName, Instant, KeyId, Last, Nonce, SessionId, Token, TokenTag, WallTime};
use sessiond::manager::{Claim, SessionEvent};

use super::driver::{ConnId, Effect};
use super::failures::Failure;
use super::flow::Templates;
use super::note::Note;
use super::upkeep::Care;
use super::{Clock, Host};
use crate::directory::{Ask, LookupId};

/// A session that lived shorter than this is not made anew by itself: its shell cannot start.
const WORTH_ANOTHER: Duration = Duration::from_secs(2);
/// Announcements of a storm share datagrams when they come within this time.
const GATHER: Duration = Duration::from_millis(2);
/// An announcement is said again after these pauses: it is a broadcast, and one may be lost.
const SAY_AGAIN: [Duration; 2] = [Duration::from_millis(60), Duration::from_millis(400)];
/// Announcements waiting to be said again, at most; beyond it they are said once.
pub(super) const REPEATS_MAX: usize = 4_096;

/// An announcement that is to be said again: when, for the how-manieth time, and what.
type Repeat = (Instant, usize, Vec<(Token, Last)>);

/// Bookkeeping between presentations and sessions.
#[derive(Debug, Default)]
pub(super) struct Shows {
    /// Whose presentation a lookup is for.
    pub(super) asking: BTreeMap<LookupId, ConnId>,
    pub(super) templates: Templates,
    /// Which connection shows a session.
    at: BTreeMap<SessionId, ConnId>,
    /// Who waits for a session to start.
    waiting: BTreeMap<SessionId, BTreeSet<ConnId>>,
    /// Tags of tokens with sessions here, under every key of the ring.
    tags: BTreeMap<(KeyId, TokenTag), Token>,
    /// The latest time of last connection that another host announced for a token with sessions here.
    heard: BTreeMap<Token, Last>,
    fresh: Vec<(Token, Last)>,
    say_at: Option<Instant>,
    repeats: VecDeque<Repeat>,
}

impl Shows {
    pub(super) fn repeats(&self) -> usize {
        self.repeats.len()
    }

    pub(super) fn wait_for(&mut self, session: SessionId, conn: ConnId) {
        self.waiting.entry(session).or_default().insert(conn);
    }

    pub(super) fn is_waited_for(&self, session: SessionId) -> bool {
        self.waiting.contains_key(&session)
    }

    pub(super) fn stop_waiting(&mut self, session: SessionId, conn: ConnId) {
        if let Some(conns) = self.waiting.get_mut(&session) {
            conns.remove(&conn);
            if conns.is_empty() {
                self.waiting.remove(&session);
            }
        }
    }

    /// Returns whether it was not known before.
    pub(super) fn note_token(&mut self, ring: &KeyRing, token: &Token) -> bool {
        let mut is_new = false;
        for key in ring.keys() {
            if let Some(tag) = ring.tag(key.id(), token) {
                is_new |= self.tags.insert((key.id(), tag), token.clone()).is_none();
            }
        }
        is_new
    }

    /// Returns whether it was known.
    pub(super) fn forget_token(&mut self, ring: &KeyRing, token: &Token) -> bool {
        self.heard.remove(token);
        let mut was_known = false;
        for key in ring.keys() {
            if let Some(tag) = ring.tag(key.id(), token) {
                was_known |= self.tags.remove(&(key.id(), tag)).is_some();
            }
        }
        was_known
    }

    /// The token with sessions here that another host means by a tag.
    pub(super) fn token_of(&self, kid: KeyId, tag: TokenTag) -> Option<&Token> {
        self.tags.get(&(kid, tag))
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        earliest(self.say_at, self.repeats.front().map(|(at, _, _)| *at))
    }
}

impl Host {
    /// Shows a session at a DTU, now or as soon as it has started.
    pub(super) fn show_when_running(
        &mut self,
        clock: Clock,
        conn: ConnId,
        session: SessionId,
        out: &mut Vec<Effect>,
    ) {
        let running = self.sessions.get(session).is_some_and(sessiond::manager::Session::is_running);
        if running {
            self.show(clock, conn, session, out);
        } else {
            self.shows.wait_for(session, conn);
            self.wait_for_start(conn, session);
        }
    }

    fn show(&mut self, clock: Clock, conn: ConnId, session: SessionId, out: &mut Vec<Effect>) {
        let Some(s) = self.sessions.get(session) else { return };
        let (token, heard) = (s.token.clone(), s.last);
        let Some(flow) = self.conns.get_mut(conn).and_then(|c| c.flow.take()) else { return };
        self.placing.gave_up(conn);
        let Presentation { token_seq, serial, size, .. } = flow.presentation().clone();
        let dtu = flow.dtu();
        if let Some(from) = s.guest
            && flow.is_registered()
        {
            self.guests.remove(session, from);
            self.sessions.adopt(session);
        }
        let announced = self.shows.heard.get(&token).copied().unwrap_or_default();
        let last = Last::next(self.group_time(clock), Some(heard.max(announced).max(flow.last_heard())));
        self.take_from_others(clock, conn, &token, out);
        let ticket = Nonce(self.entropy.u128());
        let mut attached = false;
        self.with_sessions(clock, out, |sessions, _, fx| {
            attached = sessions.attach(session, last, ticket, &serial, size, fx);
        });
        if !attached {
            let denial = Denial::SessionFailed;
            self.at_gate(clock, conn, out, |gate, now, fx| gate.deny(now, token_seq, denial, fx));
            return;
        }
        self.set_shown(conn, session);
        // It is the token's session now; whoever had the claim may have died since.
        if self.sessions.get(session).is_some_and(|s| s.claim == Claim::Superseded) && self.store.is_up() {
            self.offer(clock.now, &token, session, out);
        }
        let grant = Grant {
            host: self.name().clone(),
            standbys: self.standbys(clock.now, dtu),
            anchor: self.anchor(),
            displays: self.displays(session, dtu.addr, ticket),
        };
        out.push(Effect::Note(Note::Attached { token: token.clone(), session, serial }));
        self.counters.done("attached");
        self.announce_shown(clock.now, token.clone(), last);
        self.at_gate(clock, conn, out, |gate, now, fx| gate.grant(now, token_seq, &token, grant, fx));
        self.check_claim(clock.now, session, out);
    }

    fn displays(&self, session: SessionId, addr: std::net::Ipv4Addr, ticket: Nonce) -> Vec<Display> {
        let Some(s) = self.sessions.get(session) else { return Vec::new() };
        let Some(fp) = s.fingerprint() else { return Vec::new() };
        let at = self.address_for(addr);
        let display = |service: &proto::ServiceName| Display {
            addr: at,
            session,
            service: service.clone(),
            ticket,
            fp,
        };
        s.displays().iter().take(DISPLAYS_MAX).map(display).collect()
    }

    /// Whatever else on this host shows the token no longer does: another DTU (the card was moved, or there are
    /// two), or another session of the token.
    fn take_from_others(&mut self, clock: Clock, conn: ConnId, token: &Token, out: &mut Vec<Effect>) {
        let others: Vec<(SessionId, Option<ConnId>)> = self
            .sessions
            .of_token(token)
            .into_iter()
            .filter(|s| s.shown.is_some())
            .map(|s| (s.id, self.shown_at(s.id)))
            .collect();
        for (session, shown_at) in others {
            if shown_at == Some(conn) {
                continue;
            }
            self.take_away(clock, session, DisconnectCause::ShownElsewhere, out);
        }
    }

    fn shown_at(&self, session: SessionId) -> Option<ConnId> {
        self.shows.at.get(&session).copied()
    }

    /// Takes a session off whatever DTU shows it, which is told why.
    pub(super) fn take_away(
        &mut self,
        clock: Clock,
        session: SessionId,
        cause: DisconnectCause,
        out: &mut Vec<Effect>,
    ) {
        if let Some(conn) = self.shown_at(session) {
            self.clear_shown(conn);
            self.at_gate(clock, conn, out, |gate, now, fx| gate.disconnect(now, cause, fx));
        }
        self.detach(clock, session, out);
    }

    fn set_shown(&mut self, conn: ConnId, session: SessionId) {
        self.clear_shown(conn);
        if let Some(c) = self.conns.get_mut(conn) {
            c.shows = Some(session);
            self.shows.at.insert(session, conn);
        }
    }

    /// What a connection showed, which it no longer does.
    pub(super) fn clear_shown(&mut self, conn: ConnId) -> Option<SessionId> {
        let session = self.conns.get_mut(conn)?.shows.take()?;
        if self.shows.at.get(&session) == Some(&conn) {
            self.shows.at.remove(&session);
        }
        Some(session)
    }

    pub(super) fn on_session_event(&mut self, clock: Clock, event: SessionEvent, out: &mut Vec<Effect>) {
        match event {
            SessionEvent::Ready(session) => {
                if let Some(token) = self.sessions.get(session).map(|s| &s.token) {
                    self.failures.forget(token);
                }
                for conn in self.shows.waiting.remove(&session).unwrap_or_default() {
                    self.show(clock, conn, session, out);
                }
            }
            SessionEvent::TakenUp(session) => {
                if let Some(token) = self.sessions.get(session).map(|s| s.token.clone()) {
                    self.note_token(&token);
                }
                self.correct_last(clock, session, out);
                if let Some(from) = self.sessions.get(session).and_then(|s| s.guest) {
                    self.guests.add(clock.now, session, from);
                }
                self.counters.done("session_taken_up");
                self.care_for(session, Care::Renew);
            }
            SessionEvent::OnScreen(..) => self.counters.done("on_screen"),
            SessionEvent::Ended { session, token, epoch, claim, guest, lived, why, failed, .. } => {
                if let Some(from) = guest {
                    self.guests.remove(session, from);
                }
                self.store.upkeep.forget(session);
                // One that was written without an answer counts as not held, and may be there.
                if claim != Claim::Superseded {
                    let record = self.claim_of(session, epoch);
                    self.release_claim(clock.now, &token, record, out);
                }
                if self.sessions.of_token(&token).is_empty() {
                    self.forget_token(&token);
                }
                self.counters.done("session_ended");
                if failed {
                    let (token, why) = (token.clone(), why.clone());
                    self.failures.note(Failure { token, session: Some(session), at: clock.now, why });
                }
                out.push(Effect::Note(Note::Ended { token, session, why: why.clone() }));
                self.on_session_gone(session, out);
                self.after_the_end(clock, session, lived, &why, out);
            }
            SessionEvent::ServiceSettled { session, service } => {
                self.on_service_settled(session, &service, out);
            }
            SessionEvent::Data { session, client, request } => {
                self.on_data(clock, session, client, &request, out);
            }
        }
    }

    /// Who waited for the session is told why it did not begin; who was shown it gets another one, as after a logout.
    fn after_the_end(
        &mut self,
        clock: Clock,
        session: SessionId,
        lived: Duration,
        why: &str,
        out: &mut Vec<Effect>,
    ) {
        for conn in self.shows.waiting.remove(&session).unwrap_or_default() {
            self.deny_because(clock, conn, Denial::SessionFailed, why, out);
        }
        let Some(conn) = self.shown_at(session) else { return };
        self.clear_shown(conn);
        let presentation = self.conns.get(conn).and_then(|c| c.presented.clone());
        match presentation {
            Some(presentation) if lived >= WORTH_ANOTHER && !self.stopping => {
                let again = Presentation { ticket: None, avoid: None, ..presentation };
                self.begin(clock, conn, again, out);
            }
            _ => self.at_gate(clock, conn, out, |gate, now, fx| {
                gate.disconnect(now, DisconnectCause::Ended, fx);
            }),
        }
    }

    /// The time by which connections of a token are ordered ([`crate::topology::Topology::group_time`]).
    pub(super) fn group_time(&self, clock: Clock) -> WallTime {
        self.topology.group_time(clock.now, clock.wall)
    }

    /// This host's clock was `before` when it last ran: if it was set by more than others would believe, they hear of
    /// it at once, or they would order by its old time until its next message.
    pub(super) fn notice_set_clock(&mut self, clock: Clock, before: Clock, out: &mut Vec<Effect>) {
        let expected = before.wall + clock.now.since(before.now);
        if clock.wall.as_millis().abs_diff(expected.as_millis()) > Last::FUTURE_MAX_MS {
            self.announcer.announce_soon(clock.now);
            self.follow_group_time(clock, out);
        } else if clock.wall < before.wall {
            self.correct_lasts(clock, out);
        }
    }

    /// Clocks of the group were heard, or hosts came and went: where that sets the group's time back, times of last
    /// connection that were given by it are corrected.
    pub(super) fn follow_group_time(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        let time = self.group_time(clock);
        let before = self.group_time_was.replace(Clock { now: clock.now, wall: time });
        if before.is_some_and(|before| !Last::next(before.wall, None).is_plausible(time)) {
            self.correct_lasts(clock, out);
        }
    }

    /// The group's time was set back. Times that it gave before may now be as absurd as those of others whose clock
    /// is wrong: they would win every comparison for years.
    pub(super) fn correct_lasts(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        let group_time = self.group_time(clock);
        self.shows.heard.retain(|_, last| last.is_plausible(group_time));
        let sessions: Vec<SessionId> = self.sessions.iter().map(|s| s.id).collect();
        sessions.into_iter().for_each(|session| self.correct_last(clock, session, out));
    }

    /// A session whose time of last connection is absurd was last connected when this host had no clock to go by: to
    /// any other that is before theirs. One that is shown is connected now.
    fn correct_last(&mut self, clock: Clock, session: SessionId, out: &mut Vec<Effect>) {
        let group_time = self.group_time(clock);
        let Some(s) = self.sessions.get(session).filter(|s| !s.last.is_plausible(group_time)) else { return };
        let (token, is_shown) = (s.token.clone(), s.shown.is_some());
        let heard = self.shows.heard.get(&token).copied();
        let last = if is_shown { Last::next(group_time, heard) } else { Last::default() };
        self.counters.refused("absurd_last");
        self.with_sessions(clock, out, |sessions, _, fx| sessions.prefer(session, last, fx));
        if is_shown {
            self.announce_shown(clock.now, token, last);
        }
    }

    fn announce_shown(&mut self, now: Instant, token: Token, last: Last) {
        if !self.shows.fresh.contains(&(token.clone(), last)) {
            self.shows.fresh.push((token, last));
        }
        if self.shows.say_at.is_none() {
            self.shows.say_at = Some(now + GATHER);
        }
    }

    fn shown_message(&self, tokens: &[(Token, Last)]) -> Vec<u8> {
        let ring = &self.config.ring;
        let tagged = ring.signing();
        let tags = tokens.iter().filter_map(|(token, last)| Some((ring.tag(tagged, token)?, *last)));
        self.seal_peer(PeerBody::Shown { tagged, tokens: tags.collect() })
    }

    pub(super) fn poll_shows(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        let full = self.shows.fresh.len() >= SHOWN_PER_MESSAGE_MAX;
        if full || self.shows.say_at.is_some_and(|at| at <= clock.now) {
            self.shows.say_at = None;
            for part in core::mem::take(&mut self.shows.fresh).chunks(SHOWN_PER_MESSAGE_MAX) {
                self.broadcast(&self.shown_message(part), out);
                self.say_again(clock.now, 0, part.to_vec());
            }
        }
        while self.shows.repeats.front().is_some_and(|(at, _, _)| *at <= clock.now) {
            let Some((_, round, mut tokens)) = self.shows.repeats.pop_front() else { break };
            // What is over must not be taken for what is: by another clock it may look like the newer word.
            tokens.retain(|(token, last)| self.is_shown_since(token, *last));
            if !tokens.is_empty() {
                self.broadcast(&self.shown_message(&tokens), out);
                self.say_again(clock.now, round + 1, tokens);
            }
        }
    }

    fn is_shown_since(&self, token: &Token, last: Last) -> bool {
        self.sessions.of_token(token).iter().any(|s| s.shown.is_some() && s.last == last)
    }

    fn say_again(&mut self, now: Instant, round: usize, tokens: Vec<(Token, Last)>) {
        let Some(pause) = SAY_AGAIN.get(round) else { return };
        if self.shows.repeats.len() < REPEATS_MAX {
            let at = now + *pause;
            let place = self.shows.repeats.partition_point(|(other, _, _)| *other <= at);
            self.shows.repeats.insert(place, (at, round, tokens));
        }
    }

    /// A host came up, for the first time or after a partition: it hears what is shown here.
    pub(super) fn tell_what_is_shown(&mut self, clock: Clock, host: &HostName, out: &mut Vec<Effect>) {
        let Some(to) = self.topology.row(host).map(|row| row.ask_at(clock.now)) else { return };
        let shown = self.sessions.iter().filter(|s| s.shown.is_some());
        let tokens: Vec<(Token, Last)> = shown.map(|s| (s.token.clone(), s.last)).collect();
        for part in tokens.chunks(SHOWN_PER_MESSAGE_MAX) {
            out.push(Effect::Ask(Ask { to, bytes: self.shown_message(part) }));
        }
    }

    /// Another host shows tokens: where the same is shown here since an earlier time, it is taken off.
    pub(super) fn on_shown(
        &mut self,
        clock: Clock,
        host: &HostName,
        tagged: KeyId,
        tokens: &[(TokenTag, Last)],
        out: &mut Vec<Effect>,
    ) {
        let group_time = self.group_time(clock);
        for (tag, last) in tokens {
            let Some(token) = self.shows.token_of(tagged, *tag).cloned() else { continue };
            if !last.is_plausible(group_time) {
                self.counters.refused("absurd_last");
                continue;
            }
            let heard = self.shows.heard.entry(token.clone()).or_default();
            *heard = (*heard).max(*last);
            let shown = self.sessions.of_token(&token).into_iter().filter(|s| s.shown.is_some());
            // Equal times cannot be told apart by time: then the lower host keeps it.
            let (earlier, later): (Vec<_>, Vec<_>) =
                shown.map(|s| (s.id, s.last)).partition(|(_, here)| (*here, host) < (*last, self.name()));
            for (session, _) in earlier {
                self.counters.done("shown_elsewhere");
                self.take_away(clock, session, DisconnectCause::ShownElsewhere, out);
            }
            // Its host did not hear that, or had no session of the token then and did not care.
            for (_, here) in later {
                self.announce_shown(clock.now, token.clone(), here);
            }
            // Two sessions of one token: the claim is one's only, and which one's was decided out of our sight.
            let here = self.sessions.of_token(&token).into_iter().filter(|s| s.claim == Claim::Held);
            let held: Vec<SessionId> = here.map(|s| s.id).collect();
            for session in held {
                self.renew_claim(clock, session, out);
            }
        }
    }

    /// Whether the session a DTU waits for is this one; its presentation stays until it has started.
    fn wait_for_start(&mut self, conn: ConnId, session: SessionId) {
        let is_waiting = self.conns.get(conn).and_then(|c| c.flow.as_ref()).is_some();
        if is_waiting {
            self.set_starting(conn, session);
        } else {
            self.shows.stop_waiting(session, conn);
        }
    }
}
