//! TCP connections between desks and hosts: ordered bytes that arrive or wait, and how they end.
//!
//! What is lost is sent again later, so a cut stalls a connection without telling the host ([`super::kernel`] says when
//! it tells the desk). The machine
//! answers for its processes as a kernel does: it refuses where nobody listens, accepts for a process that is
//! stopped, and resets what belonged to one that died. A machine without power says nothing.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use dtu_emu::dtu::DisplayTarget;
use proto::frame::FrameBuffer;
use proto::line::Splitter;
use proto::time::Duration;
use proto::{Instant, SessionId};

use super::wire::{LinkId, Node};
use super::{Event, World};

/// What is lost is sent again after this time, then after twice as long, up to [`RESEND_MAX`].
const RESEND_FIRST: Duration = Duration::from_millis(200);
const RESEND_MAX: Duration = Duration::from_secs(3);
/// A first word that is not answered is said again after this time.
const SYN_AGAIN: Duration = Duration::from_secs(1);
/// A connection on which nothing got through so often is forgotten.
const RESENDS_MAX: u32 = 200;

/// Names a connection. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnKey(pub(super) u64);

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Desk,
    Host,
}

/// A part of what goes over a connection.
#[derive(Clone, Debug)]
pub(super) enum Seg {
    /// The desk wants the connection.
    Syn,
    /// The host's kernel has accepted it.
    SynAck,
    /// The host's machine is there, the program is not.
    Refused,
    /// The desk's part of the TLS handshake, behind the line that names a display's session.
    Hello,
    /// The other part: the application's first answer, with its certificate's fingerprint.
    HelloBack([u8; 32]),
    /// Bytes behind TLS.
    Data(Vec<u8>),
    /// The sender has closed.
    Fin,
    /// The sender's process is dead, or knows nothing of the connection.
    Rst,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Control,
    Display(DisplayTarget),
}

/// Who has the host's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Accepted, and no process has looked at it.
    Kernel,
    Daemon,
    Session(SessionId),
    /// Its process died or closed it.
    Nobody,
}

/// One direction of a connection.
#[derive(Debug)]
struct Flow {
    /// When the last part that got through arrives: the next one does not overtake it.
    last_at: Instant,
    /// What did not get through, in order.
    stalled: VecDeque<Seg>,
    pause: Duration,
    resent: u32,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) desk: usize,
    /// The desk's own number for it.
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) host: usize,
    pub(super) near: LinkId,
    pub(super) far: LinkId,
    /// The host's address when it was opened.
    pub(super) far_ip: Ipv4Addr,
    /// Whether it is without TLS.
    pub(super) is_plain: bool,
    /// Whether the host's program has answered.
    pub(super) is_opened: bool,
    /// Since when the desk's kernel misses an acknowledgement, and since when there is no way to the host's.
    pub(super) unacked_since: Option<Instant>,
    pub(super) broken_since: Option<Instant>,
    pub(super) owner: Owner,
    /// Whether the desk still wants to hear of it.
    pub(super) is_wanted: bool,
    pub(super) host_lines: Splitter,
    pub(super) desk_lines: Splitter,
    pub(super) desk_frames: FrameBuffer,
    flows: [Flow; 2],
}

impl Flow {
    const fn new() -> Self {
        Self { last_at: Instant::ZERO, stalled: VecDeque::new(), pause: RESEND_FIRST, resent: 0 }
    }
}

impl Conn {
    pub(super) fn new(
        desk: usize,
        number: u64,
        kind: Kind,
        host: usize,
        (near, far): (LinkId, LinkId),
        far_ip: Ipv4Addr,
    ) -> Self {
        Self {
            desk,
            number,
            kind,
            host,
            near,
            far,
            far_ip,
            is_plain: false,
            is_opened: false,
            unacked_since: None,
            broken_since: None,
            owner: Owner::Kernel,
            is_wanted: true,
            host_lines: Splitter::new(),
            desk_lines: Splitter::new(),
            desk_frames: FrameBuffer::default(),
            flows: [Flow::new(), Flow::new()],
        }
    }

    /// Whether nothing waits to get through to this side.
    pub(super) fn flows_to(&self, side: Side) -> bool {
        self.flows[side as usize].stalled.is_empty()
    }
}

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
        if self.wire.link(conn.far).ip != conn.far_ip {
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
