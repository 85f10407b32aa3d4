//! The daemon: `groupmgr run`.
//!
//! Started in this order, so that whatever is missing is said before anything else is touched: accounts, keys, run directory,
//! data store, spawner, sockets, ready line. Then one loop owns the host machine ([`turn`]): it takes what happened,
//! hands it in with the time, and does what comes out. It runs on a thread of its own that goes before all others
//! ([`super::rank`]); connections, TLS and the data store's client run on the other threads.

mod event_loop;
mod log;
mod start;

use std::net::SocketAddrV4;
use std::path::PathBuf;

use authmgr::admission::AccountName;
use proto::alp::FromHost;
use proto::host_message::Label;
use proto::line::{Line, LineError};
use proto::{HostName, SessionId};
use tokio::sync::{mpsc, oneshot};

pub use self::start::{RunError, run};
use super::accept::Held;
use super::net::NetOptions;
use crate::host::admin::{Command, Reply};
use crate::host::guests::GuestLimits;
use crate::host::{ConnId, Input};

/// What an operator decides about a daemon.
#[derive(Clone, Debug)]
pub struct Options {
    /// The group's key directory.
    pub keys: PathBuf,
    /// The host's name in the group.
    pub name: HostName,
    /// Its addresses.
    pub net: NetOptions,
    /// The shared data store; without one the host has its own.
    pub store: Option<SocketAddrV4>,
    /// Where its sockets are.
    pub run_dir: PathBuf,
    /// Where its data is.
    pub state_dir: PathBuf,
    /// Whether the session protocol may be spoken without TLS.
    pub allows_plain: bool,
    /// Whether sessions outlive the daemon.
    pub keeps_sessions: bool,
    /// Its rack.
    pub rack: Label,
    /// Its site.
    pub site: Label,
    /// Connections one address may have.
    pub per_address: usize,
    /// Sessions it takes; 0 leaves it to the machine.
    pub sessions_max: usize,
    /// What tokens may cause that nobody registered.
    pub guests: GuestLimits,
    /// The account of sessions for which nothing else names one; root must name one ([`super::accounts`]).
    pub account: Option<AccountName>,
}

/// Something that happened outside the thread of the host machine, other than a datagram.
pub(crate) enum Event {
    /// An input as it is.
    Input(Input),
    /// A session protocol connection.
    Opened { conn: ConnId, peer: SocketAddrV4, plain: bool, outgoing: mpsc::Sender<Box<str>> },
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
}

/// A message as it goes onto a connection.
fn text_of(message: &FromHost) -> Box<str> {
    let mut text = message.to_line().to_string();
    text.push('\n');
    text.into()
}
