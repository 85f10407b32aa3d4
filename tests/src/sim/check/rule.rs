//! What a checker is, and what it is told.

use proto::Instant;

use super::health::Health;
use crate::world::Observation;

/// What a checker is told at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Virtual time of the observation.
    pub now: Instant,
    /// How everybody is.
    pub health: &'a Health,
}

/// A rule, and what was seen so far that bears on it.
pub trait Check {
    /// The rule, in a sentence.
    fn rule(&self) -> &'static str;

    /// Takes in what was seen. What breaks the rule is said in words.
    ///
    /// # Errors
    /// The rule is broken.
    fn see(&mut self, moment: Moment<'_>, observation: &Observation) -> Result<(), String>;

    /// So much time has passed.
    ///
    /// # Errors
    /// Something did not happen that should have by now.
    fn pass(&mut self, _moment: Moment<'_>) -> Result<(), String> {
        Ok(())
    }

    /// How often the rule was put to the test: what could have broken it and did not, without what its exemptions let
    /// pass.
    fn evaluated(&self) -> u64;

    /// The same of each of its parts, where one may be tested all the time and another never.
    fn parts(&self) -> Vec<(&'static str, u64)> {
        vec![(self.rule(), self.evaluated())]
    }
}
