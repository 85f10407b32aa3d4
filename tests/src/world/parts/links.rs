//! Links between hosts: the stream of each, and what a daemon keeps of its end.

use std::collections::BTreeMap;

use groupmgr::host::admin::Reply;
use groupmgr::links::{Link, Loss};
use proto::BootId;
use proto::link::ChannelId;

use super::super::wire::CableId;
use super::tcp::Flow;

/// Names the stream of a link. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::world) struct StreamId(pub(in crate::world) u64);

/// A question to another host that was asked over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuestionId(pub(in crate::world) u64);

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
    /// Which end of its stream it is.
    pub(in crate::world) side: usize,
    /// Questions of this host, and what has come of their answers.
    pub(in crate::world) asked: BTreeMap<ChannelId, (QuestionId, Vec<u8>)>,
    /// Questions of the other host, as far as they have come.
    pub(in crate::world) asking: BTreeMap<ChannelId, Vec<u8>>,
    /// What is still to be sent on each channel.
    pub(in crate::world) sending: BTreeMap<ChannelId, Vec<u8>>,
}

impl LinkEnd {
    pub(in crate::world) const fn new(link: Link, side: usize) -> Self {
        Self { link, side, asked: BTreeMap::new(), asking: BTreeMap::new(), sending: BTreeMap::new() }
    }
}
