//! The shape of a lab: which LANs there are and who is on which.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// A LAN of the lab, with the addresses on it.
#[derive(Clone, Debug)]
pub struct LanPlan {
    /// The name that hosts and desks are put on it by.
    pub name: String,
    /// Its subnet; two LANs may have the same one.
    pub net: Ipv4Net,
}

/// A machine and the LANs that it is on, in order of its interfaces.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// Its name, unique in the lab.
    pub name: String,
    /// The LANs it is on, by name.
    pub lans: Vec<String>,
    /// More arguments for its program.
    pub args: Vec<String>,
}

/// The shape of a lab.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides the chances of faults.
    pub seed: u64,
    /// Every LAN of the lab.
    pub lans: Vec<LanPlan>,
    /// Where the data store is; without one, hosts get no `--store`.
    pub store: Option<NodePlan>,
    /// The hosts to start.
    pub hosts: Vec<NodePlan>,
    /// The DTUs to switch on.
    pub desks: Vec<NodePlan>,
    /// Routers: they join their LANs, and the other machines of these reach each other through them.
    pub routers: Vec<NodePlan>,
}

impl Plan {
    /// The LAN of the desks in [`Plan::simple`].
    pub const DESKS: &'static str = "desks";
    /// The data store's own LAN in [`Plan::simple`].
    pub const STORE: &'static str = "store";

    /// No machine and no LAN.
    #[must_use]
    pub fn empty() -> Self {
        Self { seed: 1, lans: vec![], store: None, hosts: vec![], desks: vec![], routers: vec![] }
    }

    /// Hosts `host-a`, `host-b`, ... and desks `desk-1`, `desk-2`, ... on one LAN, and the data store with the
    /// hosts on another.
    #[must_use]
    pub fn simple(hosts: usize, desks: usize) -> Self {
        let mut plan = Self::empty()
            .lan(Self::DESKS, Ipv4Net::new_assert(Ipv4Addr::new(10, 77, 1, 0), 24))
            .lan(Self::STORE, Ipv4Net::new_assert(Ipv4Addr::new(10, 77, 2, 0), 24))
            .store(&[Self::STORE]);
        for i in 0..hosts {
            plan = plan.host(&host_name(i), &[Self::DESKS, Self::STORE]);
        }
        for i in 1..=desks {
            plan = plan.desk(&format!("desk-{i}"), &[Self::DESKS]);
        }
        plan
    }

    /// With another LAN.
    #[must_use]
    pub fn lan(mut self, name: &str, net: Ipv4Net) -> Self {
        self.lans.push(LanPlan { name: name.to_owned(), net });
        self
    }

    /// With a data store on these LANs.
    #[must_use]
    pub fn store(mut self, lans: &[&str]) -> Self {
        self.store = Some(node("store", lans));
        self
    }

    /// With another host.
    #[must_use]
    pub fn host(mut self, name: &str, lans: &[&str]) -> Self {
        self.hosts.push(node(name, lans));
        self
    }

    /// With another DTU.
    #[must_use]
    pub fn desk(mut self, name: &str, lans: &[&str]) -> Self {
        self.desks.push(node(name, lans));
        self
    }

    /// With another router.
    #[must_use]
    pub fn router(mut self, name: &str, lans: &[&str]) -> Self {
        self.routers.push(node(name, lans));
        self
    }

    /// With more arguments for the machine added last to the hosts.
    #[must_use]
    pub fn host_args(mut self, args: &[&str]) -> Self {
        if let Some(host) = self.hosts.last_mut() {
            host.args.extend(args.iter().map(|&arg| arg.to_owned()));
        }
        self
    }

    /// With another seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Every machine with its address number on a LAN: the data store has 2, hosts count from 11, desks from 101,
    /// routers from 254 downwards.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (&NodePlan, u8)> {
        let number = |first: u8| move |i: usize| first.saturating_add(u8::try_from(i).unwrap_or(u8::MAX));
        let hosts = self.hosts.iter().enumerate().map(move |(i, node)| (node, number(11)(i)));
        let desks = self.desks.iter().enumerate().map(move |(i, node)| (node, number(101)(i)));
        let routers =
            self.routers.iter().enumerate().map(|(i, node)| (node, 254 - u8::try_from(i).unwrap_or(0)));
        self.store.iter().map(|node| (node, 2)).chain(hosts).chain(desks).chain(routers)
    }
}

/// The address with this number in a subnet.
pub(super) fn nth(net: Ipv4Net, number: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()) + u32::from(number))
}

fn node(name: &str, lans: &[&str]) -> NodePlan {
    let lans = lans.iter().map(|&lan| lan.to_owned()).collect();
    NodePlan { name: name.to_owned(), lans, args: Vec::new() }
}

/// `host-a` to `host-z`, then `host-27` and so on.
fn host_name(i: usize) -> String {
    match u8::try_from(i) {
        Ok(i @ 0..26) => format!("host-{}", char::from(b'a' + i)),
        _ => format!("host-{}", i + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_of_a_simple_plan_has_a_name_and_a_number_of_its_own() {
        let plan = Plan::simple(30, 40);
        let mut names: Vec<_> = plan.numbered().map(|(node, _)| node.name.clone()).collect();
        let mut numbers: Vec<_> = plan.numbered().map(|(_, number)| number).collect();
        assert_eq!((names.len(), names[1].as_str(), names[31].as_str()), (71, "host-a", "desk-1"));
        names.sort();
        names.dedup();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!((names.len(), numbers.len()), (71, 71));
    }
}
