//! The transitions that a machine's diagram draws, checked wherever its state changes.

/// The edges of one machine's diagram, by the names of its states.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edges {
    pub(super) machine: &'static str,
    pub(super) drawn: &'static [(&'static str, &'static str)],
}

impl Edges {
    /// A state has changed.
    ///
    /// # Panics
    /// In debug builds, when the diagram has no such edge.
    pub(super) fn check(self, from: &'static str, to: &'static str) {
        debug_assert!(self.drawn.contains(&(from, to)), "{}: {from} cannot become {to}", self.machine);
        #[cfg(test)]
        SEEN.with_borrow_mut(|seen| seen.insert((self.machine, from, to)));
    }
}

#[cfg(test)]
std::thread_local! {
    /// The edges that this thread's machines have gone along.
    pub(super) static SEEN: std::cell::RefCell<std::collections::BTreeSet<(&'static str, &'static str, &'static str)>> =
        const { std::cell::RefCell::new(std::collections::BTreeSet::new()) };
}
