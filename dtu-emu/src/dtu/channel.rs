//! One display channel, from the wish to open it to its end (`docs/protocol.md`, "The display channel").
//!
//! What outlives a channel is elsewhere: how far the screen is in [`super::picture`], unacknowledged input in
//! [`super::typed`].

use core::time::Duration;
use std::net::Ipv4Addr;

use proto::Instant;
use proto::alp::Display;
use proto::frame::Frame;

use super::config::Timing;
use super::ctx::Out;
use super::edges::Edges;
use super::fault::{ConnId, Fault};
use super::input::Effect;
use super::step::DisplayDeath;
use super::watch::Pulse;

/// ```text
///            DisplayOpened            Welcome
/// Opening ───────────────▶ Greeting ─────────▶ Up
/// ```
/// A channel that ends, refuses or is silent for too long is dropped whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// TCP, the first line, TLS.
    Opening,
    /// Hello is out.
    Greeting,
    /// The display is open and its output comes.
    Up,
}

pub(super) const EDGES: Edges =
    Edges { machine: "channel", drawn: &[("opening", "greeting"), ("greeting", "up")] };

impl Progress {
    const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Greeting => "greeting",
            Self::Up => "up",
        }
    }
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) conn: ConnId,
    pub(super) display: Display,
    progress: Progress,
    pub(super) pulse: Pulse,
    pub(super) ping_at: Instant,
    pings: u64,
    up_at: Instant,
}

impl Channel {
    pub(super) fn new(now: Instant, conn: ConnId, display: Display, timing: &Timing) -> Self {
        let mut pulse = Pulse::new(now);
        pulse.asked(now, timing.display_open);
        Self {
            conn,
            display,
            progress: Progress::Opening,
            pulse,
            ping_at: now + timing.display_idle,
            pings: 0,
            up_at: now,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.progress == Progress::Up
    }

    fn proceed(&mut self, to: Progress) {
        EDGES.check(self.progress.name(), to.name());
        self.progress = to;
    }

    /// It is open, and Hello goes out. `false` when it was already.
    pub(super) fn opened(&mut self, now: Instant, timing: &Timing) -> bool {
        if self.progress != Progress::Opening {
            return false;
        }
        self.proceed(Progress::Greeting);
        self.pulse.heard(now);
        self.pulse.asked(now, timing.display_open);
        true
    }

    /// Welcome came. `false` when it may not come now.
    pub(super) fn welcomed(&mut self, now: Instant) -> bool {
        if self.progress != Progress::Greeting {
            return false;
        }
        self.proceed(Progress::Up);
        self.up_at = now;
        self.pulse.heard(now);
        true
    }

    pub(super) fn send(&self, frame: Frame, out: &mut Out<'_>) {
        out.effect(Effect::SendDisplay { conn: self.conn, frame });
    }

    /// Asks the session for a sign of life.
    pub(super) fn ping(&mut self, now: Instant, patience: Duration, out: &mut Out<'_>) {
        if self.is_up() {
            self.pings += 1;
            self.send(Frame::Ping(self.pings), out);
            self.pulse.asked(now, patience);
        }
    }

    /// Whether it serves what a new connInf offers, so that it can stay.
    pub(super) fn serves(&self, offered: &Display) -> bool {
        self.is_up()
            && (self.display.session, &self.display.service, self.display.fp, self.display.addr)
                == (offered.session, &offered.service, offered.fp, offered.addr)
    }

    /// How often it is probed when nothing else prompts that, and how long it may take to answer. A session on another
    /// host than the one whose beacons we hear must be asked as often as a host that sends none.
    pub(super) fn ping_rule(&self, timing: &Timing, control: Option<Ipv4Addr>) -> (Duration, Duration) {
        if Some(*self.display.addr.ip()) == control {
            (timing.display_idle, timing.display_open)
        } else {
            (timing.probe, timing.answer)
        }
    }

    /// What is to be told of its death.
    pub(super) fn death(&self, fault: Fault, was_silent: bool) -> DisplayDeath {
        DisplayDeath {
            fault,
            was_silent,
            heard: self.pulse.last(),
            up_at: self.is_up().then_some(self.up_at),
        }
    }
}
