//! What is going to happen, in the order of time; what happens at the same time, in the order it was put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proto::Instant;

/// Things that happen later.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    put: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    number: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> Queue<T> {
    pub(super) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), put: 0 }
    }

    /// Puts in what happens at `at`.
    pub(super) fn put(&mut self, at: Instant, what: T) {
        self.put += 1;
        self.heap.push(Reverse(Entry { at, number: self.put, what }));
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// The next thing, if it happens by `until`.
    pub(super) fn pop_by(&mut self, until: Instant) -> Option<(Instant, T)> {
        if self.next_at()? > until {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }

    /// How many things have been put in so far: a measure of work.
    pub(super) const fn count(&self) -> u64 {
        self.put
    }
}
