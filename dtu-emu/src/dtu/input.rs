//! What happens to a DTU, and what it wants done.

use std::net::{Ipv4Addr, SocketAddrV4};

use proto::beacon::Beacon;
use proto::card::Card;
use proto::discovery::ServerR;
use proto::frame::{Frame, Size};
use proto::{Instant, Line, SessionId};

use super::event::DtuEvent;
use super::fault::{ConnId, Fault};

/// The keys that show the next display of a session, as they are told to whoever may press them.
pub const FLIP_KEYS: &str = "Ctrl-] n";

/// What happens to a DTU.
#[derive(Clone, Debug)]
pub enum DtuInput<'a> {
    /// It is switched on. Once, and first.
    Boot,
    /// A card is put in; one that was there is taken out first.
    CardInserted(Card),
    /// The card is taken out.
    CardRemoved,
    /// A host answered a serverQ.
    ServerR(&'a ServerR),
    /// A beacon was heard from this address. Only its hash chain makes it believed.
    Beacon {
        /// What it says.
        beacon: &'a Beacon,
        /// Who sent the datagram.
        from: Ipv4Addr,
        /// When: a moment ago, if there was a queue before us.
        at: Instant,
    },
    /// The host's machine has taken a control connection; the host itself has not come to it yet.
    ControlReached {
        /// The connection that was asked for.
        conn: ConnId,
    },
    /// A control connection is open: behind a TLS handshake, which is already an application's answer.
    ControlOpened {
        /// The connection that was asked for.
        conn: ConnId,
        /// Our own address on it.
        local: Ipv4Addr,
    },
    /// A line came over it.
    ControlLine {
        /// The control connection that it came on.
        conn: ConnId,
        /// One message of the session protocol.
        line: &'a Line,
    },
    /// It could not be opened, or ended.
    ControlClosed {
        /// The control connection that is no more.
        conn: ConnId,
        /// What kept it from opening, or ended it.
        fault: Fault,
    },
    /// A display channel is open.
    DisplayOpened {
        /// The connection that was asked for.
        conn: ConnId,
    },
    /// Bytes came over it that make no whole frame yet: a sign of life.
    DisplayHeard {
        /// The display channel that they came on.
        conn: ConnId,
    },
    /// A frame came over it.
    DisplayFrame {
        /// The display channel that it came on.
        conn: ConnId,
        /// One whole frame, as the session sent it.
        frame: Frame,
    },
    /// It could not be opened, or ended.
    DisplayClosed {
        /// The display channel that is no more.
        conn: ConnId,
        /// What kept it from opening, or ended it.
        fault: Fault,
    },
    /// The user typed.
    Typed(&'a [u8]),
    /// The user wants to see the next display of the session.
    Flip,
    /// The screen has another size now.
    Resized(Size),
    /// The time that `poll_at` named has come.
    Timeout,
}

/// Where a display channel is opened, and what its other end must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DisplayTarget {
    /// The host that runs the service.
    pub addr: SocketAddrV4,
    /// The session named in the first line.
    pub session: SessionId,
    /// The fingerprint of the certificate that the session shows.
    pub fp: [u8; 32],
}

/// What a DTU wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Broadcast a serverQ with the DTU's serial on its interfaces; each carries the address it leaves from.
    BroadcastServerQ,
    /// Open a control connection.
    OpenControl {
        /// Names the connection in all that follows; never used twice.
        conn: ConnId,
        /// The host's address, with the port of the session protocol.
        addr: SocketAddrV4,
    },
    /// Send a line on it.
    SendControl {
        /// The control connection to use.
        conn: ConnId,
        /// One message of the session protocol.
        line: Line,
    },
    /// Close it after what was sent; nothing more of it is wanted.
    CloseControl {
        /// The control connection that is done with.
        conn: ConnId,
    },
    /// Open a display channel: TCP, the line that names the session, TLS.
    OpenDisplay {
        /// Names the connection in all that follows; never used twice.
        conn: ConnId,
        /// Where it leads and what it is for.
        target: DisplayTarget,
    },
    /// Send a frame on it.
    SendDisplay {
        /// The display channel to use.
        conn: ConnId,
        /// One whole frame for the session.
        frame: Frame,
    },
    /// Close it; nothing more of it is wanted.
    CloseDisplay {
        /// The display channel that is done with.
        conn: ConnId,
    },
    /// Change the screen.
    Paint(Paint),
    /// Tell whoever watches.
    Report(DtuEvent),
}

/// A change of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Output of the service, to be written to the terminal as it is.
    Bytes(Vec<u8>),
    /// The whole screen, as bytes for an empty terminal of `size`.
    Repaint {
        /// Size it was made for.
        size: Size,
        /// What draws it.
        bytes: Vec<u8>,
    },
    /// Nothing of a session may be seen any more: a card was pulled, or the session left.
    Clear,
    /// A line of the DTU's own, above whatever is shown; `None` takes it away.
    Notice(Option<Notice>),
}

/// A line of the DTU's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it says.
    pub text: String,
    /// Whether it passes by itself: the session goes on beside it, with its cursor and with what is typed.
    pub passes: bool,
}
