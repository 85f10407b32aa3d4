//! The spawner: makes a process per session, keeps its control socket, and sees to its end.
//!
//! A single thread without a runtime, since it forks without running another program after it, and as little as
//! possible, since it may be root. It listens to one daemon, whose account it checks, and to nobody else;
//! it reads nothing that a stranger wrote. When the daemon is gone, however it died, its socket says so: then all
//! sessions end, unless they are to be kept, and the next daemon is given their control sockets.

mod ahead;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use nix::fcntl::Flock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Pid, Uid, geteuid};
use proto::time::{Duration, earliest};
use proto::{Instant, SessionId};

pub use self::ahead::AHEAD_MAX;
use self::ahead::{Ahead, Process};
use super::Clock;
use super::limits::{OpenFiles, raise_limits};
use super::packets::{self, Receiver};
use super::procs::{self, Reaped};
use super::rundir::RunDir;
use super::{session, sys};
use crate::control::{Exit, FromSpawner, ToSession, ToSpawner, short};
use crate::session::{HANGUP_GRACE, KILL_WITHIN, TERMINATE_GRACE};

/// Sessions at most: as many terminals as the kernel gives out by default.
pub const SESSIONS_MAX: usize = 4096;

/// While so many messages wait for a daemon that does not read, none of its own are read.
const OUTBOX_FULL: usize = 1024;

/// How long ending sessions take at most; what is left then is killed.
const END_WITHIN: Duration = Duration::from_millis(2500);
const _: () = assert!(END_WITHIN.as_millis() > HANGUP_GRACE.as_millis() + TERMINATE_GRACE.as_millis());

/// How a spawner is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its directory, made if it does not exist. One spawner lives there at a time; a second one waits.
    pub run_dir: PathBuf,
    /// Whether sessions outlive the daemon, until the daemon says otherwise.
    pub keep: bool,
    /// The account whose daemon is listened to; without one, the spawner's own. Root always is.
    pub daemon: Option<u32>,
    /// Whether the standard input is the first daemon's connection. Such a spawner leaves when it has neither a
    /// daemon nor a session.
    pub inherited: bool,
    /// How many files the programs of a session may have open; without it as many as the spawner was started with.
    pub open_files: Option<OpenFiles>,
}

/// Runs a spawner until it has nothing left to do.
///
/// # Errors
/// When it cannot begin; says why and what to do about it. A daemon on the standard input is told as well.
pub fn run(options: &Options) -> Result<(), String> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads > 1 {
        return Err(
            "the spawner must be the only thread of its process: start it before any runtime".to_owned()
        );
    }
    if !options.inherited {
        let spawner = Spawner::prepare(options)?;
        println!("waiting for the daemon of uid {} at {}", spawner.allowed, spawner.run.socket().display());
        spawner.run();
        return Ok(());
    }
    let daemon = inherited().map_err(|error| format!("the standard input is no daemon's socket: {error}"))?;
    // What the daemon was started with it may have passed on unawares, and we may outlive it by far.
    sys::close_all_but(daemon.as_fd()).map_err(|error| format!("close_range: {error}"))?;
    match Spawner::prepare(options) {
        Ok(mut spawner) => {
            spawner.welcome(daemon);
            spawner.run();
            Ok(())
        }
        Err(reason) => {
            let _ = packets::send(&daemon, &FromSpawner::Failed(short(reason.clone())), None);
            Err(reason)
        }
    }
}

/// The daemon's end of a socket, from the standard input, which is nothing from then on.
fn inherited() -> io::Result<OwnedFd> {
    let fd = io::stdin().as_fd().try_clone_to_owned()?;
    getsockopt(&fd, sockopt::SockType)?;
    nix::unistd::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(fd)
}

struct Daemon {
    fd: OwnedFd,
    outbox: VecDeque<(FromSpawner, Option<OwnedFd>)>,
}

/// Sessions whose process ended without having seen to all it started.
#[derive(Default)]
struct Unclean {
    gone: Vec<(SessionId, Exit)>,
    give_up_at: Option<Instant>,
}

struct Spawner {
    options: Options,
    run: RunDir,
    keep: bool,
    /// What the programs of sessions get.
    limits: Option<OpenFiles>,
    clock: Clock,
    receiver: Receiver,
    listener: Option<OwnedFd>,
    daemon: Option<Daemon>,
    sessions: BTreeMap<SessionId, Process>,
    ahead: Ahead,
    /// How many wait ahead of need, as the daemon was told.
    told_ahead: usize,
    unclean: Unclean,
    /// When the sessions that are still ending are killed.
    ending: Option<Instant>,
    allowed: Uid,
    signals: SignalFd,
    /// The run directory is ours as long as it is held.
    lock: Flock<File>,
}

/// What has become ready.
#[derive(Clone, Copy)]
enum Ready {
    Signals,
    Listener,
    Read,
    Write,
}

impl Spawner {
    fn prepare(options: &Options) -> Result<Self, String> {
        let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        sys::own_signals().map_err(failed("signals"))?;
        let signals = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
        let signals = sys::signals(&signals).map_err(failed("signals"))?;
        prctl::set_child_subreaper(true).map_err(|error| format!("prctl: {error}"))?;
        let run = RunDir::new(&options.run_dir);
        let allowed = options.daemon.map_or_else(geteuid, Uid::from_raw);
        let lock = run.take(allowed)?;
        let listener = run.listen(allowed).map_err(failed("the spawner's socket"))?;
        let before = raise_limits();
        let limits = options.open_files.or(before);
        Ok(Self {
            options: options.clone(),
            keep: options.keep,
            limits,
            clock: Clock::start(),
            receiver: Receiver::new(),
            listener: Some(listener),
            daemon: None,
            sessions: BTreeMap::new(),
            ahead: Ahead::default(),
            told_ahead: 0,
            unclean: Unclean::default(),
            ending: None,
            allowed,
            signals,
            run,
            lock,
        })
    }

    fn run(mut self) {
        while !self.is_done() {
            for ready in self.wait() {
                match ready {
                    Ready::Signals => self.on_signals(),
                    Ready::Listener => self.on_connection(),
                    Ready::Read => self.on_daemon(),
                    Ready::Write => self.flush(),
                }
            }
            self.on_time();
        }
        self.run.clear();
    }

    /// Whether nothing is left: neither a daemon that could ask for something nor a session.
    fn is_done(&self) -> bool {
        let idle = self.sessions.is_empty() && self.unclean.gone.is_empty();
        idle && (self.ending.is_some() || self.options.inherited && self.daemon.is_none())
    }

    fn wait(&self) -> Vec<Ready> {
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let mut meaning = vec![Ready::Signals];
        if let Some(listener) = &self.listener {
            fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
            meaning.push(Ready::Listener);
        }
        if let Some(daemon) = &self.daemon {
            if daemon.outbox.len() < OUTBOX_FULL {
                fds.push(PollFd::new(daemon.fd.as_fd(), PollFlags::POLLIN));
                meaning.push(Ready::Read);
            }
            if !daemon.outbox.is_empty() {
                fds.push(PollFd::new(daemon.fd.as_fd(), PollFlags::POLLOUT));
                meaning.push(Ready::Write);
            }
        }
        let due = earliest(earliest(self.ending, self.unclean.give_up_at), self.ahead.due());
        let timeout = match due {
            Some(at) => {
                let left = at.since(self.clock.now()).as_micros().div_ceil(1000);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        if poll(&mut fds, timeout).is_err() {
            return Vec::new();
        }
        let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        fds.iter().zip(meaning).filter(|(fd, _)| is_ready(fd)).map(|(_, ready)| ready).collect()
    }

    fn on_signals(&mut self) {
        let mut end = false;
        while let Ok(Some(info)) = self.signals.read_signal() {
            end |= info.ssi_signo == Signal::SIGTERM as u32;
        }
        if end {
            self.end_all();
        }
        self.reap();
    }

    fn on_time(&mut self) {
        let now = self.clock.now();
        if self.ending.is_some_and(|at| at <= now) {
            self.ending = Some(now + END_WITHIN);
            for session in self.sessions.values() {
                let _ = kill(session.pid, Signal::SIGKILL);
            }
        }
        if self.unclean.give_up_at.is_some_and(|at| at <= now) {
            tracing::warn!("the kernel does not end what {} sessions have left", self.unclean.gone.len());
            self.report_unclean();
        }
        if self.ahead.due().is_some_and(|at| at <= now) {
            match self.fork(None) {
                Ok(process) => self.ahead.put(now, process),
                Err(error) => {
                    tracing::debug!("no process is started ahead of need: {error}");
                    self.ahead.put_off(now);
                }
            }
        }
        if self.told_ahead != self.ahead.len() {
            self.told_ahead = self.ahead.len();
            self.tell(FromSpawner::Ahead(u32::try_from(self.told_ahead).unwrap_or(u32::MAX)), None);
        }
    }

    // The daemon.

    fn on_connection(&mut self) {
        let Some(listener) = &self.listener else { return };
        let Ok(fd) = packets::accept(listener) else { return };
        match getsockopt(&fd, sockopt::PeerCredentials) {
            Ok(peer) if peer.uid() == self.allowed.as_raw() || peer.uid() == 0 => {}
            Ok(peer) => return tracing::warn!("uid {} may not speak to the spawner", peer.uid()),
            Err(error) => return tracing::warn!("who connects to the spawner? {error}"),
        }
        // The present daemon's end is seen by reading to the end of what it said.
        self.on_daemon();
        if self.daemon.is_some() {
            let _ = packets::send(&fd, &FromSpawner::Busy, None);
        } else if self.ending.is_none() {
            self.welcome(fd);
        }
    }

    fn welcome(&mut self, fd: OwnedFd) {
        self.daemon = Some(Daemon { fd, outbox: VecDeque::new() });
        let sessions = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        self.tell(FromSpawner::Hello { keep: self.keep, sessions }, None);
        let kept: Vec<_> = self.sessions.iter().map(|(id, s)| (*id, s.control.try_clone())).collect();
        for (id, control) in kept {
            match control {
                Ok(control) => self.tell(FromSpawner::Kept(id), Some(control)),
                Err(error) => tracing::error!("session {} cannot be handed on: {error}", id.short()),
            }
        }
        self.tell(FromSpawner::Pong(0), None);
        self.told_ahead = 0;
        self.ahead.after_quiet(self.clock.now());
    }

    fn on_daemon(&mut self) {
        while let Some(daemon) = &self.daemon {
            if daemon.outbox.len() >= OUTBOX_FULL {
                return;
            }
            match self.receiver.receive::<ToSpawner>(&daemon.fd) {
                Ok(Some((message, _))) => self.on_message(message),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(None) => return self.lose_daemon(),
                // It had something to read when it died.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return self.lose_daemon(),
                Err(error) => {
                    tracing::warn!("the daemon's connection is of no further use: {error}");
                    return self.lose_daemon();
                }
            }
        }
    }

    fn on_message(&mut self, message: ToSpawner) {
        match message {
            ToSpawner::Spawn(_) | ToSpawner::SpawnNamed(_) => self.spawn(&message),
            ToSpawner::Kill(id) => {
                if let Some(session) = self.sessions.get(&id) {
                    let _ = kill(session.pid, Signal::SIGKILL);
                }
            }
            ToSpawner::Keep(keep) => self.keep = keep,
            ToSpawner::EndAll => self.end_all(),
            ToSpawner::Ping(number) => self.tell(FromSpawner::Pong(number), None),
            ToSpawner::Renew => self.renew(),
        }
    }

    /// Somebody has removed the run directory: it is made again, with another socket, and with the directories of the
    /// sessions that run.
    fn renew(&mut self) {
        if self.ending.is_some() {
            return;
        }
        match self.run.restore(self.allowed, &mut self.lock) {
            Ok(listener) => self.listener = Some(listener),
            Err(reason) => return tracing::error!("{reason}"),
        }
        for (id, session) in &self.sessions {
            let account = procs::account_of(session.pid).filter(|_| !self.run.of_session(*id).exists());
            let made = account.map_or(Ok(()), |(uid, gid)| self.run.make_session(*id, uid, gid).map(drop));
            if let Err(error) = made {
                tracing::error!("session {} has no directory any more: {error}", id.short());
            }
            // One that does not read now is told when the daemon looks again.
            let _ = packets::send(&session.control, &ToSession::Renew, None);
        }
    }

    fn lose_daemon(&mut self) {
        self.daemon = None;
        if !self.keep {
            self.end_all();
        }
    }

    fn tell(&mut self, message: FromSpawner, fd: Option<OwnedFd>) {
        if let Some(daemon) = &mut self.daemon {
            daemon.outbox.push_back((message, fd));
            self.flush();
        }
    }

    fn flush(&mut self) {
        let Some(daemon) = &mut self.daemon else { return };
        while let Some((message, fd)) = daemon.outbox.front() {
            match packets::send(&daemon.fd, message, fd.as_ref().map(OwnedFd::as_fd)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Its end is noticed where its messages are read.
                Err(error) => tracing::debug!("the daemon cannot be told: {error}"),
            }
            daemon.outbox.pop_front();
        }
    }

    // The sessions.

    fn spawn(&mut self, asked: &ToSpawner) {
        let Some(session) = asked.session() else { return };
        if let Err(reason) = self.try_spawn(session, asked) {
            self.tell(FromSpawner::SpawnFailed { session, reason: short(reason) }, None);
        }
        if self.ending.is_none() {
            self.ahead.after_quiet(self.clock.now());
        }
    }

    fn try_spawn(&mut self, id: SessionId, asked: &ToSpawner) -> Result<(), String> {
        if self.ending.is_some() {
            return Err("the spawner is ending".to_owned());
        }
        if self.sessions.contains_key(&id) {
            return Err("there is a session of this id already".to_owned());
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(format!(
                "the host has {SESSIONS_MAX} sessions already: end some, or use another host"
            ));
        }
        let no = |error: io::Error| format!("no process can be made for the session: {error}");
        let process = match self.ahead.take(asked) {
            Some(process) => process,
            None => self.fork(Some(asked)).map_err(no)?,
        };
        let copy = process.control.try_clone().map_err(no)?;
        self.sessions.insert(id, process);
        self.tell(FromSpawner::Spawned(id), Some(copy));
        Ok(())
    }

    fn fork(&self, asked: Option<&ToSpawner>) -> io::Result<Process> {
        let (run, daemon, limits) = (self.run.clone(), self.allowed, self.limits);
        // SAFETY: `run` has seen to it that there is one thread, and nothing here starts another.
        unsafe { Process::fork(asked, |control| session::Start { control, run, daemon, limits }) }
    }

    /// Ends all sessions, then this process. They hear it twice: by the signal, and by the end of their control
    /// sockets if the daemon is gone too.
    fn end_all(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(self.clock.now() + END_WITHIN);
            self.listener = None;
            self.ahead.end();
            for session in self.sessions.values() {
                let _ = kill(session.pid, Signal::SIGTERM);
            }
        }
    }

    fn reap(&mut self) {
        let mut orphans = !self.unclean.gone.is_empty();
        while let Reaped::Child(pid, exit) = procs::reap() {
            if self.ahead.lose(self.clock.now(), pid) {
                continue;
            }
            let Some(id) = self.sessions.iter().find(|(_, s)| s.pid == pid).map(|(id, _)| *id) else {
                continue;
            };
            self.sessions.remove(&id);
            self.run.forget_session(id);
            if exit == Exit::Status(0) {
                self.tell(FromSpawner::Exited { session: id, exit }, None);
            } else {
                tracing::warn!("the process of session {} {exit}", id.short());
                self.unclean.gone.push((id, exit));
                self.unclean.give_up_at = Some(self.clock.now() + KILL_WITHIN);
                orphans = true;
            }
        }
        if orphans {
            self.sweep();
        }
    }

    /// Ends what sessions have left behind: it has become our own children. Called again for each that ended, since
    /// each may have left children in turn.
    fn sweep(&mut self) {
        let sessions = self.sessions.values().map(|session| session.pid);
        let ours: BTreeSet<Pid> = sessions.chain(self.ahead.pids()).collect();
        let mut orphans = procs::own_children();
        orphans.retain(|pid| !ours.contains(pid));
        if orphans.is_empty() {
            return self.report_unclean();
        }
        for orphan in orphans {
            procs::end(&procs::below(orphan));
            procs::end(&[orphan]);
        }
    }

    fn report_unclean(&mut self) {
        self.unclean.give_up_at = None;
        for (session, exit) in std::mem::take(&mut self.unclean.gone) {
            self.tell(FromSpawner::Exited { session, exit }, None);
        }
    }
}
