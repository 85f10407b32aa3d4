//! The services of a session as processes, each on a terminal of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::sync::Arc;

use nix::unistd::Pid;
use proto::ServiceName;
use proto::frame::Size;

use super::Home;
use super::environment::{self, Variables};
use super::login::Hooks;
use crate::control::SessionSpec;
use crate::io::account::Account;
use crate::io::{procs, sys};
use crate::screen::{COMMAND_MAX, ENVIRONMENT_MAX, Whereabouts};
use crate::template::{Command, Service};

/// Tells the processes of one service from those of another.
const MARK: &str = "HOTDESK_SERVICE";

/// Names the socket on which programs of a service keep what another host needs to go on with them.
const STATE: &str = crate::io::state_client::SOCKET;

/// Most output of one service that is read before others have their turn.
const TURN_MAX: usize = 64 * 1024;

/// Most output that is read of a service that has ended: what its terminal can hold, and some.
const LAST_MAX: usize = 1024 * 1024;

/// What all services of a session are started with.
pub(super) struct Surroundings {
    account: Account,
    variables: Variables,
    hooks: Hooks,
    /// Whether another host is to know what its services were started with.
    is_kept: bool,
}

impl Surroundings {
    pub(super) fn new(spec: &SessionSpec, account: Account, home: &Home) -> Self {
        let is_kept = spec.is_replicated();
        Self { variables: environment::of(spec, &account, home), hooks: home.hooks(), account, is_kept }
    }

    /// Starts a service, whose programs find their state socket at `state`. The error is for the person at the screen.
    pub(super) fn start(
        &self,
        service: &Service,
        size: Size,
        state: Option<&Path>,
    ) -> Result<Running, String> {
        let failed = |error: io::Error| format!("no terminal for the service {}: {error}", service.name);
        let terminal = sys::terminal(size).map_err(failed)?;
        let end = || terminal.slave.try_clone().map(Stdio::from).map_err(failed);
        let (program, mut command) = self.command(service)?;
        command
            .env(MARK, service.name.as_str())
            .envs(state.map(|state| (STATE, state)))
            .current_dir(self.directory(service)?)
            .stdin(end()?)
            .stdout(end()?)
            .stderr(end()?);
        let environment = if self.is_kept { environment_of(&command) } else { Arc::default() };
        // SAFETY: between fork and exec it only makes system calls.
        unsafe { command.pre_exec(sys::become_login) };
        let child = command.spawn().map_err(|error| {
            format!("{} cannot be run: {error}: see the service {}", program.display(), service.name)
        })?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        Ok(Running {
            pid,
            master: Some(terminal.master),
            write_blocked: false,
            mark: format!("{MARK}={}", service.name),
            environment,
        })
    }

    /// The program of a service and its command, with arguments and environment. A login shell is the account's, or
    /// the `SHELL` among the service's own variables.
    fn command(&self, service: &Service) -> Result<(PathBuf, Program), String> {
        match &service.command {
            Command::LoginShell => {
                let own = |name: &str| service.env.get(name);
                let shell = own("SHELL").map_or_else(|| self.account.shell.clone(), PathBuf::from);
                let zdotdir = own("ZDOTDIR").map(OsStr::new);
                let login = self.hooks.login(&shell, zdotdir);
                let mut command = Program::new(&shell);
                command.env_clear().envs(&self.variables).envs(&service.env);
                command.arg0(login.name).args(login.arguments).envs(login.variables);
                Ok((shell, command))
            }
            Command::Words(words) => {
                let (program, arguments) = words.split_first().ok_or("an empty command")?;
                let mut command = Program::new(program);
                command.args(arguments).env_clear().envs(&self.variables).envs(&service.env);
                Ok((program.into(), command))
            }
        }
    }

    /// The directory a service starts in. A home that is not there must not keep anybody from logging in; a
    /// directory that a template names must be there.
    pub(super) fn directory(&self, service: &Service) -> Result<PathBuf, String> {
        match &service.cwd {
            Some(cwd) if Path::new(cwd).is_dir() => Ok(cwd.into()),
            Some(cwd) => {
                Err(format!("there is no directory {cwd}, where the service {} starts", service.name))
            }
            None if self.account.home.is_dir() => Ok(self.account.home.clone()),
            None => Ok("/".into()),
        }
    }
}

/// A service that was started.
pub(super) struct Running {
    pub(super) pid: Pid,
    /// Our end of its terminal, until nobody holds the other one.
    master: Option<OwnedFd>,
    write_blocked: bool,
    /// What its processes have in their environment.
    mark: String,
    environment: Arc<[u8]>,
}

/// The variables of a command as [`Whereabouts`] has them, without our own; nothing if they are too long.
fn environment_of(command: &Program) -> Arc<[u8]> {
    let mut all = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value.filter(|_| !name.as_encoded_bytes().starts_with(b"HOTDESK_")) {
            for bytes in [name.as_encoded_bytes(), b"=", value.as_encoded_bytes(), b"\0"] {
                all.extend_from_slice(bytes);
            }
        }
    }
    if all.len() > ENVIRONMENT_MAX { Arc::default() } else { all.into() }
}

impl Running {
    /// What to wait for, if anything, when there is input or not.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, bool)> {
        self.master.as_ref().map(|master| (master.as_fd(), self.write_blocked))
    }

    /// Reads what it has written.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>) {
        self.read_up_to(TURN_MAX, buffer);
    }

    /// Reads the last it has written, now that its process has ended, and hangs up.
    pub(super) fn read_last(&mut self, buffer: &mut Vec<u8>) {
        self.read_up_to(LAST_MAX, buffer);
        self.master = None;
    }

    fn read_up_to(&mut self, max: usize, buffer: &mut Vec<u8>) {
        let Some(master) = &self.master else { return };
        let mut piece = [0; 4096];
        while buffer.len() < max {
            match nix::unistd::read(master, &mut piece) {
                Ok(n) if n > 0 => buffer.extend_from_slice(&piece[..n]),
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return,
                // EIO: nobody has the terminal open any more.
                Ok(_) | Err(_) => {
                    self.master = None;
                    return;
                }
            }
        }
    }

    /// Gives it input; says how much it took.
    pub(super) fn write(&mut self, input: &[u8]) -> usize {
        self.write_blocked = false;
        let Some(master) = &self.master else { return input.len() };
        match nix::unistd::write(master, input) {
            Ok(n) => n,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {
                self.write_blocked = true;
                0
            }
            // Nobody will ever read it.
            Err(_) => input.len(),
        }
    }

    pub(super) fn resize(&self, size: Size) {
        if let Some(master) = &self.master {
            let _ = sys::resize(master, size);
        }
    }

    /// What is around its terminal's programs. Of a service that has ended there is nothing.
    pub(super) fn whereabouts(&self) -> Whereabouts {
        let Some(master) = &self.master else { return Whereabouts::default() };
        let group = nix::unistd::tcgetpgrp(master).ok();
        let foreground = group.filter(|group| *group != self.pid).and_then(procs::command_of);
        Whereabouts {
            directory: procs::directory_of(self.pid),
            foreground: foreground.map(|command| proto::line::cut(&command, COMMAND_MAX).to_owned()),
            environment: Arc::clone(&self.environment),
        }
    }

    /// All its processes.
    pub(super) fn processes(&self) -> Vec<Pid> {
        procs::of_service(self.pid, &self.mark)
    }
}

/// The services that were started, by name; one that has ended stays until it is started again.
pub(super) type Services = BTreeMap<ServiceName, Running>;
