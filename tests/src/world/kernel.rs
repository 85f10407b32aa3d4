//! What the kernel of a desk's machine watches on its TCP connections (`dtu_emu::io::path` sets the timers): a machine
//! whose kernel acknowledges nothing is noticed, whatever its broadcasts say.

use std::net::Ipv4Addr;

use dtu_emu::dtu::Fault;
use proto::time::Duration;

use super::parts::tcp::{ConnKey, Kind};
use super::wire::CableId;
use super::{Event, LanId, World};

/// Bytes that are not acknowledged for so long end their connection.
const UNACKED_MAX: Duration = Duration::from_millis(300);
/// A control connection whose way is broken ends after so long, though nothing is sent on it: the first question goes
/// out at the latest after two seconds, and two may go unanswered for one each.
const IDLE_MAX: Duration = Duration::from_secs(4);

impl World {
    /// Whether what either end sends on a connection reaches the other's kernel.
    fn is_way_open(&self, key: ConnKey) -> bool {
        let Some(conn) = self.conns.get(&key) else { return false };
        let is_there = self.machines[conn.host].has_power && self.wire.cable(conn.far).ip == conn.far_ip;
        is_there && self.wire.is_open(conn.near, conn.far)
    }

    /// A desk has sent something on a connection.
    pub(super) fn watch_sent(&mut self, key: ConnKey) {
        let now = self.now;
        let is_open = self.is_way_open(key);
        let Some(conn) = self.conns.get_mut(&key) else { return };
        if conn.is_opened && !is_open && conn.unacked_since.is_none() {
            conn.unacked_since = Some(now);
            self.queue.put(now + UNACKED_MAX, Event::DeskKernel { conn: key });
        }
    }

    /// Something changed on the wire: which ways are broken from now on, and which no more?
    pub(super) fn watch_ways(&mut self) {
        let keys: Vec<ConnKey> = self.conns.keys().copied().collect();
        for key in keys {
            let is_open = self.is_way_open(key);
            let Some(conn) = self.conns.get_mut(&key) else { continue };
            if is_open {
                (conn.unacked_since, conn.broken_since) = (None, None);
            } else if conn.is_opened && conn.broken_since.is_none() && matches!(conn.kind, Kind::Control) {
                conn.broken_since = Some(self.now);
                self.queue.put(self.now + IDLE_MAX, Event::DeskKernel { conn: key });
            }
        }
    }

    pub(super) fn on_desk_kernel(&mut self, key: ConnKey) {
        let Some(conn) = self.conns.get(&key).filter(|conn| conn.is_wanted) else { return };
        let (desk, kind) = (conn.desk, conn.kind);
        let unacked = conn.unacked_since.is_some_and(|since| self.now.since(since) >= UNACKED_MAX);
        let idle = conn.broken_since.is_some_and(|since| self.now.since(since) >= IDLE_MAX);
        if unacked || idle {
            self.end_at_desk(desk, key, kind, Fault::Unreachable);
        }
    }

    /// A host's interface on a LAN gets another address, which its kernel notices. What goes to the old one is lost.
    pub fn readdress(&mut self, host: &str, lan: LanId) -> Ipv4Addr {
        let cable = self.cable_on(host, lan);
        let ip = self.free_address(self.wire.cable(cable).node, lan);
        self.history.tell(self.now, || format!("— {host} on {}: {ip}", self.wire.lan(lan).name));
        self.wire.move_to(cable, ip);
        let number = self.host_number(host);
        self.tell_interfaces(number);
        self.watch_ways();
        ip
    }

    /// A firewall on a LAN's way between a desk and a host loses what it knew: nothing passes any more on the
    /// connections that are open between them, and new ones do.
    pub fn break_conns(&mut self, desk: super::DeskId, host: &str) {
        self.break_those(desk, host, |_| true);
    }

    /// The same for displays alone.
    pub fn break_displays(&mut self, desk: super::DeskId, host: &str) {
        self.break_those(desk, host, |kind| matches!(kind, Kind::Display(_)));
    }

    fn break_those(&mut self, desk: super::DeskId, host: &str, which: impl Fn(Kind) -> bool) {
        self.history
            .tell(self.now, || format!("— {}: connections to {host} broken", self.desks[desk.0].name));
        let host = self.host_number(host);
        for conn in self.conns.values_mut().filter(|conn| conn.desk == desk.0 && conn.host == host) {
            if which(conn.kind) {
                conn.far_ip = Ipv4Addr::UNSPECIFIED;
            }
        }
        self.watch_ways();
    }

    pub(super) fn cable_on(&self, host: &str, lan: LanId) -> CableId {
        let number = self.host_number(host);
        let found = self.machines[number].cables.iter().copied().find(|l| self.wire.cable(*l).lan == lan);
        match found {
            Some(cable) => cable,
            None => self.fail(&format!("{host} is not on {}", self.wire.lan(lan).name)),
        }
    }
}
