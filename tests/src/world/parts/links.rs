//! Links between hosts: the stream of each, and what a daemon keeps of its end.

use std::collections::BTreeMap;

use groupmgr::host::admin::Reply;
use groupmgr::keep::Channels;
use groupmgr::links::{Link, Loss};
use proto::link::ChannelId;
use proto::time::earliest;
use proto::{BootId, HostName, Instant};

use super::super::wire::CableId;
use super::tcp::Flow;

/// Names the stream of a link. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::world) struct StreamId(pub(in crate::world) u64);

/// A question to another host that was asked over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuestionId(pub(crate) u64);

/// What came of a question.
pub type Outcome = Result<Reply, Loss>;

/// A stream between two daemons, whose greetings are done.
#[derive(Debug)]
pub(in crate::world) struct Stream {
    /// Who opened it, and the other.
    pub(in crate::world) hosts: [usize; 2],
    pub(in crate::world) boots: [Option<BootId>; 2],
    pub(in crate::world) via: [CableId; 2],
    /// Towards each of them.
    pub(in crate::world) flows: [Flow; 2],
}

/// A daemon's end of a link.
#[derive(Debug)]
pub(in crate::world) struct LinkEnd {
    pub(in crate::world) link: Link,
    /// The host at the other end.
    pub(in crate::world) peer: HostName,
    /// Which end of its stream it is.
    pub(in crate::world) side: usize,
    /// Questions of this host, and what has come of their answers.
    pub(in crate::world) asked: BTreeMap<ChannelId, (QuestionId, Vec<u8>)>,
    /// Questions of the other host, as far as they have come.
    pub(in crate::world) asking: BTreeMap<ChannelId, Vec<u8>>,
    /// What is still to be sent on each channel.
    pub(in crate::world) sending: BTreeMap<ChannelId, Vec<u8>>,
    /// How much has come on each channel and was not read yet.
    pub(in crate::world) unread: BTreeMap<ChannelId, usize>,
    /// What the host machines say to each other.
    pub(in crate::world) keep: Channels,
    /// Whether this end's machine has said anything.
    pub(in crate::world) carries: bool,
    /// When the last channel ended or something was heard, while none is open.
    pub(in crate::world) at_rest_since: Option<Instant>,
}

impl LinkEnd {
    pub(in crate::world) fn new(link: Link, side: usize, peer: HostName) -> Self {
        Self {
            link,
            peer,
            side,
            asked: BTreeMap::new(),
            asking: BTreeMap::new(),
            sending: BTreeMap::new(),
            unread: BTreeMap::new(),
            keep: Channels::default(),
            carries: false,
            at_rest_since: None,
        }
    }

    /// When it wants to be looked at.
    pub(in crate::world) fn poll_at(&self) -> Option<Instant> {
        earliest(self.link.poll_at(), self.keep.poll_at())
    }
}
