//! What a machine is lent with each step: the time, what the host was made with, and tables that it may read. Each
//! table is written by one machine alone.

use core::ops::Deref;

use proto::keys::Purpose;
use proto::peer::{LoadNote, PeerBody, PeerMessage};
use proto::{HostName, Instant, WallTime};

use super::config::HostConfig;
use super::keeping::{Cookies, Kept};
use super::membership::Members;
use super::sessions::LocalSessions;
use super::store::StoreState;
use super::workload::Workload;

/// The time, twice, for deadlines and for people, and what the host was made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Env<'a> {
    pub(super) now: Instant,
    pub(super) wall: WallTime,
    pub(super) config: &'a HostConfig,
}

impl Env<'_> {
    /// This host's name.
    pub(super) const fn name(&self) -> &HostName {
        &self.config.identity.host
    }

    /// `body` as a datagram of this host.
    pub(super) fn seal_peer(&self, body: PeerBody) -> Vec<u8> {
        let id = &self.config.identity;
        let message = PeerMessage { host: id.host.clone(), boot: id.boot, body };
        self.config.ring.seal(Purpose::Peer, &message.to_line())
    }
}

/// How busy this host is: what membership is lent, which writes one of the tables itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy<'a> {
    pub(super) sessions: &'a LocalSessions,
    pub(super) workload: &'a Workload,
}

/// The group and the sessions here: what placing is lent, which writes one of the tables itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local<'a> {
    pub(super) env: Env<'a>,
    pub(super) members: &'a Members,
    pub(super) sessions: &'a LocalSessions,
}

impl<'a> Deref for Local<'a> {
    type Target = Env<'a>;

    fn deref(&self) -> &Env<'a> {
        &self.env
    }
}

impl Local<'_> {
    /// How busy this host is now, for a host that has to place a session: with the sessions that it is starting and the
    /// DTUs that are on their way to it.
    pub(super) fn load_note(&self, workload: &Workload) -> LoadNote {
        let (now, sessions, max) = (self.now, self.sessions.len(), self.config.sessions_max);
        let is_full = max > 0 && sessions + workload.to_come(now) >= max;
        LoadNote {
            load: workload.load(now, sessions, self.members),
            drain: self.members.drain() || is_full,
            plain: Some(self.config.identity.plain),
        }
    }

    /// The time by which connections of a token are ordered ([`crate::topology::Topology::group_time`]).
    pub(super) fn group_time(&self) -> WallTime {
        self.members.group_time(self.now, self.wall)
    }

    /// Whether it has as many sessions as it may have.
    pub(super) fn is_full(&self) -> bool {
        let max = self.config.sessions_max;
        max > 0 && self.sessions.len() >= max
    }
}

/// The same with all tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ctx<'a> {
    pub(super) local: Local<'a>,
    pub(super) store: &'a StoreState,
    pub(super) workload: &'a Workload,
    pub(super) kept: &'a Kept,
    pub(super) cookies: &'a Cookies,
}

impl<'a> Deref for Ctx<'a> {
    type Target = Local<'a>;

    fn deref(&self) -> &Local<'a> {
        &self.local
    }
}
