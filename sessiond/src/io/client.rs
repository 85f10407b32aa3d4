//! The daemon's side of the spawner and of the session processes.
//!
//! A [`Client`] is given things to do without waiting and says what happened, one event after the other. Its queues
//! are bounded; a session that does not read its socket is reported, never waited for. When it is dropped, or its
//! process ends in whatever way, its sockets close, and the spawner acts on that.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use proto::SessionId;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::packets::{self, Receiver};
use super::rundir::RunDir;
use crate::control::{
    Bytes, ControlError, Exit, FromSession, FromSpawner, Message, REPLY_MAX, SessionSpec, ToSession,
    ToSpawner,
};

/// Requests to the spawner that may wait for it: it forks some hundreds of sessions a second.
const SPAWNER_QUEUE: usize = 1024;
/// Messages to one session that may wait for it.
const SESSION_QUEUE: usize = 64;
/// Events that may wait for the daemon; beyond that sessions wait for it.
const EVENT_QUEUE: usize = 1024;

/// How a spawner is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The program that is a spawner when given `spawner` after [`Start::arguments`]: `sessiond`, or `groupmgr` with
    /// `sessiond` before it.
    pub program: PathBuf,
    /// What comes before `spawner` on its command line.
    pub arguments: Vec<OsString>,
    /// The spawner's directory; see [`super::spawner::Options::run_dir`].
    pub run_dir: PathBuf,
    /// Whether sessions outlive this daemon. Such a spawner writes what it has to say to `spawner.log` there.
    pub keep: bool,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// There is a session process, and it can be told things; it says [`FromSession::Ready`] when it can be attached.
    Spawned {
        /// Which.
        session: SessionId,
        /// Whether it was made for an earlier daemon; then it has to be asked what it is.
        kept: bool,
    },
    /// There is no such session process.
    SpawnFailed {
        /// Which.
        session: SessionId,
        /// Why not, and what to do about it.
        reason: String,
    },
    /// A session process says something.
    Session {
        /// Which.
        session: SessionId,
        /// What.
        message: FromSession,
    },
    /// A session process is gone and all it had started.
    Exited {
        /// Which.
        session: SessionId,
        /// How.
        exit: Exit,
    },
    /// The spawner is gone. Its sessions can still be told things, but none can be made.
    SpawnerGone,
}

/// Why there is no connection to a spawner.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It could not be started or reached.
    #[error("the spawner cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// It was started and could not begin.
    #[error("the spawner does not start: {0}")]
    Failed(String),
    /// Another daemon is connected to it.
    #[error("another daemon is connected to the spawner: stop that one, or use another run directory")]
    Busy,
    /// It ended without a word.
    #[error(
        "the spawner ended before it began: its standard error, or spawner.log in its directory, says why"
    )]
    Ended,
}

/// Why something was not done. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    /// It has so much to read already that it is stuck.
    #[error("it does not read what it is told")]
    Full,
    /// There is no such process any more.
    #[error("there is no such process")]
    Gone,
    /// Something in it is longer than allowed.
    #[error(transparent)]
    Bounds(#[from] ControlError),
}

impl<T> From<TrySendError<T>> for TellError {
    fn from(error: TrySendError<T>) -> Self {
        match error {
            TrySendError::Full(_) => Self::Full,
            TrySendError::Closed(_) => Self::Gone,
        }
    }
}

type Outgoing<M> = (M, Option<OwnedFd>);

/// The connections to a spawner and its sessions.
#[derive(Debug)]
pub struct Client {
    spawner: mpsc::Sender<Outgoing<ToSpawner>>,
    shared: Arc<Shared>,
    events: mpsc::Receiver<Event>,
    keep: bool,
    kept: u32,
}

#[derive(Debug)]
struct Shared {
    sessions: Mutex<BTreeMap<SessionId, mpsc::Sender<Outgoing<ToSession>>>>,
    receiver: Mutex<Receiver>,
}

impl Client {
    /// Connects to a running spawner.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn connect(run_dir: &Path) -> Result<Self, StartError> {
        Self::begin(packets::connected(&RunDir::new(run_dir).socket())?).await
    }

    /// Starts a spawner in a process group of its own, so that a signal to the daemon's (`^C`) does not reach it.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(start: &Start) -> Result<Self, StartError> {
        let (ours, theirs) = packets::pair()?;
        let mut command = Command::new(&start.program);
        command.args(&start.arguments).args(["spawner", "--inherited", "--run-dir"]).arg(&start.run_dir);
        command.stdin(theirs).stdout(Stdio::null()).process_group(0);
        if start.keep {
            std::fs::create_dir_all(&start.run_dir)?;
            let log = OpenOptions::new().create(true).append(true).open(RunDir::new(&start.run_dir).log())?;
            command.arg("--keep").stderr(log);
        }
        // Not waited for here: tokio takes note of its end, and its socket tells of it.
        drop(command.spawn()?);
        drop(command);
        Self::begin(ours).await
    }

    /// Connects to the spawner in this directory if one lives there, else starts one. Either way sessions are kept
    /// from now on as `start` says.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn connect_or_start(start: &Start) -> Result<Self, StartError> {
        let fd = match packets::connected(&RunDir::new(&start.run_dir).socket()) {
            Ok(fd) => fd,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Self::start(start).await;
            }
            Err(error) => return Err(error.into()),
        };
        // Before anything else: what was sent is read even if this daemon should die the next moment.
        let sent = packets::send(&fd, &ToSpawner::Keep(start.keep), None);
        match Self::begin(fd).await {
            // It was just leaving; the new one waits until it has.
            Err(StartError::Ended) => Self::start(start).await,
            outcome => sent.map_err(StartError::Io).and(outcome),
        }
    }

    async fn begin(fd: OwnedFd) -> Result<Self, StartError> {
        let (spawner, queue) = mpsc::channel(SPAWNER_QUEUE);
        let (to_daemon, events) = mpsc::channel(EVENT_QUEUE);
        let shared = Arc::new(Shared { sessions: Mutex::default(), receiver: Mutex::new(Receiver::new()) });
        let mut link = Link::new(fd, queue, &shared)?;
        match link.next::<FromSpawner>(&to_daemon).await {
            Some((FromSpawner::Hello { keep, sessions }, _)) => {
                tokio::spawn(serve_spawner(link, Arc::clone(&shared), to_daemon));
                Ok(Self { spawner, shared, events, keep, kept: sessions })
            }
            Some((FromSpawner::Busy, _)) => Err(StartError::Busy),
            Some((FromSpawner::Failed(reason), _)) => Err(StartError::Failed(reason)),
            Some(_) | None => Err(StartError::Ended),
        }
    }

    /// Whether sessions outlived the daemon when this one connected.
    #[must_use]
    pub fn was_keeping(&self) -> bool {
        self.keep
    }

    /// How many sessions an earlier daemon has left; as many [`Event::Spawned`] come first.
    #[must_use]
    pub fn kept(&self) -> u32 {
        self.kept
    }

    /// The next event; `None` when neither spawner nor session is left. Can be dropped and called again without
    /// losing any.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Has a session process made; answered by [`Event::Spawned`] or [`Event::SpawnFailed`].
    ///
    /// # Errors
    /// See [`TellError`].
    pub fn spawn(&self, spec: SessionSpec) -> Result<(), TellError> {
        self.ask(ToSpawner::Spawn(Box::new(spec)))
    }

    /// Ends a session process that does not end itself; answered by [`Event::Exited`].
    ///
    /// # Errors
    /// See [`TellError`].
    pub fn kill(&self, session: SessionId) -> Result<(), TellError> {
        self.ask(ToSpawner::Kill(session))
    }

    /// Whether sessions outlive this daemon from now on.
    ///
    /// # Errors
    /// See [`TellError`].
    pub fn keep_sessions(&self, keep: bool) -> Result<(), TellError> {
        self.ask(ToSpawner::Keep(keep))
    }

    /// Ends all sessions and the spawner; [`Event::SpawnerGone`] says when that is done.
    ///
    /// # Errors
    /// See [`TellError`].
    pub fn end_all(&self) -> Result<(), TellError> {
        self.ask(ToSpawner::EndAll)
    }

    fn ask(&self, message: ToSpawner) -> Result<(), TellError> {
        message.check()?;
        Ok(self.spawner.try_send((message, None))?)
    }

    /// Tells a session something. Not for [`ToSession::Display`], which needs [`Client::hand_over`].
    ///
    /// # Errors
    /// See [`TellError`].
    pub fn tell(&self, session: SessionId, message: ToSession) -> Result<(), TellError> {
        self.pass(session, message, None)
    }

    /// Hands a session a display connection, of which `already` was read beyond its first line. The connection is the
    /// session's from then on; on an error it closes.
    ///
    /// # Errors
    /// See [`TellError`].
    pub fn hand_over(
        &self,
        session: SessionId,
        connection: OwnedFd,
        already: Vec<u8>,
    ) -> Result<(), TellError> {
        self.pass(session, ToSession::Display { already: Bytes(already) }, Some(connection))
    }

    fn pass(&self, session: SessionId, message: ToSession, fd: Option<OwnedFd>) -> Result<(), TellError> {
        match &message {
            ToSession::DataReply { reply, .. } if reply.0.len() > REPLY_MAX => {
                return Err(ControlError::Bounds.into());
            }
            // It will be cut into parts.
            ToSession::DataReply { .. } => {}
            _ => message.check()?,
        }
        let sessions = self.shared.lock();
        Ok(sessions.get(&session).ok_or(TellError::Gone)?.try_send((message, fd))?)
    }
}

/// Takes what the spawner says apart into events and new sessions.
async fn serve_spawner(mut link: Link<ToSpawner>, shared: Arc<Shared>, events: mpsc::Sender<Event>) {
    while let Some((message, fd)) = link.next::<FromSpawner>(&events).await {
        let event = match message {
            FromSpawner::Spawned(session) => Event::Spawned { session, kept: false },
            FromSpawner::Kept(session) => Event::Spawned { session, kept: true },
            FromSpawner::SpawnFailed { session, reason } => Event::SpawnFailed { session, reason },
            FromSpawner::Exited { session, exit } => Event::Exited { session, exit },
            FromSpawner::Hello { .. } | FromSpawner::Busy | FromSpawner::Failed(_) => continue,
        };
        let (Event::Spawned { session, .. }, Some(fd)) = (&event, fd) else {
            if events.send(event).await.is_err() {
                return;
            }
            continue;
        };
        let session = *session;
        let (sender, queue) = mpsc::channel(SESSION_QUEUE);
        let event = match Link::new(fd, queue, &shared) {
            Ok(link) => {
                shared.lock().insert(session, sender);
                // Nothing the session says may come before this, so its own task starts after it.
                if events.send(event).await.is_err() {
                    return;
                }
                tokio::spawn(serve_session(session, link, Arc::clone(&shared), events.clone()));
                continue;
            }
            Err(error) => {
                Event::SpawnFailed { session, reason: format!("its socket cannot be used: {error}") }
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
    let _ = events.send(Event::SpawnerGone).await;
}

async fn serve_session(
    session: SessionId,
    mut link: Link<ToSession>,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
) {
    while let Some((message, _)) = link.next::<FromSession>(&events).await {
        if events.send(Event::Session { session, message }).await.is_err() {
            break;
        }
    }
    shared.lock().remove(&session);
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<SessionId, mpsc::Sender<Outgoing<ToSession>>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message that may take several packets.
trait InParts: Message {
    fn parts(self) -> Vec<Self>;
}

impl InParts for ToSpawner {
    fn parts(self) -> Vec<Self> {
        vec![self]
    }
}

impl InParts for ToSession {
    fn parts(self) -> Vec<Self> {
        self.in_parts()
    }
}

/// One control socket: what goes out waits in `queue` and `unsent` until the other side reads.
struct Link<M> {
    fd: AsyncFd<OwnedFd>,
    queue: mpsc::Receiver<Outgoing<M>>,
    unsent: VecDeque<Outgoing<M>>,
    shared: Arc<Shared>,
}

impl<M: InParts> Link<M> {
    fn new(fd: OwnedFd, queue: mpsc::Receiver<Outgoing<M>>, shared: &Arc<Shared>) -> io::Result<Self> {
        // SAFETY: the descriptor is owned by what it is registered as, and never replaced in there.
        let fd = unsafe { AsyncFd::register(fd) }?;
        Ok(Self { fd, queue, unsent: VecDeque::new(), shared: Arc::clone(shared) })
    }

    /// The next message from the other side; sends meanwhile. `None` when it is gone, or the daemon's client is.
    async fn next<In: Message>(&mut self, events: &mpsc::Sender<Event>) -> Option<Outgoing<In>> {
        let Self { fd, queue, unsent, shared } = self;
        loop {
            tokio::select! {
                () = events.closed() => return None,
                ready = fd.readable() => {
                    let mut ready = ready.ok()?;
                    let receive = |fd: &AsyncFd<OwnedFd>| {
                        let mut receiver = shared.receiver.lock().unwrap_or_else(PoisonError::into_inner);
                        receiver.receive::<In>(fd.get_ref())
                    };
                    match ready.try_io(receive) {
                        Ok(Ok(message)) => return message,
                        Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => {
                            tracing::warn!("a control message is passed over: {error}");
                        }
                        Ok(Err(_)) => return None,
                        Err(_would_block) => {}
                    }
                }
                Some((message, fd)) = queue.recv(), if unsent.is_empty() => {
                    let mut fd = fd;
                    unsent.extend(message.parts().into_iter().map(|part| (part, fd.take())));
                }
                ready = fd.writable(), if !unsent.is_empty() => {
                    let mut ready = ready.ok()?;
                    let Some((message, beside)) = unsent.front() else { continue };
                    let beside = beside.as_ref().map(OwnedFd::as_fd);
                    match ready.try_io(|fd| packets::send(fd.get_ref(), message, beside)) {
                        Err(_would_block) => continue,
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::warn!("a control message is not sent: {error}"),
                    }
                    unsent.pop_front();
                }
            }
        }
    }
}
