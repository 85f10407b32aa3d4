//! Starting what a lab consists of, and waiting until it is ready.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lines::Listener;
use super::{LabError, Power, STORE, World, doing, no_machine, output};
use crate::backend::Ground;
use crate::running::{Running, stderr_to};
use crate::timeline::Event;
use groupmgr::topology::Standing;

/// How long a process may take to say that it is ready, on a busy machine too.
pub const START_PATIENCE: Duration = Duration::from_secs(20);

/// Between two questions to a host whose answer is not yet the wanted one, unless something happens meanwhile.
const ASK_AGAIN: Duration = Duration::from_millis(20);

impl World {
    /// Starts everything: the data store, then the hosts, and the DTUs when all hosts have found each other.
    ///
    /// # Errors
    /// Whoever did not get ready in time, with the end of its log.
    pub fn start_all(&mut self) -> Result<(), LabError> {
        self.form_group()?;
        let desks: Vec<String> = self.desks().map(str::to_owned).collect();
        for desk in &desks {
            self.start_desk(desk)?;
        }
        Ok(())
    }

    /// Starts the data store and the hosts, and waits until these have found each other. Sessions are made as
    /// [`World::share_home`] says.
    ///
    /// # Errors
    /// Whoever did not get ready in time, with the end of its log.
    pub fn form_group(&mut self) -> Result<(), LabError> {
        self.start_store()?;
        self.start_hosts()?;
        self.wait_for_group(START_PATIENCE)?;
        self.share_home()
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

    /// Makes every session one of a login shell in the lab's own home directory ([`World::shell`]). For hosts with one data
    /// store, once they run.
    ///
    /// # Errors
    /// When no host takes it.
    pub fn share_home(&self) -> Result<(), LabError> {
        self.put_template("default", &self.shell())
    }

    /// The service of a template that is a login shell in the lab's own home directory: the same on all hosts, as a shared
    /// mount would be, and not the one of whoever runs the lab, whose shell may be one that asks questions at its first
    /// start, or none at all.
    #[must_use]
    pub fn shell(&self) -> String {
        let shell =
            ["/bin/bash", "/bin/sh"].into_iter().find(|shell| Path::new(shell).exists()).unwrap_or("sh");
        // A JSON string is a TOML string.
        let home = serde_json::Value::from(self.commands.files.home().to_string_lossy()).to_string();
        format!(
            "[[service]]\nname = \"terminal\"\ncwd = {home}\n\
             env = {{ HOME = {home}, SHELL = \"{shell}\", HISTFILE = \"/dev/null\" }}\n"
        )
    }

    /// Stores a template. For hosts with one data store, once they run.
    ///
    /// # Errors
    /// When no host takes it.
    pub fn put_template(&self, name: &str, text: &str) -> Result<(), LabError> {
        let Some(host) = self.hosts().find(|host| self.is_alive(host)) else { return Ok(()) };
        let file = self.commands.files.root.join(format!("{name}.toml"));
        std::fs::write(&file, text).map_err(doing("write a template"))?;
        output(self.commands.put_template(host, name, &file)).map(drop)
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
        let (bind, servers) = match self.backend.ground() {
            Ground::Namespaces => (None, Vec::new()),
            Ground::Loopback => {
                let hosts = self.hosts().map(|host| self.address(host)).collect::<Result<_, _>>()?;
                (Some(self.address(desk)?), hosts)
            }
        };
        let command = self.commands.desk(desk, bind, &servers, &node.args);
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
                let answer = self.standings(host);
                if let Ok(standing) = &answer
                    && on.iter().all(|other| standing.get(*other).is_some_and(|s| *s == Standing::Up))
                {
                    break;
                }
                let left = give_up_at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    let last =
                        answer.map_or_else(|error| error.to_string(), |standing| format!("{standing:?}"));
                    let what = format!("{host} to see {} as up; it says: {last}", on.join(", "));
                    return Err(LabError::Late { what, patience });
                }
                let _ = self.timeline.wait(end, ASK_AGAIN.min(left), |event| event.host.is_some());
            }
        }
        Ok(())
    }

    /// Waits until the host of a session says that another one keeps all of it; returns which.
    ///
    /// # Errors
    /// [`LabError::Late`], with what the host says; when it does not answer.
    pub fn wait_until_kept(&self, host: &str, session: &str, patience: Duration) -> Result<String, LabError> {
        let give_up_at = Instant::now() + patience;
        loop {
            let end = self.timeline.end();
            let shown = self.asker().command(host, &["session", "show", session])?;
            let replica = &shown["replica"];
            if let (Some("protected"), Some(secondary)) =
                (replica["state"].as_str(), replica["secondary"].as_str())
            {
                return Ok(secondary.to_owned());
            }
            let left = give_up_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = format!("another host to keep the session of {host}, which says: {shown}");
                return Err(LabError::Late { what, patience });
            }
            let _ = self.timeline.wait(end, ASK_AGAIN.min(left), |event| event.host.is_some());
        }
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
        let listener = Listener::new(machine, is_desk, self.timeline.clone());
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

    fn died(&self, machine: &str) -> LabError {
        LabError::Died { machine: machine.to_owned(), said: self.end_of_log(machine) }
    }

    fn end_of_log(&self, machine: &str) -> String {
        let log = self.log(machine);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }
}
