//! Connections: their two ends, and what is on its way.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use dtu_emu::dtu::DisplayTarget;
use proto::frame::FrameBuffer;
use proto::line::Splitter;
use proto::time::Duration;
use proto::{DtuKey, Instant, SessionId};

use super::super::wire::CableId;

/// What is lost is sent again after this time, then after twice as long, up to three seconds.
pub(in crate::world) const RESEND_FIRST: Duration = Duration::from_millis(200);

/// Names a connection. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::world) struct ConnKey(pub(in crate::world) u64);

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::world) enum Side {
    Desk,
    Host,
}

/// A part of what goes over a connection.
#[derive(Clone, Debug)]
pub(in crate::world) enum Seg {
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
pub(in crate::world) enum Kind {
    Control,
    Display(DisplayTarget),
}

/// Who has the host's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::world) enum Owner {
    /// Accepted, and no process has looked at it.
    Kernel,
    Daemon,
    Session(SessionId),
    /// Its process died or closed it.
    Nobody,
}

/// One direction of a connection.
#[derive(Debug)]
pub(in crate::world) struct Flow {
    /// When the last part that got through arrives: the next one does not overtake it.
    pub(in crate::world) last_at: Instant,
    /// What did not get through, in order.
    pub(in crate::world) stalled: VecDeque<Seg>,
    pub(in crate::world) pause: Duration,
    pub(in crate::world) resent: u32,
}

#[derive(Debug)]
pub(in crate::world) struct Conn {
    pub(in crate::world) desk: usize,
    /// The desk's own number for it.
    pub(in crate::world) number: u64,
    pub(in crate::world) kind: Kind,
    pub(in crate::world) host: usize,
    pub(in crate::world) near: CableId,
    pub(in crate::world) far: CableId,
    /// The host's address when it was opened.
    pub(in crate::world) far_ip: Ipv4Addr,
    /// Whether it is without TLS.
    pub(in crate::world) is_plain: bool,
    /// The key that the desk proves on it.
    pub(in crate::world) key: Option<DtuKey>,
    /// Whether the host's program has answered.
    pub(in crate::world) is_opened: bool,
    /// Since when the desk's kernel misses an acknowledgement, and since when there is no way to the host's.
    pub(in crate::world) unacked_since: Option<Instant>,
    pub(in crate::world) broken_since: Option<Instant>,
    pub(in crate::world) owner: Owner,
    /// Whether the desk still wants to hear of it.
    pub(in crate::world) is_wanted: bool,
    pub(in crate::world) host_lines: Splitter,
    pub(in crate::world) desk_lines: Splitter,
    pub(in crate::world) desk_frames: FrameBuffer,
    pub(in crate::world) flows: [Flow; 2],
}

impl Flow {
    pub(in crate::world) const fn new() -> Self {
        Self { last_at: Instant::ZERO, stalled: VecDeque::new(), pause: RESEND_FIRST, resent: 0 }
    }
}

impl Conn {
    pub(in crate::world) fn new(
        desk: usize,
        number: u64,
        kind: Kind,
        host: usize,
        (near, far): (CableId, CableId),
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
            key: None,
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
    pub(in crate::world) fn flows_to(&self, side: Side) -> bool {
        self.flows[side as usize].stalled.is_empty()
    }
}
