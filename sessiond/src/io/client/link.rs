//! One control socket of the daemon's side.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, PoisonError};

use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::super::packets;
use super::{Event, Outgoing, Shared};
use crate::control::{Message, ToSession, ToSpawner};

/// A message that may take several packets.
pub(super) trait InParts: Message {
    fn parts(self) -> Vec<Self>;
}

impl InParts for ToSpawner {
    fn parts(self) -> Vec<Self> {
        vec![self]
    }
}

impl InParts for ToSession {
    fn parts(self) -> Vec<Self> {
        self.in_parts()
    }
}

/// One control socket: what goes out waits in `queue` and `unsent` until the other side reads.
pub(super) struct PacketLink<M> {
    fd: AsyncFd<OwnedFd>,
    queue: mpsc::Receiver<Outgoing<M>>,
    unsent: VecDeque<Outgoing<M>>,
    shared: Arc<Shared>,
}

impl<M: InParts> PacketLink<M> {
    pub(super) fn new(
        fd: OwnedFd,
        queue: mpsc::Receiver<Outgoing<M>>,
        shared: &Arc<Shared>,
    ) -> io::Result<Self> {
        // SAFETY: the descriptor is owned by what it is registered as, and never replaced in there.
        let fd = unsafe { AsyncFd::register(fd) }?;
        Ok(Self { fd, queue, unsent: VecDeque::new(), shared: Arc::clone(shared) })
    }

    /// Sends something when nothing else waits to be sent; says whether it will be.
    pub(super) fn send_if_idle(&mut self, message: M) -> bool {
        let is_idle = self.unsent.is_empty();
        if is_idle {
            self.unsent.push_back((message, None));
        }
        is_idle
    }

    /// The next message from the other side; sends meanwhile. `None` when it is gone, or the daemon's client is. Can be
    /// dropped and called again.
    pub(super) async fn next<In: Message>(&mut self, events: &mpsc::Sender<Event>) -> Option<Outgoing<In>> {
        let Self { fd, queue, unsent, shared } = self;
        loop {
            tokio::select! {
                () = events.closed() => return None,
                ready = fd.readable() => {
                    let mut ready = ready.ok()?;
                    let receive = |fd: &AsyncFd<OwnedFd>| {
                        let mut receiver = shared.receiver.lock().unwrap_or_else(PoisonError::into_inner);
                        receiver.receive::<In>(fd.get_ref())
                    };
                    match ready.try_io(receive) {
                        Ok(Ok(message)) => return message,
                        Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => {
                            tracing::warn!("a control message is passed over: {error}");
                        }
                        Ok(Err(_)) => return None,
                        Err(_would_block) => {}
                    }
                }
                Some((message, fd)) = queue.recv(), if unsent.is_empty() => {
                    let mut fd = fd;
                    unsent.extend(message.parts().into_iter().map(|part| (part, fd.take())));
                }
                ready = fd.writable(), if !unsent.is_empty() => {
                    let mut ready = ready.ok()?;
                    let Some((message, beside)) = unsent.front() else { continue };
                    let beside = beside.as_ref().map(OwnedFd::as_fd);
                    match ready.try_io(|fd| packets::send(fd.get_ref(), message, beside)) {
                        Err(_would_block) => continue,
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::warn!("a control message is not sent: {error}"),
                    }
                    unsent.pop_front();
                }
            }
        }
    }
}
