//! What goes into the host machine and what comes out of it: the whole surface between the pure host and
//! whoever drives it, be it the daemon's loop or a simulation.

use std::net::SocketAddrV4;

use datastore::{Event, Request, Response, StoreError};
use proto::alp::FromHost;
use proto::line::{Line, LineError};
use proto::net::{IfName, Interface};
use proto::{DtuKey, HostName, Instant, SessionId, StoreId};
use sessiond::control::{FromSession, SessionSpec, ToSession};

use super::admin::{Command, Reply};
use super::note::Note;
use crate::announce::Announcement;
use crate::directory::Ask;
use crate::fitness::Finding;
use crate::keep::Message;

/// Names a TCP connection to its driver. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// Names a request to the data store to the host that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreReq {
    pub(super) port: Port,
    pub(super) seq: u64,
}

/// Who in a host asks the data store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Port {
    Admission,
    Claims,
    Records,
    Relay,
    Store,
}

/// Names a request of an operator to its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AdminReq(pub u64);

/// A datagram that came in.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// When. A driver may have let it wait, as long as it hands it in before a [`Input::Timeout`] of a later moment.
    pub at: Instant,
    /// Who sent it.
    pub from: SocketAddrV4,
    /// What was sent, unchecked.
    pub bytes: Vec<u8>,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// It is as late as [`super::Host::poll_at`] asked for, or later.
    Timeout,
    /// These interfaces are up and have a carrier now.
    Interfaces(Vec<Interface>),
    /// A sample of how busy the machine is: run queue per processor times 100, and MiB of memory available.
    Vitals {
        /// Run queue per processor, times 100.
        run_queue: u32,
        /// Memory available to new processes, in MiB.
        mem_mib: u32,
    },
    /// What was found of the things that sessions need.
    Found(Vec<Finding>),
    /// Datagrams came in on port 7009, or on a socket that had asked something.
    Datagrams {
        /// On which of our interfaces.
        iface: IfName,
        /// In the order in which they came.
        datagrams: Vec<Datagram>,
    },
    /// A datagram sent by [`Effect::Ask`] was refused: nobody listens at this address.
    Refused {
        /// Where it was sent to.
        addr: SocketAddrV4,
    },
    /// A DTU has a connection for the session protocol; TLS is done, or the listener allows plain text.
    Opened {
        /// Names the connection in all that follows; never used twice.
        conn: ConnId,
        /// The other end.
        peer: SocketAddrV4,
        /// Whether it is without TLS: then so is every one the DTU can open.
        plain: bool,
        /// The key that the DTU has proved in TLS, if it has one.
        key: Option<DtuKey>,
    },
    /// A line on such a connection.
    Line {
        /// The connection that it came on.
        conn: ConnId,
        /// The line, or why it is none.
        line: Result<Line, LineError>,
    },
    /// Such a connection is gone.
    Closed {
        /// The connection that is no more.
        conn: ConnId,
    },
    /// A connection said `display session=<id>`: answered by [`Effect::HandOver`] or [`Effect::Close`].
    Display {
        /// Which; it is not one that was `Opened`.
        conn: ConnId,
        /// The session it wants.
        session: SessionId,
    },
    /// The data store's answer. `Err` says that the store could not be asked or what became of a write is not
    /// known.
    Store {
        /// To which request.
        req: StoreReq,
        /// What the store answered, or why it did not.
        outcome: Result<Response, StoreError>,
    },
    /// The connection to the data store came up or went down.
    StoreLink {
        /// Whether it is up.
        up: bool,
        /// Which store this is, once it has said so.
        store: Option<StoreId>,
    },
    /// What the driver learns by watching the login policy and the registry in the data store.
    Followed(Followed),
    /// A session process was made, by this daemon or for an earlier one; it can be told things now.
    SessionSpawned {
        /// The session that it runs.
        session: SessionId,
        /// Whether it was made for an earlier daemon.
        kept: bool,
    },
    /// A session process could not be made.
    SpawnFailed {
        /// The session that it should have run.
        session: SessionId,
        /// Why, and what to do about it.
        reason: String,
    },
    /// A session process is gone with all it had started.
    SessionExited {
        /// The session that it ran.
        session: SessionId,
    },
    /// A session process says something.
    Session {
        /// The session that says it.
        session: SessionId,
        /// What the session said.
        said: Box<FromSession>,
    },
    /// Another host says something about copies of sessions. It comes in the order in which it was said.
    Peer {
        /// The host that says it, which has proved itself.
        host: HostName,
        /// What it says.
        message: Box<Message>,
    },
    /// What was said to this host with [`Effect::Peer`] and was not answered may not have come, nor its answers.
    PeerLost {
        /// The host that it was said to.
        host: HostName,
    },
    /// An operator asks for something.
    Admin {
        /// Names the request in [`Effect::Answer`].
        req: AdminReq,
        /// What the host is to do or to answer.
        command: Command,
    },
}

/// News of the login policy and the registry, which a driver watches for the host.
#[derive(Debug)]
pub enum Followed {
    /// The watch has begun, or changes may have been missed: all is to be read.
    Anew,
    /// A key has changed. Changes come in the order in which the data store made them.
    Changed(Event),
    /// Nobody watches any more.
    Lost,
}

/// Something to do.
#[derive(Debug)]
pub enum Effect {
    /// Broadcast a datagram.
    Broadcast(Announcement),
    /// Send a datagram from the interface's own socket on port 7009.
    Datagram {
        /// The interface whose socket to use; the one the question came in on.
        iface: IfName,
        /// The address and port to send it to.
        to: SocketAddrV4,
        /// What to send, signed where it has to be.
        bytes: Vec<u8>,
    },
    /// Send a datagram from a socket connected to this one address, so that a refusal is reported.
    Ask(Ask),
    /// Send a message on a session protocol connection.
    Send {
        /// The connection to send it on.
        conn: ConnId,
        /// The message for the DTU.
        message: Box<FromHost>,
    },
    /// Close a connection of either kind when what was sent is out.
    Close {
        /// The connection that is done with.
        conn: ConnId,
    },
    /// Pass a display connection to the session's process.
    HandOver {
        /// The connection to pass.
        conn: ConnId,
        /// The session that the display belongs to.
        session: SessionId,
    },
    /// Ask the data store.
    Store {
        /// The request's name.
        req: StoreReq,
        /// What is asked for.
        request: Box<Request>,
    },
    /// Make a session process.
    Spawn(Box<SessionSpec>),
    /// End a session process that does not end itself.
    Kill(SessionId),
    /// Tell a session process something.
    Tell {
        /// The session that is told.
        session: SessionId,
        /// What it is told.
        message: Box<ToSession>,
    },
    /// Say something to another host about copies of sessions, behind all that was said to it before. If it cannot be said,
    /// [`Input::PeerLost`] follows.
    Peer {
        /// The host that it is said to.
        host: HostName,
        /// What is said.
        message: Box<Message>,
    },
    /// Answer an operator.
    Answer {
        /// The request that is answered.
        req: AdminReq,
        /// What to print.
        reply: Box<Reply>,
    },
    /// Something an operator may want to read in the log.
    Note(Note),
    /// It has started: its name is its own, as far as it can hear, and it serves.
    Ready,
    /// It does not start, because a host of its name lives at this address. The daemon is to end.
    Refuse {
        /// Where the other host is.
        at: SocketAddrV4,
    },
    /// The daemon is to end: all goodbyes are said.
    Stop,
}
