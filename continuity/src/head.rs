//! What an object says besides its pools: whose it is, where its service runs, and what it is doing.

use std::net::SocketAddrV4;

use proto::ids::{HostName, ServiceName, SessionId};
use proto::time::WallTime;

use crate::names::{Scope, Stamp, StepName};

/// Names the program object behind a service, as that service counts them; 0 if it has but one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

/// Where the service was last reached: how another host knows that the session failed over, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host that ran it.
    pub host: HostName,
    /// Address and port of the service's display there.
    pub addr: SocketAddrV4,
}

/// What the service was asked to do last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Counts the operations of the service, from 1: with session and service it names one for good.
    pub number: u64,
    /// What its program calls it.
    pub name: StepName,
    /// How far it has come.
    pub status: Status,
}

/// How far an operation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Begun; nothing of it is in the pools.
    Begun,
    /// Committed; all of it is in the pools.
    Committed,
    /// Given up; nothing of it is in the pools.
    Aborted,
}

impl Status {
    /// The word for it on the state socket.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Committed => "committed",
            Self::Aborted => "aborted",
        }
    }
}

/// The fields of an object that are not in pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The session it belongs to; an object of another one is not taken.
    pub session: SessionId,
    /// The service within it.
    pub service: ServiceName,
    /// For what it is good.
    pub scope: Scope,
    /// Which version it is.
    pub stamp: Stamp,
    /// Where the service was last reached.
    pub endpoint: Option<Endpoint>,
    /// The program object behind the service.
    pub object: ObjectId,
    /// The operation in hand, or the last one.
    pub operation: Option<Operation>,
    /// When it is of no more use to anybody; `None` for as long as the session lives.
    pub expiry: Option<WallTime>,
}

impl Head {
    /// That of a new object, version 0 of the first epoch.
    #[must_use]
    pub fn new(session: SessionId, service: ServiceName) -> Self {
        Self {
            session,
            service,
            scope: Scope::default(),
            stamp: Stamp::default(),
            endpoint: None,
            object: ObjectId::default(),
            operation: None,
            expiry: None,
        }
    }

    /// Whether it is of no more use at `now`.
    #[must_use]
    pub fn is_expired(&self, now: WallTime) -> bool {
        self.expiry.is_some_and(|expiry| expiry <= now)
    }
}
