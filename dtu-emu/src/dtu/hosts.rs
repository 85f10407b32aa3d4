//! The hosts a DTU knows of, and in which order it would go to them.
//!
//! What is known came over TLS (the hosts to fail over to), or by UDP (beacons, serverR), which a stranger
//! can forge: it ranks candidates and prompts attempts, and never replaces what came over TLS. A host that is heard
//! from another address than the one it is known by may have moved: that address is one more place to try, and says
//! nothing about the one that was told.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use proto::alp::Standby;
use proto::beacon::{Beacon, INTERVAL, MISSED_MAX};
use proto::discovery::ServerR;
use proto::{HostName, Instant, Serial};
use sha2::{Digest, Sha256};

use super::host_ref::HostRef;

/// Hosts a DTU remembers, at most. The one longest unheard goes first, of those known by UDP alone if there
/// are any, and never for another that is known by UDP alone otherwise.
pub(super) const HOSTS_MAX: usize = 64;

/// A host heard this lately is worth waiting for.
const ABOUT: Duration = Duration::from_secs(1);

/// Hints about a host whose certificate is of another group are not followed for this long.
const STRANGER_PAUSE: Duration = Duration::from_secs(10);
/// The same for another address of a host, after an attempt there failed in any way.
const ELSEWHERE_PAUSE: Duration = Duration::from_secs(1);

/// How the DTU came to know a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// A host of the group said so over TLS.
    Told,
    /// A serverR or a beacon came from it by UDP.
    Heard,
}

#[derive(Clone, Debug)]
struct Known {
    addr: SocketAddrV4,
    source: Source,
    load: u32,
    drain: bool,
    /// The newest beacon from `addr`, or serverR that names it.
    heard: Option<Instant>,
    /// Where else it was heard last, and when.
    elsewhere: Option<(SocketAddrV4, Instant)>,
    /// Hints about that other place count again from here.
    elsewhere_from: Instant,
    every: Duration,
    /// It was found dead at `addr` and was not heard there since.
    dead: bool,
    /// Hints about it count again from here; each failed attempt moves it further away.
    hints_from: Instant,
    failures: u32,
}

/// How long hints about a host are not followed that takes no more connections; then twice as long, up to 32 times.
pub(super) const BUSY_FIRST: Duration = Duration::from_secs(1);

/// What became of an attempt to reach a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may come back any moment.
    Away,
    /// It is not of our group, as its certificate shows; that will not change soon.
    Stranger,
    /// It takes no more connections: to come back at every beacon would keep it from taking any.
    Busy,
}

/// What it means that a host was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It was silent until now: an attempt that began before was to a dead host.
    Returned,
    /// Nothing that was not known before.
    None,
}

#[derive(Debug, Default)]
pub(super) struct Hosts {
    known: BTreeMap<HostName, Known>,
}

impl Known {
    const fn new(addr: SocketAddrV4, source: Source) -> Self {
        Self {
            addr,
            source,
            load: 0,
            drain: false,
            heard: None,
            elsewhere: None,
            elsewhere_from: Instant::ZERO,
            every: INTERVAL,
            dead: false,
            hints_from: Instant::ZERO,
            failures: 0,
        }
    }

    /// It was heard at `addr`.
    fn heard_at(&mut self, now: Instant, addr: SocketAddrV4) -> News {
        if addr.ip() != self.addr.ip() {
            // What only UDP told, UDP may correct, once the old address is silent.
            if self.source == Source::Told || self.is_fresh(now) {
                self.elsewhere = Some((addr, now));
                return News::None;
            }
            self.move_to(addr);
        }
        // One that speaks late was busy, and is still with whoever waits for it.
        let news = if lately(self.heard, now, self.patience()) { News::None } else { News::Returned };
        if !self.is_fresh(now) {
            // Whatever failed before it fell silent is forgotten.
            self.failures = 0;
            self.hints_from = now;
        }
        self.heard = Some(now);
        self.dead = false;
        news
    }

    /// From now on it is known by this address.
    fn move_to(&mut self, addr: SocketAddrV4) {
        if addr.ip() != self.addr.ip() {
            self.heard = self.elsewhere.take_if(|(at, _)| at.ip() == addr.ip()).map(|(_, heard)| heard);
            self.dead = false;
        }
        self.addr = addr;
    }

    /// Whether it was heard at its address as lately as a living host is.
    fn is_fresh(&self, now: Instant) -> bool {
        lately(self.heard, now, self.every * MISSED_MAX)
    }

    /// The other address at which it was heard that lately.
    fn fresh_elsewhere(&self, now: Instant) -> Option<SocketAddrV4> {
        let (addr, heard) = self.elsewhere?;
        lately(Some(heard), now, self.every * MISSED_MAX).then_some(addr)
    }

    /// For so long one that was heard is only late: a host whose processor is busy speaks late.
    fn patience(&self) -> Duration {
        (self.every * MISSED_MAX).max(ABOUT)
    }

    /// Whether it was heard at this address a moment ago. To the other one it is not known that any way leads.
    fn is_about(&self, now: Instant, addr: Ipv4Addr) -> bool {
        *self.addr.ip() == addr && lately(self.heard, now, self.patience())
    }

    /// Whether it is worth going to before all others for what it keeps: it may live for all we know, and would not send
    /// us on. One that has never been heard is where no beacon gets to us; one that was heard and is not any more is
    /// likely dead as well, if we `hear` any.
    fn is_promising(&self, now: Instant, hears: bool) -> bool {
        let may_live = self.heard.is_none() || self.is_fresh(now) || !hears;
        may_live && !self.dead && self.failures == 0 && self.source == Source::Told && !self.drain
    }

    /// Lower is tried earlier. A host that is heard comes before one that is not, even when it drains: it
    /// lives, and will send on whom it does not want. One that only UDP vouches for comes after those that
    /// were told over TLS and are heard.
    fn class(&self, now: Instant) -> u8 {
        match (self.dead, self.is_fresh(now), self.source, self.drain) {
            (true, ..) => 7,
            (_, true, Source::Told, false) => 0,
            (_, true, Source::Told, true) => 1,
            (_, true, Source::Heard, false) => 2,
            (_, false, Source::Told, false) => 3,
            (_, false, Source::Told, true) => 4,
            (_, true, Source::Heard, true) => 5,
            (_, false, Source::Heard, _) => 6,
        }
    }

    /// The same for the other address at which it is heard: as for one that only UDP vouches for once it was found
    /// dead where we know it, and last until then.
    const fn class_elsewhere(&self) -> u8 {
        match (self.dead, self.drain) {
            (false, _) => 6,
            (true, false) => 2,
            (true, true) => 5,
        }
    }
}

/// Whether something was heard at most so long ago.
fn lately(heard: Option<Instant>, now: Instant, limit: Duration) -> bool {
    heard.is_some_and(|heard| now.since(heard) <= limit)
}

impl Hosts {
    /// A host of the group said over TLS where else to go.
    pub(super) fn learn_standbys(&mut self, standbys: &[Standby]) {
        for standby in standbys {
            self.learn_told(&standby.host, standby.addr);
        }
    }

    /// A host let us in: it is of our group, and where we reached it.
    pub(super) fn learn_own(&mut self, host: &HostName, addr: SocketAddrV4) {
        if let Some(known) = self.learn_told(host, addr) {
            known.dead = false;
            known.failures = 0;
            known.hints_from = Instant::ZERO;
        }
    }

    pub(super) fn learn_server_r(&mut self, now: Instant, answer: &ServerR) -> News {
        let addr = SocketAddrV4::new(answer.ip, answer.port);
        self.learn_heard(now, &answer.host, addr, answer.load, answer.drain)
            .map_or(News::None, |(_, news)| news)
    }

    pub(super) fn learn_beacon(&mut self, now: Instant, beacon: &Beacon, from: Ipv4Addr, port: u16) -> News {
        let addr = SocketAddrV4::new(from, port);
        let heard = self.learn_heard(now, &beacon.host, addr, beacon.load, beacon.drain);
        heard.map_or(News::None, |(known, news)| {
            known.every = beacon.every;
            news
        })
    }

    fn learn_heard(
        &mut self,
        now: Instant,
        host: &HostName,
        addr: SocketAddrV4,
        load: u32,
        drain: bool,
    ) -> Option<(&mut Known, News)> {
        let known = self.entry(host, addr, Source::Heard)?;
        known.load = load;
        known.drain = drain;
        let news = known.heard_at(now, addr);
        Some((known, news))
    }

    /// A host of the group said that this host is there.
    fn learn_told(&mut self, host: &HostName, addr: SocketAddrV4) -> Option<&mut Known> {
        let known = self.entry(host, addr, Source::Told)?;
        known.move_to(addr);
        known.source = Source::Told;
        Some(known)
    }

    /// What is known of a host, made where nothing is. `None` where the bound leaves no room for it.
    fn entry(&mut self, host: &HostName, addr: SocketAddrV4, source: Source) -> Option<&mut Known> {
        if !self.known.contains_key(host) {
            if self.known.len() >= HOSTS_MAX {
                let value = |k: &Known| (k.source == Source::Told, k.heard);
                let (worst, least) = self.known.iter().min_by_key(|(_, k)| value(k))?;
                if source == Source::Heard && least.source == Source::Told {
                    return None;
                }
                let worst = worst.clone();
                self.known.remove(&worst);
            }
            self.known.insert(host.clone(), Known::new(addr, source));
        }
        self.known.get_mut(host)
    }

    fn by_ref(&mut self, host: &HostRef) -> Option<&mut Known> {
        match &host.name {
            Some(name) => self.known.get_mut(name),
            None => self.known.values_mut().find(|known| known.addr == host.addr),
        }
    }

    fn find(&self, host: &HostRef) -> Option<&Known> {
        match &host.name {
            Some(name) => self.known.get(name),
            None => self.known.values().find(|known| known.addr == host.addr),
        }
    }

    /// A host that was attached to was found dead, at the address by which it was reached.
    pub(super) fn bury(&mut self, host: &HostRef) {
        if let Some(known) = self.by_ref(host) {
            known.elsewhere.take_if(|(addr, _)| *addr == host.addr);
            if known.addr == host.addr {
                known.dead = true;
                known.heard = None;
            }
        }
    }

    /// An attempt to reach a host failed: hints about it are not followed for a while.
    pub(super) fn failed(&mut self, now: Instant, host: &HostRef, failure: Failure) {
        if let Some(known) = self.by_ref(host) {
            let pause = match failure {
                Failure::Away => INTERVAL * (1 << known.failures.min(5)),
                Failure::Stranger => STRANGER_PAUSE,
                Failure::Busy => BUSY_FIRST * (1 << known.failures.min(5)),
            };
            if known.addr.ip() != host.addr.ip() {
                // Whoever plays this host at another place does not keep us from the host itself.
                known.elsewhere_from = now + pause.max(ELSEWHERE_PAUSE);
                return;
            }
            known.failures = known.failures.saturating_add(1);
            known.hints_from = now + pause;
        }
    }

    /// Whether the host was heard a moment ago at this address: then what it owes us is late and not lost.
    pub(super) fn is_about(&self, now: Instant, host: &HostRef) -> bool {
        self.find(host).is_some_and(|known| known.is_about(now, *host.addr.ip()))
    }

    /// Whether a host of the group has said over TLS that it is one of them, and at this address.
    pub(super) fn is_told(&self, host: &HostRef) -> bool {
        self.find(host).is_some_and(|known| known.source == Source::Told && known.addr == host.addr)
    }

    /// The host, if a hint about it should be followed now, at the address at which it is heard.
    pub(super) fn hinted(&self, now: Instant, name: &HostName) -> Option<HostRef> {
        let known = self.known.get(name).filter(|known| known.hints_from <= now)?;
        let is_worth_it = (known.dead || known.failures > 0) && known.elsewhere_from <= now;
        let other = known.fresh_elsewhere(now).filter(|_| is_worth_it);
        Some(HostRef { name: Some(name.clone()), addr: other.unwrap_or(known.addr) })
    }

    /// All known hosts, the best first: by class, and within a class by weighted rendezvous hashing, so that
    /// the DTUs of a dead host spread over the others in proportion to what these can take, and each goes
    /// where it would go again. `keeper`, which is said to have what the session needs, comes before all of them if it
    /// [may live](Known::is_promising).
    pub(super) fn ranked(&self, now: Instant, serial: &Serial, keeper: Option<&HostName>) -> Vec<HostRef> {
        let hears = self.known.values().any(|known| known.is_fresh(now));
        let mut ranked = Vec::with_capacity(self.known.len());
        for (name, known) in &self.known {
            let score = score(serial, name, known.load);
            let is_other = keeper != Some(name) || !known.is_promising(now, hears);
            ranked.push(((is_other, known.class(now)), score, name, known.addr));
            if let Some(addr) = known.fresh_elsewhere(now) {
                ranked.push(((true, known.class_elsewhere()), score, name, addr));
            }
        }
        ranked.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(b.2)));
        ranked.into_iter().map(|(_, _, name, addr)| HostRef { name: Some(name.clone()), addr }).collect()
    }
}

/// The smallest score wins; a host's chance is in proportion to its weight, 1 / (1 + run queue per CPU).
fn score(serial: &Serial, host: &HostName, load: u32) -> f64 {
    let hash = Sha256::new().chain_update(serial.as_str()).chain_update([0]).chain_update(host.as_str());
    let hash = hash.finalize();
    let bits = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    let uniform = (f64::from(bits) + 0.5) / f64::from(u32::MAX);
    let weight = 100.0 / (100.0 + f64::from(load));
    -uniform.min(1.0).ln() / weight
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::chain::ChainValue;

    fn beacon(host: &str, load: u32, drain: bool) -> Beacon {
        Beacon {
            host: host.parse().unwrap(),
            ver: proto::version::Version::CURRENT,
            boot: proto::BootId(1),
            seq: 1,
            iface: "lo".parse().unwrap(),
            every: INTERVAL,
            load,
            sessions: 0,
            drain,
            tick: 1,
            chain_value: ChainValue::from_bytes([0; 16]),
            digest: None,
        }
    }

    fn standby(host: &str, last: u8) -> Standby {
        Standby { host: host.parse().unwrap(), addr: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), 7009) }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn names(hosts: &Hosts, now: Instant, serial: &str) -> Vec<String> {
        let ranked = hosts.ranked(now, &serial.parse().unwrap(), None);
        ranked.into_iter().map(|h| h.name.unwrap().to_string()).collect()
    }

    #[test]
    fn a_heard_host_comes_first_then_a_draining_one_then_the_unheard_and_the_dead_last() {
        let mut hosts = Hosts::default();
        hosts.learn_standbys(&[standby("a", 1), standby("b", 2), standby("c", 3), standby("d", 4)]);
        let from = |last| Ipv4Addr::new(10, 0, 0, last);
        hosts.learn_beacon(at(1000), &beacon("b", 0, true), from(2), 7009);
        hosts.learn_beacon(at(1000), &beacon("c", 0, false), from(3), 7009);
        hosts.learn_beacon(at(1000), &beacon("stranger", 0, false), from(9), 7009);
        hosts.bury(&HostRef { name: Some("d".parse().unwrap()), addr: standby("d", 4).addr });
        assert_eq!(names(&hosts, at(1100), "s1"), ["c", "b", "stranger", "a", "d"]);
    }

    #[test]
    fn a_beacon_does_not_move_a_host_that_was_told_over_tls_and_is_heard_there() {
        let mut hosts = Hosts::default();
        hosts.learn_standbys(&[standby("a", 1), standby("b", 2)]);
        for host in [1, 2] {
            let name = if host == 1 { "a" } else { "b" };
            hosts.learn_beacon(at(0), &beacon(name, 0, false), Ipv4Addr::new(10, 0, 0, host), 7009);
        }
        hosts.learn_beacon(at(0), &beacon("a", 0, false), Ipv4Addr::new(6, 6, 6, 6), 7009);
        let ranked = hosts.ranked(at(0), &"s".parse().unwrap(), None);
        assert_eq!(ranked.len(), 3);
        assert_eq!(*ranked[2].addr.ip(), Ipv4Addr::new(6, 6, 6, 6), "a stranger's word comes last");
        assert_eq!(hosts.hinted(at(0), &"a".parse().unwrap()).unwrap().addr, standby("a", 1).addr);
    }

    #[test]
    fn a_host_that_moved_is_tried_where_it_is_heard_now_and_is_not_about_where_it_was() {
        let mut hosts = Hosts::default();
        hosts.learn_standbys(&[standby("a", 1)]);
        let old = HostRef { name: Some("a".parse().unwrap()), addr: standby("a", 1).addr };
        let new = HostRef { addr: standby("a", 9).addr, ..old.clone() };
        hosts.learn_beacon(at(0), &beacon("a", 0, false), *old.addr.ip(), 7009);
        hosts.learn_beacon(at(2000), &beacon("a", 0, false), *new.addr.ip(), 7009);
        assert!(!hosts.is_about(at(2000), &old));
        assert!(hosts.is_told(&old) && !hosts.is_told(&new), "only TLS tells who is one of the group");
        hosts.bury(&old);
        assert_eq!(hosts.ranked(at(2000), &"s".parse().unwrap(), None), [new.clone(), old.clone()]);
        assert_eq!(hosts.hinted(at(2000), &"a".parse().unwrap()), Some(new.clone()));
        hosts.failed(at(2000), &new, Failure::Stranger);
        assert_eq!(
            hosts.hinted(at(2000), &"a".parse().unwrap()),
            Some(old),
            "and whoever plays it is left alone"
        );
        hosts.learn_own(&"a".parse().unwrap(), new.addr);
        assert_eq!(hosts.ranked(at(2000), &"s".parse().unwrap(), None), [new]);
    }

    #[test]
    fn a_storm_spreads_by_load_and_each_desk_keeps_its_choice() {
        let mut hosts = Hosts::default();
        hosts.learn_standbys(&[standby("idle", 1), standby("busy", 2)]);
        let from = |last| Ipv4Addr::new(10, 0, 0, last);
        hosts.learn_beacon(at(0), &beacon("idle", 0, false), from(1), 7009);
        hosts.learn_beacon(at(0), &beacon("busy", 300, false), from(2), 7009);
        let first = |n: u32| names(&hosts, at(0), &format!("s{n}"))[0].clone();
        let idle = (0..2000).filter(|n| first(*n) == "idle").count();
        assert!((1500..1700).contains(&idle), "four fifths of 2000 are expected, not {idle}");
        assert_eq!(first(7), first(7));
    }

    #[test]
    fn strangers_cannot_fill_the_table_or_push_out_what_tls_told() {
        let mut hosts = Hosts::default();
        hosts.learn_standbys(&[standby("a", 1)]);
        for n in 0..500 {
            hosts.learn_beacon(at(n), &beacon(&format!("x{n}"), 0, false), Ipv4Addr::LOCALHOST, 7009);
        }
        assert_eq!(hosts.known.len(), HOSTS_MAX);
        assert!(names(&hosts, at(500), "s").contains(&"a".to_owned()));
        assert!(hosts.hinted(at(500), &"x499".parse().unwrap()).is_some());
    }

    #[test]
    fn hints_about_a_host_that_keeps_failing_are_followed_ever_less_often() {
        let mut hosts = Hosts::default();
        hosts.learn_standbys(&[standby("a", 1)]);
        let a = hosts.hinted(at(0), &"a".parse().unwrap()).unwrap();
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            hosts.failed(now, &a, Failure::Away);
            let start = now;
            while hosts.hinted(now, &"a".parse().unwrap()).is_none() {
                now += INTERVAL;
            }
            pauses.push(now.since(start).as_millis() / INTERVAL.as_millis());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32], "in beacon intervals");
    }
}
