//! What a DTU reports to whoever watches it: tests, logs, the lab.

use core::time::Duration;

use proto::{HostName, Instant, ServiceName, SessionId, Token};

use super::fault::Fault;
use super::host_ref::HostRef;

/// Why a host was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its control connection and its display ended.
    Closed(Fault),
    /// Neither answered a probe in time.
    Silent,
    /// Its daemon did not come back while the session was held.
    GraceOver,
    /// It said something unusable.
    Protocol,
    /// It announced its own end.
    Stopped,
}

impl core::fmt::Display for Loss {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Closed(fault) => write!(f, "{fault}"),
            Self::Silent => f.write_str("silent"),
            Self::GraceOver => f.write_str("grace time over"),
            Self::Protocol => f.write_str("protocol error"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// How long a screen was not good, and where the time went. All four parts count from `since`, the moment the
/// screen was last known to be good: the last answer, verified beacon or display byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When the screen was last known to be good.
    pub since: Instant,
    /// Until the failure was noticed.
    pub noticed: Duration,
    /// Until the control connection to the host that helped was open.
    pub control: Duration,
    /// Until its connInf.
    pub conn_inf: Duration,
    /// Until the first output was drawn; where nothing is shown, the same as `conn_inf`.
    pub screen: Duration,
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DtuEvent {
    /// The DTU was switched on.
    Booted,
    /// A card was put in.
    Inserted {
        /// The token that the card stands for.
        token: Token,
    },
    /// The card was taken out.
    Removed {
        /// The token that the card stood for.
        token: Token,
    },
    /// A control connection to a host is open.
    HostFound {
        /// The host at the other end.
        host: HostRef,
    },
    /// A host could not be reached.
    HostFailed {
        /// The host that was tried.
        host: HostRef,
        /// What kept the connection from being opened, or ended it before it was of use.
        fault: Fault,
    },
    /// A session was granted.
    Attached {
        /// The host that granted it.
        host: HostRef,
        /// The token that it was granted for.
        token: Token,
        /// Which; `None` when nothing of it can be shown.
        session: Option<SessionId>,
        /// Its first display.
        service: Option<ServiceName>,
    },
    /// The session's first output after an attach is on the screen.
    Shown {
        /// The session that is shown.
        session: SessionId,
        /// Since the token was presented.
        took: Duration,
    },
    /// The session was taken away.
    Detached {
        /// The host that took it away.
        host: HostRef,
        /// Why, in the host's word.
        cause: Option<String>,
    },
    /// A host refused the token.
    Denied {
        /// The host that refused.
        host: HostRef,
        /// What it said.
        notice: Option<String>,
    },
    /// The session was found on another host and granted there.
    Redirected {
        /// The host that sent the DTU on.
        from: HostRef,
        /// Where it is.
        to: HostRef,
    },
    /// The host that a redirect named could not be reached or refused.
    RedirectFailed {
        /// The host that the redirect named.
        to: HostRef,
    },
    /// The host's daemon is gone and the session still answers: it is held.
    Held {
        /// The host whose session is shown.
        host: HostRef,
    },
    /// The daemon is back, and nothing else happened.
    Rejoined {
        /// The host whose daemon is back.
        host: HostRef,
    },
    /// The display ended while the host lives; the token is presented again.
    DisplayLost {
        /// The host of the session.
        host: HostRef,
        /// What ended the display connection.
        fault: Fault,
    },
    /// The display is back at the same host.
    Restored {
        /// The host of the session.
        host: HostRef,
        /// What was missed.
        gap: Gap,
    },
    /// The host was given up.
    Lost {
        /// The host that was left.
        host: HostRef,
        /// What made the DTU leave it.
        why: Loss,
    },
    /// At work again on another host, or on the same one after it was given up.
    FailedOver {
        /// The one given up.
        from: HostRef,
        /// The one that helps.
        to: HostRef,
        /// What is shown there.
        session: Option<SessionId>,
        /// What was missed.
        gap: Gap,
    },
    /// No host can be reached; the DTU keeps looking.
    NoHost,
    /// A line for the person at the screen.
    Notice {
        /// One line of plain text without its end.
        text: String,
    },
    /// The service ended.
    Exited {
        /// The exit status, or 128 and the signal's number.
        status: i32,
    },
    /// Typed bytes were dropped: nobody took them for too long, or the session they were meant for is gone.
    InputDropped {
        /// How many bytes were dropped.
        bytes: usize,
    },
    /// A host sent a command that cannot be used.
    Unusable {
        /// The host that sent it.
        host: HostRef,
        /// What is wrong with it.
        what: String,
    },
}

impl DtuEvent {
    /// The event in one word, as it is printed.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Booted => "booted",
            Self::Inserted { .. } => "inserted",
            Self::Removed { .. } => "removed",
            Self::HostFound { .. } => "host_found",
            Self::HostFailed { .. } => "host_failed",
            Self::Attached { .. } => "attached",
            Self::Shown { .. } => "shown",
            Self::Detached { .. } => "detached",
            Self::Denied { .. } => "denied",
            Self::Redirected { .. } => "redirected",
            Self::RedirectFailed { .. } => "redirect_failed",
            Self::Held { .. } => "held",
            Self::Rejoined { .. } => "rejoined",
            Self::DisplayLost { .. } => "display_lost",
            Self::Restored { .. } => "restored",
            Self::Lost { .. } => "lost",
            Self::FailedOver { .. } => "failed_over",
            Self::NoHost => "no_host",
            Self::Notice { .. } => "notice",
            Self::Exited { .. } => "exited",
            Self::InputDropped { .. } => "input_dropped",
            Self::Unusable { .. } => "unusable",
        }
    }

    /// The host it is about, by name or else by address.
    #[must_use]
    pub const fn host(&self) -> Option<&HostRef> {
        match self {
            Self::HostFound { host }
            | Self::HostFailed { host, .. }
            | Self::Attached { host, .. }
            | Self::Detached { host, .. }
            | Self::Denied { host, .. }
            | Self::Held { host }
            | Self::Rejoined { host }
            | Self::DisplayLost { host, .. }
            | Self::Restored { host, .. }
            | Self::Lost { host, .. }
            | Self::Unusable { host, .. } => Some(host),
            Self::Redirected { to, .. } | Self::RedirectFailed { to } | Self::FailedOver { to, .. } => {
                Some(to)
            }
            _ => None,
        }
    }
}

/// What a DTU is doing, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not switched on.
    Off,
    /// Looking for a host.
    Searching,
    /// Connected, the token presented, no answer yet.
    Asking,
    /// On its way to the host a redirect named, or back.
    Redirected,
    /// A session is granted.
    Attached,
    /// A session is shown whose host's daemon is gone.
    Held,
    /// The token was refused.
    Denied,
    /// The session was taken away.
    Detached,
}

impl Phase {
    /// Every phase as a word, in the order of the variants.
    pub const WORDS: [&str; 8] =
        ["off", "searching", "asking", "redirected", "attached", "held", "denied", "detached"];
}

impl core::fmt::Display for Phase {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(Self::WORDS[*self as usize])
    }
}

/// What a DTU would say of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// The host's name.
    pub host: Option<HostName>,
    /// The token it presents.
    pub token: Token,
    /// The session that is or was last shown.
    pub session: Option<SessionId>,
    /// Whether something of the session was drawn since it was attached.
    pub shown: bool,
    /// The service that is shown.
    pub service: Option<ServiceName>,
    /// How many displays of the session can be shown.
    pub displays: usize,
    /// Typed bytes that the session has not acknowledged yet.
    pub unacknowledged: usize,
    /// Typed bytes that were dropped since the DTU was switched on.
    pub input_dropped: u64,
}
