//! Real networks on one machine, made of nothing but what the kernel has: named hosts in network namespaces,
//! LANs between them, and faults on the LANs.
//!
//! Every interface is a veth pair whose other end is a port of a switch of ours in user space. A kernel bridge
//! cannot lose, delay, duplicate or reorder anything, nor cut one way only; one kind of LAN that can do it all
//! is worth the time that a frame takes longer. Measured between two hosts on two cores, there and back: 20 to
//! 50 us over a bridge, 40 to 110 us over the switch, which moves some 130 MB/s. With eight spinning processes
//! the median stays; the slowest in a hundred take 2 ms as root, whose switch runs ahead of ordinary threads,
//! and 10 ms for others. TAP devices would need `/dev/net/tun`, which is closed to ordinary users on many
//! machines and missing in most containers.
//!
//! Nothing here needs a package, a loadable module of its own or, where user namespaces are allowed, root.
//!
//! A program calls [`available`] and [`enter()`] while it has one thread, then makes a [`Net`].

mod enter;
mod fabric;
mod launch;
mod ns;
mod outer;
mod packet;
pub mod procs;
mod rtnl;
pub mod rule;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::net::Ipv4Addr;
use std::process::{Child, Command};

use ipnet::Ipv4Net;

pub use enter::{Isolation, Why, available, enter, guard};
pub use launch::Launcher;
use ns::Namespace;
use packet::PacketPort;
use procs::{Belonging, MARKER, Process};
use rtnl::{Rtnl, VethEnd};
pub use rule::{Counts, End, Rule, Way};
use wire::Wire;

use fabric::{Fabric, PortId};

/// A host of a [`Net`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(usize);

/// A LAN of a [`Net`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LanId(usize);

/// A network of LANs and hosts. Its drop kills every process of every host and removes everything.
pub struct Net {
    seed: u64,
    hosts: Vec<Host>,
    ports: PortId,
    wire: Wire,
    switch: Namespace,
    switch_links: Rtnl,
    launcher: Launcher,
}

struct Host {
    name: String,
    namespace: Namespace,
    links: Rtnl,
    interfaces: Vec<Attachment>,
}

struct Attachment {
    lan: LanId,
    port: PortId,
    name: String,
    mac: [u8; 6],
    address: Ipv4Net,
}

impl Net {
    /// A network without hosts and LANs; `seed` decides the chances of all faults. The program must have
    /// [`enter()`]ed namespaces of its own.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn new(seed: u64) -> io::Result<Self> {
        let switch = Namespace::new("switch")?;
        let switch_links = switch.run(Rtnl::open)??;
        let (wire, launcher) = (Wire::start()?, Launcher::start()?);
        Ok(Self { seed, hosts: Vec::new(), ports: 0, wire, switch, switch_links, launcher })
    }

    /// Adds a LAN.
    pub fn add_lan(&mut self) -> LanId {
        let lans = &mut self.wire.lock().lans;
        lans.push(Fabric::new(self.seed.wrapping_add(lans.len() as u64)));
        LanId(lans.len() - 1)
    }

    /// Adds a host: a network and a host name of its own, with the loopback interface only.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn add_host(&mut self, name: &str) -> io::Result<HostId> {
        let namespace = Namespace::new(name)?;
        let links = namespace.run(Rtnl::open)??;
        self.hosts.push(Host { name: name.to_owned(), namespace, links, interfaces: Vec::new() });
        Ok(HostId(self.hosts.len() - 1))
    }

    /// Puts a host on a LAN with this address, on its next interface: `eth0`, `eth1`, ...
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn attach(&mut self, host: HostId, lan: LanId, address: Ipv4Net) -> io::Result<()> {
        let port = self.ports;
        self.ports = port.checked_add(1).ok_or(io::ErrorKind::QuotaExceeded)?;
        let Host { namespace, links, interfaces, .. } =
            self.hosts.get_mut(host.0).ok_or(io::ErrorKind::NotFound)?;

        let [high, low] = port.to_be_bytes();
        // Locally administered addresses: the host's end, then the switch's.
        let (mac, port_mac) = ([2, 0x48, 0x44, 0, high, low], [2, 0x48, 0x44, 1, high, low]);
        let (name, port_name) = (format!("eth{}", interfaces.len()), format!("p{port}"));
        let here = VethEnd { name: &port_name, mac: port_mac };
        self.switch_links.add_veth(&here, &VethEnd { name: &name, mac }, namespace.net())?;
        namespace.run(|| packet::finish_checksums(&name))??;
        links.add_address(&name, address)?;
        links.set_up(&name, true)?;
        self.switch_links.set_up(&port_name, true)?;
        let socket = self.switch.run(|| PacketPort::open(&port_name))??;
        self.wire.add_port(lan.0, port, socket)?;
        interfaces.push(Attachment { lan, port, name, mac, address });
        Ok(())
    }

    /// Gives a host's interface on a LAN another address in the place of the one it has.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn readdress(&mut self, host: HostId, lan: LanId, address: Ipv4Net) -> io::Result<()> {
        let Host { links, interfaces, .. } = self.hosts.get_mut(host.0).ok_or(io::ErrorKind::NotFound)?;
        let at = interfaces.iter_mut().find(|a| a.lan == lan).ok_or(io::ErrorKind::NotFound)?;
        links.remove_address(&at.name, at.address)?;
        links.add_address(&at.name, address)?;
        at.address = address;
        Ok(())
    }

    /// Makes a host pass on what is not for it: a router.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn forward(&self, host: HostId) -> io::Result<()> {
        self.inside(host, || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?
    }

    /// Sends what a host has for `destination` by way of the router `via`.
    ///
    /// # Errors
    /// What the kernel refuses, for instance when `via` is on no LAN of the host.
    pub fn route(&mut self, host: HostId, destination: Ipv4Net, via: Ipv4Addr) -> io::Result<()> {
        self.hosts.get_mut(host.0).ok_or(io::ErrorKind::NotFound)?.links.add_route(destination, via)
    }

    /// A host's name.
    #[must_use]
    pub fn name(&self, host: HostId) -> &str {
        self.hosts.get(host.0).map_or("", |host| &host.name)
    }

    /// A host's address on a LAN.
    #[must_use]
    pub fn address(&self, host: HostId, lan: LanId) -> Option<Ipv4Addr> {
        self.attachments(host).find(|a| a.lan == lan).map(|a| a.address.addr())
    }

    /// The Ethernet address of a host's first interface.
    #[must_use]
    pub fn mac(&self, host: HostId) -> Option<[u8; 6]> {
        self.attachments(host).next().map(|a| a.mac)
    }

    /// Sets what a LAN does to frames from one host to another. The rule that names both wins over one that
    /// names the sender, that over one that names the receiver, and that over the one for the whole LAN; a
    /// default rule makes an exception from a wider one. A host that is not on the LAN is left alone.
    pub fn set_rule(&self, lan: LanId, from: End<HostId>, to: End<HostId>, rule: Rule) {
        let port = |end| match end {
            End::Any => Some(End::Any),
            End::Is(host) => self.attachments(host).find(|a| a.lan == lan).map(|a| End::Is(a.port)),
        };
        if let (Some(from), Some(to)) = (port(from), port(to)) {
            self.fabric(lan, |fabric| fabric.set_rule(from, to, rule));
        }
    }

    /// Removes all rules of a LAN. Cut hosts stay cut.
    pub fn clear_rules(&self, lan: LanId) {
        self.fabric(lan, Fabric::clear_rules);
    }

    /// Cuts a host off on all its LANs: frames vanish, the carrier stays.
    pub fn cut(&self, host: HostId, way: Way) {
        for a in self.attachments(host) {
            self.fabric(a.lan, |fabric| fabric.cut(a.port, way));
        }
    }

    /// Cuts a host off on one LAN.
    pub fn cut_on(&self, host: HostId, lan: LanId, way: Way) {
        for a in self.attachments(host).filter(|a| a.lan == lan) {
            self.fabric(lan, |fabric| fabric.cut(a.port, way));
        }
    }

    /// Undoes every cut of a host. Rules stay.
    pub fn heal(&self, host: HostId) {
        for a in self.attachments(host) {
            self.fabric(a.lan, |fabric| fabric.heal(a.port));
        }
    }

    /// Pulls a host's cable out of a LAN: its kernel reports the loss of the carrier.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn unplug(&mut self, host: HostId, lan: LanId) -> io::Result<()> {
        self.set_carrier(host, lan, false)
    }

    /// Puts the cable back.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn plug(&mut self, host: HostId, lan: LanId) -> io::Result<()> {
        self.set_carrier(host, lan, true)
    }

    /// Whether a host's interface on a LAN has a carrier, as the host's kernel sees it.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn has_carrier(&mut self, host: HostId, lan: LanId) -> io::Result<bool> {
        let host = self.hosts.get_mut(host.0).ok_or(io::ErrorKind::NotFound)?;
        let attachment = host.interfaces.iter().find(|a| a.lan == lan).ok_or(io::ErrorKind::NotFound)?;
        host.links.has_carrier(&attachment.name)
    }

    /// What a LAN has done with frames so far.
    #[must_use]
    pub fn counts(&self, lan: LanId) -> Counts {
        self.fabric(lan, |fabric| fabric.counts).unwrap_or_default()
    }

    /// Starts a process on a host, in a session of its own. It dies with the lab at the latest.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_in(&self, host: HostId, mut command: Command) -> io::Result<Child> {
        let host = self.host(host)?;
        command.env(MARKER, &host.name);
        self.launcher.spawn_inside(command, Some(host.namespace.try_clone()?))
    }

    /// Runs `task` on a thread inside a host. Sockets that it makes and hands back stay inside.
    ///
    /// # Errors
    /// When the thread cannot get inside.
    pub fn inside<T: Send>(&self, host: HostId, task: impl FnOnce() -> T + Send) -> io::Result<T> {
        self.host(host)?.namespace.run(task)
    }

    /// Every process of a host, whoever started it.
    #[must_use]
    pub fn processes(&self, host: HostId) -> Vec<Process> {
        self.belonging(host).map(|b| b.processes()).unwrap_or_default()
    }

    /// Stops every process of a host; its kernel still answers, as that of a stopped machine would not: for
    /// that, cut it too.
    ///
    /// # Errors
    /// When a process does not stop.
    pub fn freeze(&self, host: HostId) -> io::Result<()> {
        self.belonging(host)?.freeze()
    }

    /// Lets a host's processes go on.
    ///
    /// # Errors
    /// When a process may not be signalled.
    pub fn thaw(&self, host: HostId) -> io::Result<()> {
        self.belonging(host)?.thaw()
    }

    /// Kills every process of a host and waits for their end.
    ///
    /// # Errors
    /// When a process does not end.
    pub fn kill(&self, host: HostId) -> io::Result<()> {
        self.belonging(host)?.kill(drop)
    }

    /// How the processes of all hosts together are recognised.
    #[must_use]
    pub fn everybody(&self) -> Belonging {
        Belonging::Networks(self.hosts.iter().map(|host| host.namespace.inode()).collect())
    }

    fn host(&self, host: HostId) -> io::Result<&Host> {
        self.hosts.get(host.0).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// How a host's processes are recognised.
    ///
    /// # Errors
    /// No such host.
    pub fn belonging(&self, host: HostId) -> io::Result<Belonging> {
        self.host(host).map(|host| Belonging::Networks(vec![host.namespace.inode()]))
    }

    fn attachments(&self, host: HostId) -> impl Iterator<Item = &Attachment> {
        self.hosts.get(host.0).into_iter().flat_map(|host| &host.interfaces)
    }

    fn fabric<T>(&self, lan: LanId, change: impl FnOnce(&mut Fabric) -> T) -> Option<T> {
        self.wire.lock().lans.get_mut(lan.0).map(change)
    }

    fn set_carrier(&mut self, host: HostId, lan: LanId, up: bool) -> io::Result<()> {
        let port =
            self.attachments(host).find(|a| a.lan == lan).map(|a| a.port).ok_or(io::ErrorKind::NotFound)?;
        self.switch_links.set_up(&format!("p{port}"), up)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // What cannot be killed here is killed by the processes around the lab.
        let _ = self.everybody().kill(drop);
    }
}
