//! A redirect binds: the host to which it leads serves the presentation or denies it, and never sends it on.

use std::collections::BTreeMap;

use proto::time::Duration;

use super::rule::{Check, Moment};
use crate::world::Observation;

/// A ticket is no good after its host has started anew; a host that has been well for longer than a desk takes to
/// bring it has no reason to refuse it.
const GOOD: Duration = Duration::from_secs(20);

/// See the module's text.
#[derive(Debug, Default)]
pub struct Redirects {
    /// The token that is presented on each connection, and the ticket that came with it.
    came: BTreeMap<u64, (String, Option<String>)>,
    /// When each ticket was made, and for which token. A card may be changed while the order to go is on its way.
    made: BTreeMap<String, (proto::Instant, String)>,
    evaluated: u64,
}

impl Redirects {
    /// Whether the ticket with which a token came was made for it a moment ago.
    fn is_good(&self, now: proto::Instant, token: &str, came: Option<&String>) -> bool {
        let made = came.and_then(|came| self.made.get(came));
        made.is_some_and(|(at, of)| of == token && now.since(*at) < Duration::from_secs(1))
    }
}

impl Check for Redirects {
    fn rule(&self) -> &'static str {
        "a redirect is followed at most once per presentation"
    }

    fn see(&mut self, Moment { now, health }: Moment<'_>, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Presents { conn, token, ticket, .. } => {
                self.came.insert(*conn, (token.clone(), ticket.clone()));
            }
            // Served. What comes later is another presentation, as after a logout.
            Observation::Grants { host, conn, desk, .. } => {
                let Some((token, came)) = self.came.remove(conn) else { return Ok(()) };
                let is_bound = self.is_good(now, &token, came.as_ref());
                let is_sound = health.host(now, host, GOOD) && health.desk(now, *desk, GOOD);
                self.evaluated += u64::from(is_bound && is_sound);
            }
            Observation::SendsOn { host, conn, desk, ticket, .. } => {
                let Some((token, came)) = self.came.remove(conn) else { return Ok(()) };
                let is_good = self.is_good(now, &token, came.as_ref());
                if let Some(ticket) = ticket {
                    self.made.insert(ticket.clone(), (now, token));
                }
                if is_good && health.host(now, host, GOOD) && health.desk(now, *desk, GOOD) {
                    return Err(format!("{host} sends {desk:?} on, which was sent there"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn evaluated(&self) -> u64 {
        self.evaluated
    }
}
