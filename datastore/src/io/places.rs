//! The places of a server's connections: [`Arrivals`] decides, here its decisions reach the connections' tasks.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::clock::Clock;
use crate::arrivals::{ArrivalId, Arrivals, Limits, Refused, Told};

/// The bounds of one server's connections.
#[derive(Clone, Debug)]
pub struct Bounds(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    /// Somebody waits for a place among the handshakes.
    crowded: Notify,
}

#[derive(Debug)]
struct State {
    arrivals: Arrivals,
    /// Those that may be told something still.
    calls: BTreeMap<ArrivalId, Arc<Call>>,
}

/// Where one connection is told what was decided about it. Only its own task waits for it.
#[derive(Debug, Default)]
struct Call {
    told: AtomicU8,
    changed: Notify,
}

const BEGIN: u8 = 1;
const LEAVE: u8 = 2;

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub struct Place {
    shared: Arc<Shared>,
    id: ArrivalId,
    call: Arc<Call>,
}

impl Bounds {
    /// At most so many.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let clock = Clock::start();
        let state = State { arrivals: Arrivals::new(clock.now(), limits), calls: BTreeMap::new() };
        Self(Arc::new(Shared { clock, state: Mutex::new(state), crowded: Notify::new() }))
    }

    /// A place for a connection from `address` that was just accepted.
    ///
    /// # Errors
    /// The bound that is reached.
    pub fn take(&self, address: IpAddr) -> Result<Place, Refused> {
        let mut state = self.0.lock();
        let mut told = Vec::new();
        let id = state.arrivals.arrive(address, &mut told)?;
        let call = Arc::<Call>::default();
        state.calls.insert(id, Arc::clone(&call));
        state.tell(told);
        drop(state);
        Ok(Place { shared: Arc::clone(&self.0), id, call })
    }

    /// Has a silent connection leave, if there is any: its descriptor is needed.
    #[must_use]
    pub fn evict_silent(&self) -> bool {
        let mut state = self.0.lock();
        let evicted = state.arrivals.evict_silent();
        state.tell(evicted.map(Told::Leave));
        evicted.is_some()
    }

    /// Whether others wait for a place among the handshakes.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.0.lock().arrivals.is_crowded()
    }

    /// Sees to it that stalled handshakes make room for others, until dropped.
    pub async fn watch(self) {
        loop {
            let due = self.0.lock().arrivals.poll_at();
            if due.is_none() {
                self.0.crowded.notified().await;
                continue;
            }
            self.0.clock.until(due).await;
            let mut state = self.0.lock();
            let mut told = Vec::new();
            state.arrivals.on_timeout(self.0.clock.now(), &mut told);
            state.tell(told);
        }
    }

    /// Connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().arrivals.len()
    }

    /// Connections there may be.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.lock().arrivals.limits().total
    }

    /// Connections there may still be.
    #[must_use]
    pub fn left(&self) -> usize {
        self.total().saturating_sub(self.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Place {
    /// The connection has said what it is. One that needs a handshake waits for [`Place::turn`].
    ///
    /// # Errors
    /// The bound that is reached: the place is void.
    pub fn speak(&self, needs_handshake: bool) -> Result<(), Refused> {
        let mut state = self.shared.lock();
        let mut told = Vec::new();
        let spoken = state.arrivals.speak(self.shared.clock.now(), self.id, needs_handshake, &mut told);
        state.tell(told);
        if !needs_handshake || spoken.is_err() {
            state.calls.remove(&self.id);
        }
        let crowded = state.arrivals.is_crowded();
        drop(state);
        if crowded {
            self.shared.crowded.notify_one();
        }
        spoken
    }

    /// Waits until the handshake may begin. `false` when the connection has to leave.
    pub async fn turn(&self) -> bool {
        self.call.wait_for(|told| told != 0).await == BEGIN
    }

    /// The handshake is done. `false` when the connection has to leave all the same.
    #[must_use]
    pub fn finish(&self) -> bool {
        let mut state = self.shared.lock();
        let mut told = Vec::new();
        state.arrivals.finish(self.shared.clock.now(), self.id, &mut told);
        state.tell(told);
        // Whoever was told to leave is called no more.
        state.calls.remove(&self.id).is_some()
    }

    /// The outcome of `work`, or `None` as soon as the connection has to leave for others' sake.
    pub async fn unless_evicted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            _ = self.call.wait_for(|told| told == LEAVE) => None,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let mut told = Vec::new();
        state.calls.remove(&self.id);
        state.arrivals.leave(self.shared.clock.now(), self.id, &mut told);
        state.tell(told);
    }
}

impl Call {
    async fn wait_for(&self, is_it: impl Fn(u8) -> bool) -> u8 {
        loop {
            let told = self.told.load(Ordering::Acquire);
            if is_it(told) {
                return told;
            }
            self.changed.notified().await;
        }
    }
}

impl State {
    fn tell(&mut self, told: impl IntoIterator<Item = Told>) {
        for told in told {
            let (call, what) = match told {
                Told::Begin(id) => (self.calls.get(&id).cloned(), BEGIN),
                Told::Leave(id) => (self.calls.remove(&id), LEAVE),
            };
            if let Some(call) = call {
                call.told.store(what, Ordering::Release);
                call.changed.notify_one();
            }
        }
    }
}

impl Shared {
    /// Every change of the state is complete before anything in it can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { per_address: 2, total: 8, silent: 2, handshakes: 1 };

    #[tokio::test]
    async fn a_silent_connection_is_told_to_leave_for_a_newcomer_and_places_are_given_back() {
        let bounds = Bounds::new(LIMITS);
        let ip = |n| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        let places = [bounds.take(ip(1)).unwrap(), bounds.take(ip(1)).unwrap()];
        let newcomer = bounds.take(ip(2)).unwrap();
        assert_eq!(places[0].unless_evicted(std::future::pending::<()>()).await, None);
        assert_eq!(places[1].unless_evicted(std::future::ready(1)).await, Some(1));
        assert_eq!(bounds.len(), 2);
        drop((places, newcomer));
        assert!(bounds.is_empty() && bounds.0.lock().calls.is_empty());
    }

    #[tokio::test]
    async fn a_handshake_waits_for_its_turn_and_a_stalled_one_makes_room() {
        let bounds = Bounds::new(Limits { handshakes: 2, ..LIMITS });
        let ip = |n| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        let stalled = [bounds.take(ip(1)).unwrap(), bounds.take(ip(1)).unwrap()];
        for place in &stalled {
            place.speak(true).unwrap();
            assert!(place.turn().await);
        }
        let watch = tokio::spawn(bounds.clone().watch());
        let honest = bounds.take(ip(2)).unwrap();
        honest.speak(true).unwrap();
        assert!(honest.turn().await);
        assert_eq!(stalled[0].unless_evicted(std::future::pending::<()>()).await, None);
        assert!(!stalled[0].finish() && stalled[1].finish() && honest.finish());
        let third = bounds.take(ip(1)).unwrap();
        third.speak(true).unwrap();
        assert!(third.turn().await);
        watch.abort();
    }
}
