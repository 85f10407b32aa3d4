//! Every table is bounded.

use super::rule::{Check, Moment};
use crate::world::Observation;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Bounds {
    evaluated: u64,
}

impl Check for Bounds {
    fn rule(&self) -> &'static str {
        "every table is bounded"
    }

    fn see(&mut self, _moment: Moment<'_>, observation: &Observation) -> Result<(), String> {
        let Observation::Size { host, table, len, max } = observation else { return Ok(()) };
        self.evaluated += 1;
        if len > max {
            return Err(format!("{host} has {len} {table} of at most {max}"));
        }
        Ok(())
    }

    fn evaluated(&self) -> u64 {
        self.evaluated
    }
}
