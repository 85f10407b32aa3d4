//! How many connections there may be: in all, of one address, and in the middle of a handshake.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::io::counters::{Counters, Reason};

/// Connections of one address, unless the operator says otherwise: desks behind one router, or a fleet.
pub const PER_ADDRESS: usize = 512;

/// Connections that have not said yet what they are. Further ones wait in the kernel's queue, and who holds a
/// place for long has to leave it. No more than are served well within that time: a handshake that is begun and
/// has to leave was for nothing, its DTU begins another one, and a storm that is begun with all at once never ends.
pub const HALF_OPEN_MAX: usize = 128;

/// What a connection is must be known within so many seconds.
const KNOWN_WITHIN: u32 = 5;
/// While others wait for its place, one that says nothing has to leave it after so many seconds.
const SILENT_WITHIN_CROWDED: u32 = 1;
/// And one whose handshake has begun after so many: to have it begin anew costs more than to let it end.
const BEGUN_WITHIN_CROWDED: u32 = 3;

/// Why a connection that has waited for so many seconds has to leave its place before it is known what it is, if it has
/// to: `begun` says whether its handshake has, and `crowded` whether others wait for the place.
#[must_use]
pub const fn must_leave(waited: u32, begun: bool, crowded: bool) -> Option<Reason> {
    let patience = if begun { BEGUN_WITHIN_CROWDED } else { SILENT_WITHIN_CROWDED };
    if waited >= patience && crowded {
        Some(Reason::Crowded)
    } else if waited >= KNOWN_WITHIN {
        Some(Reason::Late)
    } else {
        None
    }
}

/// The bounds of one host's connections.
#[derive(Clone, Debug)]
pub struct Bounds {
    per_address: usize,
    total: usize,
    half_open: Arc<Semaphore>,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<Ipv4Addr, usize>,
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub struct Place {
    open: Arc<Mutex<Open>>,
    address: Ipv4Addr,
}

impl Bounds {
    /// At most `per_address` connections of one address and `total` in all.
    #[must_use]
    pub fn new(per_address: usize, total: usize) -> Self {
        let half_open = Arc::new(Semaphore::new(HALF_OPEN_MAX));
        Self { per_address, total, half_open, open: Arc::default() }
    }

    /// A place for a connection from `address`, or why there is none.
    ///
    /// # Errors
    /// The bound that is reached.
    pub fn take(&self, address: Ipv4Addr) -> Result<Place, Reason> {
        let mut open = lock(&self.open);
        if open.total >= self.total {
            return Err(Reason::Connections);
        }
        let of_address = open.by_address.entry(address).or_default();
        if *of_address >= self.per_address {
            return Err(Reason::PerAddress);
        }
        *of_address += 1;
        open.total += 1;
        Ok(Place { open: Arc::clone(&self.open), address })
    }

    /// As [`Bounds::take`], counted when there is no place.
    #[must_use]
    pub fn admit(&self, address: Ipv4Addr, counters: &Counters) -> Option<Place> {
        self.take(address).map_err(|reason| counters.count(reason)).ok()
    }

    /// Waits for a place among those that have not said yet what they are.
    pub async fn half_open(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.half_open).acquire_owned().await.ok()
    }

    /// Whether others wait for such a place.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.half_open.available_permits() == 0
    }

    /// Connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.open).total
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.total -= 1;
        if let Some(n) = open.by_address.get_mut(&self.address) {
            *n -= 1;
            if *n == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// Every change of the counts is complete before anything in it can panic.
fn lock(open: &Mutex<Open>) -> std::sync::MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine that is starved every handshake takes long, and to throw it away starves it more.
    #[test]
    fn while_others_wait_a_handshake_may_end_and_one_that_says_nothing_has_to_leave() {
        assert_eq!(must_leave(1, false, true), Some(Reason::Crowded));
        assert_eq!(
            [1, 2, 3].map(|waited| must_leave(waited, true, true)),
            [None, None, Some(Reason::Crowded)]
        );
        assert_eq!(
            [1, 4, 5].map(|waited| must_leave(waited, false, false)),
            [None, None, Some(Reason::Late)]
        );
    }

    #[test]
    fn one_address_cannot_take_the_places_of_others_and_a_place_is_given_back() {
        let bounds = Bounds::new(2, 3);
        let ip = Ipv4Addr::from_bits;
        let places = [bounds.take(ip(1)).unwrap(), bounds.take(ip(1)).unwrap()];
        assert_eq!(bounds.take(ip(1)).unwrap_err(), Reason::PerAddress);
        let other = bounds.take(ip(2)).unwrap();
        assert_eq!(bounds.take(ip(3)).unwrap_err(), Reason::Connections);
        drop(places);
        assert_eq!(bounds.len(), 1);
        drop(other);
        assert!(bounds.is_empty() && lock(&bounds.open).by_address.is_empty());
    }
}
