//! The ground a lab stands on: machines in network namespaces, or on loopback addresses where there can be none.
//!
//! Owns what both have in common: a machine has a name and an address, processes can be started on it, and it can
//! be frozen, thawed, killed, cut and healed. On loopback no link can be cut; there a cut freezes all processes
//! of the machine, and [`Backend::cut_freezes`] says so.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ipnet::Ipv4Net;

use super::net::procs::{Belonging, MARKER};
use super::net::{HostId, LanId, Launcher, Net, Way};
use super::plan::{Plan, nth};

/// Where the lab's machines run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Network namespaces; the program has entered its own (see [`super::net::enter()`]).
    Namespaces,
    /// Addresses of the machine's loopback interface.
    Loopback,
}

/// The machines of a lab.
pub struct Backend {
    machines: BTreeMap<String, Machine>,
    kind: Kind,
}

struct Machine {
    address: Ipv4Addr,
    belonging: Belonging,
    net: Option<HostId>,
}

enum Kind {
    Namespaces(Box<Net>, BTreeMap<String, LanId>),
    Loopback(Launcher, Belonging),
}

impl Backend {
    /// Makes the machines of a plan, with nothing running on them.
    ///
    /// # Errors
    /// What the kernel refuses; a LAN that the plan does not have.
    pub fn new(ground: Ground, plan: &Plan) -> io::Result<Self> {
        match ground {
            Ground::Namespaces => Self::namespaces(plan),
            Ground::Loopback => Self::loopback(plan),
        }
    }

    fn namespaces(plan: &Plan) -> io::Result<Self> {
        let mut net = Net::new(plan.seed)?;
        let lans: BTreeMap<_, _> =
            plan.lans.iter().map(|lan| (lan.name.clone(), (net.add_lan(), lan.net))).collect();
        let mut machines = BTreeMap::new();
        for (node, number) in plan.numbered() {
            let id = net.add_host(&node.name)?;
            let mut address = None;
            for name in &node.lans {
                let &(lan, subnet) = lans.get(name).ok_or_else(|| no_lan(name))?;
                let own = nth(subnet, number);
                net.attach(id, lan, Ipv4Net::new(own, subnet.prefix_len()).map_err(io::Error::other)?)?;
                address.get_or_insert(own);
            }
            let belonging = net.belonging(id)?;
            let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED);
            machines.insert(node.name.clone(), Machine { address, belonging, net: Some(id) });
        }
        route(&mut net, plan, &lans, &machines)?;
        let lans = lans.into_iter().map(|(name, (lan, _))| (name, lan)).collect();
        Ok(Self { machines, kind: Kind::Namespaces(Box::new(net), lans) })
    }

    fn loopback(plan: &Plan) -> io::Result<Self> {
        // A program may have several labs, one after another or at once.
        static LABS: AtomicU64 = AtomicU64::new(0);
        let lab = format!("{}.{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let machine = |(node, number): (&super::plan::NodePlan, u8)| {
            let belonging = Belonging::Marked(format!("{lab}/{}", node.name));
            (node.name.clone(), Machine { address: Ipv4Addr::new(127, 0, number, 1), belonging, net: None })
        };
        let machines = plan.numbered().map(machine).collect();
        Ok(Self { machines, kind: Kind::Loopback(Launcher::start()?, Belonging::Marked(format!("{lab}/"))) })
    }

    /// The network, where there is one of our own.
    #[must_use]
    pub fn net(&self) -> Option<&Net> {
        match &self.kind {
            Kind::Namespaces(net, _) => Some(net),
            Kind::Loopback(..) => None,
        }
    }

    /// The network, to change its cables.
    pub fn net_mut(&mut self) -> Option<&mut Net> {
        match &mut self.kind {
            Kind::Namespaces(net, _) => Some(net),
            Kind::Loopback(..) => None,
        }
    }

    /// Which ground this is.
    #[must_use]
    pub fn ground(&self) -> Ground {
        match self.kind {
            Kind::Namespaces(..) => Ground::Namespaces,
            Kind::Loopback(..) => Ground::Loopback,
        }
    }

    /// A LAN of the plan, where there are LANs.
    #[must_use]
    pub fn lan(&self, name: &str) -> Option<LanId> {
        match &self.kind {
            Kind::Namespaces(_, lans) => lans.get(name).copied(),
            Kind::Loopback(..) => None,
        }
    }

    /// A machine in the network, where there is one.
    #[must_use]
    pub fn id(&self, machine: &str) -> Option<HostId> {
        self.machines.get(machine)?.net
    }

    /// A machine's address: on the first of its LANs.
    ///
    /// # Errors
    /// No such machine.
    pub fn address(&self, machine: &str) -> io::Result<Ipv4Addr> {
        self.machine(machine).map(|machine| machine.address)
    }

    /// Whether a cut is a freeze here.
    #[must_use]
    pub fn cut_freezes(&self) -> bool {
        self.ground() == Ground::Loopback
    }

    /// Starts a process on a machine.
    ///
    /// # Errors
    /// No such machine; whatever keeps the process from starting.
    pub fn spawn(&self, machine: &str, mut command: Command) -> io::Result<Child> {
        let Machine { belonging, net, .. } = self.machine(machine)?;
        match (&self.kind, net) {
            (Kind::Namespaces(network, _), Some(id)) => network.spawn_in(*id, command),
            (Kind::Loopback(launcher, _), _) => {
                if let Belonging::Marked(mark) = belonging {
                    command.env(MARKER, mark);
                }
                launcher.spawn(command)
            }
            (Kind::Namespaces(..), None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// How the processes of a machine are recognised.
    ///
    /// # Errors
    /// No such machine.
    pub fn belonging(&self, machine: &str) -> io::Result<&Belonging> {
        self.machine(machine).map(|machine| &machine.belonging)
    }

    /// How the processes of all machines together are recognised.
    #[must_use]
    pub fn everybody(&self) -> Belonging {
        match &self.kind {
            Kind::Namespaces(net, _) => net.everybody(),
            Kind::Loopback(_, everybody) => everybody.clone(),
        }
    }

    /// Stops every process of a machine.
    ///
    /// # Errors
    /// No such machine; a process that does not stop.
    pub fn freeze(&self, machine: &str) -> io::Result<()> {
        self.belonging(machine)?.freeze()
    }

    /// Stops the processes of a host's sessions alone; returns how many there were.
    ///
    /// # Errors
    /// No such machine; a process that may not be signalled.
    pub fn freeze_sessions(&self, machine: &str) -> io::Result<usize> {
        self.belonging(machine)?.freeze_sessions()
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// No such machine; a process that may not be signalled.
    pub fn thaw(&self, machine: &str) -> io::Result<()> {
        self.belonging(machine)?.thaw()
    }

    /// Kills them all. `now` is told the moment just before the first is killed.
    ///
    /// # Errors
    /// No such machine; a process that does not end.
    pub fn kill(&self, machine: &str, now: impl FnOnce(Instant)) -> io::Result<()> {
        self.belonging(machine)?.kill(now)
    }

    /// Cuts a machine off from everybody: on loopback by freezing it.
    ///
    /// # Errors
    /// No such machine; a process that does not stop.
    pub fn cut(&self, machine: &str) -> io::Result<()> {
        match (&self.kind, self.machine(machine)?.net) {
            (Kind::Namespaces(net, _), Some(id)) => net.cut(id, Way::Both),
            _ => self.freeze(machine)?,
        }
        Ok(())
    }

    /// Undoes [`Backend::cut`].
    ///
    /// # Errors
    /// No such machine; a process that may not be signalled.
    pub fn heal(&self, machine: &str) -> io::Result<()> {
        match (&self.kind, self.machine(machine)?.net) {
            (Kind::Namespaces(net, _), Some(id)) => net.heal(id),
            _ => self.thaw(machine)?,
        }
        Ok(())
    }

    fn machine(&self, name: &str) -> io::Result<&Machine> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("the lab has no machine {name}"));
        self.machines.get(name).ok_or_else(missing)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // What cannot be killed here is killed by the processes around the lab.
        let _ = self.everybody().kill(drop);
    }
}

/// Lets the routers route, and tells every other machine on a router's LAN which of the rest is behind it.
fn route(
    net: &mut Net,
    plan: &Plan,
    lans: &BTreeMap<String, (LanId, Ipv4Net)>,
    machines: &BTreeMap<String, Machine>,
) -> io::Result<()> {
    let id = |name: &str| machines.get(name).and_then(|machine| machine.net);
    for router in &plan.routers {
        let Some(router_id) = id(&router.name) else { continue };
        net.forward(router_id)?;
        let joined = || router.lans.iter().filter_map(|name| lans.get(name).map(|lan| (name, lan)));
        for (node, _) in plan.numbered().filter(|(node, _)| node.name != router.name) {
            let Some((_, &(near, _))) = joined().find(|(name, _)| node.lans.contains(name)) else { continue };
            let far = joined().filter(|(name, _)| !node.lans.contains(name));
            for (_, &(_, subnet)) in far {
                if let (Some(node_id), Some(via)) = (id(&node.name), net.address(router_id, near)) {
                    net.route(node_id, subnet, via)?;
                }
            }
        }
    }
    Ok(())
}

fn no_lan(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("the plan has no LAN {name}"))
}
