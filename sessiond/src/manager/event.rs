//! What comes out of the session manager.

use std::net::Ipv4Addr;

use proto::time::Duration;
use proto::{Epoch, Serial, ServiceName, SessionId, Token};

use super::Claim;
use crate::control::{Bytes, Part, SessionSpec, ToSession, Update};

/// Something to do for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEffect {
    /// Make its process.
    Spawn(Box<SessionSpec>),
    /// Tell its process something.
    Tell(SessionId, Box<ToSession>),
    /// End its process, which does not end by itself.
    Kill(SessionId),
    /// Something the caller has to know.
    Event(SessionEvent),
}

/// What happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// It can be attached.
    Ready(SessionId),
    /// A session of an earlier daemon is known now and can be attached.
    TakenUp(SessionId),
    /// Its DTU has it on its screen.
    OnScreen(SessionId, Serial),
    /// It is over; it is no longer in the table.
    Ended {
        /// The session that is over.
        session: SessionId,
        /// The token that it belonged to.
        token: Token,
        /// Its epoch, for giving the claim back.
        epoch: Epoch,
        /// How it stood with the data store.
        claim: Claim,
        /// The address of the desk that had it made, when nobody registered the token.
        guest: Option<Ipv4Addr>,
        /// Where it was shown.
        shown: Option<Serial>,
        /// How long it was known.
        lived: Duration,
        /// Why, for a person.
        why: String,
        /// Whether it ended because it could not be started, or what it consists of could not.
        failed: bool,
    },
    /// What was asked of a service has come out: it runs, it ended, or it could not be started.
    ServiceSettled {
        /// The session whose service it is.
        session: SessionId,
        /// The service that was started or stopped.
        service: ServiceName,
    },
    /// It has a new version of one of its parts.
    Committed {
        /// The session that has it.
        session: SessionId,
        /// Which of its parts.
        part: Part,
        /// What makes the version.
        update: Update,
    },
    /// It says which parts it has, before a secondary is sent all of them.
    Parts {
        /// The session that has them.
        session: SessionId,
        /// All there are now.
        parts: Vec<Part>,
    },
    /// Its services get no more input, since it is about to move.
    Still(SessionId),
    /// One of its programs asks the data store for something.
    Data {
        /// The session whose program asks.
        session: SessionId,
        /// Which of its programs.
        client: u32,
        /// One encoded call of the data store's protocol.
        request: Bytes,
    },
}
