//! When each interface of a host was heard, and on which of ours: what says whether both are on one wire, and
//! whether an interface is down.

use std::collections::{BTreeMap, BTreeSet};

use proto::Instant;
use proto::host_message::INTERFACES_MAX;
use proto::net::{IfName, Interface};
use proto::time::Duration;
use serde::{Deserialize, Serialize};

use super::words::DOWN_AFTER;

/// Own interfaces on which one of a host's interfaces was heard, remembered per interface of the host.
const HEARD_ON_MAX: usize = 16;

/// What is thought of one interface of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audible {
    /// Heard within three beacon intervals: whoever is on its wire can be sent to it.
    Up,
    /// Not heard for longer.
    Silent,
    /// Not heard for [`DOWN_AFTER`], or never.
    Down,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Beacon,
}

/// What came from one interface of a host.
#[derive(Clone, Debug, Default)]
struct Heard {
    message: Option<Instant>,
    beacon: Option<Instant>,
    /// When it was last heard on each of our interfaces.
    on: BTreeMap<IfName, Instant>,
}

impl Heard {
    fn newest(&self) -> Option<Instant> {
        self.on.values().max().copied()
    }
}

/// What came from the interfaces of one host, at most [`INTERFACES_MAX`] of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Hearing {
    from: BTreeMap<IfName, Heard>,
    /// Announced interfaces that were declared down.
    down: BTreeSet<IfName>,
}

impl Hearing {
    pub(super) const fn new() -> Self {
        Self { from: BTreeMap::new(), down: BTreeSet::new() }
    }

    /// Notes that `theirs` was heard on our interface `ours`.
    pub(super) fn hear(&mut self, now: Instant, theirs: &IfName, ours: &IfName, kind: Kind) {
        if self.from.len() >= INTERFACES_MAX && !self.from.contains_key(theirs) {
            return;
        }
        let heard = self.from.entry(theirs.clone()).or_default();
        match kind {
            Kind::Message => heard.message = Some(now),
            Kind::Beacon => heard.beacon = Some(now),
        }
        if heard.on.len() < HEARD_ON_MAX || heard.on.contains_key(ours) {
            let at = heard.on.entry(ours.clone()).or_insert(now);
            *at = now.max(*at);
        }
    }

    /// When a host message last came from `theirs`: `lastpkt` in the table's first form.
    pub(super) fn message_at(&self, theirs: &IfName) -> Option<Instant> {
        self.from.get(theirs)?.message
    }

    /// When a beacon last came from `theirs`.
    pub(super) fn beacon_at(&self, theirs: &IfName) -> Option<Instant> {
        self.from.get(theirs)?.beacon
    }

    /// Whether `theirs` was heard on our interface `ours` within `patience`.
    pub(super) fn is_fresh_on(
        &self,
        now: Instant,
        theirs: &IfName,
        ours: &IfName,
        patience: Duration,
    ) -> bool {
        let at = self.from.get(theirs).and_then(|heard| heard.on.get(ours));
        at.is_some_and(|at| now.since(*at) <= patience)
    }

    /// Our interfaces on which `theirs` was heard within `patience`.
    pub(super) fn fresh_on(&self, now: Instant, theirs: &IfName, patience: Duration) -> Vec<IfName> {
        let on = self.from.get(theirs).into_iter().flat_map(|heard| &heard.on);
        on.filter(|(_, at)| now.since(**at) <= patience).map(|(ours, _)| ours.clone()).collect()
    }

    /// What is thought of `theirs`.
    pub(super) fn audible(&self, now: Instant, theirs: &IfName, patience: Duration) -> Audible {
        let quiet = self.from.get(theirs).and_then(Heard::newest).map(|at| now.since(at));
        match quiet {
            Some(quiet) if quiet <= patience => Audible::Up,
            Some(quiet) if quiet <= DOWN_AFTER => Audible::Silent,
            _ => Audible::Down,
        }
    }

    /// Declares the interfaces down of which nothing was heard for [`DOWN_AFTER`], be it since the host is up, and
    /// those up that were heard again. Returns what has changed, and whether it is down now.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        up_since: Instant,
        announced: &[Interface],
    ) -> Vec<(IfName, bool)> {
        let mut changed = Vec::new();
        for Interface { name, .. } in announced {
            let newest = self.from.get(name).and_then(Heard::newest).unwrap_or(up_since).max(up_since);
            let is_down = now.since(newest) > DOWN_AFTER;
            let was_down = self.down.contains(name);
            if is_down && !was_down {
                self.down.insert(name.clone());
            } else if was_down && !is_down {
                self.down.remove(name);
            } else {
                continue;
            }
            changed.push((name.clone(), is_down));
        }
        self.down.retain(|name| announced.iter().any(|i| i.name == *name));
        changed
    }

    /// Gives every interface the time in which nobody listened.
    pub(super) fn excuse(&mut self, away: Duration) {
        for at in self.from.values_mut().flat_map(|heard| heard.on.values_mut()) {
            *at += away;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    fn name(name: &str) -> IfName {
        name.parse().unwrap()
    }

    fn secs(n: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(n)
    }

    fn announced() -> Vec<Interface> {
        let interface = |n: &str| Interface {
            name: name(n),
            ip: [10, 0, 0, 2].into(),
            mask: [255, 255, 255, 0].into(),
            bcast: [10, 0, 0, 255].into(),
        };
        ["eth0", "eth1", "eth2"].map(interface).to_vec()
    }

    #[test]
    fn an_interface_is_declared_down_once_after_the_limit_and_up_once_it_is_heard_again() {
        let (mut hearing, up_since) = (Hearing::new(), secs(10));
        let [eth0, eth1, eth2, ours] = ["eth0", "eth1", "eth2", "lan"].map(name);
        let beacons = |hearing: &mut Hearing, at: u64, from: &[&IfName]| {
            for theirs in from {
                hearing.hear(secs(at), theirs, &ours, Kind::Beacon);
            }
            hearing.judge(secs(at), up_since, &announced())
        };
        assert_eq!(beacons(&mut hearing, 10, &[&eth0, &eth1]), []);
        assert_eq!(beacons(&mut hearing, 70, &[&eth0]), [], "the limit is not passed yet");
        assert_eq!(
            beacons(&mut hearing, 71, &[&eth0]),
            [(eth1.clone(), true), (eth2.clone(), true)],
            "one was not heard for the limit, and one never"
        );
        assert_eq!(beacons(&mut hearing, 72, &[&eth0]), []);
        assert_eq!(beacons(&mut hearing, 73, &[&eth0, &eth1]), [(eth1.clone(), false)]);
        let thought = [&eth0, &eth1, &eth2].map(|i| hearing.audible(secs(73), i, PATIENCE));
        assert_eq!(thought, [Audible::Up, Audible::Up, Audible::Down]);
        assert_eq!(hearing.audible(secs(80), &eth0, PATIENCE), Audible::Silent);
    }

    #[test]
    fn messages_and_beacons_have_ages_of_their_own_and_count_as_heard_alike() {
        let mut hearing = Hearing::new();
        let [eth0, lan, wan] = ["eth0", "lan", "wan"].map(name);
        hearing.hear(secs(1), &eth0, &lan, Kind::Message);
        hearing.hear(secs(2), &eth0, &wan, Kind::Beacon);
        assert_eq!((hearing.message_at(&eth0), hearing.beacon_at(&eth0)), (Some(secs(1)), Some(secs(2))));
        assert_eq!(hearing.fresh_on(secs(2), &eth0, PATIENCE), [wan]);
        assert_eq!(hearing.fresh_on(secs(2), &eth0, Duration::from_secs(1)).len(), 2);
    }

    #[test]
    fn what_one_host_claims_of_interfaces_is_bounded() {
        let mut hearing = Hearing::new();
        for n in 0..1_000 {
            let ours = name(&format!("lan{}", n % 40));
            hearing.hear(secs(1), &name(&format!("eth{n}")), &ours, Kind::Beacon);
            hearing.hear(secs(1), &name("eth0"), &ours, Kind::Beacon);
        }
        assert_eq!(hearing.from.len(), INTERFACES_MAX);
        assert!(hearing.from.values().all(|heard| heard.on.len() <= HEARD_ON_MAX));
    }
}
