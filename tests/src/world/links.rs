//! Links between hosts, and the questions of operators that go over them.
//!
//! What is lost on the way is sent again later, as TCP does: a cut or a freeze stalls a link, and nobody is told. The
//! daemon that dies is told of by its machine's kernel; a machine without power says nothing. How two hosts prove
//! themselves to each other is not modelled: a stream begins when they have.

use groupmgr::host::admin::{Command, Reply};
use groupmgr::host::{AdminReq, Input};
use groupmgr::keep;
use groupmgr::links::{self, Link, Loss};
use proto::Instant;
use proto::link::{ChannelId, Frame, WINDOW};
use proto::time::Duration;

use super::parts::links::{LinkEnd, Outcome, QuestionId, Stream, StreamId};
use super::parts::machine::ToDaemon;
use super::parts::observation::Observation;
use super::parts::tcp::{Flow, RESEND_FIRST, Seg};
use super::wire::Node;
use super::{Event, World, ms, secs};

/// A daemon reads what a link has brought so long after it came.
const READS_AFTER: Duration = ms(3);

/// Bytes of JSON and as much white space behind it as makes it so long.
fn at_length(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
    bytes.resize(bytes.len().max(len), b' ');
    bytes
}

/// Whether there is anything in these frames but what the other end has asked for, or what ends something.
fn speaks_for_itself(mut frames: &[u8]) -> bool {
    while let Ok(Some((frame, len))) = Frame::parse(frames) {
        if !matches!(frame, Frame::Pong | Frame::Cancel { .. } | Frame::Goodbye) {
            return true;
        }
        frames = &frames[len..];
    }
    false
}

impl World {
    /// Has a host ask another on an operator's behalf, over the link of the two, which is opened if there is none.
    ///
    /// # Panics
    /// When there is no way for a new link, or no daemon that takes it.
    pub fn ask_over_link(&mut self, from: &str, to: &str, command: &Command) -> QuestionId {
        self.ask_at_length(from, to, command, 0).unwrap_or_else(|| self.fail("there is no way for a link"))
    }

    /// The same, with a question and an answer of at least so many bytes; none where there is no way for a link now.
    pub fn ask_at_length(
        &mut self,
        from: &str,
        to: &str,
        command: &Command,
        len: usize,
    ) -> Option<QuestionId> {
        let (from, to) = (self.host_number(from), self.host_number(to));
        let stream = self.link_between(from, to)?;
        let now = self.machines[from].own_time(self.now);
        let question = QuestionId(self.next_question + 1);
        let end = self.link_end(from, stream)?;
        let channel = end.link.open(now, "ask by=operator")?;
        end.asked.insert(channel, (question, Vec::new()));
        end.sending.insert(channel, at_length(serde_json::to_vec(command).unwrap_or_default(), len));
        self.next_question += 1;
        self.observe(|w| {
            let [from, to] = [from, to].map(|host| w.names[host].clone());
            Some(Observation::AsksOver { question, from, to })
        });
        self.drive_link(from, stream, |_, _, _| {});
        Some(question)
    }

    /// For how long each link of a host has had nothing to do, if it has.
    pub fn idle_links(&self, host: &str) -> impl Iterator<Item = Duration> {
        let machine = &self.machines[self.host_number(host)];
        let now = machine.own_time(self.now);
        let ends = machine.daemon.alive().into_iter().flat_map(|running| running.links.values());
        ends.filter_map(move |end| Some(now.since(end.at_rest_since?)))
    }

    /// What has come of a question so far.
    #[must_use]
    pub fn answer_over_link(&self, question: QuestionId) -> Option<&Outcome> {
        self.link_answers.get(&question)
    }

    /// How many links a host has.
    #[must_use]
    pub fn links_of_host(&self, host: &str) -> usize {
        let number = self.host_number(host);
        self.machines[number].daemon.alive().map_or(0, |running| running.links.len())
    }

    pub(super) fn link_between(&mut self, from: usize, to: usize) -> Option<StreamId> {
        let running = self.machines[from].daemon.alive()?;
        let is_to = |stream: &StreamId| self.streams.get(stream).is_some_and(|s| s.hosts.contains(&to));
        if let Some(stream) = running.links.keys().find(|stream| is_to(stream)) {
            return Some(*stream);
        }
        let addr = self.wire.cable(*self.machines[to].cables.first()?).ip;
        let (near, far) = self.wire.route(self.cables_of(Node::Host(from)), addr)?;
        self.wire.crosses(near, far)?;
        if !self.machines[to].daemon.listens() || !self.machines[to].has_power {
            return None;
        }
        self.next_question += 1;
        let stream = StreamId(self.next_question);
        let hosts = [from, to];
        for (side, end) in [links::End::Opener, links::End::Accepter].into_iter().enumerate() {
            let now = self.machines[hosts[side]].own_time(self.now);
            let peer = self.names[hosts[1 - side]].clone();
            let running = self.machines[hosts[side]].daemon.running()?;
            running.links.insert(stream, LinkEnd::new(Link::new(now, end), side, peer));
        }
        let boots = hosts.map(|host| self.machines[host].daemon.boot());
        let flows = [Flow::new(), Flow::new()];
        self.streams.insert(stream, Stream { hosts, boots, via: [near, far], flows });
        self.rearm(to);
        Some(stream)
    }

    pub(super) fn link_end(&mut self, host: usize, stream: StreamId) -> Option<&mut LinkEnd> {
        self.machines[host].daemon.running()?.links.get_mut(&stream)
    }

    /// Does a step of a link's end, and what follows from it.
    pub(super) fn drive_link(
        &mut self,
        host: usize,
        stream: StreamId,
        step: impl FnOnce(&mut Link, Instant, &mut Vec<links::Event>),
    ) {
        let now = self.machines[host].own_time(self.now);
        let Some(end) = self.link_end(host, stream) else { return };
        let mut events = Vec::new();
        step(&mut end.link, now, &mut events);
        for event in events {
            self.on_link_event(host, stream, event);
        }
        self.write_link(host, stream);
        if let Some(end) = self.link_end(host, stream) {
            end.at_rest_since = end.link.is_at_rest().then(|| end.at_rest_since.unwrap_or(now));
        }
        self.rearm(host);
    }

    fn on_link_event(&mut self, host: usize, stream: StreamId, event: links::Event) {
        let now = self.now;
        let Some(end) = self.link_end(host, stream) else { return };
        match event {
            links::Event::Opened { channel, purpose } if purpose == keep::channel::PURPOSE => {
                if !end.keep.opened(channel, &end.link) {
                    self.fail("a second channel for copies");
                }
            }
            links::Event::Data { channel, bytes } if end.keep.hears(channel) => {
                self.heard_of_copies(host, stream, &bytes);
            }
            links::Event::Complete { channel } if end.keep.hears(channel) => end.link.end(channel),
            links::Event::Cancelled { channel } if end.keep.cancelled(channel) => {
                self.fail("nobody takes what is said of copies");
            }
            links::Event::Opened { channel, .. } => {
                end.asking.insert(channel, Vec::new());
            }
            links::Event::Data { channel, bytes } => {
                let is_first = end.unread.is_empty();
                let unread = end.unread.entry(channel).or_default();
                *unread += bytes.len();
                let len = *unread;
                let asked = end.asked.get_mut(&channel).map(|(_, got)| got);
                if let Some(got) = asked.or(end.asking.get_mut(&channel)) {
                    got.extend(bytes);
                }
                self.observe(|w| {
                    let table = "unread bytes of a channel";
                    Some(Observation::Size { host: w.names[host].clone(), table, len, max: WINDOW })
                });
                if is_first {
                    let boot = self.machines[host].daemon.boot();
                    let what = ToDaemon::ReadsLink(stream);
                    self.queue.put(now + READS_AFTER, Event::Daemon { host, boot, what });
                }
            }
            links::Event::Complete { channel } => {
                if let Some((question, got)) = end.asked.remove(&channel) {
                    let reply: Result<Reply, _> = serde_json::from_slice(&got);
                    match reply {
                        Ok(reply) => self.answered_over_link(question, Ok(reply)),
                        Err(error) => self.fail(&format!("an answer over a link: {error}")),
                    }
                } else if let Some(request) = end.asking.remove(&channel) {
                    self.answer_link(host, stream, channel, &request);
                }
            }
            links::Event::Cancelled { channel } => {
                end.asking.remove(&channel);
                end.sending.remove(&channel);
            }
            links::Event::Lost(loss) => {
                let lost = core::mem::take(&mut end.asked);
                self.no_more_of_copies(host, stream, loss);
                for (question, _) in lost.into_values() {
                    self.answered_over_link(question, Err(loss));
                }
                self.history.tell(now, || format!("{}: a link is over: {loss}", self.machines[host].name));
            }
        }
    }

    fn answered_over_link(&mut self, question: QuestionId, outcome: Outcome) {
        self.observe(|_| Some(Observation::Answered { question, loss: outcome.as_ref().err().copied() }));
        self.link_answers.insert(question, outcome);
    }

    pub(super) fn daemon_reads_link(&mut self, host: usize, stream: StreamId) {
        let Some(end) = self.link_end(host, stream) else { return };
        let unread = core::mem::take(&mut end.unread);
        self.drive_link(host, stream, |link, _, _| {
            unread.into_iter().for_each(|(channel, bytes)| link.consumed(channel, bytes));
        });
    }

    fn answer_link(&mut self, host: usize, stream: StreamId, channel: ChannelId, request: &[u8]) {
        let command: Command = match serde_json::from_slice(request) {
            Ok(command) => command,
            Err(error) => self.fail(&format!("a question over a link: {error}")),
        };
        let machine = &mut self.machines[host];
        machine.asked += 1;
        let req = AdminReq(machine.asked);
        if let Some(running) = machine.daemon.running() {
            running.link_asked.insert(req, (stream, channel, request.len()));
        }
        self.feed(host, Input::Admin { req, command });
    }

    /// Takes the answer to a question that came over a link; gives back any other.
    pub(super) fn answered_on_link(&mut self, host: usize, req: AdminReq, reply: Reply) -> Option<Reply> {
        let asked = self.machines[host].daemon.running().and_then(|running| running.link_asked.remove(&req));
        let Some((stream, channel, len)) = asked else { return Some(reply) };
        if let Some(end) = self.link_end(host, stream).filter(|end| end.link.is_open(channel)) {
            end.sending.insert(channel, at_length(serde_json::to_vec(&reply).unwrap_or_default(), len));
        }
        self.drive_link(host, stream, |_, _, _| {});
        None
    }

    /// Sends what an end has to say now; an end that is over has said its last.
    fn write_link(&mut self, host: usize, stream: StreamId) {
        let now = self.machines[host].own_time(self.now);
        loop {
            let Some(end) = self.link_end(host, stream) else { return };
            end.keep.write(now, &mut end.link);
            let rests = end.link.is_at_rest();
            let link = &mut end.link;
            end.sending.retain(|channel, bytes| {
                let sent = link.send(*channel, bytes);
                bytes.drain(..sent);
                if bytes.is_empty() {
                    link.end(*channel);
                }
                !bytes.is_empty() && link.is_open(*channel)
            });
            let (mut out, to) = (Vec::new(), 1 - end.side);
            link.write(now, &mut out);
            let loss = link.loss();
            if rests && loss.is_none() && speaks_for_itself(&out) {
                self.observe(|w| Some(Observation::RestingLinkSpeaks { host: w.names[host].clone() }));
            }
            if !out.is_empty() {
                self.send_link(stream, to, Seg::Data(out));
                continue;
            }
            let Some(loss) = loss else { return };
            if let Some(running) = self.machines[host].daemon.running() {
                running.links.remove(&stream);
            }
            if loss != Loss::Goodbye {
                self.send_link(stream, to, Seg::Rst);
            }
            return;
        }
    }

    fn send_link(&mut self, stream: StreamId, to: usize, seg: Seg) {
        let Some(way) = self.streams.get(&stream) else { return };
        let (from, into) = (way.via[1 - to], way.via[to]);
        let is_stalled = !way.flows[to].stalled.is_empty();
        let crossing = if is_stalled { None } else { self.wire.crosses(from, into) };
        let Some(way) = self.streams.get_mut(&stream) else { return };
        let flow = &mut way.flows[to];
        match crossing {
            Some(delay) => {
                flow.last_at = flow.last_at.max(self.now + delay);
                self.queue.put(flow.last_at, Event::LinkSegment { stream, to, seg });
            }
            None => {
                flow.stalled.push_back(seg);
                if !is_stalled {
                    flow.pause = RESEND_FIRST;
                    self.queue.put(self.now + flow.pause, Event::LinkResend { stream, to });
                }
            }
        }
    }

    pub(super) fn on_link_resend(&mut self, stream: StreamId, to: usize) {
        let Some(way) = self.streams.get(&stream) else { return };
        let crossing = self.wire.crosses(way.via[1 - to], way.via[to]);
        let Some(way) = self.streams.get_mut(&stream) else { return };
        let flow = &mut way.flows[to];
        if crossing.is_some() {
            for seg in core::mem::take(&mut flow.stalled) {
                self.send_link(stream, to, seg);
            }
            return;
        }
        // Nobody is left who would care.
        let is_over = |side: usize| {
            let daemon = &self.machines[way.hosts[side]].daemon;
            daemon.boot() != way.boots[side] || daemon.alive().is_none_or(|r| !r.links.contains_key(&stream))
        };
        if is_over(0) && is_over(1) {
            self.streams.remove(&stream);
            return;
        }
        flow.pause = (flow.pause * 2).min(secs(3));
        self.queue.put(self.now + flow.pause, Event::LinkResend { stream, to });
    }

    /// What the kernel of the machine does with what arrives.
    pub(super) fn on_link_segment(&mut self, stream: StreamId, to: usize, seg: Seg) {
        let Some(way) = self.streams.get(&stream) else { return };
        let (host, boot) = (way.hosts[to], way.boots[to]);
        if !self.machines[host].has_power {
            return;
        }
        if self.machines[host].daemon.boot() == boot {
            self.reach_daemon(host, ToDaemon::Link(stream, seg));
        } else if !matches!(seg, Seg::Rst) {
            self.send_link(stream, 1 - to, Seg::Rst);
        }
    }

    pub(super) fn daemon_takes_link(&mut self, host: usize, stream: StreamId, seg: Seg) {
        // A link rests from when it was heard last: a pong may have been held up.
        if let Some(end) = self.link_end(host, stream) {
            end.at_rest_since = None;
        }
        self.drive_link(host, stream, |link, now, events| match seg {
            Seg::Data(bytes) => link.receive(now, &bytes, events),
            _ => link.broke(events),
        });
    }

    /// Does what is due on a daemon's links.
    pub(super) fn links_are_due(&mut self, host: usize) {
        let now = self.machines[host].own_time(self.now);
        let Some(running) = self.machines[host].daemon.running() else { return };
        let is_due = |(_, end): &(&StreamId, &LinkEnd)| end.poll_at().is_some_and(|at| at <= now);
        let due: Vec<StreamId> = running.links.iter().filter(is_due).map(|(stream, _)| *stream).collect();
        for stream in due {
            self.drive_link(host, stream, Link::poll);
        }
    }

    /// The daemon of a host is gone: its kernel says so on every link.
    pub(super) fn break_links(&mut self, host: usize) {
        let ends: Vec<(StreamId, usize)> = self
            .streams
            .iter()
            .filter_map(|(stream, way)| Some((*stream, way.hosts.iter().position(|h| *h == host)?)))
            .collect();
        for (stream, side) in ends {
            self.send_link(stream, 1 - side, Seg::Rst);
        }
    }
}
