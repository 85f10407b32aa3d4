//! Measures how long a screen was not good, and where the time went.

use proto::Instant;

use super::event::Gap;
use super::hosts::HostRef;

/// A gap that has not ended.
#[derive(Clone, Debug)]
pub(super) struct OpenGap {
    /// The host whose failure it is.
    pub(super) from: HostRef,
    /// Whether that host was given up, or only its display was lost.
    pub(super) given_up: bool,
    since: Instant,
    noticed: Instant,
    control: Option<Instant>,
    conn_inf: Option<Instant>,
}

impl OpenGap {
    pub(super) const fn new(from: HostRef, given_up: bool, since: Instant, noticed: Instant) -> Self {
        Self { from, given_up, since, noticed, control: None, conn_inf: None }
    }

    pub(super) const fn since(&self) -> Instant {
        self.since
    }

    /// A control connection is open; what an earlier one got does not count.
    pub(super) const fn control_up(&mut self, now: Instant) {
        self.control = Some(now);
        self.conn_inf = None;
    }

    pub(super) const fn conn_inf(&mut self, now: Instant) {
        self.conn_inf = Some(now);
    }

    /// The screen is good again.
    pub(super) fn close(&self, now: Instant) -> Gap {
        let conn_inf = self.conn_inf.unwrap_or(now);
        let control = self.control.unwrap_or(self.noticed);
        Gap {
            since: self.since,
            noticed: self.noticed.since(self.since),
            control: control.since(self.since),
            conn_inf: conn_inf.since(self.since),
            screen: now.since(self.since),
        }
    }
}
