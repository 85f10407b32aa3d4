//! The newest beacon of every host by each way, and when it was heard, for DTUs that need not know of it at once.
//!
//! Thousands of DTUs hear some hundred beacons a second, and most of them matter to a DTU only when it has to choose a
//! host: it is told then, with the time at which they were heard. What it goes by while at work it is told at once
//! ([`crate::dtu::Dtu::heeds`]), and nothing else with it: of thirty hosts its own one speaks ten times a second.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use proto::beacon::Beacon;
use proto::{HostName, Instant};

use crate::dtu::{DtuInput, Heeds};

/// Hosts and their ways on it, at most: strangers can name as many as they like. The one longest unheard goes.
const HOSTS_MAX: usize = 512;

/// Whose beacons a DTU wants to hear at once ([`Heeds`]), small enough that those of thousands are looked through for
/// every beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Nobody,
    One(u32),
    Everybody,
}

/// The newest beacon of one host, and where and when it came.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) beacon: Beacon,
    pub(super) from: Ipv4Addr,
    pub(super) at: Instant,
    number: u64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct BeaconCache {
    /// The newest last.
    heard: Vec<Arc<Heard>>,
    count: u64,
    /// The numbers of hosts that DTUs are at.
    numbers: BTreeMap<HostName, u32>,
}

impl BeaconCache {
    pub(super) fn put(&mut self, beacon: Beacon, from: Ipv4Addr, at: Instant) {
        // A host with several addresses says the same from each, and each counts for whoever is connected to it.
        let is_old = |known: &Arc<Heard>| known.beacon.host == beacon.host && known.from == from;
        if let Some(old) = self.heard.iter().position(is_old) {
            self.heard.remove(old);
        } else if self.heard.len() >= HOSTS_MAX {
            self.heard.remove(0);
        }
        self.count += 1;
        self.heard.push(Arc::new(Heard { beacon, from, at, number: self.count }));
    }

    /// What `heeds` says, in short.
    pub(super) fn wants(&mut self, heeds: Heeds<'_>) -> Wants {
        match heeds {
            Heeds::Nobody => Wants::Nobody,
            Heeds::Everybody => Wants::Everybody,
            Heeds::One(host) => Wants::One(self.number(host)),
        }
    }

    fn number(&mut self, host: &HostName) -> u32 {
        if let Some(number) = self.numbers.get(host) {
            return *number;
        }
        let number = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        self.numbers.insert(host.clone(), number);
        number
    }

    /// The number of a host, if any DTU was ever at it.
    pub(super) fn number_of(&self, host: &HostName) -> Option<u32> {
        self.numbers.get(host).copied()
    }

    /// What a DTU was not told yet, the oldest first, as far as no newer one took its place; now it is.
    pub(super) fn news(&self, cursor: &mut Cursor) -> Vec<Arc<Heard>> {
        let Cursor { all, one } = core::mem::replace(cursor, Cursor { all: self.count, one: self.count });
        let first = self.heard.partition_point(|heard| heard.number <= all);
        self.heard[first..].iter().filter(|heard| heard.number != one).cloned().collect()
    }

    /// The newest, for a DTU that goes by it; the rest it is still to be told.
    pub(super) fn newest(&self, cursor: &mut Cursor) -> Option<Arc<Heard>> {
        cursor.one = self.count;
        self.heard.last().cloned()
    }
}

/// What of the cache a DTU was told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    /// All up to this number.
    all: u64,
    /// And, ahead of others, this one.
    one: u64,
}

impl Heard {
    /// As a DTU takes it in.
    pub(super) const fn input(&self) -> DtuInput<'_> {
        DtuInput::Beacon { beacon: &self.beacon, from: self.from, at: self.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::chain::ChainValue;
    use proto::version::Version;

    fn beacon(host: &str, seq: u64) -> Beacon {
        Beacon {
            host: host.parse().unwrap(),
            ver: Version::CURRENT,
            boot: proto::BootId(1),
            seq,
            iface: "lo".parse().unwrap(),
            every: proto::beacon::INTERVAL,
            load: 0,
            sessions: 0,
            drain: false,
            tick: seq,
            chain_value: ChainValue::from_bytes([0; 16]),
            digest: None,
        }
    }

    #[test]
    fn whoever_comes_late_hears_the_newest_of_each_host_once_with_its_time() {
        let (mut cache, from) = (BeaconCache::default(), Ipv4Addr::LOCALHOST);
        for (seq, host) in ["a", "b", "a"].into_iter().enumerate() {
            let seq = seq as u64 + 1;
            cache.put(beacon(host, seq), from, Instant::from_micros(seq));
        }
        let mut late = Cursor::default();
        let told: Vec<_> = cache.news(&mut late).iter().map(|h| (h.beacon.seq, h.at.as_micros())).collect();
        assert_eq!(told, [(2, 2), (3, 3)]);
        assert!(cache.news(&mut late).is_empty());
        cache.put(beacon("b", 4), from, Instant::from_micros(4));
        assert_eq!(cache.news(&mut late).len(), 1);
    }

    #[test]
    fn whoever_was_told_of_its_own_host_at_once_hears_the_others_later_and_nothing_twice() {
        let (mut cache, from, mut told) = (BeaconCache::default(), Ipv4Addr::LOCALHOST, Cursor::default());
        let seqs = |news: Vec<Arc<Heard>>| news.iter().map(|heard| heard.beacon.seq).collect::<Vec<_>>();
        for (seq, host) in [(1, "b"), (2, "own")] {
            cache.put(beacon(host, seq), from, Instant::from_micros(seq));
        }
        assert_eq!(cache.newest(&mut told).map(|heard| heard.beacon.seq), Some(2));
        cache.put(beacon("c", 3), from, Instant::from_micros(3));
        assert_eq!(seqs(cache.news(&mut told)), [1, 3]);
        cache.put(beacon("own", 4), from, Instant::from_micros(4));
        assert_eq!(cache.newest(&mut told).map(|heard| heard.beacon.seq), Some(4));
        assert!(cache.news(&mut told).is_empty());
    }

    #[test]
    fn strangers_with_endless_names_do_not_make_it_grow() {
        let (mut cache, from) = (BeaconCache::default(), Ipv4Addr::LOCALHOST);
        for n in 0..2 * HOSTS_MAX {
            cache.put(beacon(&format!("evil{n}"), 1), from, Instant::ZERO);
        }
        assert_eq!(cache.news(&mut Cursor::default()).len(), HOSTS_MAX);
    }
}
