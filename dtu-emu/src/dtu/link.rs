//! The control connection of a DTU: which states it has, and what each of them carries.
//!
//! ```text
//!                    ┌────────────── nobody left ◀───────────────┐
//!                    ▼                                           │
//!  Off ─boot─▶ Searching ─open─▶ Linked(Asking) ─connInf─▶ Linked(Attached) ◀──┐
//!                    ▲                │ ▲                  │     │  │          │
//!                    │   redirectInf  │ │ open             │     │  │ control  │ rejoined,
//!                    │                ▼ │                  │     │  │ dead     │ or it answers
//!                    └── failed ── Errand                  │     │  ▼          │ after all
//!                    ▲                                     │     │ Holding ────┘
//!                    └───────── both dead, grace over ─────┼─────┴──┘
//!                                                    discInf│
//!                                     Idle ◀─ control dead ─┴─ Linked(Detached)
//! ```
//! Idle: the session was taken away and then the host died. To present the token again by ourselves would
//! take the session off the desk that has it now, so we wait for the card or for Enter.

use core::time::Duration;
use std::net::Ipv4Addr;

use proto::alp::{KEEPALIVE_CONNECTED, KEEPALIVE_DISCONNECTED};
use proto::time::earliest;
use proto::{HostName, Instant};

use super::hosts::HostRef;
use super::input::{ConnId, Fault};
use super::search::Search;
use super::watch::{Pulse, Watch};

#[derive(Debug)]
pub(super) enum Link {
    Off,
    Searching(Box<Search>),
    Errand(Box<Errand>),
    Linked(Box<Linked>),
    Holding(Box<Holding>),
    Idle,
}

/// An attempt to open a connection. Later rounds wait longer, and a host whose beacons are heard is only
/// slow.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) conn: ConnId,
    pub(super) host: HostRef,
    pub(super) since: Instant,
    pub(super) due: Instant,
    /// Where waiting ends even for a host that is heard.
    pub(super) limit: Instant,
}

/// On the way to the host that a redirect named, or back to the one that sent us.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) attempt: Attempt,
    pub(super) trip: Trip,
    /// Redirects and returns of this presentation so far.
    pub(super) hops: u8,
    /// The token's number of insertions when the redirect came: after a card was moved the ticket is void.
    pub(super) seating: u64,
}

/// What an errand is for; kept while the host is asked, since it decides what a refusal means.
#[derive(Clone, Debug)]
pub(super) enum Trip {
    /// To the target, with what the source said to bring.
    Out { props: Option<String>, source: HostRef },
    /// Back to the source, which shall choose again without the target.
    Back { avoid: Option<HostName> },
}

/// How we came to ask this host.
#[derive(Debug)]
pub(super) enum Came {
    /// By looking for a host; if it fails us, the search goes on.
    Search(Box<Search>),
    /// By a redirect or a return from one.
    Errand(Trip),
    /// Back at the daemon of a session that is held until then.
    Rejoin { until: Instant },
    /// On a connection that granted something before.
    Again,
}

/// An open control connection.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) conn: ConnId,
    pub(super) host: HostRef,
    pub(super) local: Ipv4Addr,
    pub(super) talk: Talk,
    pub(super) pulse: Pulse,
    /// Set once the host said by what to check its beacons. Real servers never do.
    pub(super) watch: Option<Watch>,
    pub(super) keepalive_at: Instant,
    /// When it expires (protocol sheet 3.6).
    pub(super) expiry_at: Instant,
    /// When to present the token again after its display was lost.
    pub(super) again_at: Option<Instant>,
    /// The target of a redirect that was not followed, to be named when the token is presented next.
    pub(super) declined: Option<HostName>,
    /// Why the display ended, until the host has said whether that is a loss.
    pub(super) blank: Option<Fault>,
    /// Heartbeats that were not answered yet.
    pub(super) unanswered: u32,
    /// How long to wait before a refused token is presented again.
    pub(super) retry: Duration,
    /// Redirects and returns of this presentation so far.
    pub(super) hops: u8,
}

/// Where the session protocol stands.
#[derive(Debug)]
pub(super) enum Talk {
    /// infoReq is out.
    Asking(Asking),
    /// connInf granted.
    Attached,
    /// connInf refused. The token is presented again by itself, ever less often: what was in its way may be
    /// gone.
    Denied { retry_at: Instant },
    /// discInf took the session away.
    Detached,
}

#[derive(Debug)]
pub(super) struct Asking {
    pub(super) came: Came,
    /// A keepAliveReq goes out then, so that a host that is busy with our question can say that it lives.
    pub(super) probe_at: Instant,
    /// It is given up then unless it said something.
    pub(super) due: Instant,
    pub(super) limit: Instant,
}

/// The session is shown, the daemon is gone (DESIGN 5, first row of the table).
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) host: HostRef,
    pub(super) until: Instant,
    pub(super) control: HoldControl,
    /// The display answered since: reported once.
    pub(super) confirmed: bool,
    /// When the person at the screen is told that it waits; `None` once that is done. A restart takes no longer.
    pub(super) tell_at: Option<Instant>,
    /// The next pause between attempts to reconnect.
    pub(super) pause: Duration,
    /// When the screen was last known to be good before its host's daemon was gone.
    pub(super) good: Instant,
}

#[derive(Debug)]
pub(super) enum HoldControl {
    /// The old connection is still open. A stopped daemon that runs on answers here, and nothing was lost.
    Silent(Box<Linked>),
    /// A new one is being opened.
    Opening { conn: ConnId, due: Instant },
    /// Refused; next try then.
    Waiting { retry_at: Instant },
}

/// First and longest pause before a refused token is presented again.
pub(super) const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(60);

impl Linked {
    /// The token was refused.
    pub(super) fn deny(&mut self, now: Instant) {
        self.talk = Talk::Denied { retry_at: now + self.retry };
        self.retry = (self.retry * 2).min(RETRY_MAX);
    }

    /// When a heartbeat is due (protocol sheet 3.6).
    pub(super) const fn keepalive(&self) -> Duration {
        match self.talk {
            Talk::Attached => KEEPALIVE_CONNECTED,
            _ => KEEPALIVE_DISCONNECTED,
        }
    }

    /// Whether it is open and nothing is granted, and nothing asked.
    pub(super) const fn is_without_session(&self) -> bool {
        matches!(self.talk, Talk::Denied { .. } | Talk::Detached)
    }

    /// Whether the host has answered everything. A display that ends may do so because the session is shown at
    /// another desk by now; the host's word of that is on its way then, and comes before the answer to whatever is
    /// asked later. Hosts that do not answer promptly are not waited for.
    pub(super) const fn has_said_all(&self) -> bool {
        self.watch.is_none() || self.unanswered == 0
    }

    /// When its silence would be held against the host.
    pub(super) fn judges_at(&self) -> Option<Instant> {
        let asking = match &self.talk {
            Talk::Asking(asking) => Some(asking.due),
            _ => None,
        };
        earliest(earliest(self.pulse.due(), asking), Some(self.expiry_at))
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        let talk = match &self.talk {
            Talk::Asking(asking) => Some(asking.probe_at.min(asking.due)),
            Talk::Denied { retry_at } => Some(*retry_at),
            Talk::Attached | Talk::Detached => None,
        };
        let watch = self.watch.as_ref().map(Watch::probe_at);
        let own = Some(self.keepalive_at.min(self.expiry_at));
        let again = self.again_at.filter(|_| self.has_said_all());
        [talk, watch, self.pulse.due(), again].into_iter().fold(own, earliest)
    }
}

impl Link {
    pub(super) fn poll_at(&self) -> Option<Instant> {
        match self {
            Self::Off | Self::Idle => None,
            Self::Searching(search) => search.poll_at(),
            Self::Errand(errand) => Some(errand.attempt.due),
            Self::Linked(linked) => linked.poll_at(),
            Self::Holding(holding) => {
                let control = match &holding.control {
                    HoldControl::Silent(_) => None,
                    HoldControl::Opening { due, .. } => Some(*due),
                    HoldControl::Waiting { retry_at } => Some(*retry_at),
                };
                earliest(earliest(Some(holding.until), control), holding.tell_at)
            }
        }
    }

    /// The connection that is open or being opened.
    pub(super) fn conn(&self) -> Option<ConnId> {
        match self {
            Self::Off | Self::Idle => None,
            Self::Searching(search) => search.attempt.as_ref().map(|attempt| attempt.conn),
            Self::Errand(errand) => Some(errand.attempt.conn),
            Self::Linked(linked) => Some(linked.conn),
            Self::Holding(holding) => match &holding.control {
                HoldControl::Silent(linked) => Some(linked.conn),
                HoldControl::Opening { conn, .. } => Some(*conn),
                HoldControl::Waiting { .. } => None,
            },
        }
    }

    /// The host it is to, when it is open.
    pub(super) fn host(&self) -> Option<&HostRef> {
        match self {
            Self::Linked(linked) => Some(&linked.host),
            Self::Holding(holding) => Some(&holding.host),
            _ => None,
        }
    }
}
