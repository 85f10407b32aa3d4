//! What one machine of a DTU needs from another, as values: each step has exactly one receiver.

use core::time::Duration;
use std::net::Ipv4Addr;

use proto::alp::{Cookie, Display, FromHost, Standby};
use proto::card::Card;
use proto::chain::ChainValue;
use proto::discovery::ServerR;
use proto::frame::{Frame, Size};
use proto::{BootId, HostName, Instant, SessionId, Token};

use super::event::Loss;
use super::fault::{ConnId, Fault};
use super::host_ref::HostRef;
use super::hosts::Failure;
use super::reason::ConnectReason;

/// A step, by its receiver.
#[derive(Debug)]
pub(super) enum Step {
    Cards(ToCards),
    Discovery(ToDiscovery),
    Connection(ToConnection),
    Failover(ToFailover),
    Display(ToDisplay),
}

// Steps are moved through the queue by value; what is larger goes in a box.
const _: () = assert!(size_of::<Step>() <= 160);

/// What the person at the DTU does with its card and its screen.
#[derive(Debug)]
pub(super) enum ToCards {
    /// A card is put in, or taken out.
    Card(Option<Box<Card>>),
    /// The screen has another size.
    Resized(Size),
}

/// What [`super::discovery::Discovery`] is told.
#[derive(Debug)]
pub(super) enum ToDiscovery {
    /// We were not run for a while: nobody is judged for what he said meanwhile.
    Resumed,
    /// A deadline of its own has come.
    Due,
    Boot,
    ServerR(Box<ServerR>),
    Reached {
        conn: ConnId,
    },
    Opened {
        conn: ConnId,
        local: Ipv4Addr,
    },
    Closed {
        conn: ConnId,
        fault: Fault,
    },
    /// The host that the search had found failed us: the search goes on.
    Failed {
        host: HostRef,
        fault: Fault,
    },
    /// The host that the search had found has answered, or the question is void: the search is over.
    Settled,
    /// No host is left: another one is looked for, but not `avoid`.
    Search {
        avoid: Option<HostName>,
    },
    /// The session was taken away and then its host died: only the person at the screen asks again.
    Wait,
    /// The token is to be presented again.
    PresentAgain,
    /// The session that may be had again was left for good.
    SessionLeft,
    /// A host is dead, and whether its session may live and be had again.
    Lost {
        host: HostRef,
        keeps_session: bool,
    },
    /// A host is dead that had granted nothing.
    Bury(HostRef),
    /// An attempt to reach a host by a redirect failed.
    Unreached {
        host: HostRef,
        failure: Failure,
    },
    /// A host let us in, at the address by which it was reached, and named these others.
    Admitted {
        host: HostName,
        addr: std::net::SocketAddrV4,
        standbys: Vec<Standby>,
        /// Who keeps the session that it grants.
        cookie: Option<Box<Cookie>>,
    },
    /// This host, whose session is shown, says who keeps it now.
    Cookie {
        from: Option<HostName>,
        cookie: Box<Cookie>,
    },
    /// A host of the group named these others.
    Standbys(Vec<Standby>),
}

/// What [`super::connection::Connection`] is told.
#[derive(Debug)]
pub(super) enum ToConnection {
    /// The same as [`ToDiscovery::Resumed`].
    Resumed,
    /// A deadline of its own has come.
    Due,
    Reached {
        conn: ConnId,
    },
    Opened {
        conn: ConnId,
        local: Ipv4Addr,
    },
    Closed {
        conn: ConnId,
        fault: Fault,
    },
    /// A line came: a message, or one that cannot be used.
    Said {
        conn: ConnId,
        said: Result<Box<FromHost>, Box<Unusable>>,
    },
    /// The host that it watches was heard.
    Heard(Sighting),
    /// A control connection is open: the token is presented on it.
    Enter(Box<Entrance>),
    /// The token is presented again, if a connection is open.
    PresentAgain,
    /// A token was taken out.
    Removed(Token),
    /// What was shown was left for good: displays that die count from nought again.
    SessionLeft,
    /// The silent connection is given up.
    Close,
    /// The target of a redirect failed after it was reached: the source is asked again.
    ReturnTo {
        source: HostRef,
        target: HostRef,
    },
    /// The display is dead.
    DisplayDied(DisplayDeath),
    /// The service ended; its host says what follows.
    ServiceEnded,
    /// A display besides the one that was shown needs a new ticket.
    ReopenDisplay,
    /// Nobody takes what is typed.
    InputStuck,
}

/// What [`super::failover::Failover`] is told.
#[derive(Debug)]
pub(super) enum ToFailover {
    /// The same as [`ToDiscovery::Resumed`].
    Resumed,
    /// A deadline of its own has come.
    Due,
    Opened {
        conn: ConnId,
        local: Ipv4Addr,
    },
    Closed {
        conn: ConnId,
    },
    /// The host of the held session was heard from this address.
    Heard {
        from: Ipv4Addr,
    },
    /// The control connection is dead.
    ControlDied(Box<ControlDeath>),
    /// The silent connection of a held session ended.
    SilentClosed,
    /// It spoke: nothing was lost.
    Awake,
    /// The display of a held session said something.
    DisplayHeard,
    /// The display is dead.
    DisplayDied(DisplayDeath),
    /// The host is of no use any more, and its connection is closed.
    GiveUp {
        host: HostRef,
        why: Loss,
        good: Instant,
    },
    /// A gap begins unless there is one: `host` lives, and its display does not.
    DisplayLost {
        host: HostRef,
        good: Instant,
    },
    /// A control connection is open.
    ControlUp {
        host: HostRef,
    },
    /// connInf granted something.
    Granted {
        host: HostRef,
    },
    /// Typed bytes were lost with the session that they were meant for.
    InputLost(usize),
    /// Something of a session is on the screen.
    ScreenGood(Option<SessionId>),
    /// The session was left: nobody misses it.
    Forget,
    /// The token is to be presented again, and nothing is held any more.
    PresentAgain,
}

/// What [`super::display::Display`] is told.
#[derive(Debug)]
pub(super) enum ToDisplay {
    /// The same as [`ToDiscovery::Resumed`].
    Resumed,
    /// A deadline of its own has come.
    Due,
    Opened {
        conn: ConnId,
    },
    Heard {
        conn: ConnId,
    },
    Frame {
        conn: ConnId,
        frame: Frame,
    },
    Closed {
        conn: ConnId,
        fault: Fault,
    },
    Typed(Vec<u8>),
    /// The next display of the session is wanted on the screen.
    Flip,
    Resize(Size),
    /// A session was granted that was asked for then, and these of its displays can be shown.
    Granted {
        displays: Vec<Display>,
        total: usize,
        asked_at: Instant,
    },
    /// The display is closed; the session may come back.
    Close,
    /// Nothing of the session stays on the screen or on its way to it.
    Leave,
    /// The session is asked for a sign of life. Where `again_in` is given, it is asked again after that time.
    Probe {
        patience: Duration,
        again_in: Option<Duration>,
    },
    /// The daemon at this address lives: a silent session on the same machine gets more time.
    Vouched {
        by: Ipv4Addr,
    },
    /// A line for the person at the screen that stays until something better is shown.
    Notice(String),
    /// The same, and it is the DTU's own state and no news.
    NoHost(String),
    /// One that passes.
    PassingNotice(String),
    /// What a passing line told is over.
    EndPassingNotice,
}

/// What a beacon of the watched host said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    pub(super) boot: BootId,
    pub(super) tick: u64,
    pub(super) chain_value: ChainValue,
    pub(super) every: Duration,
    /// From where it came.
    pub(super) from: Ipv4Addr,
    /// When it was heard.
    pub(super) at: Instant,
}

/// A command that cannot be used.
#[derive(Debug)]
pub(super) struct Unusable {
    pub(super) command: String,
    pub(super) what: String,
}

/// A control connection that is open.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) conn: ConnId,
    pub(super) host: HostRef,
    /// Our own address on it.
    pub(super) local: Ipv4Addr,
    pub(super) reason: ConnectReason,
    /// The host that is not to be chosen.
    pub(super) avoid: Option<HostName>,
}

/// Whether a connection that is given up is still open on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The other side ended it.
    Theirs,
    /// It is silent; we close it.
    Ours,
}

/// A control connection that died.
#[derive(Debug)]
pub(super) struct ControlDeath {
    pub(super) host: HostRef,
    pub(super) stood: Stood,
    pub(super) loss: Loss,
    pub(super) ended: Ended,
    /// When the screen was last known to be good.
    pub(super) good: Instant,
}

/// How a control connection stood when it died.
#[derive(Debug)]
pub(super) enum Stood {
    /// A session was granted.
    Attached,
    /// The token was presented, for this reason.
    Asking(ConnectReason),
    /// Nothing was granted, and the token was to be presented again.
    Waiting,
    /// The session was taken away.
    TakenAway,
}

/// A display that died.
#[derive(Clone, Debug)]
pub(super) struct DisplayDeath {
    pub(super) fault: Fault,
    /// Whether it was silence that killed it.
    pub(super) was_silent: bool,
    /// When it was last heard.
    pub(super) heard: Instant,
    /// Since when output had come, if it had.
    pub(super) up_at: Option<Instant>,
}

/// A display that was up for this long is not one that keeps dying.
const DISPLAY_GOOD: Duration = Duration::from_secs(3);

impl DisplayDeath {
    /// Whether it was up for long enough not to be one that keeps dying.
    pub(super) fn was_good(&self, now: Instant) -> bool {
        self.up_at.is_some_and(|at| now.since(at) >= DISPLAY_GOOD)
    }
}

impl ControlDeath {
    /// Whether the session was granted and nothing else was asked since.
    pub(super) const fn was_settled(&self) -> bool {
        matches!(self.stood, Stood::Attached | Stood::Asking(ConnectReason::Again))
    }
}
