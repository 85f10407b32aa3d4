//! What is going to happen, in the order of time; what happens at the same time, in the order it was put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proto::Instant;

/// Things that happen later.
///
/// The heap holds only when and where; what happens lies still meanwhile, for it is much larger, and millions wait.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    places: Vec<Option<T>>,
    free: Vec<usize>,
    put: u64,
}

impl<T> Queue<T> {
    pub(super) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), places: Vec::new(), free: Vec::new(), put: 0 }
    }

    /// Puts in what happens at `at`.
    pub(super) fn put(&mut self, at: Instant, what: T) {
        self.put += 1;
        let place = self.free.pop().unwrap_or(self.places.len());
        match self.places.get_mut(place) {
            Some(free) => *free = Some(what),
            None => self.places.push(Some(what)),
        }
        self.heap.push(Reverse((at, self.put, place)));
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next thing, if it happens by `until`.
    pub(super) fn pop_by(&mut self, until: Instant) -> Option<(Instant, T)> {
        if self.next_at()? > until {
            return None;
        }
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.free.push(place);
        Some((at, self.places.get_mut(place)?.take()?))
    }

    /// How many things have been put in so far: a measure of work.
    pub(super) const fn count(&self) -> u64 {
        self.put
    }
}
