//! The events socket of a session (`HOTDESK_EVENTS`): tells programs of the session which DTU it is shown at, as it
//! changes.
//!
//! Text, one line each, in the grammar of all our text: `connect dtu=<serial>`, `disconnect`, `end`. Who connects is told
//! how things are, then every change. Nothing is read. Bounds: so many connections, so much that a program does not read;
//! at the bound its connection is closed, and nobody else's.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::sockets;
use crate::session::Change;

/// Connections at most; further ones wait to be accepted.
const CLIENTS_MAX: usize = 16;

/// Bytes that a program has not read, at most: some hundred changes.
const UNREAD_MAX: usize = 8 * 1024;

/// The socket and its connections.
pub(super) struct EventsSocket {
    listener: UnixListener,
    clients: BTreeMap<u32, Client>,
    next: u32,
    /// How things are, for whoever connects.
    newest: Change,
}

struct Client {
    stream: UnixStream,
    unsent: Vec<u8>,
}

impl EventsSocket {
    /// Listens at `path`, for this account only.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let listener = sockets::listen(path)?;
        Ok(Self { listener, clients: BTreeMap::new(), next: 0, newest: Change::Disconnect })
    }

    /// Listens at `path` again if nobody can find the socket there. Who is connected stays so.
    pub(super) fn renew(&mut self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            self.listener = sockets::listen(path)?;
        }
        Ok(())
    }

    /// What to wait for: the listener under no number, and whether there is something to write.
    pub(super) fn interest(&self) -> Vec<(Option<u32>, BorrowedFd<'_>, bool)> {
        let accepts = self.clients.len() < CLIENTS_MAX;
        let listener = accepts.then(|| (None, self.listener.as_fd(), false));
        let clients = self.clients.iter().map(|(n, c)| (Some(*n), c.stream.as_fd(), !c.unsent.is_empty()));
        listener.into_iter().chain(clients).collect()
    }

    pub(super) fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        if stream.set_nonblocking(true).is_ok() {
            let mut client = Client { stream, unsent: Vec::new() };
            if client.tell(&self.newest).is_ok() {
                self.clients.insert(self.next, client);
                self.next = self.next.wrapping_add(1);
            }
        }
    }

    /// A connection can be written, was written to, or is gone.
    pub(super) fn on_ready(&mut self, client: u32) {
        if self.clients.get_mut(&client).is_some_and(|c| c.flush().and_then(|()| c.pass_over()).is_err()) {
            self.clients.remove(&client);
        }
    }

    /// Tells all who watch the session's events.
    pub(super) fn tell(&mut self, change: Change) {
        self.clients.retain(|_, client| client.tell(&change).is_ok());
        self.newest = change;
    }
}

impl Client {
    fn tell(&mut self, change: &Change) -> io::Result<()> {
        if self.unsent.len() > UNREAD_MAX {
            return Err(ErrorKind::OutOfMemory.into());
        }
        self.unsent.extend_from_slice(change.to_line().to_string().as_bytes());
        self.unsent.push(b'\n');
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        sockets::flush(&mut self.stream, &mut self.unsent)
    }

    /// Notices the end of the connection; whatever else it says means nothing here.
    fn pass_over(&mut self) -> io::Result<()> {
        match self.stream.read(&mut [0; 512]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};

    fn connected(dtu: &str) -> Change {
        Change::Connect(dtu.parse().unwrap())
    }

    #[test]
    fn who_connects_is_told_how_things_are_and_then_every_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let mut socket = EventsSocket::open(&path).unwrap();
        socket.tell(connected("d1"));
        let mut lines = BufReader::new(UnixStream::connect(&path).unwrap()).lines();
        socket.accept();
        socket.tell(Change::Disconnect);
        socket.tell(connected("d2"));
        let three: Vec<String> = lines.by_ref().take(3).map(Result::unwrap).collect();
        assert_eq!(three, ["connect dtu=d1", "disconnect", "connect dtu=d2"]);
    }

    #[test]
    fn who_does_not_read_is_cut_off_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let mut socket = EventsSocket::open(&path).unwrap();
        let (_lazy, other) = (UnixStream::connect(&path).unwrap(), UnixStream::connect(&path).unwrap());
        socket.accept();
        socket.accept();
        other.set_nonblocking(true).unwrap();
        let mut drain = &other;
        for _ in 0..100_000 {
            socket.tell(Change::Disconnect);
            let _ = drain.read(&mut [0; 65_536]);
            if socket.clients.len() < 2 {
                break;
            }
        }
        assert_eq!(socket.clients.keys().collect::<Vec<_>>(), [&1]);
    }
}
