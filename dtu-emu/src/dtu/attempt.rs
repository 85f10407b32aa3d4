//! One attempt to open a control connection, and how long it is waited for.

use core::time::Duration;

use proto::Instant;

use super::config::Timing;
use super::fault::ConnId;
use super::host_ref::HostRef;
use super::hosts::Hosts;

/// An attempt to open a connection. Later rounds wait longer, and a host whose beacons are heard is only slow.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) conn: ConnId,
    pub(super) host: HostRef,
    pub(super) since: Instant,
    pub(super) due: Instant,
    /// Where waiting ends even for a host that is heard.
    limit: Instant,
    /// The host was silent when it began and has been heard since: what was sent until then may be lost.
    pub(super) is_doubtful: bool,
}

impl Attempt {
    /// One that begins now. `patience` is how long a host may take that is not heard.
    pub(super) fn new(
        now: Instant,
        conn: ConnId,
        host: HostRef,
        patience: Duration,
        timing: &Timing,
    ) -> Self {
        let limit = now + timing.open_max.max(patience);
        Self { conn, host, since: now, due: now + patience, limit, is_doubtful: false }
    }

    /// The host's machine has taken the connection, so we wait for our turn there. Only a host of the group is believed
    /// that it has a queue: anybody can take a connection, and have beacons heard.
    pub(super) fn reached(&mut self, hosts: &Hosts, timing: &Timing) {
        self.is_doubtful = false;
        if hosts.is_told(&self.host) {
            self.limit = self.since + timing.line_max;
        }
    }

    /// Gives an attempt whose time is up more of it, if its host is heard: it lives and is only slow.
    pub(super) fn extend(&mut self, now: Instant, hosts: &Hosts, timing: &Timing) -> bool {
        let more = now < self.limit && hosts.is_about(now, &self.host);
        if more {
            self.due = (now + timing.open).min(self.limit);
        }
        more
    }

    /// We were not run for a while; the host gets at least until then.
    pub(super) fn excuse(&mut self, until: Instant) {
        self.due = self.due.max(until);
    }
}
