//! What an operator decides about a daemon.

use std::net::SocketAddrV4;
use std::path::PathBuf;

use authmgr::admission::AccountName;
use proto::HostName;
use proto::host_message::Label;

use crate::host::guests::GuestLimits;
use crate::io::net::NetOptions;

/// What an operator decides about a daemon.
#[derive(Clone, Debug)]
pub struct Options {
    /// The group's key directory.
    pub keys: PathBuf,
    /// The host's name in the group.
    pub name: HostName,
    /// The interfaces and addresses it serves.
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
    /// The rack it stands in, as other hosts print it.
    pub rack: Label,
    /// The site it stands at, as other hosts print it.
    pub site: Label,
    /// The host that is to keep its sessions.
    pub pair: Option<HostName>,
    /// Connections one address may have.
    pub per_address: usize,
    /// Sessions it takes; 0 leaves it to the machine.
    pub sessions_max: usize,
    /// What tokens may cause that nobody registered.
    pub guests: GuestLimits,
    /// The account of sessions for which nothing else names one; root must name one ([`crate::io::accounts`]).
    pub account: Option<AccountName>,
    /// A command for /bin/sh that is run once it serves.
    pub on_start: Option<String>,
    /// One that is run before it ends.
    pub on_stop: Option<String>,
}
