//! The DTUs connected to this host: a gate each, the presentation that is being decided, and what is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use authmgr::{CloseReason, Gate, GateEffect, GateEvent, Presentation};
use proto::line::{Line, LineError};
use proto::time::earliest;
use proto::{Instant, SessionId};

use super::driver::{ConnId, Effect};
use super::flow::Flow;
use super::note::Note;
use super::{Clock, Host};
use crate::reach::Dtu;

/// One connected DTU.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) gate: Gate,
    pub(super) peer: SocketAddrV4,
    /// Whether it speaks without TLS.
    pub(super) plain: bool,
    /// The newest presentation.
    pub(super) presented: Option<Presentation>,
    /// What is being decided about it.
    pub(super) flow: Option<Flow>,
    /// What it is shown.
    pub(super) shows: Option<SessionId>,
    due: Option<Instant>,
}

impl Conn {
    /// What decides where the DTU can go.
    pub(super) const fn dtu(&self) -> Dtu {
        Dtu { addr: *self.peer.ip(), plain: self.plain }
    }
}

/// All of them, with their deadlines in order: a host with ten thousand desks must not look at each of them to
/// find out that nothing is due.
#[derive(Debug, Default)]
pub(super) struct Conns {
    map: BTreeMap<ConnId, Conn>,
    due: BTreeSet<(Instant, ConnId)>,
}

impl Conns {
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.map.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.map.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.map.iter().map(|(id, conn)| (*id, conn))
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Puts a connection's deadline in its place after something happened to it.
    pub(super) fn rearm(&mut self, id: ConnId) {
        let Some(conn) = self.map.get_mut(&id) else { return };
        let due = earliest(conn.gate.poll_at(), conn.flow.as_ref().and_then(Flow::poll_at));
        if due != conn.due {
            if let Some(old) = conn.due {
                self.due.remove(&(old, id));
            }
            if let Some(new) = due {
                self.due.insert((new, id));
            }
            conn.due = due;
        }
    }

    fn insert(&mut self, id: ConnId, conn: Conn) {
        self.map.insert(id, conn);
        self.rearm(id);
    }

    fn remove(&mut self, id: ConnId) {
        if let Some(at) = self.map.remove(&id).and_then(|conn| conn.due) {
            self.due.remove(&(at, id));
        }
    }

    fn due_by(&self, now: Instant) -> Vec<ConnId> {
        self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }
}

impl Host {
    pub(super) fn on_opened(&mut self, clock: Clock, id: ConnId, peer: SocketAddrV4, plain: bool) {
        let gate = Gate::new(clock.now, peer);
        let conn = Conn { gate, peer, plain, presented: None, flow: None, shows: None, due: None };
        self.conns.insert(id, conn);
    }

    pub(super) fn on_line(
        &mut self,
        clock: Clock,
        id: ConnId,
        line: Result<Line, LineError>,
        out: &mut Vec<Effect>,
    ) {
        match line {
            Ok(line) => self.at_gate(clock, id, out, |gate, now, fx| gate.on_line(now, &line, fx)),
            Err(LineError::TooLong) => self.counters.refused("line_too_long"),
            Err(_) => self.counters.refused("bad_line"),
        }
    }

    pub(super) fn on_closed(&mut self, clock: Clock, id: ConnId, out: &mut Vec<Effect>) {
        self.at_gate(clock, id, out, |gate, _, fx| gate.on_closed(fx));
        self.forget_conn(clock, id, out);
    }

    pub(super) fn poll_conns(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        for id in self.conns.due_by(clock.now) {
            self.at_gate(clock, id, out, Gate::on_timeout);
            self.poll_flow(clock, id, out);
            self.conns.rearm(id);
        }
    }

    /// Runs a step of a gate and does what follows from it.
    pub(super) fn at_gate(
        &mut self,
        clock: Clock,
        id: ConnId,
        out: &mut Vec<Effect>,
        step: impl FnOnce(&mut Gate, Instant, &mut Vec<GateEffect>),
    ) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let mut effects = Vec::new();
        step(&mut conn.gate, clock.now, &mut effects);
        for effect in effects {
            match effect {
                GateEffect::Send(message) => out.push(Effect::Send { conn: id, message: Box::new(message) }),
                GateEffect::Event(event) => self.on_gate_event(clock, id, event, out),
                GateEffect::Close(_) => {
                    out.push(Effect::Close { conn: id });
                    self.forget_conn(clock, id, out);
                }
            }
        }
        self.conns.rearm(id);
    }

    fn on_gate_event(&mut self, clock: Clock, id: ConnId, event: GateEvent, out: &mut Vec<Effect>) {
        match event {
            GateEvent::Presented(presentation) => self.begin(clock, id, *presentation, out),
            GateEvent::Removed { .. } => {
                self.drop_flow(id);
                self.hide(clock, id, out);
            }
            GateEvent::Took { .. } => self.counters.done("connected"),
            GateEvent::Refused { .. } => {
                self.counters.refused("grant_not_taken");
                self.hide(clock, id, out);
            }
            GateEvent::CardAnswered { token_seq, verdict } => {
                self.on_verdict(clock, id, token_seq, verdict, out);
            }
            GateEvent::Left { cause: CloseReason::ConnectionLost | CloseReason::Expired } => {
                // Its display may well be alive: a DTU that reconnects at once has lost nothing.
                if let Some(session) = self.clear_shown(id) {
                    self.sessions.lose_sight(session);
                }
            }
            GateEvent::Left { .. } => self.hide(clock, id, out),
            GateEvent::Odd(odd) => self.counters.refused(odd.word()),
        }
    }

    fn forget_conn(&mut self, clock: Clock, id: ConnId, out: &mut Vec<Effect>) {
        self.drop_flow(id);
        self.hide(clock, id, out);
        self.conns.remove(id);
    }

    /// Takes what a DTU is shown off it; the session's services run on.
    pub(super) fn hide(&mut self, clock: Clock, id: ConnId, out: &mut Vec<Effect>) {
        if let Some(session) = self.clear_shown(id) {
            self.detach(clock, session, out);
        }
    }

    pub(super) fn detach(&mut self, clock: Clock, session: SessionId, out: &mut Vec<Effect>) {
        if let Some(s) = self.sessions.get(session) {
            out.push(Effect::Note(Note::Detached { token: s.token.clone(), session }));
        }
        self.with_sessions(clock, out, |sessions, _, fx| sessions.detach(session, fx));
    }

    /// A connection wants the display of a session. The session's process asks for the ticket; here it is only
    /// found.
    pub(super) fn on_display(&mut self, conn: ConnId, session: SessionId, out: &mut Vec<Effect>) {
        if self.sessions.get(session).is_some() {
            out.push(Effect::HandOver { conn, session });
        } else {
            self.counters.refused("display_of_no_session");
            out.push(Effect::Close { conn });
        }
    }

    /// Tells every DTU the present anchor and where it may fail over to.
    pub(super) fn refresh_dtus(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        let anchor = self.anchor();
        let conns: Vec<_> = self.conns.iter().map(|(id, conn)| (id, conn.dtu())).collect();
        for (id, dtu) in conns {
            let standbys = self.standbys(clock.now, dtu);
            self.at_gate(clock, id, out, |gate, _, fx| gate.refresh(anchor, standbys, fx));
        }
    }
}
