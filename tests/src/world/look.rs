//! What can be seen of the world: by whoever looks at a screen, by an operator, and by nobody but a test.

use std::net::Ipv4Addr;

use dtu_emu::dtu::{DtuEvent, Phase, Status};
use groupmgr::host::Note;
use groupmgr::topology::Standing;
use proto::net::IfName;
use proto::{HostName, Instant, SessionId, Token};
use sessiond::manager::Claim;

use super::World;
use super::parts::desk::Brain;
use super::parts::desk::DeskId;
use super::wire::{CableId, LanId};

/// A session process, as the world knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it runs.
    pub host: String,
    /// Which session it is.
    pub session: SessionId,
    /// The process id of its shell.
    pub pid: Option<u32>,
}

impl World {
    /// What a desk would say of itself.
    #[must_use]
    pub fn status(&self, desk: DeskId) -> Status {
        match &self.desks[desk.0].brain {
            Brain::Dtu(dtu) => dtu.status(),
            Brain::Hand { .. } => self.fail("a hand has no status"),
        }
    }

    /// The host at which a desk is attached.
    #[must_use]
    pub fn host_of(&self, desk: DeskId) -> Option<String> {
        let status = self.status(desk);
        let attached = status.phase == Phase::Attached;
        status.host.filter(|_| attached).map(|host| host.to_string())
    }

    /// The session that a desk is attached to and has on its screen.
    #[must_use]
    pub fn shows(&self, desk: DeskId) -> Option<SessionId> {
        let status = self.status(desk);
        let drawn = status.phase == Phase::Attached && (status.shown || self.desks[desk.0].screen.is_none());
        status.session.filter(|_| drawn)
    }

    /// Whether a text can be read on a desk's screen.
    #[must_use]
    pub fn can_read(&self, desk: DeskId, text: &str) -> bool {
        self.desks[desk.0].screen.as_ref().is_some_and(|s| s.lines().iter().any(|line| line.contains(text)))
    }

    /// The lines on a desk's screen that are not blank.
    #[must_use]
    pub fn screen(&self, desk: DeskId) -> Vec<String> {
        let lines = self.desks[desk.0].screen.as_ref().map(|s| s.lines()).unwrap_or_default();
        lines.into_iter().filter(|line| !line.is_empty()).collect()
    }

    /// The DTU's own line above the screen.
    #[must_use]
    pub fn notice(&self, desk: DeskId) -> Option<&str> {
        self.desks[desk.0].notice.as_deref()
    }

    /// What a desk has reported since `from`.
    pub fn events_since(&self, desk: DeskId, from: Instant) -> impl Iterator<Item = &DtuEvent> {
        self.desks[desk.0].events.iter().filter(move |(at, _)| *at >= from).map(|(_, event)| event)
    }

    /// How often a desk has reported an event of this name since `from`.
    #[must_use]
    pub fn count_since(&self, desk: DeskId, name: &str, from: Instant) -> usize {
        self.events_since(desk, from).filter(|event| event.name() == name).count()
    }

    /// What `host` thinks of `other`; none before it has proved itself.
    #[must_use]
    pub fn standing(&self, host: &str, other: &str) -> Option<Standing> {
        self.standing_at(self.host_number(host), self.host_number(other))
    }

    pub(super) fn standing_at(&self, host: usize, other: usize) -> Option<Standing> {
        let running = self.machines[host].daemon.alive()?;
        running.core.topology().row(&self.names[other]).map(groupmgr::topology::Row::standing)
    }

    /// Whether `host` is heard by `other` in its present run and is up there.
    #[must_use]
    pub fn is_up_at(&self, other: &str, host: &str) -> bool {
        let (observer, subject) = (self.host_number(other), self.host_number(host));
        let boot = self.machines[subject].daemon.boot();
        let Some(running) = self.machines[observer].daemon.alive() else { return false };
        let row = running.core.topology().row(&self.names[subject]);
        row.is_some_and(|row| row.is_up() && Some(row.boot()) == boot)
    }

    /// Whether a host is as it should be: it runs, all its ways are sound, and nobody else has its name.
    #[must_use]
    pub fn is_host_well(&self, host: &str) -> bool {
        !self.has_second(host) && self.is_machine_well(self.host_number(host))
    }

    pub(super) fn is_machine_well(&self, host: usize) -> bool {
        let machine = &self.machines[host];
        let runs = machine.has_power && machine.daemon.alive().is_some_and(|running| !running.is_stopped);
        runs && machine.cables.iter().all(|cable| self.wire.is_sound(*cable))
    }

    /// Whether a host's sessions outlive its daemon.
    #[must_use]
    pub fn keeps_sessions(&self, host: &str) -> bool {
        self.machines[self.host_number(host)].plan.keep
    }

    /// Whether a host's machine runs and all its ways are sound, whatever its daemon does.
    #[must_use]
    pub fn are_ways_well(&self, host: &str) -> bool {
        let machine = &self.machines[self.host_number(host)];
        let is_stopped = machine.daemon.alive().is_some_and(|running| running.is_stopped);
        let runs = machine.has_power && !machine.is_frozen && !is_stopped;
        runs && machine.cables.iter().all(|cable| self.wire.is_sound(*cable))
    }

    /// Whether a desk's own ways are sound.
    #[must_use]
    pub fn is_desk_well(&self, desk: DeskId) -> bool {
        let desk = &self.desks[desk.0];
        !desk.is_asleep && desk.hears_broadcasts && desk.cables.iter().all(|cable| self.wire.is_sound(*cable))
    }

    /// Whether the data store is as it should be, and reached by all hosts.
    #[must_use]
    pub fn is_store_well(&self) -> bool {
        self.store.is_well() && self.machines.iter().all(|machine| !machine.is_store_cut)
    }

    /// Whether a desk is on a LAN.
    #[must_use]
    pub fn is_on(&self, desk: DeskId, lan: super::LanId) -> bool {
        self.desks[desk.0].cables.iter().any(|cable| self.wire.cable(*cable).lan == lan)
    }

    /// A desk's name.
    #[must_use]
    pub fn desk_name(&self, desk: DeskId) -> &str {
        &self.desks[desk.0].name
    }

    /// All session processes, with their hosts and tokens.
    pub fn processes(&self) -> impl Iterator<Item = (&HostName, SessionId, &Token)> {
        self.machines.iter().zip(&self.names).flat_map(|(machine, name)| {
            machine.processes.iter().map(move |(session, process)| (name, *session, &process.token))
        })
    }

    /// The sessions whose processes run on a host.
    #[must_use]
    pub fn sessions_on(&self, host: &str) -> Vec<SessionId> {
        self.machines[self.host_number(host)].processes.keys().copied().collect()
    }

    /// The session processes of a token, wherever they run.
    #[must_use]
    pub fn sessions_of(&self, token: &str) -> Vec<Seen> {
        let token: Token = self.parsed(token);
        let mut seen = Vec::new();
        for machine in &self.machines {
            for (session, process) in &machine.processes {
                if process.token == token {
                    let pid = process.shells.values().map(|shell| shell.pid).next();
                    seen.push(Seen { host: machine.name.clone(), session: *session, pid });
                }
            }
        }
        seen
    }

    /// How many session processes there are in all.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.machines.iter().map(|machine| machine.processes.len()).sum()
    }

    /// The same on one host.
    #[must_use]
    pub fn session_count_on(&self, host: &str) -> usize {
        self.machines[self.host_number(host)].processes.len()
    }

    /// The names of all hosts.
    pub fn host_names(&self) -> impl Iterator<Item = &str> {
        self.machines.iter().map(|machine| machine.name.as_str())
    }

    /// How a session stands with the data store, as its host believes.
    #[must_use]
    pub fn claim_of(&self, host: &str, session: SessionId) -> Option<Claim> {
        let running = self.machines[self.host_number(host)].daemon.alive()?;
        running.core.sessions().get(session).map(|s| s.claim)
    }

    /// A session's epoch, as its host has it.
    #[must_use]
    pub fn epoch_of(&self, host: &str, session: SessionId) -> Option<proto::Epoch> {
        let running = self.machines[self.host_number(host)].daemon.alive()?;
        running.core.sessions().get(session).map(|s| s.epoch)
    }

    /// A session's time of last connection, as its host has it.
    #[must_use]
    pub fn last_of(&self, host: &str, session: SessionId) -> Option<u64> {
        let running = self.machines[self.host_number(host)].daemon.alive()?;
        running.core.sessions().get(session).map(|s| s.last.0)
    }

    /// How often a host has dropped or refused something for this reason.
    #[must_use]
    pub fn refused(&self, host: &str, reason: &str) -> u64 {
        let alive = self.machines[self.host_number(host)].daemon.alive();
        alive.map_or(0, |running| running.core.counters().refused_for(reason))
    }

    /// How often a host has done this.
    #[must_use]
    pub fn done(&self, host: &str, kind: &str) -> u64 {
        let alive = self.machines[self.host_number(host)].daemon.alive();
        alive.map_or(0, |running| running.core.counters().times(kind))
    }

    /// What a host has noted since `from`.
    pub fn notes_since(&self, host: &str, from: Instant) -> impl Iterator<Item = &Note> {
        let notes = &self.machines[self.host_number(host)].notes;
        notes.iter().filter(move |(at, _)| *at >= from).map(|(_, note)| note)
    }

    /// A host's daemon, as it is. For what nothing else shows.
    #[must_use]
    pub fn host(&self, host: &str) -> Option<&groupmgr::host::Host> {
        self.machines[self.host_number(host)].daemon.alive().map(|running| &running.core)
    }

    /// The present run of a host, if it is one and runs.
    #[must_use]
    pub fn boot_of_any(&self, host: &str) -> Option<proto::BootId> {
        self.by_name.get(host).and_then(|number| self.machines[*number].daemon.boot())
    }

    /// A stranger's address.
    #[must_use]
    pub fn address_of_stranger(&self, stranger: super::StrangerId) -> std::net::Ipv4Addr {
        self.wire.cable(self.strangers[stranger.number()].cables[0]).ip
    }

    /// A host's run.
    #[must_use]
    pub fn boot_of(&self, host: &str) -> Option<proto::BootId> {
        self.machines[self.host_number(host)].daemon.boot()
    }

    pub(super) fn cable_named(&self, host: usize, iface: &IfName) -> Option<CableId> {
        self.machines[host].cables.iter().copied().find(|l| self.wire.cable(*l).iface == *iface)
    }

    /// A host's address on a LAN.
    pub(super) fn address_on(&self, host: usize, lan: LanId) -> Option<Ipv4Addr> {
        let cables = self.machines[host].cables.iter().map(|l| self.wire.cable(*l));
        cables.filter(|cable| cable.lan == lan).map(|cable| cable.ip).next()
    }

    /// A host's address on a LAN.
    ///
    /// # Panics
    /// When it has none there.
    #[must_use]
    pub fn address(&self, host: &str, lan: super::LanId) -> std::net::SocketAddrV4 {
        match self.address_on(self.host_number(host), lan) {
            Some(ip) => std::net::SocketAddrV4::new(ip, proto::PORT),
            None => self.fail(&format!("{host} is not on this LAN")),
        }
    }

    /// A desk's address.
    #[must_use]
    pub fn address_of_desk(&self, desk: DeskId) -> std::net::Ipv4Addr {
        self.wire.cable(self.desks[desk.0].cables[0]).ip
    }

    /// A desk's serial.
    #[must_use]
    pub fn serial(&self, desk: DeskId) -> proto::Serial {
        match &self.desks[desk.0].brain {
            Brain::Dtu(dtu) => dtu.serial().clone(),
            Brain::Hand { .. } => self.parsed(&self.desks[desk.0].name),
        }
    }
}
