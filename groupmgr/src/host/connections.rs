//! The DTUs connected to this host: a gate each, and what the gates say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use authmgr::{CloseReason, Gate, GateEffect, GateEvent, Order};
use proto::alp::DisconnectCause;
use proto::line::{Line, LineError};
use proto::{DtuKey, Instant, Serial};

use super::admin::Reply;
use super::driver::{AdminReq, ConnId, Effect};
use super::env::Ctx;
use super::out::Out;
use super::step::{ToAttachments, ToConnections, ToPresentations};
use crate::reach::Dtu;

/// What DTUs may say before the host has started. A DTU whose words are dropped says them again.
const EARLY_MAX: usize = 4_096;

/// One connected DTU.
#[derive(Debug)]
struct Conn {
    gate: Gate,
    /// What decides where the DTU can go.
    dtu: Dtu,
    due: Option<Instant>,
}

/// The machine. It keeps the gates' deadlines in order: a host with ten thousand desks must not look at each of them to
/// find out that nothing is due.
#[derive(Debug, Default)]
pub(super) struct Connections {
    map: BTreeMap<ConnId, Conn>,
    due: BTreeSet<(Instant, ConnId)>,
    has_begun: bool,
    /// What DTUs said before the host had started, at most [`EARLY_MAX`].
    early: Vec<ToConnections>,
}

impl Connections {
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// Where each DTU is, its serial once it has said it, and the key that it has proved.
    pub(super) fn view(
        &self,
    ) -> impl Iterator<Item = (ConnId, SocketAddrV4, Option<&Serial>, Option<DtuKey>)> {
        self.map.iter().map(|(id, Conn { gate, .. })| (*id, gate.peer(), gate.serial(), gate.key()))
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 1] {
        [("gate", self.due.first().map(|(at, _)| *at))]
    }

    pub(super) fn handle(&mut self, ctx: &Ctx<'_>, step: ToConnections, out: &mut Out<'_>) {
        let Some(step) = self.hold(step, out) else { return };
        match step {
            ToConnections::Opened { conn, peer, plain, key } => {
                let dtu = Dtu { addr: *peer.ip(), plain };
                self.map.insert(conn, Conn { gate: Gate::new(ctx.now, peer, key), dtu, due: None });
                self.rearm(conn);
            }
            ToConnections::Line { conn, line } => self.on_line(ctx, conn, line, out),
            ToConnections::Closed { conn } => {
                self.at_gate(conn, out, |gate, fx| gate.on_closed(fx));
                self.forget(conn, out);
            }
            ToConnections::Begin => {
                self.has_begun = true;
                for step in core::mem::take(&mut self.early) {
                    self.handle(ctx, step, out);
                }
            }
            ToConnections::Order { conn, order } => self.order(ctx, conn, *order, out),
            ToConnections::Message { req, to, text } => self.message(ctx, req, to.as_ref(), &text, out),
            ToConnections::SendAway => {
                for conn in self.ids() {
                    self.order(ctx, conn, Order::Disconnect(DisconnectCause::HostStopping), out);
                }
            }
            ToConnections::Refresh => {
                let anchor = ctx.members.anchor();
                for conn in self.ids() {
                    let Some(dtu) = self.map.get(&conn).map(|c| c.dtu) else { continue };
                    let standbys = ctx.members.standbys(ctx.now, dtu, None);
                    self.order(ctx, conn, Order::Refresh { anchor, standbys, cookie: None }, out);
                }
            }
            ToConnections::Cookie { conn, cookie } => {
                let Some(dtu) = self.map.get(&conn).map(|c| c.dtu).filter(|dtu| !dtu.plain) else { return };
                let standbys = ctx.members.standbys(ctx.now, dtu, cookie.secondary.as_ref());
                let (anchor, cookie) = (ctx.members.anchor(), Some(*cookie));
                self.order(ctx, conn, Order::Refresh { anchor, standbys, cookie }, out);
            }
            ToConnections::Due => {
                let due = self.due.iter().take_while(|(at, _)| *at <= ctx.now).map(|(_, id)| *id);
                for conn in due.collect::<Vec<_>>() {
                    self.at_gate(conn, out, |gate, fx| gate.on_timeout(ctx.now, fx));
                }
            }
        }
    }

    /// Keeps back what can only be answered by a host that has started.
    fn hold(&mut self, step: ToConnections, out: &mut Out<'_>) -> Option<ToConnections> {
        if self.has_begun {
            return Some(step);
        }
        let of = |step: &ToConnections| match step {
            ToConnections::Opened { conn, .. } | ToConnections::Line { conn, .. } => Some(*conn),
            _ => None,
        };
        match step {
            ToConnections::Closed { conn } => self.early.retain(|held| of(held) != Some(conn)),
            step if of(&step).is_none() => return Some(step),
            step if self.early.len() < EARLY_MAX => self.early.push(step),
            _ => out.refused("said_too_early"),
        }
        None
    }

    fn on_line(&mut self, ctx: &Ctx<'_>, conn: ConnId, line: Result<Line, LineError>, out: &mut Out<'_>) {
        match line {
            Ok(line) => self.at_gate(conn, out, |gate, fx| gate.on_line(ctx.now, &line, fx)),
            Err(LineError::TooLong) => out.refused("line_too_long"),
            Err(_) => out.refused("bad_line"),
        }
    }

    /// Orders something of a gate. A grant that finds nobody, or is of a presentation that is over, is no attachment.
    fn order(&mut self, ctx: &Ctx<'_>, conn: ConnId, order: Order, out: &mut Out<'_>) {
        let is_grant = matches!(order, Order::Grant { .. });
        let mut heeded = false;
        self.at_gate(conn, out, |gate, fx| heeded = gate.obey(ctx.now, order, fx));
        if is_grant && !heeded {
            out.step(ToAttachments::Detach { conn });
        }
    }

    fn message(&mut self, ctx: &Ctx<'_>, req: AdminReq, to: Option<&Serial>, text: &str, out: &mut Out<'_>) {
        let meant = |serial: Option<&Serial>| serial.is_some() && (to.is_none() || serial == to);
        let conns: Vec<ConnId> =
            self.map.iter().filter(|(_, c)| meant(c.gate.serial())).map(|(id, _)| *id).collect();
        for conn in &conns {
            self.order(ctx, *conn, Order::Notice(text.to_owned()), out);
        }
        out.answer(req, Reply::At(conns.len()));
    }

    fn ids(&self) -> Vec<ConnId> {
        self.map.keys().copied().collect()
    }

    /// Runs a step of a gate and tells what follows from it.
    fn at_gate(&mut self, id: ConnId, out: &mut Out<'_>, step: impl FnOnce(&mut Gate, &mut Vec<GateEffect>)) {
        let Some(conn) = self.map.get_mut(&id) else { return };
        let mut effects = Vec::new();
        step(&mut conn.gate, &mut effects);
        let dtu = conn.dtu;
        for effect in effects {
            match effect {
                GateEffect::Send(message) => {
                    out.effect(Effect::Send { conn: id, message: Box::new(message) });
                }
                GateEffect::Event(event) => tell(id, dtu, event, out),
                GateEffect::Close(_) => {
                    out.effect(Effect::Close { conn: id });
                    self.forget(id, out);
                }
            }
        }
        self.rearm(id);
    }

    fn forget(&mut self, id: ConnId, out: &mut Out<'_>) {
        let Some(conn) = self.map.remove(&id) else { return };
        if let Some(at) = conn.due {
            self.due.remove(&(at, id));
        }
        out.step(ToPresentations::Removed { conn: id });
        out.step(ToAttachments::Detach { conn: id });
    }

    /// Puts a connection's deadline in its place after something happened to it.
    fn rearm(&mut self, id: ConnId) {
        let Some(conn) = self.map.get_mut(&id) else { return };
        let due = conn.gate.poll_at();
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
}

fn tell(conn: ConnId, dtu: Dtu, event: GateEvent, out: &mut Out<'_>) {
    match event {
        GateEvent::Presented(presentation) => {
            out.step(ToPresentations::Presented { conn, dtu, presentation });
        }
        GateEvent::Removed { .. } => {
            out.step(ToPresentations::Removed { conn });
            out.step(ToAttachments::Detach { conn });
        }
        GateEvent::Took { .. } => out.done("connected"),
        GateEvent::Refused { .. } => {
            out.refused("grant_not_taken");
            out.step(ToAttachments::Detach { conn });
        }
        GateEvent::CardAnswered { token_seq, result } => {
            let result = Box::new(result.into());
            out.step(ToPresentations::CardAnswered { conn, token_seq, result });
        }
        GateEvent::Left { cause: CloseReason::ConnectionLost | CloseReason::Expired } => {
            out.step(ToAttachments::Unseen { conn });
        }
        GateEvent::Left { .. } => out.step(ToAttachments::Detach { conn }),
        GateEvent::Odd(odd) => out.refused(odd.word()),
    }
}
