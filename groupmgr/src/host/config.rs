//! What a host is made with.

use authmgr::admission::AccountName;
use proto::HostName;
use proto::keys::KeyRing;
use sessiond::control::Tools;

use super::guests::GuestLimits;
use crate::announce::Identity;

/// What a host is made with.
#[derive(Debug)]
pub struct HostConfig {
    /// What it says of itself.
    pub identity: Identity,
    /// The group's keys.
    pub ring: KeyRing,
    /// Sessions it takes; 0 leaves it to the machine.
    pub sessions_max: usize,
    /// Session processes that an earlier daemon has left.
    pub kept: usize,
    /// Programs put into the `PATH` of sessions.
    pub tools: Option<Tools>,
    /// The account of sessions for which neither registry nor template names one; without it the spawner's.
    pub shared_machine_account: Option<AccountName>,
    /// What tokens may cause that nobody registered.
    pub guests: GuestLimits,
    /// The host that is to keep its sessions, if that is on another machine.
    pub pair: Option<HostName>,
}

impl HostConfig {
    /// A host that starts alone: with as many sessions as its machine bears, none of them left by an earlier daemon, and
    /// the usual limits for guests.
    #[must_use]
    pub fn new(identity: Identity, ring: KeyRing) -> Self {
        Self {
            identity,
            ring,
            sessions_max: 0,
            kept: 0,
            tools: None,
            shared_machine_account: None,
            guests: GuestLimits::default(),
            pair: None,
        }
    }
}
