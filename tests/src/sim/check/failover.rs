//! A desk gives a host up only if the host, or the way to it, was not well.

use dtu_emu::dtu::{DtuEvent, Loss};
use proto::time::Duration;

use super::rule::{Check, Moment};
use crate::world::Observation;

/// A desk may hold the session of a host whose daemon is gone for 10 s, and give it up then; a connection that
/// lost something may lag for a resending, which comes at most 3 s apart.
const LAG: Duration = Duration::from_secs(15);

/// See the module's text.
#[derive(Debug, Default)]
pub struct Failover {
    evaluated: u64,
}

impl Check for Failover {
    fn rule(&self) -> &'static str {
        "a desk leaves a host only if that host or its way was faulted"
    }

    fn see(&mut self, Moment { now, health }: Moment<'_>, observation: &Observation) -> Result<(), String> {
        if let Observation::Says { desk, event: DtuEvent::Attached { host, .. } } = observation {
            // Here is a desk that has no reason to leave, now and for as long as nothing happens.
            let is_sound = |name| health.host(now, name, LAG) && health.desk(now, *desk, LAG);
            self.evaluated += u64::from(host.name.as_ref().is_some_and(is_sound));
        }
        let Observation::Says { desk, event: DtuEvent::Lost { host, why } } = observation else {
            return Ok(());
        };
        let Some(name) = &host.name else { return Ok(()) };
        let is_sound = health.host(now, name, LAG) && health.desk(now, *desk, LAG);
        if is_sound || *why == Loss::Protocol {
            return Err(format!("{desk:?} gives {host} up: {why}"));
        }
        Ok(())
    }

    fn evaluated(&self) -> u64 {
        self.evaluated
    }
}
