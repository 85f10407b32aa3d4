//! One DTU's connection, on the host's side.
//!
//! A [`Gate`] reads what the DTU says, tolerating everything that terminals are known to
//! do, and turns it into few events; it carries out its holder's orders and keeps the connection alive or
//! gives it up. It owns the order of the dialogue and its deadlines. It refuses to decide who may have a
//! session, to know sessions, and to touch a socket: lines come in, effects go out.
//!
//! Bounds: a gate keeps one presentation, a few short texts and one question to a card, whatever the DTU
//! sends. How many lines a second a connection may send is bounded by whoever reads the socket.

mod dialogue;
mod orders;
mod stage;
mod token;
mod words;

#[cfg(test)]
mod tests;

use core::time::Duration;
use std::net::SocketAddrV4;

use proto::alp::{EXPIRY, FromDtu, FromHost, KEEPALIVE_CONNECTED, Terminal, TokenSeq};
use proto::frame::Size;
use proto::line::Line;
use proto::time::earliest;
use proto::{DtuKey, Instant, Serial, Token};

use crate::challenge::CardAnswer;
pub use orders::Order;
pub use stage::GateStage;
use stage::GateState;
pub use words::{CloseReason, GateEffect, GateEvent, Odd, Presentation};

/// A DTU that has presented nothing for this long after connecting is dropped.
pub const PRESENT_WITHIN: Duration = Duration::from_secs(10);
/// The host's own heartbeat.
pub const HEARTBEAT: Duration = KEEPALIVE_CONNECTED;
/// A card that has not answered a challenge for this long does not hold the secret. Cards need well under a
/// second.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A DTU that has not taken a granted session for this long does not want it.
pub const TAKE_WITHIN: Duration = Duration::from_secs(20);
/// A DTU that was sent elsewhere has this long to say discReq.
pub const LEAVE_WITHIN: Duration = Duration::from_secs(4);
/// When a timer rings this late, the host itself did not run: what the DTU said meanwhile is yet to be read.
const LATE: Duration = Duration::from_secs(1);
/// So the DTU has this long before it is given up.
const GRACE: Duration = Duration::from_secs(5);
/// Bytes kept of a DTU's own texts (firmware, model): they are for listings.
const TEXT_MAX: usize = 64;
/// Longest reason of a denial that a person is told, in bytes.
pub const REASON_MAX: usize = 300;

// A healthy DTU answers several heartbeats before it would expire.
const _: () = assert!(EXPIRY.as_secs() >= 3 * HEARTBEAT.as_secs());
const _: () = assert!(TAKE_WITHIN.as_secs() < EXPIRY.as_secs());

/// One DTU's connection.
#[derive(Debug)]
pub struct Gate {
    peer: SocketAddrV4,
    /// The key that the DTU proved when it connected.
    key: Option<DtuKey>,
    terminal: Terminal,
    serial: Option<Serial>,
    size: Size,
    /// Our count of presentations; the present or the last one.
    token_seq: u32,
    /// The DTU's own number for it, which it wants back.
    stated_seq: TokenSeq,
    /// Whether it has shown that it knows what we add to the protocol. What another terminal never heard of, such as a
    /// notice, is not sent to it.
    knows_ours: bool,
    /// What is in the DTU now; set exactly in the stages of [`GateStage::has_token`].
    token: Option<Token>,
    state: GateState,
    heard: Instant,
    heartbeat_at: Instant,
}

impl Gate {
    /// The gate of a DTU that has just connected from `peer` and proved that it has `key`; it has [`PRESENT_WITHIN`] to
    /// present something.
    #[must_use]
    pub fn new(now: Instant, peer: SocketAddrV4, key: Option<DtuKey>) -> Self {
        Self {
            peer,
            key,
            terminal: Terminal::default(),
            serial: None,
            size: Size::default(),
            token_seq: 0,
            stated_seq: 1.into(),
            knows_ours: false,
            token: None,
            state: GateState::Fresh { present_by: now + PRESENT_WITHIN },
            heard: now,
            heartbeat_at: now + HEARTBEAT,
        }
    }

    /// Where the DTU connects from.
    #[must_use]
    pub const fn peer(&self) -> SocketAddrV4 {
        self.peer
    }

    /// The key that it has proved.
    #[must_use]
    pub const fn key(&self) -> Option<DtuKey> {
        self.key
    }

    /// Its serial, once it has said it.
    #[must_use]
    pub const fn serial(&self) -> Option<&Serial> {
        self.serial.as_ref()
    }

    /// The token that is in it.
    #[must_use]
    pub const fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// Which presentation orders must be about: the present one, or the last.
    #[must_use]
    pub const fn token_seq(&self) -> u32 {
        self.token_seq
    }

    /// Where the dialogue stands.
    #[must_use]
    pub const fn stage(&self) -> GateStage {
        self.state.stage()
    }

    /// What the DTU says about itself; texts are cut to 64 bytes.
    #[must_use]
    pub const fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// Its screen, in characters, as far as it has said.
    #[must_use]
    pub const fn size(&self) -> Size {
        self.size
    }

    /// When [`Gate::on_timeout`] wants to be called; never again after the connection is closed.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        match self.stage() {
            GateStage::Closed => None,
            // Its own deadline is shorter than any other.
            GateStage::Fresh | GateStage::Leaving => self.state.deadline(),
            _ => earliest(self.state.deadline(), Some(self.heartbeat_at.min(self.heard + EXPIRY))),
        }
    }

    /// Takes in one line of the DTU. Nothing that a line holds fails the connection.
    pub fn on_line(&mut self, now: Instant, line: &Line, out: &mut Vec<GateEffect>) {
        if self.stage() == GateStage::Closed {
            return;
        }
        self.heard = self.heard.max(now);
        self.merge(line, out);
        match FromDtu::from_line(line) {
            Ok(message) => self.on_message(message, line, out),
            Err(_) => dialogue::odd(Odd::BadField, out),
        }
    }

    /// The connection broke or the DTU closed it.
    pub fn on_closed(&mut self, out: &mut Vec<GateEffect>) {
        if self.stage() != GateStage::Closed {
            let reason = match self.state {
                GateState::Leaving { reason, .. } => reason,
                _ => CloseReason::ConnectionLost,
            };
            self.close(reason, out);
        }
    }

    /// Does what [`Gate::poll_at`] announced, as far as it is due.
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<GateEffect>) {
        let Some(due) = self.poll_at() else { return };
        if now.since(due) > LATE {
            self.heard = self.heard.max(now + GRACE - EXPIRY);
            if let Some(deadline) = self.state.deadline_mut() {
                *deadline = (*deadline).max(now + GRACE);
            }
        }
        if self.stage() != GateStage::Fresh && now >= self.heard + EXPIRY {
            return self.close(CloseReason::Expired, out);
        }
        if self.state.deadline().is_some_and(|at| at <= now) {
            self.on_deadline(out);
        }
        let beats = !matches!(self.stage(), GateStage::Fresh | GateStage::Leaving | GateStage::Closed);
        if beats && now >= self.heartbeat_at {
            self.heartbeat_at = now + HEARTBEAT;
            let (anchor, standbys, cookie) = (None, Vec::new(), None);
            out.push(GateEffect::Send(FromHost::KeepAliveInf { anchor, standbys, cookie }));
        }
    }

    fn on_deadline(&mut self, out: &mut Vec<GateEffect>) {
        match self.state {
            GateState::Fresh { .. } => self.close(CloseReason::NothingPresented, out),
            GateState::Leaving { reason, .. } => self.close(reason, out),
            GateState::Challenged { .. } => self.judge(&CardAnswer::Silent, out),
            GateState::Offered { .. } => {
                let token_seq = Some(self.stated_seq.clone());
                out.push(GateEffect::Send(FromHost::DiscInf { token_seq, cause: None }));
                self.refused(out);
            }
            _ => {}
        }
    }
}
