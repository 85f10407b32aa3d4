//! Connections between `accept` and the moment it is known what they are: a pure machine, for a host's connections and for
//! those of the data store.
//!
//! ```text
//!  arrive ─▶ silent ── says what it is ──┬─ TLS ──▶ waiting ─ a place ─▶ handshaking ── done ──▶ served
//!              │                         └─ else ────────────────────────────────────────────────▲
//!              └─ evicted: the pool is full, and its address holds most of it
//! ```
//!
//! Two bounds instead of one. A connection that has said nothing costs a descriptor, and is accepted at once:
//! when the pool is full, the oldest silent connection of the address that holds most of them is evicted. A TLS
//! handshake costs processor time, so no more are under way than are served well; the others wait, and the address
//! with the fewest places goes first. What one address does thus costs its own connections, whatever it sends or
//! withholds.
//!
//! A handshake that is thrown away costs more than one that ends, and a storm of which too many are begun at once never
//! ends. So a place is taken from its holder only while no handshake ends at all ([`STALLED_AFTER`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use proto::Instant;
use proto::time::Duration;

/// Handshakes under way. No more than are served well within a second: those that are begun and thrown away were for
/// nothing, and their DTUs begin anew.
pub const HANDSHAKES_MAX: usize = 128;

/// As long as some handshake has ended within this time, whoever waits for a place gets one soon.
pub const STALLED_AFTER: Duration = Duration::from_millis(10);

/// Descriptors kept for sockets, the data store and the control sockets of sessions, where there are many.
const RESERVED: u64 = 512;

/// How many connections there may be, and in which states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of one address that have said what they are.
    pub per_address: usize,
    /// Connections in all.
    pub total: usize,
    /// Connections that have said nothing.
    pub silent: usize,
    /// TLS handshakes under way.
    pub handshakes: usize,
}

impl Limits {
    /// What a process may have that may open `descriptors` files and has opened `open` of them. Half of the rest is
    /// for other things where descriptors are few. A `per_address` of 0 means no bound but the total.
    #[must_use]
    pub fn of_descriptors(descriptors: u64, open: u64, per_address: usize) -> Self {
        let free = descriptors.saturating_sub(open);
        let total = free.saturating_sub(RESERVED.min(free / 2)).max(4);
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        let per_address = if per_address == 0 { total } else { per_address.min(total) };
        let handshakes = HANDSHAKES_MAX.min(total);
        Self { per_address, total, silent: (total / 2).max(1), handshakes }
    }
}

/// Names a connection from its arrival to its end. Later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArrivalId(u64);

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its address has as many as it may.
    Address,
    /// There are as many as there may be.
    Host,
}

/// What a connection is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Its handshake may begin.
    Begin(ArrivalId),
    /// It has to go, for others' sake.
    Leave(ArrivalId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Silent,
    Waiting,
    Handshaking,
    Served,
}

/// What one address has.
#[derive(Debug, Default)]
struct Holder {
    silent: BTreeSet<ArrivalId>,
    waiting: VecDeque<ArrivalId>,
    handshaking: BTreeSet<ArrivalId>,
    /// Waiting, handshaking and served.
    spoken: usize,
}

/// All connections of a host.
#[derive(Debug)]
pub struct Arrivals {
    limits: Limits,
    arrived: u64,
    stages: BTreeMap<ArrivalId, (IpAddr, Progress)>,
    holders: BTreeMap<IpAddr, Holder>,
    /// Addresses by how many silent connections, and by how many handshakes, they have; those with none left out.
    by_silent: BTreeSet<(usize, IpAddr)>,
    by_handshakes: BTreeSet<(usize, IpAddr)>,
    /// Addresses whose connections wait: by the places they have, then by who has waited longest.
    queue: BTreeSet<(usize, ArrivalId, IpAddr)>,
    silent: usize,
    handshaking: usize,
    /// When a handshake last ended, or a place was free.
    moved_at: Instant,
    looked_at: Instant,
}

impl Arrivals {
    /// No connections yet.
    #[must_use]
    pub const fn new(now: Instant, limits: Limits) -> Self {
        Self {
            limits,
            arrived: 0,
            stages: BTreeMap::new(),
            holders: BTreeMap::new(),
            by_silent: BTreeSet::new(),
            by_handshakes: BTreeSet::new(),
            queue: BTreeSet::new(),
            silent: 0,
            handshaking: 0,
            moved_at: now,
            looked_at: now,
        }
    }

    /// How many there may be.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// How many connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stages.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Whether connections wait for a place among the handshakes.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Takes a connection that was just accepted; another one may have to leave for it.
    ///
    /// # Errors
    /// It is refused.
    pub fn arrive(&mut self, address: IpAddr, out: &mut Vec<Told>) -> Result<ArrivalId, Refused> {
        if self.holders.get(&address).is_some_and(|h| h.spoken >= self.limits.per_address) {
            return Err(Refused::Address);
        }
        if self.silent >= self.limits.silent || self.stages.len() >= self.limits.total {
            let Some(evicted) = self.evict_silent() else { return Err(Refused::Host) };
            out.push(Told::Leave(evicted));
        }
        self.arrived += 1;
        let id = ArrivalId(self.arrived);
        self.stages.insert(id, (address, Progress::Silent));
        self.change(address, |holder| {
            holder.silent.insert(id);
        });
        self.silent += 1;
        Ok(id)
    }

    /// Has the oldest silent connection of the address with the most of them leave, if there is any: also for when the
    /// system gives no more descriptors.
    pub fn evict_silent(&mut self) -> Option<ArrivalId> {
        let (_, address) = *self.by_silent.last()?;
        let id = *self.holders.get(&address)?.silent.first()?;
        self.forget(id);
        Some(id)
    }

    /// A silent connection has said what it is: what needs no handshake is served, the others wait for a place.
    ///
    /// # Errors
    /// It is refused, and has to leave.
    pub fn speak(
        &mut self,
        now: Instant,
        id: ArrivalId,
        needs_handshake: bool,
        out: &mut Vec<Told>,
    ) -> Result<(), Refused> {
        let Some((address, Progress::Silent)) = self.stages.get(&id).copied() else { return Ok(()) };
        self.forget(id);
        if self.holders.get(&address).is_some_and(|h| h.spoken >= self.limits.per_address) {
            return Err(Refused::Address);
        }
        let stage = if needs_handshake { Progress::Waiting } else { Progress::Served };
        self.stages.insert(id, (address, stage));
        self.change(address, |holder| {
            holder.spoken += 1;
            if needs_handshake {
                holder.waiting.push_back(id);
            }
        });
        if self.handshaking < self.limits.handshakes {
            self.moved_at = now;
            self.fill(out);
        } else {
            self.relieve(now, out);
        }
        Ok(())
    }

    /// A handshake is done: its connection is served, and its place is the next one's.
    pub fn finish(&mut self, now: Instant, id: ArrivalId, out: &mut Vec<Told>) {
        let Some((address, Progress::Handshaking)) = self.stages.get(&id).copied() else { return };
        self.stages.insert(id, (address, Progress::Served));
        self.change(address, |holder| {
            holder.handshaking.remove(&id);
        });
        self.handshaking -= 1;
        self.moved_at = now;
        self.fill(out);
    }

    /// A connection has ended.
    pub fn leave(&mut self, now: Instant, id: ArrivalId, out: &mut Vec<Told>) {
        if self.forget(id) == Some(Progress::Handshaking) {
            self.moved_at = now;
            self.fill(out);
        }
    }

    /// When [`Arrivals::on_timeout`] wants to be called.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.is_crowded().then(|| self.moved_at.max(self.looked_at) + STALLED_AFTER)
    }

    /// Looks whether handshakes end.
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<Told>) {
        self.relieve(now, out);
        self.looked_at = now;
    }

    /// While no handshake ends, the oldest one of the address that has most of them leaves for an address that waits
    /// and has fewer.
    fn relieve(&mut self, now: Instant, out: &mut Vec<Told>) {
        if now.since(self.moved_at) < STALLED_AFTER {
            return;
        }
        while let (Some((few, ..)), Some((most, largest))) = (self.queue.first(), self.by_handshakes.last())
            && *most > few + 1
        {
            let Some(oldest) = self.holders.get(largest).and_then(|h| h.handshaking.first().copied()) else {
                return;
            };
            self.forget(oldest);
            out.push(Told::Leave(oldest));
            self.fill(out);
        }
    }

    /// Gives free places to those that wait.
    fn fill(&mut self, out: &mut Vec<Told>) {
        while self.handshaking < self.limits.handshakes
            && let Some((_, id, address)) = self.queue.first().copied()
        {
            self.stages.insert(id, (address, Progress::Handshaking));
            self.change(address, |holder| {
                holder.waiting.pop_front();
                holder.handshaking.insert(id);
            });
            self.handshaking += 1;
            out.push(Told::Begin(id));
        }
    }

    fn forget(&mut self, id: ArrivalId) -> Option<Progress> {
        let (address, stage) = self.stages.remove(&id)?;
        self.silent -= usize::from(stage == Progress::Silent);
        self.handshaking -= usize::from(stage == Progress::Handshaking);
        self.change(address, |holder| {
            match stage {
                Progress::Silent => {
                    holder.silent.remove(&id);
                }
                Progress::Waiting => holder.waiting.retain(|other| *other != id),
                Progress::Handshaking => {
                    holder.handshaking.remove(&id);
                }
                Progress::Served => {}
            }
            holder.spoken -= usize::from(stage != Progress::Silent);
        });
        Some(stage)
    }

    /// Every change of what an address has passes here, so that the orders by it stay true.
    fn change(&mut self, address: IpAddr, change: impl FnOnce(&mut Holder)) {
        let holder = self.holders.entry(address).or_default();
        let rank = |holder: &Holder| {
            let first = holder.waiting.front().copied();
            (holder.silent.len(), holder.handshaking.len(), first)
        };
        let (silent, handshaking, first) = rank(holder);
        self.by_silent.remove(&(silent, address));
        self.by_handshakes.remove(&(handshaking, address));
        if let Some(first) = first {
            self.queue.remove(&(handshaking, first, address));
        }
        change(holder);
        let (silent, handshaking, first) = rank(holder);
        if silent > 0 {
            self.by_silent.insert((silent, address));
        }
        if handshaking > 0 {
            self.by_handshakes.insert((handshaking, address));
        }
        if let Some(first) = first {
            self.queue.insert((handshaking, first, address));
        }
        if silent == 0 && holder.spoken == 0 {
            self.holders.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests;
