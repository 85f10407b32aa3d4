//! Measures how long a screen was not good, and where the time went.

use proto::{Instant, SessionId};

use super::event::Gap;
use super::host_ref::HostRef;

/// A gap that has not ended.
#[derive(Clone, Debug)]
pub(super) struct OpenGap {
    /// The host whose failure it is.
    pub(super) from: HostRef,
    /// The host that helped, or was last reached.
    pub(super) to: HostRef,
    /// Whether that host was given up, or only its display was lost.
    pub(super) given_up: bool,
    /// What was shown when it began.
    session: Option<SessionId>,
    /// Typed bytes that were lost with that.
    lost_input: usize,
    since: Instant,
    noticed: Instant,
    control: Option<Instant>,
    conn_inf: Option<Instant>,
}

impl OpenGap {
    pub(super) fn new(
        from: HostRef,
        given_up: bool,
        session: Option<SessionId>,
        since: Instant,
        noticed: Instant,
    ) -> Self {
        Self {
            to: from.clone(),
            from,
            given_up,
            session,
            lost_input: 0,
            since,
            noticed,
            control: None,
            conn_inf: None,
        }
    }

    /// It began earlier, with another host.
    pub(super) fn and(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before {
            self.since = self.since.min(before.since);
            self.session = before.session;
            self.lost_input = before.lost_input;
        }
        self
    }

    /// So many typed bytes will never be acknowledged.
    pub(super) const fn lost_input(&mut self, bytes: usize) {
        self.lost_input += bytes;
    }

    /// What the person at the screen should know, now that this is shown: nothing where it is the same session.
    pub(super) fn tell(&self, session: Option<SessionId>) -> Option<String> {
        let (before, now) = (self.session?, session?);
        if before == now {
            return None;
        }
        let host = match &self.from.name {
            Some(name) => name.to_string(),
            None => self.from.to_string(),
        };
        let what = if self.given_up {
            format!("Host {host} is gone or cut off, and your session with it. This is another one.")
        } else {
            "Your session ended unexpectedly. This is another one.".to_owned()
        };
        let lost = if self.lost_input > 0 { " What you typed last is lost." } else { "" };
        Some(what + lost)
    }

    /// A control connection is open; what an earlier one got does not count.
    pub(super) fn control_up(&mut self, now: Instant, host: HostRef) {
        self.to = host;
        self.control = Some(now);
        self.conn_inf = None;
    }

    /// That host granted a session.
    pub(super) fn conn_inf(&mut self, now: Instant, host: HostRef) {
        self.to = host;
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
