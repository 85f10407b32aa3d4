//! The session process: one per session, forked from the spawner, running as the session's user. It may be forked
//! before there is a session for it ([`told`]).
//!
//! A single thread around one `poll`: it owns the terminals of its services, the display connections it is handed,
//! the data socket, the state sockets and the events socket, and asks [`SessionCore`](crate::session::SessionCore) what to do. Nothing here waits for any one of them. It never
//! holds a group key.

mod asking;
mod calling;
mod data;
mod displays;
mod environment;
mod events;
mod login;
mod looking;
mod services;
mod shell;
mod sockets;
mod state;

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, geteuid, setsid};
use proto::Nonce;

use super::account::Account;
use super::limits::OpenFiles;
use super::packets::{self, Receiver};
use super::rundir::{RunDir, live_in};
use super::sys;
use crate::control::{EndReason, FromSession, SessionSpec, ToSpawner, Tools, short};
use crate::session::SessionCore;

/// The process ended in order, and so did all it had started.
const CLEAN: i32 = 0;
/// It leaves something to the spawner.
const UNCLEAN: i32 = 1;
/// It panicked; as every program of this language that does.
const PANICKED: i32 = 101;

/// What a session process is started with.
pub(super) struct Start {
    /// Its end of its control socket, on which it is told whose session it becomes.
    pub(super) control: OwnedFd,
    pub(super) run: RunDir,
    /// The account of the daemon that asked for it.
    pub(super) daemon: Uid,
    /// Open files its services may have.
    pub(super) limits: Option<OpenFiles>,
}

/// Is the session, in a process just forked for it. Never returns: what the parent had on its stack is not ours.
pub(super) fn run(start: Start) -> ! {
    let is_session = std::panic::AssertUnwindSafe(|| be(start));
    sys::leave(std::panic::catch_unwind(is_session).unwrap_or(PANICKED))
}

fn be(start: Start) -> i32 {
    let Start { control, run, daemon, limits } = start;
    let mut receiver = Receiver::new();
    let mut begun = Begun::new(&control, limits);
    let Some(spec) = told(&control, &mut receiver, &mut begun) else { return CLEAN };
    let session = spec.session;
    match begun.and_then(|begun| prepare(&spec, begun, &run, daemon)) {
        Ok(ready) => {
            let core =
                SessionCore::new(*spec, std::process::id(), Nonce(u128::from_be_bytes(proto::io::random())));
            shell::Shell::new(core, control, receiver, ready).run()
        }
        Err(reason) => {
            tracing::warn!("session {} cannot start: {reason}", session.short());
            let ended = FromSession::Ended(EndReason::CouldNotStart(short(reason)));
            let _ = packets::send(&control, &ended, None);
            CLEAN
        }
    }
}

fn failed(what: &str) -> impl Fn(&dyn std::fmt::Display) -> String + '_ {
    move |error| format!("{what}: {error}")
}

/// What is the same for every session: done before it is known whose this one is.
struct Begun {
    signals: SignalFd,
    /// Made ahead if there is time, else while the services start.
    identity: Option<displays::Identity>,
}

impl Begun {
    fn new(control: &OwnedFd, limits: Option<OpenFiles>) -> Result<Self, String> {
        sys::close_all_but(control.as_fd()).map_err(|error| failed("close_range")(&error))?;
        setsid().map_err(|error| failed("setsid")(&error))?;
        prctl::set_child_subreaper(true).map_err(|error| failed("prctl")(&error))?;
        let _ = prctl::set_name(c"session");
        umask(Mode::from_bits_truncate(0o022));
        if let Some(limits) = limits {
            limits.set().map_err(|error| failed("setrlimit")(&error))?;
        }
        let signals = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
        let signals = sys::signals(&signals).map_err(|error| failed("signals")(&error))?;
        Ok(Self { signals, identity: None })
    }

    /// Does what takes time, while nobody waits.
    fn go_on(&mut self) {
        self.identity = displays::identity().ok();
        // The first look-up reads how accounts are to be looked up, and what does it.
        let _ = Account::own(geteuid());
    }
}

/// Waits until this process is told whose session it becomes. Nothing, if the spawner is gone or asks it to end.
fn told(
    control: &OwnedFd,
    receiver: &mut Receiver,
    begun: &mut Result<Begun, String>,
) -> Option<Box<SessionSpec>> {
    let mut is_ahead = false;
    loop {
        match receiver.receive::<ToSpawner>(control) {
            Ok(Some((message, _))) => return message.into_spec(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => return None,
        }
        if let (false, Ok(begun)) = (is_ahead, begun.as_mut()) {
            begun.go_on();
        }
        is_ahead = true;
        let mut fds = vec![PollFd::new(control.as_fd(), PollFlags::POLLIN)];
        let signals = begun.as_ref().ok().map(|begun| &begun.signals);
        fds.extend(signals.map(|signals| PollFd::new(signals.as_fd(), PollFlags::POLLIN)));
        let _ = poll(&mut fds, PollTimeout::NONE);
        while let Some(Ok(Some(signal))) = signals.map(SignalFd::read_signal) {
            if [Signal::SIGTERM, Signal::SIGINT].iter().any(|end| signal.ssi_signo == *end as u32) {
                return None;
            }
        }
    }
}

/// What is ready before the session begins.
struct Prepared {
    home: Home,
    begun: Begun,
    surroundings: services::Surroundings,
    data: data::DataSocket,
    state: state::StateSockets,
    events: events::EventsSocket,
}

fn prepare(spec: &SessionSpec, begun: Begun, run: &RunDir, daemon: Uid) -> Result<Prepared, String> {
    let account = Account::resolve(spec.account.as_deref(), spec.named_by_registry, daemon)?;
    let dir = run
        .make_session(spec.session, account.uid, account.gid)
        .map_err(|error| failed("the session's directory")(&error))?;
    account.assume()?;
    let mut home = Home::new(dir, spec);
    home.furnish().map_err(|error| {
        let (dir, name) = (home.dir.display(), &account.name);
        format!("{dir}: {error}: {name} must be able to pass through every directory above it (chmod o+x)")
    })?;
    let data = data::DataSocket::open(&home.data()).map_err(|error| failed("the data socket")(&error))?;
    let state = state::StateSockets::new(spec.session, home.dir.clone(), spec.is_replicated());
    let events =
        events::EventsSocket::open(&home.events()).map_err(|error| failed("the events socket")(&error))?;
    let surroundings = services::Surroundings::new(spec, account, &home);
    Ok(Prepared { home, begun, surroundings, data, state, events })
}

/// The session's directory.
struct Home {
    dir: PathBuf,
    tools: Option<Tools>,
    /// As long as it is held no spawner removes the directory.
    lives_here: Option<Flock<File>>,
    hooks: login::Hooks,
}

impl Home {
    fn new(dir: PathBuf, spec: &SessionSpec) -> Self {
        let hooks = login::Hooks::new(dir.join("login"));
        Self { dir, tools: spec.tools.clone(), lives_here: None, hooks }
    }

    /// Puts the links to our own program into it, and what a login shell reads to find them, unless they are there.
    fn furnish(&mut self) -> io::Result<()> {
        // The lock on a directory that was removed is of no use.
        self.lives_here = live_in(&self.dir).ok().or(self.lives_here.take());
        self.hooks.write()?;
        DirBuilder::new().recursive(true).create(self.bin())?;
        let Some(Tools { exe, names }) = &self.tools else { return Ok(()) };
        for name in names {
            match symlink(exe, self.bin().join(name)) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    fn hooks(&self) -> login::Hooks {
        self.hooks.clone()
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn events(&self) -> PathBuf {
        self.dir.join("events")
    }

    /// Removes what was put into it, and nothing else: the rest is the user's.
    fn clear(&self) {
        let remove = |path: &Path| {
            let _ = fs::remove_file(path);
        };
        remove(&self.data());
        remove(&self.events());
        for name in self.tools.iter().flat_map(|tools| &tools.names) {
            remove(&self.bin().join(name));
        }
        let _ = fs::remove_dir(self.bin());
        self.hooks.clear();
    }
}
