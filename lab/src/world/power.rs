//! What is done to machines from outside.

use std::time::Instant;

use nix::sys::signal::Signal;

use super::{LabError, Power, START_PATIENCE, World, about, doing};

impl World {
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
        // Said first: its processes stop one after another, and others may notice before the last has.
        self.happened(at, "frozen", machine, Power::Frozen);
        self.backend.freeze(machine).map_err(doing("freeze"))?;
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

    /// Stops the processes of a host's sessions; its daemon, and what runs in the sessions, go on. Returns how many.
    ///
    /// # Errors
    /// A process that may not be signalled.
    pub fn freeze_sessions(&mut self, host: &str) -> Result<usize, LabError> {
        let at = Instant::now();
        let stopped = self.backend.freeze_sessions(host).map_err(doing("freeze"))?;
        self.timeline.push_at(at, about(host, "sessions_frozen", &self.plan));
        Ok(stopped)
    }

    /// Lets a frozen machine, or what of it was frozen, go on.
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
        let at = Instant::now();
        let power = if self.backend.cut_freezes() { Power::Frozen } else { Power::Cut };
        self.happened(at, "cut", machine, power);
        self.backend.cut(machine).map_err(doing("cut"))?;
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

    /// Kills everything. Returns how many processes of the lab are left, which should be none.
    ///
    /// # Errors
    /// A process that does not end.
    pub fn end(&mut self) -> Result<usize, LabError> {
        let everybody = self.backend.everybody();
        everybody.kill(drop).map_err(doing("kill"))?;
        self.power.values_mut().for_each(|power| *power = Power::Off);
        self.daemons.clear();
        Ok(everybody.processes().len())
    }

    fn happened(&mut self, at: Instant, what: &str, machine: &str, power: Power) {
        self.power.insert(machine.to_owned(), power);
        self.timeline.push_at(at, self.event(machine, what));
    }
}
