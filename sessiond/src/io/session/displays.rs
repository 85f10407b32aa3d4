//! The display connections of a session: TLS on a socket that never waits.
//!
//! ```text
//!   handshake ──▶ hello due ──hello──▶ open ──close──▶ closing ──flushed, end of file──▶ gone
//!        └────────────┴── late: closing                    └── lingered too long ─────▶ gone
//! ```
//!
//! What is unsent is at most what one pull gives; more is not asked for before that has left.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use proto::Instant;
use proto::frame::{Frame, FrameError, INPUT_WINDOW};
use proto::time::Duration;
use rustls::{ServerConfig, ServerConnection};

use crate::control::Fingerprint;
use crate::io::sys;

/// How long a DTU may take to shake hands and say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// How long a closed connection may take to deliver its last frames. A socket closed with unread input would
/// be reset, and the last frames with it.
const LINGER: Duration = Duration::from_millis(500);

/// Longest hello: its fields are bounded, and who sends it is still a stranger.
const HELLO_MAX: usize = 512;

/// Longest frame of a DTU that was admitted.
const FRAME_MAX: usize = INPUT_WINDOW + 64;

/// Most that is read of one connection before others have their turn.
const TURN_MAX: usize = 64 * 1024;

/// The certificate of this session, made by its process and never stored, and what is pinned of it.
pub(super) type Identity = (Arc<ServerConfig>, Fingerprint);

pub(super) fn identity() -> Result<Identity, String> {
    let ((cert, key), fingerprint) = proto::io::tls::ephemeral()?;
    let mut config = Arc::unwrap_or_clone(proto::io::tls::server(vec![cert], key)?);
    // Nobody resumes: a display connection's ticket is good for one.
    config.send_tls13_tickets = 0;
    Ok((Arc::new(config), Fingerprint(fingerprint.0)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DisplayState {
    /// TLS, then the hello.
    Hello {
        until: Instant,
    },
    Open,
    Closing {
        until: Instant,
        shut: bool,
    },
    Gone,
}

/// Why a connection is of no further use.
#[derive(Debug)]
pub(super) enum Broken {
    /// The other side is gone.
    Closed,
    Tls,
    Frame,
}

/// One display connection.
pub(super) struct Connection {
    stream: TcpStream,
    tls: ServerConnection,
    inbound: Vec<u8>,
    pub(super) stage: DisplayState,
}

impl Connection {
    /// Takes over a connection of which `already` was read.
    pub(super) fn new(fd: OwnedFd, config: &Arc<ServerConfig>, now: Instant) -> io::Result<Self> {
        let stream = TcpStream::from(fd);
        stream.set_nonblocking(true)?;
        sys::tune(&stream);
        let mut tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        // What is unsent is bounded by asking for no more (`is_idle`), not by losing the end of a frame.
        tls.set_buffer_limit(None);
        Ok(Self {
            stream,
            tls,
            inbound: Vec::new(),
            stage: DisplayState::Hello { until: now + HELLO_WITHIN },
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether everything given to it has left.
    pub(super) fn is_idle(&self) -> bool {
        !self.tls.wants_write()
    }

    /// When something is due.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        match self.stage {
            DisplayState::Hello { until } | DisplayState::Closing { until, .. } => Some(until),
            DisplayState::Open | DisplayState::Gone => None,
        }
    }

    /// Takes in what was read before the connection was handed over.
    pub(super) fn begin(&mut self, mut already: &[u8], frames: &mut Vec<Frame>) -> Result<(), Broken> {
        while !already.is_empty() {
            if self.tls.read_tls(&mut already).is_err() {
                return Err(Broken::Tls);
            }
            self.decrypt(frames)?;
        }
        Ok(())
    }

    /// Reads what the DTU has sent.
    pub(super) fn read(&mut self, frames: &mut Vec<Frame>) -> Result<(), Broken> {
        if matches!(self.stage, DisplayState::Closing { .. }) {
            return self.read_to_nothing();
        }
        let mut read = 0;
        while read < TURN_MAX {
            match self.tls.read_tls(&mut self.stream) {
                Ok(0) => return Err(Broken::Closed),
                Ok(n) => read += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Err(Broken::Closed),
            }
            self.decrypt(frames)?;
        }
        Ok(())
    }

    fn read_to_nothing(&mut self) -> Result<(), Broken> {
        let mut nothing = [0; 4096];
        match self.stream.read(&mut nothing) {
            Ok(n) if n > 0 => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            _ => Err(Broken::Closed),
        }
    }

    fn decrypt(&mut self, frames: &mut Vec<Frame>) -> Result<(), Broken> {
        let state = self.tls.process_new_packets().map_err(|_| Broken::Tls)?;
        let have = self.inbound.len();
        self.inbound.resize(have + state.plaintext_bytes_to_read(), 0);
        let got = match self.tls.reader().read(&mut self.inbound[have..]) {
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return Err(Broken::Closed),
        };
        self.inbound.truncate(have + got);
        self.parse(frames).map_err(|_| Broken::Frame)?;
        if state.peer_has_closed() { Err(Broken::Closed) } else { Ok(()) }
    }

    /// Cuts what was read into frames. Before the first one only the hello is read, and bounded as such.
    fn parse(&mut self, frames: &mut Vec<Frame>) -> Result<(), FrameError> {
        let mut at = 0;
        loop {
            let rest = &self.inbound[at..];
            let is_hello_due = matches!(self.stage, DisplayState::Hello { .. }) && frames.is_empty();
            let max = if is_hello_due { HELLO_MAX } else { FRAME_MAX };
            let Some((frame, len)) = Frame::parse_within(rest, max)? else { break };
            frames.push(frame);
            at += len;
        }
        self.inbound.drain(..at);
        if self.inbound.is_empty() && self.inbound.capacity() > TURN_MAX {
            self.inbound = Vec::new();
        }
        Ok(())
    }

    /// Gives it something to send. Nothing is lost: only what cannot be encrypted would be, and all can.
    pub(super) fn give(&mut self, bytes: &[u8]) {
        let _ = self.tls.writer().write_all(bytes);
    }

    /// Sends what it can.
    pub(super) fn flush(&mut self, now: Instant) {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(n) if n > 0 => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => {
                    self.stage = DisplayState::Gone;
                    return;
                }
            }
        }
        if let DisplayState::Closing { shut: false, .. } = self.stage {
            let _ = self.stream.shutdown(Shutdown::Write);
            self.stage = DisplayState::Closing { until: now + LINGER, shut: true };
        }
    }

    /// Closes it when `last` has been sent.
    pub(super) fn close(&mut self, last: &[Frame], now: Instant) {
        if matches!(self.stage, DisplayState::Closing { .. } | DisplayState::Gone) {
            return;
        }
        let mut bytes = Vec::new();
        for frame in last {
            frame.emit(&mut bytes);
        }
        self.give(&bytes);
        self.tls.send_close_notify();
        self.stage = DisplayState::Closing { until: now + LINGER, shut: false };
        self.flush(now);
    }
}
