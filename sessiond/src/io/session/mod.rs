//! The session process: one per session, forked from the spawner, running as the session's user.
//!
//! A single thread around one `poll`: it owns the terminals of its services, the display connections it is handed,
//! the state socket and the events socket, and asks [`SessionCore`](crate::session::SessionCore) what to do. Nothing here waits for any one of them. It never
//! holds a group key.

mod displays;
mod environment;
mod events;
mod login;
mod services;
mod shell;
mod state;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, setsid};
use proto::Nonce;

use super::account::Account;
use super::limits::OpenFiles;
use super::packets;
use super::rundir::{RunDir, live_in};
use super::sys;
use crate::control::{EndReason, FromSession, SessionSpec, short};
use crate::session::SessionCore;

/// The process ended in order, and so did all it had started.
const CLEAN: i32 = 0;
/// It leaves something to the spawner.
const UNCLEAN: i32 = 1;
/// It panicked; as every program of this language that does.
const PANICKED: i32 = 101;

/// What a session process is started with.
pub(super) struct Start {
    pub(super) spec: Box<SessionSpec>,
    /// Its end of its control socket.
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
    let Start { spec, control, run, daemon, limits } = start;
    let session = spec.session;
    match prepare(&spec, &control, &run, daemon, limits) {
        Ok((home, ready)) => {
            let core =
                SessionCore::new(*spec, std::process::id(), Nonce(u128::from_be_bytes(proto::io::random())));
            let status = shell::Shell::new(core, control, ready).run();
            home.clear();
            status
        }
        Err(reason) => {
            tracing::warn!("session {} cannot start: {reason}", session.short());
            let ended = FromSession::Ended(EndReason::CouldNotStart(short(reason)));
            let _ = packets::send(&control, &ended, None);
            CLEAN
        }
    }
}

/// What is ready before the session begins.
struct Prepared {
    signals: nix::sys::signalfd::SignalFd,
    surroundings: services::Surroundings,
    state: state::StateSocket,
    events: events::EventsSocket,
}

fn prepare(
    spec: &SessionSpec,
    control: &OwnedFd,
    run: &RunDir,
    daemon: Uid,
    limits: Option<OpenFiles>,
) -> Result<(Home, Prepared), String> {
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    sys::close_all_but(control.as_fd()).map_err(|error| failed("close_range", &error))?;
    setsid().map_err(|error| failed("setsid", &error))?;
    prctl::set_child_subreaper(true).map_err(|error| failed("prctl", &error))?;
    let _ = prctl::set_name(c"session");
    umask(Mode::from_bits_truncate(0o022));
    if let Some(limits) = limits {
        limits.set().map_err(|error| failed("setrlimit", &error))?;
    }
    let signals = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    let signals = sys::signals(&signals).map_err(|error| failed("signals", &error))?;
    let account = Account::resolve(spec.account.as_deref(), spec.named_by_registry, daemon)?;
    let dir = run
        .make_session(spec.session, &account)
        .map_err(|error| failed("the session's directory", &error))?;
    account.assume()?;
    let home = Home::furnish(dir.clone(), spec).map_err(|error| {
        let (dir, name) = (dir.display(), &account.name);
        format!("{dir}: {error}: {name} must be able to pass through every directory above it (chmod o+x)")
    })?;
    let state =
        state::StateSocket::open(&home.state()).map_err(|error| failed("the state socket", &error))?;
    let events =
        events::EventsSocket::open(&home.events()).map_err(|error| failed("the events socket", &error))?;
    let surroundings = services::Surroundings::new(spec, account, &home);
    Ok((home, Prepared { signals, surroundings, state, events }))
}

/// The session's directory.
struct Home {
    dir: PathBuf,
    tools: Vec<String>,
    /// As long as it is held no spawner removes the directory.
    _lives_here: Option<Flock<File>>,
    hooks: login::Hooks,
}

impl Home {
    /// Puts the links to our own program into it, and what a login shell reads to find them.
    fn furnish(dir: PathBuf, spec: &SessionSpec) -> std::io::Result<Self> {
        let hooks = login::Hooks::write(dir.join("login"))?;
        let tools = spec.tools.iter().flat_map(|tools| tools.names.clone()).collect();
        let home = Self { _lives_here: live_in(&dir).ok(), dir, tools, hooks };
        fs::create_dir(home.bin())?;
        if let Some(tools) = &spec.tools {
            for name in &tools.names {
                symlink(&tools.exe, home.bin().join(name))?;
            }
        }
        Ok(home)
    }

    fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    fn hooks(&self) -> login::Hooks {
        self.hooks.clone()
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn events(&self) -> PathBuf {
        self.dir.join("events")
    }

    /// Removes what was put into it, and nothing else: the rest is the user's.
    fn clear(&self) {
        let remove = |path: &Path| {
            let _ = fs::remove_file(path);
        };
        remove(&self.state());
        remove(&self.events());
        for name in &self.tools {
            remove(&self.bin().join(name));
        }
        let _ = fs::remove_dir(self.bin());
        self.hooks.clear();
    }
}

/// Writes to a program of the session as much as it takes now; the rest stays in `unsent`.
fn flush(stream: &mut UnixStream, unsent: &mut Vec<u8>) -> io::Result<()> {
    while !unsent.is_empty() {
        match stream.write(unsent) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => drop(unsent.drain(..n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
