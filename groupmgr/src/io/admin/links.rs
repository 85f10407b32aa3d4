//! Links to other hosts: one task for each, which hands what comes and the time to the machine
//! ([`links`](crate::links)) and writes what it says. Questions and their answers are its channels.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV4;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::HostName;
use proto::line::Line;
use proto::link::ChannelId;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};

use super::busy::{AtWork, Busy};
use super::peer::{self, Asker, BY, BY_MAX, Both, CONNECT_WITHIN, Connected, NoAnswer, PeerError};
use super::wire::{ANSWER_MAX, Answer, Ask, REQUEST_MAX};
use crate::io::accept::session::read_once;
use crate::io::clock;
use crate::io::counters::{Counters, Reason};
use crate::links::{CHANNELS_MAX, End, Event, Link, Loss};

/// What a channel with a question says it is for.
const ASK: &str = "ask";
/// Questions that wait until their link has a free channel.
const QUESTIONS_MAX: usize = 64;
/// Bytes read at a time: what a TLS record holds.
const READ_MAX: usize = 16 * 1024;

/// Where a link's task takes questions.
#[derive(Clone)]
struct Handle {
    addr: SocketAddrV4,
    questions: mpsc::Sender<Question>,
}

/// Whoever waits for an answer.
type Waiting = oneshot::Sender<Result<Vec<u8>, NoAnswer>>;

struct Question {
    by: String,
    request: Vec<u8>,
    answer: Waiting,
}

impl Handle {
    /// Whether the link is still there.
    fn is_alive(&self) -> bool {
        !self.questions.is_closed()
    }

    /// Asks over the link. Given up when the future is dropped.
    async fn ask(&self, request: Vec<u8>, by: &str) -> Result<Vec<u8>, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        let by = by.chars().take(BY_MAX).collect();
        // A question that the task never took was not seen by the other host.
        let unseen = NoAnswer::Lost(Loss::Goodbye);
        self.questions.send(Question { by, request, answer }).await.map_err(|_| unseen)?;
        answered.await.unwrap_or(Err(unseen))
    }
}

/// The link to one host, if there is one; locked while it is being opened.
type Slot = Arc<tokio::sync::Mutex<Option<Handle>>>;

/// How another host can be asked.
enum Reached {
    Link(Handle),
    Single(Box<dyn Both>, SocketAddrV4),
}

/// Who answers the questions that come over links.
pub(super) trait Answering: Send + Sync {
    /// Answers a question that `by` asks.
    fn answer(self: Arc<Self>, ask: Ask, by: String) -> Pin<Box<dyn Future<Output = Answer> + Send>>;
}

/// All links of this host.
pub(super) struct Links {
    counters: Counters,
    busy: Busy,
    slots: Mutex<BTreeMap<HostName, Slot>>,
    closing: Arc<Notify>,
    running: Arc<()>,
}

impl Links {
    pub(super) fn new(counters: Counters, busy: Busy) -> Self {
        Self { counters, busy, slots: Mutex::default(), closing: Arc::default(), running: Arc::default() }
    }

    /// Asks the host `wanted` over its link, which is opened at the first of `addrs` that answers if there is none. A
    /// host of the version before speaks no links: it is asked over a connection of its own.
    pub(super) async fn ask(
        &self,
        answering: Arc<dyn Answering>,
        asker: &Asker,
        (wanted, addrs): (&HostName, &[SocketAddrV4]),
        ask: &Ask,
        by: &str,
    ) -> Result<Answer, PeerError> {
        let (connect_within, answer_within) = peer::patience(ask);
        let request = serde_json::to_vec(ask).unwrap_or_default();
        let mut last = PeerError::NoAddress;
        // A host that says goodbye has not seen the question, which may be asked once more. After any other loss nobody
        // knows whether it has.
        for _ in 0..2 {
            let handle = match self.reach(&answering, asker, (wanted, addrs), by, connect_within).await? {
                Reached::Link(handle) => handle,
                Reached::Single(mut stream, addr) => {
                    let answer = peer::exchange(&mut stream, addr, ask, answer_within).await;
                    drop(tokio::time::timeout(CONNECT_WITHIN, stream.shutdown()).await);
                    return answer;
                }
            };
            let addr = handle.addr;
            match tokio::time::timeout(answer_within, handle.ask(request.clone(), by)).await {
                Err(_) => return Err(PeerError::Late { addr }),
                Ok(Ok(answer)) => {
                    let bad = |source: serde_json::Error| PeerError::Io { addr, source: source.into() };
                    return serde_json::from_slice(&answer).map_err(bad);
                }
                Ok(Err(source)) => last = PeerError::NoAnswer { addr, source },
            }
            if !matches!(last, PeerError::NoAnswer { source: NoAnswer::Lost(Loss::Goodbye), .. }) {
                break;
            }
        }
        Err(last)
    }

    async fn reach(
        &self,
        answering: &Arc<dyn Answering>,
        asker: &Asker,
        (wanted, addrs): (&HostName, &[SocketAddrV4]),
        by: &str,
        within: Duration,
    ) -> Result<Reached, PeerError> {
        let slot = self.slot(wanted);
        let others = within.saturating_mul(u32::try_from(addrs.len()).unwrap_or(u32::MAX));
        let Ok(mut slot) = tokio::time::timeout(others, slot.lock()).await else {
            return Err(addrs.last().map_or(PeerError::NoAddress, |addr| PeerError::Late { addr: *addr }));
        };
        if let Some(handle) = slot.as_ref().filter(|handle| handle.is_alive()) {
            return Ok(Reached::Link(handle.clone()));
        }
        let (stream, addr) = asker.connect(wanted, addrs, by, within).await?;
        match stream {
            Connected::Single(stream) => Ok(Reached::Single(Box::new(stream), addr)),
            Connected::Link(stream) => {
                let (handle, task) =
                    self.link(Arc::clone(answering), stream, End::Opener, wanted.clone(), addr);
                tokio::spawn(task.run());
                *slot = Some(handle.clone());
                Ok(Reached::Link(handle))
            }
        }
    }

    /// Runs a link that the host `peer` has opened, over which it may be asked as well.
    pub(super) async fn serve<S>(
        &self,
        answering: Arc<dyn Answering>,
        stream: S,
        peer: HostName,
        addr: SocketAddrV4,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (handle, task) = self.link(answering, stream, End::Accepter, peer.clone(), addr);
        if let Ok(mut slot) = self.slot(&peer).try_lock()
            && !slot.as_ref().is_some_and(Handle::is_alive)
        {
            *slot = Some(handle);
        }
        task.run().await;
    }

    /// Where the link to `host` is. Asked only for hosts of the group.
    fn slot(&self, host: &HostName) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || slot.try_lock().is_ok_and(|slot| slot.as_ref().is_some_and(Handle::is_alive))
        });
        Arc::clone(slots.entry(host.clone()).or_default())
    }

    /// Says goodbye on every link.
    pub(super) fn close(&self) {
        self.closing.notify_waiters();
    }

    /// Whether every link has ended.
    pub(super) fn is_empty(&self) -> bool {
        Arc::strong_count(&self.running) == 1
    }

    /// A link over `stream`, whose other end is `peer` at `addr`, and the handle to ask it.
    fn link<S>(
        &self,
        answering: Arc<dyn Answering>,
        stream: S,
        end: End,
        peer: HostName,
        addr: SocketAddrV4,
    ) -> (Handle, Task<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (sender, questions) = mpsc::channel(QUESTIONS_MAX);
        let (reader, writer) = tokio::io::split(stream);
        let (done, answers) = mpsc::channel(QUESTIONS_MAX);
        let talk = Talk {
            link: Link::new(clock::now(), end),
            answering,
            counters: self.counters.clone(),
            busy: self.busy.clone(),
            peer,
            asked: BTreeMap::new(),
            asking: BTreeMap::new(),
            sending: BTreeMap::new(),
            at_work: BTreeMap::new(),
            running: 0,
            done,
        };
        let closing = Arc::clone(&self.closing);
        let task =
            Task { talk, reader, writer, questions, answers, closing, _running: Arc::clone(&self.running) };
        (Handle { addr, questions: sender }, task)
    }
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
    counters: Counters,
    busy: Busy,
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
                _ => self.refuse(channel),
            },
            Event::Data { channel, bytes } => {
                self.link.consumed(channel, bytes.len());
                self.data(channel, &bytes);
            }
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
            (Arc::clone(&self.answering), self.done.clone(), self.busy.at_work());
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
        self.counters.count(Reason::Admin);
    }

    fn lost(&mut self, loss: Loss) {
        if let Loss::Fault(fault) = loss {
            self.counters.count(Reason::Link);
            tracing::warn!(peer = %self.peer, %fault, "a link to another host was closed");
        }
        for (_, (answer, _)) in std::mem::take(&mut self.asked) {
            drop(answer.send(Err(NoAnswer::Lost(loss))));
        }
    }
}

/// A link that waits to be run.
struct Task<S> {
    talk: Talk,
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    questions: mpsc::Receiver<Question>,
    answers: mpsc::Receiver<Answered>,
    closing: Arc<Notify>,
    _running: Arc<()>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Task<S> {
    /// Runs until the link is lost.
    async fn run(self) {
        let Self { mut talk, mut reader, mut writer, mut questions, mut answers, closing, _running } = self;
        let (mut out, mut written, mut is_flushed) = (Vec::new(), 0, true);
        let mut events = Vec::new();
        loop {
            if written == out.len() {
                // A link at rest keeps no space.
                (written, out) = (0, Vec::new());
                talk.write(&mut out);
            }
            let (may_open, due) = (talk.link.may_open(), talk.link.poll_at());
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
                Some(question) = questions.recv(), if may_open => talk.ask(question),
                () = closing.notified() => talk.link.close(&mut events),
                () = clock::until(due) => talk.link.poll(clock::now(), &mut events),
            }
            for event in events.drain(..) {
                talk.take(event);
            }
            match talk.link.loss() {
                None => {}
                Some(Loss::Goodbye) => break,
                Some(_) => return,
            }
        }
        drop(questions);
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
