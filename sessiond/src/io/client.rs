//! The daemon's side of the spawner and of the session processes.
//!
//! A [`Client`] is given things to do without waiting and says what happened, one event after the other. Its queues
//! are bounded; a session that does not read its socket is reported, never waited for. When it is dropped, or its
//! process ends in whatever way, its sockets close, and the spawner acts on that.

mod link;
mod serve;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::Signal;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Pid;
use proto::SessionId;
use tokio::process::Command;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::AbortHandle;

use self::link::PacketLink;

use super::limits::OpenFiles;
use super::packets::{self, Receiver};
use super::rundir::RunDir;
use crate::control::{
    Bytes, ControlError, Exit, FromSession, FromSpawner, Message as _, REPLY_MAX, SessionSpec, ToSession,
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
    /// How many files the programs of a session may have open; without it as many as this process.
    pub open_files: Option<OpenFiles>,
}

/// What the spawner or a session process said, or that it is gone.
#[derive(Debug)]
pub enum Event {
    /// There is a session process, and it can be told things; it says [`FromSession::Ready`] when it can be attached.
    Spawned {
        /// The session that it runs.
        session: SessionId,
        /// Whether it was made for an earlier daemon; then it has to be asked what it is.
        kept: bool,
    },
    /// There is no such session process.
    SpawnFailed {
        /// The session that it should have run.
        session: SessionId,
        /// Why not, and what to do about it.
        reason: String,
    },
    /// A session process says something.
    Session {
        /// The session that says it.
        session: SessionId,
        /// What the session said.
        message: FromSession,
    },
    /// A session process is gone and all it had started.
    Exited {
        /// The session that it ran.
        session: SessionId,
        /// How its process ended.
        exit: Exit,
    },
    /// The spawner is gone. Its sessions can still be told things, but none can be made before
    /// [`Client::use_spawner`]. What it was asked for follows as [`Event::SpawnFailed`].
    SpawnerGone,
    /// The spawner has not answered for two seconds; after five it is killed, if this process may do that.
    SpawnerStuck,
    /// And answers again.
    SpawnerBack,
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
    spawner: NewSpawner,
    shared: Arc<Shared>,
    events: mpsc::Receiver<Event>,
    to_daemon: mpsc::Sender<Event>,
}

/// A connection to a spawner, to be used in the place of one that is gone.
#[derive(Debug)]
pub struct NewSpawner {
    sender: mpsc::Sender<Outgoing<ToSpawner>>,
    keep: bool,
    kept: u32,
}

#[derive(Debug)]
struct Shared {
    sessions: Mutex<BTreeMap<SessionId, Entry>>,
    /// Sessions that the spawner was asked for and has not answered for.
    asked: Mutex<BTreeSet<SessionId>>,
    receiver: Mutex<Receiver>,
    /// How many spawners have gone.
    generation: AtomicU64,
    /// Whether the present one knows [`ToSpawner::Ping`] and [`ToSpawner::Renew`].
    answers: AtomicBool,
    /// Processes it has started ahead of need.
    ahead: AtomicU32,
}

/// A session that can be told things.
#[derive(Debug)]
struct Entry {
    sender: mpsc::Sender<Outgoing<ToSession>>,
    /// How many spawners had gone when it was made.
    generation: u64,
    task: Option<AbortHandle>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            sessions: Mutex::default(),
            asked: Mutex::default(),
            receiver: Mutex::new(Receiver::new()),
            generation: AtomicU64::new(0),
            answers: AtomicBool::new(false),
            ahead: AtomicU32::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, Entry>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> MutexGuard<'_, BTreeSet<SessionId>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_asked(&self, session: SessionId) {
        self.asked().remove(&session);
    }

    fn take_asked(&self) -> BTreeSet<SessionId> {
        std::mem::take(&mut *self.asked())
    }
}

impl Client {
    /// Connects to a running spawner.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn connect(run_dir: &Path) -> Result<Self, StartError> {
        let (shared, channel) = (Shared::new(), mpsc::channel(EVENT_QUEUE));
        let spawner = NewSpawner::connect(run_dir, &shared, &channel.0).await?;
        Ok(Self::with(spawner, shared, channel))
    }

    /// Starts a spawner in a process group of its own, so that a signal to the daemon's (`^C`) does not reach it.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(start: &Start) -> Result<Self, StartError> {
        let (shared, channel) = (Shared::new(), mpsc::channel(EVENT_QUEUE));
        let spawner = NewSpawner::start(start, &shared, &channel.0).await?;
        Ok(Self::with(spawner, shared, channel))
    }

    /// Connects to the spawner in this directory if one lives there, else starts one. Either way sessions are kept
    /// from now on as `start` says.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn connect_or_start(start: &Start) -> Result<Self, StartError> {
        let (shared, channel) = (Shared::new(), mpsc::channel(EVENT_QUEUE));
        let spawner = NewSpawner::connect_or_start(start, &shared, &channel.0).await?;
        Ok(Self::with(spawner, shared, channel))
    }

    fn with(
        spawner: NewSpawner,
        shared: Arc<Shared>,
        (to_daemon, events): (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    ) -> Self {
        Self { spawner, shared, events, to_daemon }
    }

    /// What connects to another spawner after [`Event::SpawnerGone`]. The sessions of the old one go on and can still be
    /// told things.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector { shared: Arc::clone(&self.shared), events: self.to_daemon.clone() }
    }

    /// Has sessions made by another spawner from now on.
    pub fn use_spawner(&mut self, spawner: NewSpawner) {
        self.spawner = spawner;
    }

    /// Whether sessions outlived the daemon when this one connected.
    #[must_use]
    pub fn was_keeping(&self) -> bool {
        self.spawner.keep
    }

    /// How many sessions an earlier daemon has left; as many [`Event::Spawned`] come first.
    #[must_use]
    pub fn kept(&self) -> u32 {
        self.spawner.kept
    }

    /// How many processes wait to become sessions.
    #[must_use]
    pub fn ahead(&self) -> u32 {
        self.shared.ahead.load(Ordering::Relaxed)
    }

    /// The next event. Can be dropped and called again without losing any.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Has a session process made; answered by [`Event::Spawned`] or [`Event::SpawnFailed`].
    ///
    /// # Errors
    /// See [`TellError`].
    pub fn spawn(&self, spec: SessionSpec) -> Result<(), TellError> {
        let (session, named) = (spec.session, spec.named_by_registry);
        self.shared.asked().insert(session);
        let spec = Box::new(spec);
        let asked = self.ask(if named { ToSpawner::SpawnNamed(spec) } else { ToSpawner::Spawn(spec) });
        if asked.is_err() {
            self.shared.forget_asked(session);
        }
        asked
    }

    /// Ends a session process that does not end itself; answered by [`Event::Exited`].
    ///
    /// # Errors
    /// See [`TellError`].
    pub fn kill(&self, session: SessionId) -> Result<(), TellError> {
        let generation = self.shared.generation.load(Ordering::Relaxed);
        let mut sessions = self.shared.lock();
        if sessions.get(&session).is_none_or(|entry| entry.generation == generation) {
            drop(sessions);
            return self.ask(ToSpawner::Kill(session));
        }
        // The spawner that could kill it is gone; it ends by itself when its socket closes.
        if let Some(task) = sessions.remove(&session).and_then(|entry| entry.task) {
            task.abort();
        }
        let exit = Exit::Signal(Signal::SIGKILL as i32);
        Ok(self.to_daemon.try_send(Event::Exited { session, exit })?)
    }

    /// Has the spawner make its directory and its socket again, which somebody has removed.
    ///
    /// # Errors
    /// See [`TellError`]. A spawner of an older version cannot.
    pub fn renew(&self) -> Result<(), TellError> {
        if !self.shared.answers.load(Ordering::Relaxed) {
            return Err(TellError::Gone);
        }
        self.ask(ToSpawner::Renew)
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
        Ok(self.spawner.sender.try_send((message, None))?)
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
        Ok(sessions.get(&session).ok_or(TellError::Gone)?.sender.try_send((message, fd))?)
    }
}

/// Connects to spawners in the name of one [`Client`].
#[derive(Clone, Debug)]
pub struct Connector {
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
}

impl Connector {
    /// Connects to another spawner, starting it if need be and `may_start` says so. To be given to
    /// [`Client::use_spawner`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn another_spawner(&self, start: &Start, may_start: bool) -> Result<NewSpawner, StartError> {
        match may_start {
            true => NewSpawner::connect_or_start(start, &self.shared, &self.events).await,
            false => NewSpawner::connect(&start.run_dir, &self.shared, &self.events).await,
        }
    }
}

impl NewSpawner {
    async fn connect(
        run_dir: &Path,
        shared: &Arc<Shared>,
        events: &mpsc::Sender<Event>,
    ) -> Result<Self, StartError> {
        let fd = packets::connected(&RunDir::new(run_dir).socket())?;
        let pid = listener_of(&fd);
        Self::begin(fd, pid, shared, events).await
    }

    async fn start(
        start: &Start,
        shared: &Arc<Shared>,
        events: &mpsc::Sender<Event>,
    ) -> Result<Self, StartError> {
        let (ours, theirs) = packets::pair()?;
        let mut command = Command::new(&start.program);
        command.args(&start.arguments).args(["spawner", "--inherited", "--run-dir"]).arg(&start.run_dir);
        if let Some(limits) = start.open_files {
            command.args(["--open-files", &limits.to_string()]);
        }
        command.stdin(theirs).stdout(Stdio::null()).process_group(0);
        if start.keep {
            std::fs::create_dir_all(&start.run_dir)?;
            let log = OpenOptions::new().create(true).append(true).open(RunDir::new(&start.run_dir).log())?;
            command.arg("--keep").stderr(log);
        }
        // Not waited for here: tokio takes note of its end, and its socket tells of it.
        let child = command.spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        drop(child);
        drop(command);
        Self::begin(ours, pid, shared, events).await
    }

    async fn connect_or_start(
        start: &Start,
        shared: &Arc<Shared>,
        events: &mpsc::Sender<Event>,
    ) -> Result<Self, StartError> {
        let fd = match packets::connected(&RunDir::new(&start.run_dir).socket()) {
            Ok(fd) => fd,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Self::start(start, shared, events).await;
            }
            Err(error) => return Err(error.into()),
        };
        // Before anything else: what was sent is read even if this daemon should die the next moment.
        let sent = packets::send(&fd, &ToSpawner::Keep(start.keep), None);
        let pid = listener_of(&fd);
        match Self::begin(fd, pid, shared, events).await {
            // It was just leaving; the new one waits until it has.
            Err(StartError::Ended) => Self::start(start, shared, events).await,
            outcome => sent.map_err(StartError::Io).and(outcome),
        }
    }

    async fn begin(
        fd: OwnedFd,
        pid: Option<Pid>,
        shared: &Arc<Shared>,
        events: &mpsc::Sender<Event>,
    ) -> Result<Self, StartError> {
        let (sender, queue) = mpsc::channel(SPAWNER_QUEUE);
        let mut link = PacketLink::new(fd, queue, shared)?;
        match link.next::<FromSpawner>(events).await {
            Some((FromSpawner::Hello { keep, sessions: kept }, _)) => {
                tokio::spawn(serve::serve_spawner(link, pid, Arc::clone(shared), events.clone()));
                Ok(Self { sender, keep, kept })
            }
            Some((FromSpawner::Busy, _)) => Err(StartError::Busy),
            Some((FromSpawner::Failed(reason), _)) => Err(StartError::Failed(reason)),
            Some(_) | None => Err(StartError::Ended),
        }
    }
}

/// The process that listens where a socket is connected to.
fn listener_of(fd: &OwnedFd) -> Option<Pid> {
    getsockopt(fd, sockopt::PeerCredentials)
        .ok()
        .map(|peer| Pid::from_raw(peer.pid()))
        .filter(|pid| pid.as_raw() > 0)
}
