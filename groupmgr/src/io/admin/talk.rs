//! What is said on one link, and the task that reads and writes it.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use proto::HostName;
use proto::line::Line;
use proto::link::ChannelId;
use proto::time::earliest;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};

use super::busy::{AtWork, Busy};
use super::keep::{Keep, Outgoing};
use super::peer::{BY, BY_MAX, CONNECT_WITHIN, NoAnswer};
use super::wire::{ANSWER_MAX, Answer, Ask, REQUEST_MAX};
use crate::io::accept::session::read_once;
use crate::io::clock;
use crate::io::counters::{Counters, Reason};
use crate::io::inbox::{Event as HostEvent, Inbox};
use crate::keep::channel::PURPOSE;
use crate::links::{CHANNELS_MAX, End, Event, Link, Loss};

/// What a channel with a question says it is for.
const ASK: &str = "ask";
/// Wishes that wait until their link has a free channel.
const WANTED_MAX: usize = 64;
/// Bytes read at a time: what a TLS record holds.
const READ_MAX: usize = 16 * 1024;

/// What all links of a host have in common.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) counters: Counters,
    pub(super) busy: Busy,
    pub(super) inbox: Inbox,
    /// Notified when all links are to say goodbye.
    pub(super) closing: Arc<Notify>,
    /// Held by each link that is there.
    pub(super) running: Arc<()>,
}

/// What is wanted of a link.
pub(super) enum Wanted {
    Ask(Question),
    /// Carry what the host machine says to the other.
    Carry(Outgoing),
}

/// Whoever waits for an answer.
type Waiting = oneshot::Sender<Result<Vec<u8>, NoAnswer>>;

/// A question of this host.
pub(super) struct Question {
    pub(super) by: String,
    pub(super) request: Vec<u8>,
    pub(super) answer: Waiting,
}

/// Who answers the questions that come over links.
pub(super) trait Answering: Send + Sync {
    /// Answers a question that `by` asks.
    fn answer(self: Arc<Self>, ask: Ask, by: String) -> Pin<Box<dyn Future<Output = Answer> + Send>>;
}

/// An answer that is ready to be sent.
struct Answered {
    channel: ChannelId,
    answer: Vec<u8>,
    at_work: AtWork,
}

/// What is said on a link.
struct Talk {
    link: Link,
    answering: Arc<dyn Answering>,
    shared: Shared,
    keep: Keep,
    peer: HostName,
    /// Questions of ours, and what has come of their answers.
    asked: BTreeMap<ChannelId, (Waiting, Vec<u8>)>,
    /// Questions of the other host of which the end has not come: who asks, and what has come.
    asking: BTreeMap<ChannelId, (String, Vec<u8>)>,
    /// What is sent on each channel, and how much of it was handed to the link.
    sending: BTreeMap<ChannelId, (Vec<u8>, usize)>,
    /// Held until an answer is written.
    at_work: BTreeMap<ChannelId, AtWork>,
    /// Orders of the other host that are being done, whether it still waits for them or not.
    running: usize,
    done: mpsc::Sender<Answered>,
}

impl Talk {
    fn want(&mut self, wanted: Wanted) {
        match wanted {
            Wanted::Ask(question) => self.ask(question),
            Wanted::Carry(outgoing) => self.keep.carry(outgoing),
        }
    }

    fn ask(&mut self, question: Question) {
        let purpose = Line::new(ASK).with(BY, question.by).to_string();
        match self.link.open(clock::now(), &purpose) {
            Some(channel) => {
                self.asked.insert(channel, (question.answer, Vec::new()));
                self.sending.insert(channel, (question.request, 0));
            }
            None => drop(question.answer.send(Err(NoAnswer::Refused))),
        }
    }

    fn answered(&mut self, Answered { channel, answer, at_work }: Answered) {
        self.running -= 1;
        if self.link.is_open(channel) {
            self.sending.insert(channel, (answer, 0));
            self.at_work.insert(channel, at_work);
        }
    }

    /// Hands the link as much as it takes, and gives up what nobody waits for any more. Returns what is to be written.
    fn write(&mut self, out: &mut Vec<u8>) {
        let (link, now) = (&mut self.link, clock::now());
        self.asked.retain(|channel, (answer, _)| {
            if answer.is_closed() {
                link.cancel(now, *channel);
            }
            !answer.is_closed()
        });
        self.sending.retain(|channel, (bytes, sent)| {
            *sent += link.send(*channel, &bytes[*sent..]);
            let is_done = *sent == bytes.len();
            if is_done {
                link.end(*channel);
            }
            !is_done && link.is_open(*channel)
        });
        self.keep.channels.write(now, link);
        link.write(now, out);
        self.at_work.retain(|channel, _| link.is_open(*channel));
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Opened { channel, purpose } => match Line::parse(purpose.as_bytes()) {
                Ok(line) if line.command() == ASK => {
                    let by: String = line.get(BY).unwrap_or_default().chars().take(BY_MAX).collect();
                    self.asking.insert(channel, (format!("{by}@{}", self.peer), Vec::new()));
                }
                Ok(line) if line.command() == PURPOSE && self.keep.channels.opened(channel, &self.link) => {}
                _ => self.refuse(channel),
            },
            Event::Data { channel, bytes } if self.keep.channels.hears(channel) => {
                if self.keep.channels.data(&mut self.link, &bytes).is_err() {
                    self.refuse(channel);
                }
            }
            Event::Data { channel, bytes } => {
                self.link.consumed(channel, bytes.len());
                self.data(channel, &bytes);
            }
            Event::Complete { channel } if self.keep.channels.hears(channel) => self.link.end(channel),
            Event::Cancelled { channel } if self.keep.channels.cancelled(channel) => self.keep.refused(),
            Event::Complete { channel } => {
                if let Some((answer, got)) = self.asked.remove(&channel) {
                    drop(answer.send(Ok(got)));
                } else if let Some((by, request)) = self.asking.remove(&channel) {
                    self.do_here(channel, by, &request);
                }
            }
            Event::Cancelled { channel } => {
                self.asking.remove(&channel);
                if let Some((answer, _)) = self.asked.remove(&channel) {
                    drop(answer.send(Err(NoAnswer::Refused)));
                }
            }
            Event::Lost(loss) => self.lost(loss),
        }
    }

    fn data(&mut self, channel: ChannelId, bytes: &[u8]) {
        if let Some((_, got)) = self.asking.get_mut(&channel) {
            got.extend_from_slice(bytes);
            if got.len() > REQUEST_MAX {
                self.refuse(channel);
            }
        } else if let Some((_, got)) = self.asked.get_mut(&channel) {
            got.extend_from_slice(bytes);
            if got.len() > ANSWER_MAX {
                self.link.cancel(clock::now(), channel);
                if let Some((answer, _)) = self.asked.remove(&channel) {
                    drop(answer.send(Err(NoAnswer::Refused)));
                }
            }
        }
    }

    fn do_here(&mut self, channel: ChannelId, by: String, request: &[u8]) {
        let Ok(ask) = serde_json::from_slice(request) else { return self.refuse(channel) };
        if self.running >= CHANNELS_MAX {
            return self.refuse(channel);
        }
        self.running += 1;
        let (answering, done, at_work) =
            (Arc::clone(&self.answering), self.done.clone(), self.shared.busy.at_work());
        tokio::spawn(async move {
            let answer = answering.answer(ask, by).await;
            let answer = serde_json::to_vec(&answer).unwrap_or_default();
            drop(done.send(Answered { channel, answer, at_work }).await);
        });
    }

    /// Gives up a channel on which no question came that can be read.
    fn refuse(&mut self, channel: ChannelId) {
        self.asking.remove(&channel);
        self.link.cancel(clock::now(), channel);
        self.shared.counters.count(Reason::Admin);
    }

    fn lost(&mut self, loss: Loss) {
        if let Loss::Fault(fault) = loss {
            self.shared.counters.count(Reason::Link);
            tracing::warn!(peer = %self.peer, %fault, "a link to another host was closed");
        }
        for (_, (answer, _)) in std::mem::take(&mut self.asked) {
            drop(answer.send(Err(NoAnswer::Lost(loss))));
        }
        self.keep.lost(loss);
    }

    /// Hands the host machine the next that came for it.
    fn tell(&mut self, room: Option<mpsc::Permit<'_, HostEvent>>) {
        let input = self.keep.heard(&mut self.link);
        if let (Some(room), Some(input)) = (room, input) {
            room.send(HostEvent::Input(input));
        }
    }

    /// Hands it what is left when the link is over.
    async fn tell_rest(&mut self, mut wanted: mpsc::Receiver<Wanted>, inbox: &Inbox) {
        wanted.close();
        while let Ok(wanted) = wanted.try_recv() {
            if let Wanted::Carry(outgoing) = wanted {
                self.keep.carry(outgoing);
                self.keep.lost(Loss::Reset);
            }
        }
        while let Some(input) = self.keep.heard(&mut self.link) {
            inbox.send(HostEvent::Input(input)).await;
        }
    }
}

/// A link that waits to be run.
pub(super) struct Task<S> {
    talk: Talk,
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    wanted: mpsc::Receiver<Wanted>,
    answers: mpsc::Receiver<Answered>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Task<S> {
    /// A link over `stream`, whose other end is `peer`, and where it takes what is wanted of it.
    pub(super) fn new(
        shared: &Shared,
        answering: Arc<dyn Answering>,
        stream: S,
        end: End,
        peer: HostName,
    ) -> (mpsc::Sender<Wanted>, Self) {
        let (sender, wanted) = mpsc::channel(WANTED_MAX);
        let (reader, writer) = tokio::io::split(stream);
        let (done, answers) = mpsc::channel(WANTED_MAX);
        let talk = Talk {
            link: Link::new(clock::now(), end),
            answering,
            shared: shared.clone(),
            keep: Keep::new(peer.clone()),
            peer,
            asked: BTreeMap::new(),
            asking: BTreeMap::new(),
            sending: BTreeMap::new(),
            at_work: BTreeMap::new(),
            running: 0,
            done,
        };
        (sender, Self { talk, reader, writer, wanted, answers })
    }

    /// Runs until the link is lost.
    pub(super) async fn run(self) {
        let Self { mut talk, mut reader, mut writer, mut wanted, mut answers } = self;
        let Shared { inbox, closing, .. } = talk.shared.clone();
        let (mut out, mut written, mut is_flushed) = (Vec::new(), 0, true);
        let mut events = Vec::new();
        loop {
            if written == out.len() {
                // A link at rest keeps no space.
                (written, out) = (0, Vec::new());
                talk.write(&mut out);
            }
            let due_at = earliest(talk.link.poll_at(), talk.keep.channels.poll_at());
            let (may_open, has_heard) = (talk.link.may_open(), talk.keep.has_heard());
            let link = &mut talk.link;
            tokio::select! {
                // What has come is heard before anybody is called silent.
                biased;
                read = read_once::<READ_MAX>(&mut reader, |bytes| link.receive(clock::now(), bytes, &mut events)) => {
                    if !matches!(read, Ok(1..)) {
                        talk.link.broke(&mut events);
                    }
                }
                wrote = push(&mut writer, &out[written..]), if written < out.len() || !is_flushed => match wrote {
                    Ok(n) => (written, is_flushed) = (written + n, n == 0),
                    Err(_) => talk.link.broke(&mut events),
                },
                Some(answered) = answers.recv() => talk.answered(answered),
                room = inbox.room(), if has_heard => talk.tell(room),
                message = talk.keep.next() => talk.keep.say(message),
                Some(wanted) = wanted.recv(), if may_open => talk.want(wanted),
                () = closing.notified() => talk.link.close(&mut events),
                () = clock::until(due_at) => talk.link.poll(clock::now(), &mut events),
            }
            for event in events.drain(..) {
                talk.take(event);
            }
            match talk.link.loss() {
                None => {}
                Some(Loss::Goodbye) => break,
                Some(_) => return talk.tell_rest(wanted, &inbox).await,
            }
        }
        talk.tell_rest(wanted, &inbox).await;
        let farewell = async {
            writer.write_all(&out[written..]).await?;
            out.clear();
            talk.link.write(clock::now(), &mut out);
            writer.write_all(&out).await?;
            writer.shutdown().await
        };
        drop(tokio::time::timeout(CONNECT_WITHIN, farewell).await);
    }
}

/// Writes some of `bytes` and returns how many; flushes when there are none. Nothing is lost when it is dropped.
async fn push(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(bytes).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        n => Ok(n),
    }
}
