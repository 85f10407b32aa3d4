//! What a session's machine asks of the process around it.

use continuity::Stamp;
use proto::frame::{Frame, Size};
use proto::line::Line;
use proto::time::Duration;
use proto::{Serial, ServiceName};

use crate::control::{Bytes, FromSession};
use crate::template::Service;

/// One display connection, numbered by whoever accepts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// A change that programs of the session may want to know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The session is shown at this DTU from now on.
    Connect(Serial),
    /// It is shown nowhere.
    Disconnect,
    /// It is going to end: what is to be kept must be stored now.
    End,
}

impl Change {
    /// As text: `connect dtu=<serial>`, `disconnect`, `end`.
    #[must_use]
    pub fn to_line(&self) -> Line {
        match self {
            Self::Connect(serial) => Line::new("connect").with("dtu", serial),
            Self::Disconnect => Line::new("disconnect"),
            Self::End => Line::new("end"),
        }
    }
}

/// Something to do for the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start a service on a terminal of `size`; answered by [`super::SessionCore::started`] or [`super::SessionCore::failed`].
    Start {
        /// What to start.
        service: Box<Service>,
        /// Columns and rows of its terminal at the start.
        size: Size,
    },
    /// Tell all that a service, or every service, has started that its terminal is gone (SIGHUP): editors save what
    /// they hold, shells pass it on to their jobs.
    Hangup(Option<ServiceName>),
    /// Ask it to end (SIGTERM).
    Terminate(Option<ServiceName>),
    /// End it (SIGKILL).
    Kill(Option<ServiceName>),
    /// A service's terminal has another size.
    Resize(ServiceName, Size),
    /// Input waits for a service ([`super::SessionCore::input`]).
    Input(ServiceName),
    /// Close a display connection once it is sent these frames.
    Close(ConnId, Vec<Frame>),
    /// Tell the daemon.
    Tell(FromSession),
    /// Tell the programs of the session.
    Change(Change),
    /// Give a program of the session the data store's answer, or a part of it.
    Data {
        /// Which of its connections.
        client: u32,
        /// The next part of the payload.
        part: Bytes,
        /// Whether the answer is complete with it.
        last: bool,
    },
    /// What the programs of a service have committed up to this version is safe: they are answered.
    Safe(ServiceName, Stamp),
    /// A version of what the programs of a service say was acknowledged so long after it was committed.
    Acknowledged(ServiceName, Duration),
    /// Another daemon took the session up: what was asked of the data store through an earlier one will not be
    /// answered.
    ForgetData,
    /// The session is over; leave when the displays are flushed. `clean` says that nothing it started is left.
    Quit {
        /// Whether all it had started is gone.
        clean: bool,
    },
}
