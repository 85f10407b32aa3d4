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

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::backend::{Backend, Ground};
use super::commands::{Commands, Files};
use super::plan::{NodePlan, Plan};
use super::running::{Running, stderr_to};
use super::timeline::{Cursor, Event, Timeline};

pub use ask::Asker;
use ask::output;
pub use desk::{Card, Screen};
pub use error::LabError;
pub(super) use error::doing;

/// How long a process may take to say that it is ready, on a busy machine too.
pub const START_PATIENCE: Duration = Duration::from_secs(20);

/// Between two questions to a host whose answer is not yet the wanted one, unless something happens meanwhile.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// The name of the data store's machine.
pub const STORE: &str = "store";

/// What was done to a machine last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Nothing runs on it.
    Off,
    /// It runs.
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
        let commands = Commands { binary, files: Files { root: directory.path().to_owned() } };
        for path in commands.files.directories() {
            std::fs::create_dir_all(&path).map_err(doing("make a directory"))?;
        }
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

    /// Starts everything: the data store, then the hosts, and the DTUs when all hosts have found each other.
    ///
    /// # Errors
    /// Whoever did not get ready in time, with the end of its log.
    pub fn start_all(&mut self) -> Result<(), LabError> {
        self.start_store()?;
        self.start_hosts()?;
        self.wait_for_group(START_PATIENCE)?;
        let desks: Vec<String> = self.desks().map(str::to_owned).collect();
        for desk in &desks {
            self.start_desk(desk)?;
        }
        Ok(())
    }

    /// Starts the data store and waits until it takes requests. Nothing when the plan has none.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_store(&mut self) -> Result<(), LabError> {
        if self.plan.store.is_none() {
            return Ok(());
        }
        let command = self.commands.datastore(self.address(STORE)?);
        self.start(STORE, command)?;
        self.wait_until_ready(STORE, "store_up")
    }

    /// Starts all hosts at once and waits until each takes requests.
    ///
    /// # Errors
    /// The first that does not get ready.
    pub fn start_hosts(&mut self) -> Result<(), LabError> {
        let hosts: Vec<String> = self.hosts().map(str::to_owned).collect();
        for host in &hosts {
            self.launch_host(host)?;
        }
        hosts.iter().try_for_each(|host| self.wait_until_ready(host, "host_up"))
    }

    /// Starts one host, after a kill too, and waits until it takes requests.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_host(&mut self, host: &str) -> Result<(), LabError> {
        self.launch_host(host)?;
        self.wait_until_ready(host, "host_up")
    }

    fn launch_host(&mut self, host: &str) -> Result<(), LabError> {
        let node = self.plan.hosts.iter().find(|node| node.name == host).ok_or_else(|| no_machine(host))?;
        let bind = match self.backend.ground() {
            Ground::Namespaces => None,
            Ground::Loopback => Some(self.address(host)?),
        };
        let store = self.plan.store.as_ref().map(|_| self.address(STORE)).transpose()?;
        let command = self.commands.host(host, bind, store, &node.args);
        self.start(host, command)
    }

    /// Switches a DTU on and waits until it is. In namespaces it finds the hosts by itself; on loopback it is
    /// told where they are.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_desk(&mut self, desk: &str) -> Result<(), LabError> {
        let node = self.plan.desks.iter().find(|node| node.name == desk).ok_or_else(|| no_machine(desk))?;
        let servers = match self.backend.ground() {
            Ground::Namespaces => Vec::new(),
            Ground::Loopback => self.hosts().map(|host| self.address(host)).collect::<Result<_, _>>()?,
        };
        let command = self.commands.desk(desk, &servers, &node.args);
        self.start(desk, command)?;
        self.wait_until_ready(desk, "booted")
    }

    /// Waits until every host that is on has every other one of them as up in its topology table.
    ///
    /// # Errors
    /// [`LabError::Late`].
    pub fn wait_for_group(&self, patience: Duration) -> Result<(), LabError> {
        let on: Vec<&str> = self.hosts().filter(|host| self.power(host) == Power::On).collect();
        let give_up_at = Instant::now() + patience;
        for host in &on {
            loop {
                let end = self.timeline.end();
                let standing = self.standings(host).unwrap_or_default();
                if on.iter().all(|other| standing.get(*other).is_some_and(|s| s == "up")) {
                    break;
                }
                let left = give_up_at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(LabError::Late {
                        what: format!("{host} to see {} as up", on.join(", ")),
                        patience,
                    });
                }
                let _ = self.timeline.wait(end, ASK_AGAIN.min(left), |event| event.host.is_some());
            }
        }
        Ok(())
    }

    /// What a host thinks of the trusted hosts it knows of: `up`, `silent`, `down` or `left`.
    ///
    /// # Errors
    /// When the host does not answer.
    pub fn standings(&self, host: &str) -> Result<BTreeMap<String, String>, LabError> {
        let table = self.asker().host(host, &["topology"])?;
        Ok(standings(&table))
    }

    /// Whoever asks hosts and DTUs, from this thread or another.
    #[must_use]
    pub fn asker(&self) -> Asker {
        Asker(self.commands.clone())
    }

    /// Kills every process of a machine, and so the machine. Returns the moment just before the first died.
    ///
    /// # Errors
    /// A process that does not end.
    pub fn kill(&mut self, machine: &str) -> Result<Instant, LabError> {
        let mut killed_at = Instant::now();
        let event = self.event(machine, "killed");
        let timeline = &self.timeline;
        let now = |at| {
            killed_at = at;
            timeline.push_at(at, event);
        };
        self.backend.kill(machine, now).map_err(doing("kill"))?;
        self.daemons.remove(machine);
        self.power.insert(machine.to_owned(), Power::Off);
        Ok(killed_at)
    }

    /// Kills the one process of a machine that the lab has started: on a host, `groupmgr run`.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill_daemon(&mut self, machine: &str) -> Result<Instant, LabError> {
        let at = Instant::now();
        let daemon = self.daemon(machine)?;
        daemon.signal(Signal::SIGKILL).map_err(doing("kill"))?;
        self.timeline.push_at(at, about(machine, "daemon_killed", &self.plan));
        let patience = START_PATIENCE;
        self.daemon(machine)?
            .wait(patience)
            .ok_or(LabError::Late { what: format!("the end of {machine}"), patience })?;
        self.daemons.remove(machine);
        self.power.insert(machine.to_owned(), Power::Off);
        Ok(at)
    }

    /// Asks the one process of a machine that the lab has started to end (SIGTERM), and waits for it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop_daemon(&mut self, machine: &str) -> Result<i32, LabError> {
        let daemon = self.daemon(machine)?;
        daemon.signal(Signal::SIGTERM).map_err(doing("stop"))?;
        let patience = START_PATIENCE;
        let code = daemon
            .wait(patience)
            .ok_or(LabError::Late { what: format!("the end of {machine}"), patience })?;
        self.daemons.remove(machine);
        self.power.insert(machine.to_owned(), Power::Off);
        Ok(code)
    }

    /// Stops every process of a machine. Its kernel still answers, unless it is cut too.
    ///
    /// # Errors
    /// A process that does not stop.
    pub fn freeze(&mut self, machine: &str) -> Result<Instant, LabError> {
        let at = Instant::now();
        self.backend.freeze(machine).map_err(doing("freeze"))?;
        self.happened(at, "frozen", machine, Power::Frozen);
        Ok(at)
    }

    /// Stops the one process of a machine that the lab has started; sessions go on.
    ///
    /// # Errors
    /// When nothing runs there.
    pub fn freeze_daemon(&mut self, machine: &str) -> Result<Instant, LabError> {
        let at = Instant::now();
        self.daemon(machine)?.signal(Signal::SIGSTOP).map_err(doing("freeze"))?;
        self.timeline.push_at(at, about(machine, "daemon_frozen", &self.plan));
        Ok(at)
    }

    /// Lets a frozen machine, or its frozen daemon, go on.
    ///
    /// # Errors
    /// A process that may not be signalled.
    pub fn thaw(&mut self, machine: &str) -> Result<(), LabError> {
        self.backend.thaw(machine).map_err(doing("thaw"))?;
        let at = Instant::now();
        self.happened(at, "thawed", machine, Power::On);
        Ok(())
    }

    /// Cuts a machine off from everybody; on loopback, where there is no link, by freezing it. Returns the moment.
    ///
    /// # Errors
    /// A process that does not stop.
    pub fn cut(&mut self, machine: &str) -> Result<Instant, LabError> {
        let at = self.backend.cut(machine).map_err(doing("cut"))?;
        let power = if self.backend.cut_freezes() { Power::Frozen } else { Power::Cut };
        self.happened(at, "cut", machine, power);
        Ok(at)
    }

    /// Undoes [`World::cut`].
    ///
    /// # Errors
    /// A process that may not be signalled.
    pub fn heal(&mut self, machine: &str) -> Result<(), LabError> {
        self.backend.heal(machine).map_err(doing("heal"))?;
        let at = Instant::now();
        self.happened(at, "healed", machine, Power::On);
        Ok(())
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

    /// Kills everything. Returns how many processes of the lab are left, which should be none.
    ///
    /// # Errors
    /// A process that does not end.
    pub fn end(&mut self) -> Result<usize, LabError> {
        let machines: Vec<String> = self.power.keys().cloned().collect();
        for machine in &machines {
            self.backend.kill(machine, drop).map_err(doing("kill"))?;
            self.power.insert(machine.clone(), Power::Off);
        }
        self.daemons.clear();
        let left = machines.iter().filter_map(|machine| self.backend.belonging(machine).ok());
        Ok(left.map(|belonging| belonging.processes().len()).sum())
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

    fn start(&mut self, machine: &str, mut command: Command) -> Result<(), LabError> {
        if self.is_alive(machine) {
            return Err(LabError::Odd { what: machine.to_owned(), why: "it runs already".to_owned() });
        }
        self.started.insert(machine.to_owned(), self.timeline.end());
        let log = self.commands.files.log(machine);
        command.stderr(stderr_to(&log).map_err(doing("open a log"))?);
        let child = self.backend.spawn(machine, command).map_err(doing("start a process"))?;
        let is_desk = self.plan.desks.iter().any(|desk| desk.name == machine);
        let listener = lines::Listener::new(machine, is_desk, self.timeline.clone());
        let (on_line, on_end) = Arc::new(listener).split();
        let running = Running::new(child, &log, on_line, on_end).map_err(doing("follow a process"))?;
        self.daemons.insert(machine.to_owned(), running);
        self.power.insert(machine.to_owned(), Power::On);
        Ok(())
    }

    fn wait_until_ready(&self, machine: &str, event: &str) -> Result<(), LabError> {
        let about_it = |e: &Event| e.on(machine) || e.at(machine);
        let from = self.started.get(machine).copied().unwrap_or_default();
        // An end may be that of an earlier run.
        let news = |e: &Event| about_it(e) && (e.is(event) || e.is("ended") && !self.is_alive(machine));
        match self.timeline.wait(from, START_PATIENCE, news) {
            Some(e) if e.is(event) => Ok(()),
            Some(_) => Err(self.died(machine)),
            None => {
                let what = format!("{machine} to get ready; its log ends: {}", self.end_of_log(machine));
                Err(LabError::Late { what, patience: START_PATIENCE })
            }
        }
    }

    /// Whether the one process of a machine that the lab has started runs.
    #[must_use]
    pub fn is_alive(&self, machine: &str) -> bool {
        self.daemons.get(machine).is_some_and(Running::is_alive)
    }

    fn died(&self, machine: &str) -> LabError {
        LabError::Died { machine: machine.to_owned(), said: self.end_of_log(machine) }
    }

    fn end_of_log(&self, machine: &str) -> String {
        let log = self.log(machine);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }

    fn address(&self, machine: &str) -> Result<std::net::Ipv4Addr, LabError> {
        self.backend.address(machine).map_err(doing("look a machine up"))
    }

    fn daemon(&self, machine: &str) -> Result<&Running, LabError> {
        self.daemons.get(machine).ok_or_else(|| no_machine(machine))
    }

    fn happened(&mut self, at: Instant, what: &str, machine: &str, power: Power) {
        self.power.insert(machine.to_owned(), power);
        self.timeline.push_at(at, self.event(machine, what));
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
pub(super) fn standings(table: &Value) -> BTreeMap<String, String> {
    let rows = table.as_array().or_else(|| table.get("topology")?.as_array());
    let text = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).map(str::to_owned);
    let standing = |row| Some((text(row, "host")?, text(row, "standing")?));
    rows.into_iter().flatten().filter_map(standing).collect()
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
