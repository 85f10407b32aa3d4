//! TCP connections between desks and hosts: ordered bytes that arrive or wait, and how they end.
//!
//! What is lost is sent again later, so a cut stalls a connection without telling the host ([`super::kernel`] says when
//! it tells the desk). The machine
//! answers for its processes as a kernel does: it refuses where nobody listens, accepts for a process that is
//! stopped, and resets what belonged to one that died. A machine without power says nothing.

use proto::time::Duration;

use super::parts::tcp::{ConnKey, Owner, RESEND_FIRST, Seg, Side};
use super::wire::Node;
use super::{Event, World};

const RESEND_MAX: Duration = Duration::from_secs(3);

/// A first word that is not answered is said again after this time.
const SYN_AGAIN: Duration = Duration::from_secs(1);

/// A connection on which nothing got through so often is forgotten.
const RESENDS_MAX: u32 = 200;

impl World {
    /// Sends a part of what goes over a connection towards `to`.
    pub(super) fn transmit(&mut self, key: ConnKey, to: Side, seg: Seg) {
        if let (Side::Desk, Seg::Data(bytes), Some(conn)) = (to, &seg, self.conns.get(&key)) {
            self.count_sent(Node::Host(conn.host), bytes);
        }
        let Some(conn) = self.conns.get_mut(&key) else { return };
        if !conn.flows_to(to) {
            conn.flows[to as usize].stalled.push_back(seg);
            return;
        }
        match self.crossing(key, to) {
            Some(delay) => self.let_through(key, to, delay, seg),
            None => self.stall(key, to, seg),
        }
    }

    fn crossing(&mut self, key: ConnKey, to: Side) -> Option<Duration> {
        let conn = self.conns.get(&key)?;
        if self.wire.cable(conn.far).ip != conn.far_ip {
            return None;
        }
        let (from, into) = if to == Side::Host { (conn.near, conn.far) } else { (conn.far, conn.near) };
        self.wire.crosses(from, into)
    }

    fn let_through(&mut self, key: ConnKey, to: Side, delay: Duration, seg: Seg) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let flow = &mut conn.flows[to as usize];
        flow.last_at = flow.last_at.max(self.now + delay);
        let at = flow.last_at;
        self.queue.put(at, Event::Segment { conn: key, to, seg });
    }

    fn stall(&mut self, key: ConnKey, to: Side, seg: Seg) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let flow = &mut conn.flows[to as usize];
        flow.pause = if matches!(seg, Seg::Syn) { SYN_AGAIN } else { RESEND_FIRST };
        flow.resent = 0;
        flow.stalled.push_back(seg);
        let at = self.now + flow.pause;
        self.queue.put(at, Event::Resend { conn: key, to });
    }

    pub(super) fn on_resend(&mut self, key: ConnKey, to: Side) {
        let crossing = self.crossing(key, to);
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let flow = &mut conn.flows[to as usize];
        let Some(delay) = crossing else {
            flow.resent += 1;
            if flow.resent > RESENDS_MAX || (!conn.is_wanted && to == Side::Desk) {
                self.forget_conn(key);
                return;
            }
            flow.pause = (flow.pause * 2).min(RESEND_MAX);
            let at = self.now + flow.pause;
            self.queue.put(at, Event::Resend { conn: key, to });
            return;
        };
        let stalled = core::mem::take(&mut flow.stalled);
        let (host, owner) = (conn.host, conn.owner);
        for seg in stalled {
            self.let_through(key, to, delay, seg);
        }
        // There is room again for what the session held back.
        if let (Side::Desk, Owner::Session(session)) = (to, owner) {
            self.pump(host, session);
        }
    }

    pub(super) fn on_segment(&mut self, key: ConnKey, to: Side, seg: Seg) {
        match to {
            Side::Host => self.at_host(key, seg),
            Side::Desk => self.at_desk(key, seg),
        }
    }

    /// What the host's kernel does with it.
    fn at_host(&mut self, key: ConnKey, seg: Seg) {
        let Some(conn) = self.conns.get(&key) else { return };
        let (host, owner) = (conn.host, conn.owner);
        if let Seg::Data(bytes) = &seg {
            self.count_received(bytes);
        }
        if !self.machines[host].has_power {
            if matches!(seg, Seg::Fin | Seg::Rst) {
                self.forget_conn(key);
            }
            return;
        }
        match (seg, owner) {
            (Seg::Syn, _) if !self.machines[host].daemon.listens() => {
                self.disown(key);
                self.transmit(key, Side::Desk, Seg::Refused);
            }
            (Seg::Syn, _) => {
                self.machines[host].conns.insert(key);
                self.transmit(key, Side::Desk, Seg::SynAck);
            }
            (Seg::Rst | Seg::Fin, Owner::Nobody) => self.forget_conn(key),
            (_, Owner::Nobody) => self.transmit(key, Side::Desk, Seg::Rst),
            (seg, Owner::Kernel | Owner::Daemon) => self.seg_to_daemon(host, key, seg),
            (seg, Owner::Session(session)) => self.seg_to_session(host, session, key, seg),
        }
    }

    fn at_desk(&mut self, key: ConnKey, seg: Seg) {
        let Some(conn) = self.conns.get(&key) else { return };
        if conn.is_wanted {
            self.seg_to_desk(conn.desk, key, seg);
        } else if matches!(seg, Seg::Fin | Seg::Rst | Seg::Refused) {
            self.forget_conn(key);
        }
    }

    /// Both ends are done with it.
    pub(super) fn forget_conn(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.remove(&key) {
            self.machines[conn.host].conns.remove(&key);
        }
    }

    /// The host's end has no process any more.
    pub(super) fn disown(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.owner = Owner::Nobody;
        }
    }

    /// The process that had the host's end of these connections is gone.
    pub(super) fn orphan(&mut self, host: usize, of: impl Fn(Owner) -> bool) {
        let keys: Vec<ConnKey> = self.machines[host].conns.iter().copied().collect();
        for key in keys {
            if self.conns.get(&key).is_some_and(|conn| of(conn.owner)) {
                self.machines[host].conns.remove(&key);
                self.disown(key);
                if self.machines[host].has_power {
                    self.transmit(key, Side::Desk, Seg::Rst);
                }
            }
        }
    }

    /// The host's process closes a connection after what it has said.
    pub(super) fn close_from_host(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get(&key) else { return };
        let host = conn.host;
        if conn.owner == Owner::Nobody {
            return;
        }
        self.machines[host].conns.remove(&key);
        self.disown(key);
        self.transmit(key, Side::Desk, Seg::Fin);
    }
}
