//! Who is in the group and what this host is in it: the table that membership keeps, for all machines to read.

use std::net::{Ipv4Addr, SocketAddrV4};

use proto::alp::{AnchorNote, STANDBYS_MAX, Standby};
use proto::host_message::Load;
use proto::lack::Lacks;
use proto::net::Interface;
use proto::time::Duration;
use proto::{BootId, HostName, Instant, StoreId, WallTime};

use super::super::driver::Effect;
use super::super::out::Out;
use crate::announce::{Announcement, Announcer};
use crate::digest::{self, Tags};
use crate::fitness::Fitness;
use crate::reach::{self, Dtu, Reachable};
use crate::topology::{Double, Row, RowView, Topology};

/// The other hosts, and what this one tells them of itself.
#[derive(Debug)]
pub(in crate::host) struct Members {
    pub(super) topology: Topology,
    pub(super) announcer: Announcer,
    /// What others told of their tokens.
    pub(super) digests: digest::Others,
    pub(super) fitness: Fitness,
    /// By what a DTU checks the beacons from now on, as of the last beacon.
    pub(super) anchor: AnchorNote,
    /// The run queue per processor times 100, as the kernel last told it.
    pub(super) run_queue: u32,
    pub(super) started: Instant,
}

impl Members {
    pub(in crate::host) const fn topology(&self) -> &Topology {
        &self.topology
    }

    pub(in crate::host) fn row(&self, host: &HostName) -> Option<&Row> {
        self.topology.row(host)
    }

    pub(in crate::host) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.topology.rows()
    }

    /// The time by which connections of a token are ordered.
    pub(in crate::host) fn group_time(&self, now: Instant, wall: WallTime) -> WallTime {
        self.topology.group_time(now, wall)
    }

    /// Whether another run under this name was heard that has not proved itself yet.
    pub(in crate::host) fn is_in_doubt(&self, host: &HostName) -> bool {
        self.topology.is_in_doubt(host)
    }

    pub(in crate::host) fn interfaces(&self) -> &[Interface] {
        self.announcer.interfaces()
    }

    /// Whether this host takes no new sessions: its operator has drained it, or it lacks something.
    pub(in crate::host) fn drain(&self) -> bool {
        self.announcer.drain()
    }

    /// Whether its operator has drained it.
    pub(in crate::host) const fn is_drained(&self) -> bool {
        self.announcer.is_drained()
    }

    /// What it lacks to make sessions.
    pub(in crate::host) const fn lacks(&self) -> &Lacks {
        self.announcer.lacks()
    }

    /// What it lacks, and why.
    pub(in crate::host) const fn fitness(&self) -> &Fitness {
        &self.fitness
    }

    /// The data store it uses, once that has said which it is.
    pub(in crate::host) const fn store_id(&self) -> Option<StoreId> {
        self.announcer.store_id()
    }

    pub(in crate::host) const fn cpus(&self) -> u16 {
        self.announcer.identity().cpus
    }

    /// What the kernel says of how busy the machine is; the sessions are those last announced.
    pub(in crate::host) fn load(&self) -> Load {
        Load { run_queue: self.run_queue, ..self.announcer.load() }
    }

    /// By what a DTU checks the beacons from now on.
    pub(in crate::host) const fn anchor(&self) -> AnchorNote {
        AnchorNote { every: self.announcer.every(), ..self.anchor }
    }

    /// For how long this host has run.
    pub(in crate::host) const fn up_for(&self, now: Instant) -> Duration {
        now.since(self.started)
    }

    /// The hosts that this DTU can reach, other than this one.
    pub(in crate::host) fn reachable(&self, now: Instant, dtu: Dtu) -> Vec<Reachable> {
        reach::reachable(now, &self.topology, self.interfaces(), dtu)
    }

    /// This host's address for a DTU at `addr`.
    pub(in crate::host) fn address_for(&self, addr: Ipv4Addr) -> SocketAddrV4 {
        let ip = reach::own_address(self.interfaces(), addr).unwrap_or(Ipv4Addr::LOCALHOST);
        SocketAddrV4::new(ip, self.announcer.identity().port)
    }

    /// Where this DTU may fail over to. If it can reach `keeper`, that is one of them.
    pub(in crate::host) fn standbys(
        &self,
        now: Instant,
        dtu: Dtu,
        keeper: Option<&HostName>,
    ) -> Vec<Standby> {
        let mut hosts = self.reachable(now, dtu);
        hosts.retain(|r| !self.has_other_store(&r.host));
        hosts.sort_by_key(|r| (keeper != Some(&r.host), r.choice));
        hosts.into_iter().take(STANDBYS_MAX).map(|r| Standby { host: r.host, addr: r.addr }).collect()
    }

    /// Whether `host` is known to use another data store than this one: no session goes there, since its claim and
    /// its user's permanent data would be apart from the group's.
    fn has_other_store(&self, host: &HostName) -> bool {
        let own = self.store_id();
        self.row(host).is_some_and(|row| row.facts().has_other_store(own))
    }

    /// Whether the digest of a host may hold one of these tags, or is not known as it is now.
    pub(in crate::host) fn may_hold(&self, host: &HostName, boot: BootId, tags: &Tags) -> bool {
        self.digests.may_hold(host, boot, tags)
    }

    /// How many hosts' digests are known, and how many tags of all hosts are held.
    pub(in crate::host) fn digests_held(&self) -> (usize, usize) {
        self.digests.held()
    }

    /// The table as operators read it.
    pub(in crate::host) fn view(&self, now: Instant) -> Vec<RowView> {
        self.topology.view(now, &self.announcer)
    }

    /// Another host of this host's name: where it is, and whether it was there first.
    pub(super) fn namesake(&self, now: Instant) -> Option<(SocketAddrV4, bool)> {
        self.topology.namesake(now, self.up_for(now))
    }

    /// All names that two hosts have, as this host knows.
    pub(in crate::host) fn doubles(&self, now: Instant) -> Vec<Double> {
        let own = self.namesake(now).map(|(theirs, is_first)| {
            self.own_double(self.announcer.identity().host.clone(), theirs, is_first)
        });
        own.into_iter().chain(self.topology.doubles()).collect()
    }

    pub(super) fn own_double(&self, host: HostName, theirs: SocketAddrV4, is_first: bool) -> Double {
        let ours = SocketAddrV4::new(self.announcer.primary(), self.announcer.identity().port);
        let (first, second) = if is_first { (theirs, ours) } else { (ours, theirs) };
        Double { host, first, second }
    }

    pub(in crate::host) fn broadcast(&self, bytes: &[u8], out: &mut Out<'_>) {
        for interface in self.interfaces() {
            let said = Announcement { iface: interface.name.clone(), bytes: bytes.to_vec() };
            out.effect(Effect::Broadcast(said));
        }
    }
}
