//! What happens outside the thread of the host machine, on its way there.

use std::net::SocketAddrV4;

use proto::line::{Line, LineError};
use proto::{DtuKey, SessionId};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::accept::bounds::Place;
use crate::fitness::Finding;
use crate::host::admin::{Command, Reply};
use crate::host::{ConnId, Input};

/// Something that happened outside the thread of the host machine, other than a datagram.
pub(crate) enum Event {
    /// An input as it is.
    Input(Input),
    /// What was found of the things that sessions need, and MiB of memory left, if that is known.
    Looked { findings: Vec<Finding>, mem_mib: Option<u32> },
    /// A session protocol connection, and what was said on it first.
    Opened {
        conn: ConnId,
        peer: SocketAddrV4,
        plain: bool,
        /// The key that the DTU has proved, if it has one.
        key: Option<DtuKey>,
        outgoing: mpsc::Sender<Box<str>>,
        lines: Vec<Result<Line, LineError>>,
    },
    /// A line on one.
    Line(ConnId, Result<Line, LineError>),
    /// One that ended.
    Closed(ConnId),
    /// A display connection.
    Display { conn: ConnId, session: SessionId, held: Held },
    /// A request of an operator.
    Admin { command: Command, answer: oneshot::Sender<Reply> },
    /// Interfaces may have changed.
    Look,
    /// The run directory was removed, and the spawner has to make its part of it again.
    Renew,
    /// The daemon was asked to end by a signal.
    End,
}

/// A display connection that waits for the host to say whose it is.
pub(crate) struct Held {
    pub(crate) stream: TcpStream,
    /// What was read behind its first line.
    pub(crate) already: Vec<u8>,
    pub(crate) _place: Place,
}

/// Where events go. When the host machine cannot keep up, their makers wait.
#[derive(Clone, Debug)]
pub(crate) struct Inbox(mpsc::Sender<Event>);

impl Inbox {
    /// Events that may wait.
    const LEN_MAX: usize = 4096;

    pub(crate) fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(Self::LEN_MAX);
        (Self(sender), receiver)
    }

    /// Hands an event in; it is lost when the daemon is ending.
    pub(crate) async fn send(&self, event: Event) {
        drop(self.0.send(event).await);
    }
    /// Waits until there is room for one event; none when the daemon is ending.
    pub(crate) async fn room(&self) -> Option<mpsc::Permit<'_, Event>> {
        self.0.reserve().await.ok()
    }
}
