//! An open control connection: where the session protocol stands on it, and when what is due.

use core::time::Duration;
use std::net::Ipv4Addr;

use proto::alp::{KEEPALIVE_CONNECTED, KEEPALIVE_DISCONNECTED};
use proto::time::earliest;
use proto::{HostName, Instant};

use super::fault::{ConnId, Fault};
use super::host_ref::HostRef;
use super::reason::ConnectReason;
use super::watch::{Pulse, Watch};

/// First and longest pause before a refused token is presented again.
pub(super) const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(60);

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
    /// When it is given up, because the host said nothing for [`proto::alp::EXPIRY`].
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

/// Where the session protocol stands. A host may grant, refuse and take away at any time.
#[derive(Debug)]
pub(super) enum Talk {
    /// infoReq is out.
    Asking(Asking),
    /// The host granted the session with a connInf.
    Attached,
    /// connInf refused. The token is presented again by itself, ever less often: what was in its way may be
    /// gone.
    Denied { retry_at: Instant },
    /// discInf took the session away.
    Detached,
}

#[derive(Debug)]
pub(super) struct Asking {
    pub(super) reason: ConnectReason,
    /// A keepAliveReq goes out then, so that a host that is busy with our question can say that it lives.
    pub(super) probe_at: Instant,
    /// It is given up then unless it said something.
    pub(super) due: Instant,
    pub(super) limit: Instant,
}

impl Linked {
    pub(super) fn new(now: Instant, conn: ConnId, host: HostRef, local: Ipv4Addr, hops: u8) -> Self {
        Self {
            conn,
            host,
            local,
            talk: Talk::Detached,
            pulse: Pulse::new(now),
            watch: None,
            keepalive_at: now + KEEPALIVE_DISCONNECTED,
            expiry_at: now + proto::alp::EXPIRY,
            again_at: None,
            declined: None,
            blank: None,
            unanswered: 0,
            retry: RETRY_FIRST,
            hops,
        }
    }

    /// The token was refused.
    pub(super) fn deny(&mut self, now: Instant) {
        self.talk = Talk::Denied { retry_at: now + self.retry };
        self.retry = (self.retry * 2).min(RETRY_MAX);
        self.keepalive_at = self.keepalive_at.min(now + KEEPALIVE_DISCONNECTED);
    }

    /// How long after the last message a heartbeat is due: more rarely while nothing is shown.
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

    /// Whether the session was granted and nothing else was asked since.
    pub(super) const fn is_settled(&self) -> bool {
        matches!(self.talk, Talk::Attached | Talk::Asking(Asking { reason: ConnectReason::Again, .. }))
    }

    /// Whether the host has answered everything. A display that ends may do so because the session is shown at
    /// another desk by now; the host's word of that is on its way then, and comes before the answer to whatever is
    /// asked later. Hosts that do not answer promptly are not waited for.
    pub(super) const fn has_said_all(&self) -> bool {
        self.watch.is_none() || self.unanswered == 0
    }

    const fn asking(&self) -> Option<&Asking> {
        match &self.talk {
            Talk::Asking(asking) => Some(asking),
            _ => None,
        }
    }

    /// When its silence would be held against the host, or make us ask.
    pub(super) fn judges_at(&self) -> Option<Instant> {
        let asking = self.asking().map(|asking| asking.due);
        let probe = self.watch.as_ref().map(Watch::probe_at);
        [asking, probe, Some(self.expiry_at)].into_iter().fold(self.pulse.due(), earliest)
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 8] {
        let retry = match self.talk {
            Talk::Denied { retry_at } => Some(retry_at),
            _ => None,
        };
        [
            ("probe of a host that is asked", self.asking().map(|asking| asking.probe_at)),
            ("answer of a host that is asked", self.asking().map(|asking| asking.due)),
            ("retry after a refusal", retry),
            ("beacons missed", self.watch.as_ref().map(Watch::probe_at)),
            ("control answer", self.pulse.due()),
            ("presenting again", self.again_at.filter(|_| self.has_said_all())),
            ("heartbeat", Some(self.keepalive_at)),
            ("expiry", Some(self.expiry_at)),
        ]
    }

    /// We were not run for a while: what was said meanwhile may still lie unread, at least until then.
    pub(super) fn excuse(&mut self, now: Instant, listen: Instant) {
        self.pulse.excuse(now);
        self.watch.iter_mut().for_each(Watch::excuse);
        self.expiry_at = self.expiry_at.max(listen);
        if let Talk::Asking(asking) = &mut self.talk {
            asking.due = asking.due.max(listen);
            asking.limit = asking.limit.max(listen);
        }
    }
}
