//! Control messages over SOCK_SEQPACKET sockets: one message is one packet, with at most one file descriptor.
//!
//! Never waits: a socket that is full or empty says so.

use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Result};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    accept4, bind, connect, listen, recvmsg, sendmsg, socket, socketpair,
};

use crate::control::{Message, PACKET_MAX};

const FLAGS: SockFlag = SockFlag::SOCK_CLOEXEC.union(SockFlag::SOCK_NONBLOCK);

/// Connections to the spawner that may wait to be accepted; there is one daemon.
const BACKLOG: i32 = 8;

/// Two connected sockets.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, FLAGS)?)
}

fn unconnected() -> Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, FLAGS, None)?)
}

/// A socket that listens at `path`, which must not exist.
pub(super) fn listener(path: &Path) -> Result<OwnedFd> {
    let fd = unconnected()?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd)
}

/// Connects to a socket that listens at `path`.
pub(super) fn connected(path: &Path) -> Result<OwnedFd> {
    let fd = unconnected()?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// Accepts a connection.
pub(super) fn accept(listener: impl AsFd) -> Result<OwnedFd> {
    let fd = accept4(listener.as_fd().as_raw_fd(), FLAGS)?;
    // SAFETY: accept4 has just made it, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a message, with `fd` beside it.
///
/// [`ErrorKind::WouldBlock`] when the other side has not read enough; [`ErrorKind::InvalidInput`] when the
/// message is out of bounds.
pub(super) fn send<M: Message>(to: impl AsFd, message: &M, fd: Option<BorrowedFd<'_>>) -> Result<()> {
    let packet = message.encode().map_err(|error| Error::new(ErrorKind::InvalidInput, error))?;
    let raw: Vec<RawFd> = fd.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if raw.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<UnixAddr>(to.as_fd().as_raw_fd(), &[IoSlice::new(&packet)], rights, flags, None)?;
    Ok(())
}

/// A buffer for one packet, reused for all.
#[derive(Debug)]
pub(super) struct Receiver {
    buffer: Vec<u8>,
}

impl Receiver {
    pub(super) fn new() -> Self {
        // Zeroed pages that no packet touches cost nothing.
        Self { buffer: vec![0; PACKET_MAX + 1] }
    }

    /// The next message, with the file descriptor beside it. `None` at the end of the connection.
    ///
    /// [`ErrorKind::WouldBlock`] when there is none yet; [`ErrorKind::InvalidData`] when it is not a message.
    pub(super) fn receive<M: Message>(&mut self, from: impl AsFd) -> Result<Option<(M, Option<OwnedFd>)>> {
        let mut space = nix::cmsg_space!([RawFd; 4]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        let fd = from.as_fd().as_raw_fd();
        let received = recvmsg::<UnixAddr>(fd, &mut slices, Some(&mut space), flags)?;
        let mut fds = Vec::new();
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                // SAFETY: the kernel has just put them into this process for us alone.
                fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        let len = received.bytes;
        if len == 0 {
            return Ok(None);
        }
        let invalid = |error| Error::new(ErrorKind::InvalidData, error);
        let message = M::decode(&self.buffer[..len]).map_err(invalid)?;
        let fd = fds.into_iter().next();
        if message.has_fd() != fd.is_some() {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "a control message without the descriptor it needs",
            ));
        }
        Ok(Some((message, fd)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::control::{Bytes, DATA_MAX, FromSpawner, ToSession};

    #[test]
    fn a_message_arrives_whole_with_its_descriptor() {
        let (ours, theirs) = pair().unwrap();
        let (read, write) = std::io::pipe().unwrap();
        send(&ours, &FromSpawner::Spawned(proto::SessionId(1)), Some(write.as_fd())).unwrap();
        drop(write);
        let mut receiver = Receiver::new();
        let (message, fd) = receiver.receive::<FromSpawner>(&theirs).unwrap().unwrap();
        assert_eq!(message, FromSpawner::Spawned(proto::SessionId(1)));
        std::fs::File::from(fd.unwrap()).write_all(b"x").unwrap();
        let mut text = String::new();
        { read }.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        drop(ours);
        assert!(receiver.receive::<FromSpawner>(&theirs).unwrap().is_none());
    }

    #[test]
    fn the_largest_message_fits_and_a_full_socket_says_so() {
        let (ours, theirs) = pair().unwrap();
        let large = ToSession::DataReply { client: 1, reply: Bytes(vec![7; DATA_MAX]) };
        let full = loop {
            if let Err(error) = send(&ours, &large, None) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        let (message, _) = Receiver::new().receive::<ToSession>(&theirs).unwrap().unwrap();
        assert_eq!(message, large);
    }

    #[test]
    fn a_message_without_its_descriptor_is_refused() {
        let (ours, theirs) = pair().unwrap();
        send(&ours, &FromSpawner::Spawned(proto::SessionId(1)), None).unwrap();
        let error = Receiver::new().receive::<FromSpawner>(&theirs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
