//! What sessions do outside of themselves happens once, and only their present home does it.

use std::collections::BTreeSet;

use datastore::once::EffectId;
use proto::SessionId;

use super::rule::{Check, Moment};
use crate::world::Observation;

/// The rule that only programs can break that have effects.
pub const EFFECTS: &str = "effects happen once";

/// See the module's text.
#[derive(Debug, Default)]
pub struct Effects {
    happened: BTreeSet<(SessionId, EffectId)>,
    evaluated: u64,
}

impl Check for Effects {
    fn rule(&self) -> &'static str {
        EFFECTS
    }

    fn see(&mut self, _moment: Moment<'_>, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Effect { session, effect, believed, recorded } => {
                if recorded.is_none_or(|recorded| believed < &recorded) {
                    return Err(format!(
                        "{effect:?} of {session} is done in {believed}, and the record has {recorded:?}"
                    ));
                }
                self.evaluated += 1;
                if !self.happened.insert((*session, effect.clone())) {
                    return Err(format!("{effect:?} of {session} has happened before"));
                }
            }
            // What was done since the backup is undone with what was remembered of it.
            Observation::Restored => self.happened.clear(),
            _ => {}
        }
        Ok(())
    }

    fn evaluated(&self) -> u64 {
        self.evaluated
    }
}
