//! The epoch of a session never falls, neither in the data store nor for its host: whoever refuses what is older goes by
//! it. A token's next session begins anew.

use std::collections::BTreeMap;

use proto::{Epoch, HostName, SessionId};

use super::rule::{Check, Moment};
use crate::world::Observation;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Epochs {
    /// A session may have its token's claim and one of its own for a moment: what each says never falls.
    stored: BTreeMap<(String, SessionId), Epoch>,
    /// A host learns a moment later, or much later, what the store has of its session.
    at_host: BTreeMap<(HostName, SessionId), Epoch>,
    evaluated: u64,
}

fn rise<K: Ord>(
    highest: &mut BTreeMap<K, Epoch>,
    of: K,
    session: SessionId,
    epoch: Epoch,
    by: &str,
) -> Result<(), String> {
    let highest = highest.entry(of).or_insert(epoch);
    if epoch < *highest {
        return Err(format!("{by} has {session} at {epoch}, which was at {highest}"));
    }
    *highest = epoch;
    Ok(())
}

impl Check for Epochs {
    fn rule(&self) -> &'static str {
        "the epoch of a session never falls"
    }

    fn see(&mut self, _moment: Moment<'_>, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Claimed { token, claim: Some(claim) } => {
                self.evaluated += 1;
                let of = (token.clone(), claim.session);
                rise(&mut self.stored, of, claim.session, claim.epoch, "the data store")
            }
            Observation::Epoch { host, session, epoch } => {
                self.evaluated += 1;
                rise(&mut self.at_host, (host.clone(), *session), *session, *epoch, host.as_str())
            }
            // What a backup holds is of before. Who has not noticed it yet finds its own claim there and leaves it as it is.
            Observation::Restored => {
                self.stored.clear();
                Ok(())
            }
            Observation::Gone { host, session, .. } => {
                self.stored.retain(|(_, of), _| of != session);
                self.at_host.remove(&(host.clone(), *session));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn evaluated(&self) -> u64 {
        self.evaluated
    }
}
