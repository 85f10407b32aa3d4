//! The data socket of a session (`HOTDESK_DATA`): carries the data requests of its programs to the daemon and
//! the answers back.
//!
//! Frames are `length u32 (big endian), payload`, as the data store speaks them; the payload is not looked at. Bounds:
//! so many connections, so long a request, so much that a program does not read. At a bound the program's connection
//! is closed, and nobody else's.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::asking::OWN;
use super::sockets;
use crate::control::{Bytes, DATA_MAX, REPLY_MAX};

/// Connections at most; further ones wait to be accepted.
const CLIENTS_MAX: usize = 16;

/// Answers that a program has not read, at most.
const UNREAD_MAX: usize = 2 * REPLY_MAX;

const HEADER_LEN: usize = datastore::wire::HEADER_LEN;

/// What one connection waits for.
pub(super) struct Interest<'a> {
    pub(super) client: Option<u32>,
    pub(super) fd: BorrowedFd<'a>,
    pub(super) read: bool,
    pub(super) write: bool,
}

/// The socket and its connections.
pub(super) struct DataSocket {
    listener: UnixListener,
    clients: BTreeMap<u32, Client>,
    next: u32,
}

struct Client {
    stream: UnixStream,
    request: Vec<u8>,
    /// The parts of an answer that is not complete.
    parts: Vec<u8>,
    unsent: Vec<u8>,
}

impl DataSocket {
    /// Listens at `path`, for this account only.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { listener: sockets::listen(path)?, clients: BTreeMap::new(), next: 0 })
    }

    /// Listens at `path` again if nobody can find the socket there. Who is connected stays so.
    pub(super) fn renew(&mut self, path: &Path) -> io::Result<()> {
        if !path.exists() {
            self.listener = sockets::listen(path)?;
        }
        Ok(())
    }

    /// What to wait for. While the daemon does not take what was asked already (`may_ask`), nothing more is read.
    pub(super) fn interest(&self, may_ask: bool) -> Vec<Interest<'_>> {
        let accepts = self.clients.len() < CLIENTS_MAX;
        let listener =
            accepts.then(|| Interest { client: None, fd: self.listener.as_fd(), read: true, write: false });
        let clients = self.clients.iter().map(|(client, c)| Interest {
            client: Some(*client),
            fd: c.stream.as_fd(),
            read: may_ask,
            write: !c.unsent.is_empty(),
        });
        listener.into_iter().chain(clients).collect()
    }

    pub(super) fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        if stream.set_nonblocking(true).is_ok() {
            let client = Client { stream, request: Vec::new(), parts: Vec::new(), unsent: Vec::new() };
            self.clients.insert(self.next, client);
            self.next = self.next.wrapping_add(1) & !OWN;
        }
    }

    /// Reads what a program asks: whole requests, in order.
    pub(super) fn read(&mut self, client: u32) -> Vec<Bytes> {
        let Some(c) = self.clients.get_mut(&client) else { return Vec::new() };
        let mut requests = Vec::new();
        if c.read(&mut requests).is_err() {
            self.clients.remove(&client);
        }
        requests
    }

    pub(super) fn write(&mut self, client: u32) {
        if self.clients.get_mut(&client).is_some_and(|c| c.flush().is_err()) {
            self.clients.remove(&client);
        }
    }

    /// Gives a program a part of an answer; it is sent when it is complete.
    pub(super) fn answer(&mut self, client: u32, part: &[u8], last: bool) {
        let Some(c) = self.clients.get_mut(&client) else { return };
        c.parts.extend_from_slice(part);
        let too_much = c.parts.len() > REPLY_MAX || c.unsent.len() > UNREAD_MAX;
        if too_much || (last && c.complete().is_err()) {
            self.clients.remove(&client);
        }
    }

    /// Closes a connection.
    pub(super) fn close(&mut self, client: u32) {
        self.clients.remove(&client);
    }

    /// Closes all connections: what they asked will not be answered, which they must know.
    pub(super) fn forget(&mut self) {
        self.clients.clear();
    }
}

impl Client {
    fn read(&mut self, requests: &mut Vec<Bytes>) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        // One piece a turn: who asks a lot must not keep the others waiting.
        match self.stream.read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => self.request.extend_from_slice(&piece[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        let mut rest = self.request.as_slice();
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_LEN>() {
            let len = u32::from_be_bytes(*header) as usize;
            if len > DATA_MAX {
                return Err(ErrorKind::InvalidData.into());
            }
            let Some((payload, after)) = after.split_at_checked(len) else { break };
            requests.push(Bytes(payload.to_vec()));
            rest = after;
        }
        self.request = rest.to_vec();
        Ok(())
    }

    fn complete(&mut self) -> io::Result<()> {
        let len = u32::try_from(self.parts.len()).map_err(io::Error::other)?;
        self.unsent.extend_from_slice(&len.to_be_bytes());
        self.unsent.append(&mut self.parts);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        sockets::flush(&mut self.stream, &mut self.unsent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn pair() -> (tempfile::TempDir, DataSocket, UnixStream) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let mut socket = DataSocket::open(&path).unwrap();
        let program = UnixStream::connect(&path).unwrap();
        socket.accept();
        (dir, socket, program)
    }

    #[test]
    fn requests_arrive_whole_however_they_are_cut_and_answers_in_their_parts() {
        let (_dir, mut socket, mut program) = pair();
        program.write_all(&[0, 0, 0, 3, b'a', b'b']).unwrap();
        assert_eq!(socket.read(0), []);
        program.write_all(&[b'c', 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(socket.read(0), [Bytes(b"abc".to_vec()), Bytes(Vec::new())]);
        socket.answer(0, b"x", false);
        socket.answer(0, b"y", true);
        let mut answer = [0; 6];
        program.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0, 0, 0, 2, b'x', b'y']);
    }

    #[test]
    fn a_request_beyond_the_bound_closes_its_connection_only() {
        let (dir, mut socket, mut program) = pair();
        let mut other = UnixStream::connect(dir.path().join("data")).unwrap();
        socket.accept();
        program.write_all(&(DATA_MAX as u32 + 1).to_be_bytes()).unwrap();
        assert_eq!(socket.read(0), []);
        assert_eq!(program.read(&mut [0]).unwrap(), 0);
        other.write_all(&[0, 0, 0, 1, 7]).unwrap();
        assert_eq!(socket.read(1), [Bytes(vec![7])]);
    }

    #[test]
    fn who_does_not_read_its_answers_is_cut_off() {
        let (_dir, mut socket, program) = pair();
        let answer = vec![0; REPLY_MAX];
        for _ in 0..8 {
            socket.answer(0, &answer, true);
        }
        assert!(socket.interest(true).iter().all(|interest| interest.client.is_none()));
        drop(program);
    }

    #[test]
    fn nothing_is_read_while_the_daemon_does_not_take_it() {
        let (_dir, socket, _program) = pair();
        assert!(socket.interest(false).iter().all(|interest| interest.client.is_none() || !interest.read));
    }
}
