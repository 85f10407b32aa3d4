//! States 1 to N of a pool, between which its program goes back and forward.

use crate::limits::STATES_MAX;

/// States of which one is current. There is always one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series<S> {
    before: Vec<S>,
    current: S,
    after: Vec<S>,
}

impl<S: Default> Default for Series<S> {
    fn default() -> Self {
        Self { before: Vec::new(), current: S::default(), after: Vec::new() }
    }
}

impl<S> Series<S> {
    /// The state that is shown and changed.
    #[must_use]
    pub const fn current(&self) -> &S {
        &self.current
    }

    /// The number of the current state, from 1.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.before.len() + 1
    }

    /// How many states there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.before.len() + 1 + self.after.len()
    }

    /// All, from the first to the last.
    pub fn states(&self) -> impl Iterator<Item = &S> {
        self.before.iter().chain([&self.current]).chain(&self.after)
    }

    pub(crate) const fn current_mut(&mut self) -> &mut S {
        &mut self.current
    }

    /// Goes to the state before. Returns whether there is one.
    pub(crate) fn back(&mut self) -> bool {
        let Some(state) = self.before.pop() else { return false };
        self.after.insert(0, core::mem::replace(&mut self.current, state));
        true
    }

    /// Goes to the state after. Returns whether there is one.
    pub(crate) fn forward(&mut self) -> bool {
        if self.after.is_empty() {
            return false;
        }
        let state = self.after.remove(0);
        self.before.push(core::mem::replace(&mut self.current, state));
        true
    }

    /// Leaves the current state alone.
    pub(crate) fn forget(&mut self) {
        self.before.clear();
        self.after.clear();
    }

    /// Drops the first state. Returns whether there was another one than the current.
    pub(crate) fn drop_first(&mut self) -> bool {
        let is_there = !self.before.is_empty();
        if is_there {
            self.before.remove(0);
        }
        is_there
    }

    /// From the states in order and the number of the current one, from 1; `None` if there is no such state or there
    /// are too many.
    pub(crate) fn from_states(mut states: Vec<S>, number: usize) -> Option<Self> {
        if states.len() > STATES_MAX || number == 0 || number > states.len() {
            return None;
        }
        let after = states.split_off(number);
        let current = states.pop()?;
        Some(Self { before: states, current, after })
    }
}

impl<S: Clone> Series<S> {
    /// Keeps the current state to come back to, and makes a copy of it the current one. States after it are dropped,
    /// and the oldest when there are too many.
    pub(crate) fn mark(&mut self) {
        self.after.clear();
        self.before.push(self.current.clone());
        if self.count() > STATES_MAX {
            self.before.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_and_forward_go_through_the_states_and_a_new_one_ends_those_after_it() {
        let mut series = Series::<u32>::default();
        for n in 1..=3 {
            series.mark();
            *series.current_mut() = n;
        }
        assert!(series.back() && series.back());
        assert_eq!((series.number(), series.count(), *series.current()), (2, 4, 1));
        assert!(series.forward());
        assert_eq!(*series.current(), 2);
        series.mark();
        *series.current_mut() = 9;
        assert!(!series.forward());
        assert_eq!(series.states().copied().collect::<Vec<_>>(), [0, 1, 2, 9]);
        while series.back() {}
        assert_eq!((series.number(), *series.current()), (1, 0));
    }

    #[test]
    fn of_too_many_states_the_oldest_is_dropped() {
        let mut series = Series::<usize>::default();
        for n in 1..=STATES_MAX + 3 {
            series.mark();
            *series.current_mut() = n;
        }
        assert_eq!((series.count(), series.number()), (STATES_MAX, STATES_MAX));
        assert_eq!(series.states().next(), Some(&4));
    }
}
