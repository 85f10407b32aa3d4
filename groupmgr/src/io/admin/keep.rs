//! What the host machines of two hosts say to each other, on a link's task: the queue from this host's machine, and what
//! becomes of it.

use proto::HostName;
use tokio::sync::mpsc;

use crate::host::Input;
use crate::keep::{Channels, Message};
use crate::links::{Link, Loss};

/// Where the host machine puts messages for one other host.
pub(crate) type Outgoing = mpsc::Receiver<Box<Message>>;

/// Both directions on one link.
pub(super) struct Keep {
    peer: HostName,
    outgoing: Option<Outgoing>,
    pub(super) channels: Channels,
    /// What was said may not have come, and the host machine has not been told.
    is_missed: bool,
}

impl Keep {
    pub(super) fn new(peer: HostName) -> Self {
        Self { peer, outgoing: None, channels: Channels::default(), is_missed: false }
    }

    /// From now on messages for the other host come from here.
    pub(super) fn carry(&mut self, outgoing: Outgoing) {
        self.outgoing = Some(outgoing);
    }

    /// The next message for the other host, once there is room for it. Nothing is lost when it is dropped.
    pub(super) async fn next(&mut self) -> Option<Box<Message>> {
        match &mut self.outgoing {
            Some(outgoing) if self.channels.has_room() => outgoing.recv().await,
            _ => std::future::pending().await,
        }
    }

    /// Takes what [`Self::next`] gave, and what else is there. None means that the host machine says nothing more.
    pub(super) fn say(&mut self, message: Option<Box<Message>>) {
        let Some(message) = message else {
            self.outgoing = None;
            return;
        };
        self.channels.say(&message);
        while self.channels.has_room()
            && let Some(Ok(message)) = self.outgoing.as_mut().map(Outgoing::try_recv)
        {
            self.channels.say(&message);
        }
    }

    /// The other host takes nothing on this end's channel.
    pub(super) fn refused(&mut self) {
        self.is_missed |= self.outgoing.take().is_some();
    }

    /// The link is over.
    pub(super) fn lost(&mut self, loss: Loss) {
        let is_said = |outgoing: Outgoing| loss != Loss::Goodbye || !outgoing.is_empty();
        let was_saying = self.channels.is_saying();
        self.is_missed |= self.outgoing.take().is_some_and(|outgoing| was_saying || is_said(outgoing));
    }

    /// Whether something waits for the host machine.
    pub(super) fn has_heard(&self) -> bool {
        self.channels.has_heard() || self.is_missed
    }

    /// The next input for the host machine, which takes it now.
    pub(super) fn heard(&mut self, link: &mut Link) -> Option<Input> {
        let host = self.peer.clone();
        if let Some(message) = self.channels.heard(link) {
            return Some(Input::Peer { host, message: Box::new(message) });
        }
        core::mem::take(&mut self.is_missed).then_some(Input::PeerLost { host })
    }
}
