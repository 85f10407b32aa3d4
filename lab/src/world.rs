//! A whole group as real processes, started from the one binary: what the lab's demo, its terminal UI and the
//! real-network tests act upon.
//!
//! Owns the processes, their files and the list of what happened. It does things to machines from outside and
//! reads what they print; it looks into none of them. It refuses to wait for time to pass: every wait is for
//! something that a machine says, and has a limit.

mod ask;
mod desk;
mod error;
mod lines;
mod power;
mod share;
mod start;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use tempfile::TempDir;

use super::backend::{Backend, Ground};
use super::commands::{Commands, Files};
use super::plan::{NodePlan, Plan};
use super::running::Running;
use super::timeline::{Cursor, Event, Timeline};
use groupmgr::topology::{RowView, Standing};

pub use ask::Asker;
use ask::output;
pub use desk::{Card, Screen};
pub use error::LabError;
pub(super) use error::doing;
pub use start::START_PATIENCE;

/// The name of the data store's machine.
pub const STORE: &str = "store";

/// What was done to a machine last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Nothing runs on it.
    Off,
    /// Its process runs.
    On,
    /// All its processes are stopped.
    Frozen,
    /// It runs, and no frame of it passes.
    Cut,
}

/// A lab. Its drop kills every process and removes its files.
pub struct World {
    plan: Plan,
    commands: Commands,
    timeline: Timeline,
    daemons: BTreeMap<String, Running>,
    started: BTreeMap<String, Cursor>,
    power: BTreeMap<String, Power>,
    backend: Backend,
    // Last: files go when nobody writes to them any more.
    _directory: TempDir,
}

impl World {
    /// Makes machines, LANs and keys; nothing runs yet. `binary` is the program that knows all commands; when it
    /// is the running one, `std::env::current_exe()`.
    ///
    /// # Errors
    /// What the kernel refuses, or the key generator.
    pub fn new(plan: Plan, ground: Ground, binary: PathBuf) -> Result<Self, LabError> {
        let prefix = "hotdesk-lab-";
        let directory =
            tempfile::Builder::new().prefix(prefix).tempdir().map_err(doing("make a directory"))?;
        let files = Files { root: directory.path().to_owned() };
        for path in files.directories() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(doing("make a directory"))?;
        }
        let binary =
            share::with_sessions(&files, binary).map_err(doing("let sessions reach what they need"))?;
        let commands = Commands { binary, files };
        let backend = Backend::new(ground, &plan).map_err(doing("make the networks"))?;
        let nodes = plan.numbered().map(|(node, _)| (node.name.clone(), Power::Off));
        let power = nodes.collect();
        let timeline = Timeline::new();
        let world = Self {
            plan,
            commands,
            timeline,
            daemons: BTreeMap::new(),
            started: BTreeMap::new(),
            power,
            backend,
            _directory: directory,
        };
        output(world.commands.keygen())?;
        Ok(world)
    }

    /// What a host thinks of the trusted hosts it knows of.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn standings(&self, host: &str) -> Result<BTreeMap<String, Standing>, LabError> {
        Ok(standings(&self.asker().topology(host)?))
    }

    /// Whoever asks hosts and DTUs, from this thread or another.
    #[must_use]
    pub fn asker(&self) -> Asker {
        Asker(self.commands.clone())
    }

    /// The names of the hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.plan.hosts.iter().map(|node| node.name.as_str())
    }

    /// The names of the DTUs, which are their serials.
    pub fn desks(&self) -> impl Iterator<Item = &str> {
        self.plan.desks.iter().map(|node| node.name.as_str())
    }

    /// What was done to a machine last.
    #[must_use]
    pub fn power(&self, machine: &str) -> Power {
        self.power.get(machine).copied().unwrap_or(Power::Off)
    }

    /// Everything that has happened, and the lab's clock.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The ground it stands on: for faults on LANs, and for processes of one's own on a machine.
    #[must_use]
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The same, to change its cables.
    pub fn backend_mut(&mut self) -> &mut Backend {
        &mut self.backend
    }

    /// What a machine has written so far, its standard error included.
    #[must_use]
    pub fn log(&self, machine: &str) -> String {
        std::fs::read(self.commands.files.log(machine))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Where a lab's files are: `keys`, `cards`, `log`, `home`, `store`, `run/HOST`, `dtu`.
    #[must_use]
    pub fn files(&self) -> &std::path::Path {
        &self.commands.files.root
    }

    /// Copies the logs of all machines into a directory that outlives the lab.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn copy_logs(&self, to: &std::path::Path) -> io::Result<()> {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(self.commands.files.logs())? {
            let entry = entry?;
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    }

    /// Whether the one process of a machine that the lab has started runs.
    #[must_use]
    pub fn is_alive(&self, machine: &str) -> bool {
        self.daemons.get(machine).is_some_and(Running::is_alive)
    }

    fn address(&self, machine: &str) -> Result<std::net::Ipv4Addr, LabError> {
        self.backend.address(machine).map_err(doing("look a machine up"))
    }

    fn daemon(&self, machine: &str) -> Result<&Running, LabError> {
        self.daemons.get(machine).ok_or_else(|| no_machine(machine))
    }

    /// The event of having done something to a machine: `host_killed`, `dtu_cut`, ...
    fn event(&self, machine: &str, done: &str) -> Event {
        let kind = if self.plan.desks.iter().any(|desk| desk.name == machine) {
            "dtu"
        } else if machine == STORE {
            "store"
        } else {
            "host"
        };
        let event = about(machine, &format!("{kind}_{done}"), &self.plan);
        if done == "cut" && self.backend.cut_freezes() { event.with("by", "freezing") } else { event }
    }
}

/// What a topology table says of the trusted hosts.
pub(super) fn standings(table: &[RowView]) -> BTreeMap<String, Standing> {
    table.iter().filter_map(|row| Some((row.host.to_string(), row.standing?))).collect()
}

/// An event about a machine, in the field for its kind.
fn about(machine: &str, event: &str, plan: &Plan) -> Event {
    if plan.desks.iter().any(|desk: &NodePlan| desk.name == machine) {
        Event::new(event).dtu(machine)
    } else {
        Event::new(event).host(machine)
    }
}

fn no_machine(name: &str) -> LabError {
    let source = io::Error::new(io::ErrorKind::NotFound, format!("nothing called {name} is there"));
    LabError::System { doing: "look a machine up", source }
}
