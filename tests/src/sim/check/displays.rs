//! A flip shows the next display of the session, unless something happens to the desk or its host.

use std::collections::BTreeMap;

use proto::time::Duration;
use proto::{HostName, Instant};

use super::rule::{Check, Moment};
use crate::world::{DeskId, Observation, secs};

/// A display that has to be opened again has a connection of its own, behind the next connInf.
const SHOWN: Duration = secs(1);
/// What was lost before is sent again within this time.
const SETTLED: Duration = secs(5);

/// See the module's text.
#[derive(Debug, Default)]
pub struct Displays {
    /// At which host each desk is.
    at: BTreeMap<DeskId, HostName>,
    flips: BTreeMap<DeskId, Instant>,
    evaluated: u64,
}

impl Check for Displays {
    fn rule(&self) -> &'static str {
        "a flip shows the other display"
    }

    fn see(&mut self, moment: Moment<'_>, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Screen { desk, shows } => {
                self.flips.remove(desk);
                match shows {
                    Some(shown) => drop(self.at.insert(*desk, shown.host.clone())),
                    None => drop(self.at.remove(desk)),
                }
            }
            Observation::Flips { desk } => {
                self.flips.insert(*desk, moment.now);
            }
            Observation::Flipped { desk } => self.evaluated += u64::from(self.flips.remove(desk).is_some()),
            _ => {}
        }
        Ok(())
    }

    fn pass(&mut self, Moment { now, health }: Moment<'_>) -> Result<(), String> {
        let late = self.flips.iter().find(|(desk, since)| {
            let is_host_well = self.at.get(desk).is_some_and(|host| health.host(now, host, SETTLED));
            now.since(**since) > SHOWN && is_host_well && health.desk(now, **desk, SETTLED)
        });
        late.map_or(Ok(()), |(desk, since)| Err(format!("{desk:?} flips at {since} and is shown nothing")))
    }

    fn evaluated(&self) -> u64 {
        self.evaluated
    }
}
