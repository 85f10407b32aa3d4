//! What host machines say to each other about copies of sessions, over the simulated links.

use groupmgr::host::Input;
use groupmgr::keep::Message;
use groupmgr::links::Loss;
use proto::time::Duration;
use proto::{HostName, SessionId};
use sessiond::control::{Beginning, Part};

use super::parts::links::StreamId;
use super::parts::machine::ToDaemon;
use super::process::LOCAL;
use super::{Event, World, ms, secs};

/// A host whose kernel answers that nobody listens is given up after this time, and one that does not answer after that.
const REFUSED_AFTER: Duration = ms(1);
const MUTE_AFTER: Duration = secs(2);

impl World {
    /// How a session's process was told to begin, once it was.
    #[must_use]
    pub fn begun(&self, host: &str, session: SessionId) -> Option<&Beginning> {
        self.machines[*self.by_name.get(host)?].processes.get(&session)?.begun.as_ref()
    }

    /// What a session's process was told to go on with.
    #[must_use]
    pub fn restored(&self, host: &str, session: SessionId) -> Vec<(Part, Vec<u8>)> {
        let process = self.by_name.get(host).and_then(|host| self.machines[*host].processes.get(&session));
        process.map(|process| process.restored.clone()).unwrap_or_default()
    }

    /// A host hears something about copies, past all links.
    pub fn hear_of_copies(&mut self, host: &str, from: &str, message: Message) {
        let (host, peer) = (self.host_number(host), self.parsed(from));
        let input = Input::Peer { host: peer, message: Box::new(message) };
        self.reach_daemon(host, ToDaemon::Input(Box::new(input)));
    }

    /// A host is told that what it has said to another may not have come.
    pub fn lose_peer(&mut self, host: &str, peer: &str) {
        let (host, peer) = (self.host_number(host), self.parsed(peer));
        self.reach_daemon(host, ToDaemon::Input(Box::new(Input::PeerLost { host: peer })));
    }

    /// A daemon says something to another host.
    pub(super) fn say_of_copies(&mut self, host: usize, to: &HostName, message: Message) {
        let Some(other) = self.names.iter().position(|name| name == to) else { return };
        let Some(running) = self.machines[host].daemon.running() else { return };
        // What is said while it is tried in vain is lost with it.
        if running.no_way.contains(to) {
            return;
        }
        let Some(stream) = self.link_between(host, other) else {
            let refuses = self.machines[other].has_power && !self.machines[other].daemon.listens();
            let after = if refuses { REFUSED_AFTER } else { MUTE_AFTER };
            let boot = self.machines[host].daemon.boot();
            if let Some(running) = self.machines[host].daemon.running() {
                running.no_way.insert(to.clone());
            }
            let what = ToDaemon::NoWay(to.clone());
            return self.queue.put(self.now + after, Event::Daemon { host, boot, what });
        };
        if let Some(end) = self.link_end(host, stream) {
            end.carries = true;
            end.keep.say(&message);
        }
        self.drive_link(host, stream, |_, _, _| {});
    }

    pub(super) fn no_way_to(&mut self, host: usize, to: HostName) {
        if let Some(running) = self.machines[host].daemon.running() {
            running.no_way.remove(&to);
        }
        self.feed(host, Input::PeerLost { host: to });
    }

    pub(super) fn heard_of_copies(&mut self, host: usize, stream: StreamId, bytes: &[u8]) {
        let Some(end) = self.link_end(host, stream) else { return };
        let is_first = !end.keep.has_heard();
        if let Err(error) = end.keep.data(&mut end.link, bytes) {
            self.fail(&format!("what a host says of copies: {error}"));
        }
        if is_first {
            self.tell_daemon(host, ToDaemon::ReadsCopies(stream));
        }
    }

    pub(super) fn daemon_reads_copies(&mut self, host: usize, stream: StreamId) {
        while let Some(end) = self.link_end(host, stream)
            && let Some(message) = end.keep.heard(&mut end.link)
        {
            let peer = end.peer.clone();
            self.feed(host, Input::Peer { host: peer, message: Box::new(message) });
        }
        self.drive_link(host, stream, |_, _, _| {});
    }

    /// The link is over: what has come is read, and what was said may not have come.
    pub(super) fn no_more_of_copies(&mut self, host: usize, stream: StreamId, loss: Loss) {
        let boot = self.machines[host].daemon.boot();
        let Some(end) = self.link_end(host, stream) else { return };
        let mut last = Vec::new();
        while let Some(message) = end.keep.heard(&mut end.link) {
            last.push(Input::Peer { host: end.peer.clone(), message: Box::new(message) });
        }
        if end.carries && (end.keep.is_saying() || loss != Loss::Goodbye) {
            last.push(Input::PeerLost { host: end.peer.clone() });
        }
        for input in last {
            let what = ToDaemon::Input(Box::new(input));
            self.queue.put(self.now + LOCAL, Event::Daemon { host, boot, what });
        }
    }
}
