//! No two homes of a session act in one epoch, and nothing is gone on with that is older than what was said to be safe.

use std::collections::BTreeMap;

use proto::{Epoch, HostName, SessionId};
use sessiond::control::Part;

use super::rule::{Check, Moment};
use crate::world::Observation;

/// The rule that only sessions can break that outlive their hosts.
pub const STALE: &str = "nothing stale is gone on with";

/// See the module's text.
#[derive(Debug, Default)]
pub struct Homes {
    homes: BTreeMap<(SessionId, Epoch), HostName>,
    /// The newest version of each part that a session's programs were told is kept.
    safe: BTreeMap<(SessionId, Part), [u8; 16]>,
    evaluated: u64,
    restored: u64,
}

impl Check for Homes {
    fn rule(&self) -> &'static str {
        "no two homes of a session act in one epoch"
    }

    fn see(&mut self, _moment: Moment<'_>, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Epoch { host, session, epoch } if epoch.counter > 0 => {
                self.evaluated += 1;
                let home = self.homes.entry((*session, *epoch)).or_insert_with(|| host.clone());
                if home != host {
                    return Err(format!("{session} is at {epoch} on {home} and on {host}"));
                }
            }
            Observation::Safe { session, part, stamp } => {
                let safe = self.safe.entry((*session, part.clone())).or_insert(*stamp);
                *safe = *stamp.max(safe);
            }
            Observation::Restores { host, session, part, stamp } => {
                self.restored += 1;
                let safe = self.safe.get(&(*session, part.clone()));
                if let Some(safe) = safe.filter(|safe| *stamp < **safe) {
                    let [has, safe] = [stamp, safe].map(|stamp| proto::hex::encode(stamp));
                    return Err(format!("{host} goes on with {part} of {session} at {has}; {safe} was safe"));
                }
            }
            // The records of a backup know nothing of who was struck since.
            Observation::Restored => self.safe.clear(),
            _ => {}
        }
        Ok(())
    }

    fn evaluated(&self) -> u64 {
        self.evaluated
    }

    fn parts(&self) -> Vec<(&'static str, u64)> {
        vec![(self.rule(), self.evaluated), (STALE, self.restored)]
    }
}
