//! A token is shown on one desk at a time. Whoever shows it now announces that; the others have the time of the
//! announcement and its repetitions to take it off.

use std::collections::BTreeMap;

use proto::time::Duration;
use proto::{HostName, Instant, Token};

use super::rule::{Check, Moment};
use crate::world::{DeskId, Observation, Shown};

/// An announcement is gathered for 2 ms and said again after 60 and 460 ms; a desk is told within a round trip.
const ANNOUNCED: Duration = Duration::from_millis(600);
/// Hosts hear each other again so long after whatever was between them: a beacon, and the proof of a new run.
const HEARD_AGAIN: Duration = Duration::from_secs(3);

/// See the module's text.
#[derive(Debug, Default)]
pub struct OneScreen {
    /// Which desks show a token, on which host, and since when.
    shown: BTreeMap<Token, BTreeMap<DeskId, (HostName, Instant)>>,
    /// What each desk shows.
    desks: BTreeMap<DeskId, Token>,
    /// Tokens on more than one desk, and when that must be over.
    doubles: BTreeMap<Token, Instant>,
    evaluated: u64,
}

impl OneScreen {
    fn put(&mut self, Moment { now, health }: Moment<'_>, desk: DeskId, shows: Option<&Shown>) {
        if let Some(token) = self.desks.remove(&desk)
            && let Some(on) = self.shown.get_mut(&token)
        {
            let could_be_told = |(desk, (host, _)): (&DeskId, &(HostName, Instant))| {
                health.host(now, host, HEARD_AGAIN) && health.desk(now, *desk, HEARD_AGAIN)
            };
            let all_could_be_told = on.iter().all(could_be_told);
            on.remove(&desk);
            if on.len() < 2 && self.doubles.remove(&token).is_some() {
                // It was on two, and one of them let go as it had to.
                self.evaluated += u64::from(all_could_be_told);
            }
            if on.is_empty() {
                self.shown.remove(&token);
            }
        }
        let Some(Shown { token, host, .. }) = shows else { return };
        let on = self.shown.entry(token.clone()).or_default();
        on.insert(desk, (host.clone(), now));
        self.desks.insert(desk, token.clone());
        if on.len() > 1 {
            self.doubles.insert(token.clone(), now + ANNOUNCED);
        }
    }
}

impl Check for OneScreen {
    fn rule(&self) -> &'static str {
        "a token is shown on one desk at a time among hosts that hear each other"
    }

    fn see(&mut self, moment: Moment<'_>, observation: &Observation) -> Result<(), String> {
        if let Observation::Screen { desk, shows } = observation {
            self.put(moment, *desk, shows.as_ref());
        }
        Ok(())
    }

    fn pass(&mut self, Moment { now, health }: Moment<'_>) -> Result<(), String> {
        for (token, until) in self.doubles.iter_mut().filter(|(_, until)| **until <= now) {
            let on = self.shown.get(token).into_iter().flatten();
            // Whoever cannot be reached now cannot be told either.
            let told: Vec<_> = on
                .filter(|(desk, (host, since))| {
                    now.since(*since) >= ANNOUNCED
                        && health.host(now, host, HEARD_AGAIN)
                        && health.desk(now, **desk, HEARD_AGAIN)
                })
                .collect();
            if told.len() > 1 {
                return Err(format!("{token} is shown at {told:?}"));
            }
            *until = now + Duration::from_millis(100);
        }
        Ok(())
    }

    fn evaluated(&self) -> u64 {
        self.evaluated
    }
}
