//! A program's side of the state socket, for programs that wait for each answer.
//!
//! `docs/state.md`, "The state socket", says what can be asked.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use continuity::stream::{self, Packet, Stream};
use proto::Line;

/// The variable that names the socket of a program's service.
pub const SOCKET: &str = "HOTDESK_STATE";

/// A connection to a state socket.
#[derive(Debug)]
pub struct StateClient {
    stream: UnixStream,
    heard: Stream,
    /// Events that came before the answer that was waited for.
    events: std::collections::VecDeque<Packet>,
}

impl StateClient {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self { stream: UnixStream::connect(path)?, heard: Stream::default(), events: Default::default() })
    }

    /// Asks, and waits for the answer: its line, and what follows it.
    ///
    /// # Errors
    /// When the connection ends; an answer that refuses is no error.
    pub fn ask(&mut self, line: Line, payload: Option<&[u8]>) -> io::Result<Packet> {
        let mut bytes = Vec::new();
        stream::emit(line, payload, &mut bytes);
        self.stream.write_all(&bytes)?;
        self.answer()
    }

    /// Waits for a further line of an answer that has several.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn answer(&mut self) -> io::Result<Packet> {
        loop {
            let packet = self.packet()?;
            if packet.line.command() != "event" {
                return Ok(packet);
            }
            self.events.push_back(packet);
        }
    }

    /// Waits for the next event, after [`StateClient::ask`] was asked `watch` or `serve`.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn event(&mut self) -> io::Result<Packet> {
        self.events.pop_front().map_or_else(|| self.packet(), Ok)
    }

    fn packet(&mut self) -> io::Result<Packet> {
        let bad = |error: &dyn std::fmt::Display| io::Error::new(ErrorKind::InvalidData, error.to_string());
        let mut piece = [0; 16 * 1024];
        loop {
            match self.heard.next_packet().map_err(|error| bad(&error))? {
                Some(packet) => return packet.map_err(|error| bad(&error)),
                None => match self.stream.read(&mut piece)? {
                    0 => return Err(ErrorKind::UnexpectedEof.into()),
                    n => self.heard.push(&piece[..n]),
                },
            }
        }
    }
}
