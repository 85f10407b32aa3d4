//! The checkers: each holds what was seen of the world against one rule.
//!
//! They stand apart from the system. They are fed [`Observation`]s in the order of time and nothing else, so a checker
//! costs what happens and not what there is, and a test can feed one a history in which its rule is broken.

mod admission;
mod bounds;
mod claims;
mod displays;
mod effects;
mod epochs;
mod failover;
mod fitness;
mod health;
mod homes;
mod kept;
mod links;
mod lives;
mod redirects;
mod rest;
mod rule;
mod screens;
#[cfg(test)]
mod tests;
mod words;

use proto::Instant;

use crate::world::Observation;

pub use admission::Admission;
pub use bounds::Bounds;
pub use claims::Claims;
pub use displays::Displays;
pub use effects::{EFFECTS, Effects};
pub use epochs::Epochs;
pub use failover::Failover;
pub use fitness::Fitness;
pub use health::Health;
pub use homes::{Homes, STALE};
pub use kept::{KEPT, Kept, UNKEPT};
pub use links::Links;
pub use lives::Lives;
pub use redirects::Redirects;
pub use rest::{Rest, RestDesk, uneven};
pub use rule::{Check, Moment};
pub use screens::OneScreen;
pub use words::Words;

/// All rules, and the health that they share.
pub struct Checks {
    health: Health,
    checks: Vec<Box<dyn Check>>,
}

impl Checks {
    /// All of them, with nothing seen.
    #[must_use]
    pub fn new() -> Self {
        let checks: Vec<Box<dyn Check>> = vec![
            Box::new(Admission::default()),
            Box::new(Words::default()),
            Box::new(OneScreen::default()),
            Box::new(Lives::default()),
            Box::new(Claims::default()),
            Box::new(Epochs::default()),
            Box::new(Homes::default()),
            Box::new(Effects::default()),
            Box::new(Kept::default()),
            Box::new(Redirects::default()),
            Box::new(Failover::default()),
            Box::new(Fitness::default()),
            Box::new(Links::default()),
            Box::new(Displays::default()),
            Box::new(Bounds::default()),
        ];
        Self { health: Health::default(), checks }
    }

    /// Takes in what was seen, in the order of time.
    ///
    /// # Errors
    /// A rule is broken: which, and by what.
    pub fn see(&mut self, seen: &[(Instant, Observation)]) -> Result<(), String> {
        for (at, observation) in seen {
            self.health.see(*at, observation);
            let moment = Moment { now: *at, health: &self.health };
            for check in &mut self.checks {
                check.see(moment, observation).map_err(|what| broken(&**check, *at, &what))?;
            }
        }
        Ok(())
    }

    /// So much time has passed.
    ///
    /// # Errors
    /// A rule is broken: which, and by what.
    pub fn pass(&mut self, now: Instant) -> Result<(), String> {
        let moment = Moment { now, health: &self.health };
        for check in &mut self.checks {
            check.pass(moment).map_err(|what| broken(&**check, now, &what))?;
        }
        Ok(())
    }

    /// Every part of every rule, and how often it was put to the test.
    pub fn evaluated(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.checks.iter().flat_map(|check| check.parts())
    }
}

impl Default for Checks {
    fn default() -> Self {
        Self::new()
    }
}

fn broken(check: &dyn Check, at: Instant, what: &str) -> String {
    format!("{} — {what}, at {at}", check.rule())
}
