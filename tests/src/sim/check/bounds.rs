//! Every table is bounded.

use super::rule::{Check, Moment};
use crate::world::Sight;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Bounds {
    looked: u64,
}

impl Check for Bounds {
    fn rule(&self) -> &'static str {
        "every table is bounded"
    }

    fn see(&mut self, _moment: Moment<'_>, sight: &Sight) -> Result<(), String> {
        let Sight::Size { host, table, len, max } = sight else { return Ok(()) };
        self.looked += 1;
        if len > max {
            return Err(format!("{host} has {len} {table} of at most {max}"));
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
