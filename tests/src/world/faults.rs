//! What goes wrong, and what puts it right again.

use groupmgr::host::admin::{Command, Reply};
use proto::{BootId, SessionId};

use super::parts::desk::DeskId;
use super::parts::machine::Daemon;
use super::parts::observation::{End, Fate, Observation};
use super::parts::process::ToProcess;
use super::parts::tcp::Owner;
use super::wire::{CableId, Node, Way};
use super::{Duration, LanId, Rule, World};

impl World {
    /// `kill -9` of a daemon. Its machine goes on: connections are reset, datagrams refused.
    pub fn kill(&mut self, host: &str) {
        self.history.tell(self.now, || format!("— kill {host}"));
        let host = self.host_number(host);
        self.daemon_ends(host);
    }

    /// Asks a daemon to stop, and waits until it has.
    pub fn stop(&mut self, host: &str) {
        self.history.tell(self.now, || format!("— stop {host}"));
        self.saw_fate(self.host_number(host), Fate::Leaves);
        match self.ask(host, Command::Stop) {
            Reply::Done => {}
            other => self.fail(&format!("{host} does not stop: {other:?}")),
        }
    }

    /// A daemon has ended by itself.
    pub(super) fn on_stopped(&mut self, host: usize, boot: Option<BootId>) {
        if self.machines[host].daemon.boot() != boot {
            return;
        }
        self.daemon_ends(host);
        if core::mem::take(&mut self.machines[host].starts_again) {
            self.boot(host);
        }
    }

    pub(super) fn daemon_ends(&mut self, host: usize) {
        self.machines[host].daemon = Daemon::Dead;
        self.saw_fate(host, Fate::Dies);
        self.break_links(host);
        self.orphan(host, |owner| matches!(owner, Owner::Kernel | Owner::Daemon));
        if !self.machines[host].plan.keep {
            let sessions: Vec<SessionId> = self.machines[host].processes.keys().copied().collect();
            for session in sessions {
                self.process_gone(host, session, End::Daemon);
            }
        }
    }

    /// Starts a host's daemon, and its machine if that is off. One that is about to end starts when it has.
    pub fn start(&mut self, host: &str) {
        let number = self.host_number(host);
        if self.machines[number].daemon.is_dead() {
            self.machines[number].has_power = true;
            self.boot(number);
        } else if self.machines[number].daemon.alive().is_some_and(|running| running.core.is_stopping()) {
            self.machines[number].starts_again = true;
        }
    }

    /// Kills a daemon and starts it again at once.
    pub fn restart(&mut self, host: &str) {
        self.kill(host);
        self.start(host);
    }

    /// The machine loses its power: everything on it is gone, and nothing says so.
    pub fn power_off(&mut self, host: &str) {
        self.history.tell(self.now, || format!("— power off {host}"));
        let host = self.host_number(host);
        self.machines[host].has_power = false;
        self.machines[host].outages += 1;
        self.machines[host].daemon = Daemon::Dead;
        self.saw_fate(host, Fate::Dies);
        for session in core::mem::take(&mut self.machines[host].processes).into_keys() {
            self.observe(|w| {
                Some(Observation::Gone { host: w.names[host].clone(), session, end: End::Power })
            });
        }
        self.orphan(host, |_| true);
        self.watch_ways();
    }

    /// Stops a daemon alone (SIGSTOP); its sessions run on.
    pub fn stop_daemon(&mut self, host: &str) {
        self.history.tell(self.now, || format!("— SIGSTOP to the daemon of {host}"));
        let host = self.host_number(host);
        if let Some(running) = self.machines[host].daemon.running() {
            running.is_stopped = true;
        }
    }

    /// Lets a stopped daemon run on.
    pub fn continue_daemon(&mut self, host: &str) {
        self.history.tell(self.now, || format!("— SIGCONT to the daemon of {host}"));
        let host = self.host_number(host);
        self.resume_daemon(host);
    }

    fn resume_daemon(&mut self, host: usize) {
        let Daemon::Alive(running) = &mut self.machines[host].daemon else { return };
        let held = running.resume();
        for what in held {
            self.reach_daemon(host, what);
        }
        self.rearm(host);
    }

    /// Stops all processes of a host.
    pub fn freeze(&mut self, host: &str) {
        self.history.tell(self.now, || format!("— freeze {host}"));
        let host = self.host_number(host);
        let machine = &mut self.machines[host];
        machine.is_frozen = true;
        if let Some(running) = machine.daemon.running() {
            running.is_stopped = true;
        }
        for process in machine.processes.values_mut() {
            process.is_stopped = true;
        }
    }

    /// Lets all processes of a host run on.
    pub fn thaw(&mut self, host: &str) {
        self.history.tell(self.now, || format!("— thaw {host}"));
        let host = self.host_number(host);
        self.machines[host].is_frozen = false;
        self.resume_daemon(host);
        let sessions: Vec<SessionId> = self.machines[host].processes.keys().copied().collect();
        for session in sessions {
            let Some(process) = self.machines[host].processes.get_mut(&session) else { continue };
            process.is_stopped = false;
            process.wake = None;
            for what in core::mem::take(&mut process.held) {
                self.reach_process(host, session, what);
            }
            self.reach_process(host, session, ToProcess::Due);
        }
    }

    /// Kills the process of a session (`kill -9`).
    pub fn kill_session(&mut self, host: &str, session: SessionId) {
        self.history.tell(self.now, || format!("— kill session {} on {host}", session.short()));
        let host = self.host_number(host);
        self.process_gone(host, session, End::Killed);
    }

    /// Stops the process of a session alone (SIGSTOP).
    pub fn stop_session(&mut self, host: &str, session: SessionId) {
        self.history.tell(self.now, || format!("— SIGSTOP to session {} on {host}", session.short()));
        let host = self.host_number(host);
        if let Some(process) = self.machines[host].processes.get_mut(&session) {
            process.is_stopped = true;
        }
    }

    /// Sets the rule of a host's cable to a LAN.
    pub fn set_rule(&mut self, host: &str, lan: LanId, way: Way, rule: Rule) {
        self.history.tell(self.now, || format!("— {host} on {}: {way:?} {rule:?}", self.wire.lan(lan).name));
        let cable = self.cable_on(host, lan);
        self.rule_cable(cable, way, rule);
    }

    pub(super) fn rule_cable(&mut self, cable: CableId, way: Way, rule: Rule) {
        let cable = self.wire.cable_mut(cable);
        if way != Way::In {
            cable.out = rule;
        }
        if way != Way::Out {
            cable.into = rule;
        }
        self.watch_ways();
    }

    /// Cuts a host's cable to a LAN, both ways and silently.
    pub fn cut(&mut self, host: &str, lan: LanId) {
        self.cut_way(host, lan, Way::Both);
    }

    /// Cuts it one way.
    pub fn cut_way(&mut self, host: &str, lan: LanId, way: Way) {
        self.set_rule(host, lan, way, Rule { cut: true, ..Rule::default() });
    }

    /// Takes all rules off a host's cable to a LAN.
    pub fn heal(&mut self, host: &str, lan: LanId) {
        self.set_rule(host, lan, Way::Both, Rule::default());
    }

    /// A host's cable to a LAN loses this share of datagrams, both ways.
    pub fn lose(&mut self, host: &str, lan: LanId, loss: f64) {
        self.set_rule(host, lan, Way::Both, Rule { loss, ..Rule::default() });
    }

    /// A host's cable to a LAN is late by this, both ways.
    pub fn delay(&mut self, host: &str, lan: LanId, delay: Duration) {
        self.set_rule(host, lan, Way::Both, Rule { delay, ..Rule::default() });
    }

    /// Sets the rule of a desk's cable.
    pub fn set_desk_rule(&mut self, desk: DeskId, way: Way, rule: Rule) {
        self.history.tell(self.now, || format!("— {}: {way:?} {rule:?}", self.desks[desk.0].name));
        let cable = self.desks[desk.0].cables[0];
        self.rule_cable(cable, way, rule);
    }

    /// Broadcasts no longer reach a desk, or do again; what is sent to it alone does.
    pub fn mute_broadcasts(&mut self, desk: DeskId, mute: bool) {
        self.history.tell(self.now, || format!("— {}: hears broadcasts {}", self.desks[desk.0].name, !mute));
        self.desks[desk.0].hears_broadcasts = !mute;
    }

    /// For so long nobody hears a host's beacons; whatever else it sends arrives.
    pub fn lose_beacons(&mut self, host: &str, time: Duration) {
        self.history.tell(self.now, || format!("— beacons of {host} are lost for {time:?}"));
        let host = self.host_number(host);
        self.machines[host].beacons_lost_until = self.now + time;
    }

    /// From now on beacons reach a desk from an address that no host has, as over some routers; or as they are again.
    pub fn rewrite_beacons(&mut self, desk: DeskId, rewrite: bool) {
        self.history.tell(self.now, || format!("— {}: beacons rewritten {rewrite}", self.desks[desk.0].name));
        self.desks[desk.0].hears_from_elsewhere = rewrite;
    }

    /// Splits a LAN: these hosts and desks on one side, all others on the other.
    pub fn split(&mut self, lan: LanId, hosts: &[&str], desks: &[DeskId]) {
        self.history.tell(self.now, || format!("— split {}: {hosts:?}", self.wire.lan(lan).name));
        let mut aside: Vec<CableId> = hosts.iter().map(|host| self.cable_on(host, lan)).collect();
        aside.extend(desks.iter().map(|desk| self.desks[desk.0].cables[0]));
        self.wire.split(lan, aside);
        self.watch_ways();
    }

    /// Joins the two sides of a LAN.
    pub fn join(&mut self, lan: LanId) {
        self.history.tell(self.now, || format!("— join {}", self.wire.lan(lan).name));
        self.wire.split(lan, Vec::new());
        self.watch_ways();
    }

    /// Nothing passes between a desk and a host of its LAN from now on; both reach all others.
    pub fn keep_apart(&mut self, desk: DeskId, host: &str) {
        self.history.tell(self.now, || format!("— {} and {host} are kept apart", self.desks[desk.0].name));
        let near = self.desks[desk.0].cables[0];
        let far = self.cable_on(host, self.wire.cable(near).lan);
        self.wire.keep_apart(near, far);
        self.watch_ways();
    }

    /// Pulls a host's plug out of a LAN, which its kernel notices.
    pub fn unplug(&mut self, host: &str, lan: LanId) {
        self.set_plug(host, lan, false);
    }

    /// Puts it in again.
    pub fn plug(&mut self, host: &str, lan: LanId) {
        self.set_plug(host, lan, true);
    }

    fn set_plug(&mut self, host: &str, lan: LanId, carrier: bool) {
        self.history.tell(self.now, || format!("— {host} on {}: plug {carrier}", self.wire.lan(lan).name));
        let cable = self.cable_on(host, lan);
        self.wire.cable_mut(cable).carrier = carrier;
        let Node::Host(number) = self.wire.cable(cable).node else { return };
        self.tell_interfaces(number);
        self.watch_ways();
    }

    /// Sets a host's wall clock, ahead of the world's or behind it, in milliseconds.
    pub fn set_clock(&mut self, host: &str, off_ms: i64) {
        self.history.tell(self.now, || format!("— {host}: wall clock {off_ms:+} ms"));
        let host = self.host_number(host);
        self.machines[host].wall_off_ms = off_ms;
    }

    /// A host's wall clock gains so many microseconds in a second, or loses them.
    pub fn drift_clock(&mut self, host: &str, ppm: i64) {
        self.history.tell(self.now, || format!("— {host}: wall clock drifts by {ppm:+} ppm"));
        let host = self.host_number(host);
        self.machines[host].wall_drift_ppm = ppm;
    }

    /// From its next start a host can make no session process, for this reason; or it can again.
    pub fn set_cannot_spawn(&mut self, host: &str, reason: Option<&str>) {
        let host = self.host_number(host);
        self.machines[host].plan.cannot_spawn = reason.map(str::to_owned);
    }
}
