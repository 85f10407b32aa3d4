//! A redirect binds: the host to which it leads serves the presentation or denies it, and never sends it on.

use std::collections::BTreeMap;

use proto::time::Duration;

use super::{Check, Moment};
use crate::world::Sight;

/// A ticket is no good after its host has started anew; a host that has been well for longer than a desk takes to
/// bring it has no reason to refuse it.
const GOOD: Duration = Duration::from_secs(20);

/// See the module's text.
#[derive(Debug, Default)]
pub struct Redirects {
    /// The ticket that came with what is presented on each connection, and when.
    came: BTreeMap<u64, Option<String>>,
    /// When each ticket was made.
    made: BTreeMap<String, proto::Instant>,
    looked: u64,
}

impl Check for Redirects {
    fn rule(&self) -> &'static str {
        "a redirect is followed at most once per presentation"
    }

    fn see(&mut self, Moment { now, health }: Moment<'_>, sight: &Sight) -> Result<(), String> {
        match sight {
            Sight::Presents { conn, ticket, .. } => {
                self.came.insert(*conn, ticket.clone());
            }
            // Served. What comes later is another presentation, as after a logout.
            Sight::Grants { conn, .. } => {
                self.came.remove(conn);
            }
            Sight::SendsOn { host, conn, desk, ticket, .. } => {
                self.looked += 1;
                let came = self.came.remove(conn).flatten();
                let made = came.as_ref().and_then(|came| self.made.get(came)).copied();
                if let Some(ticket) = ticket {
                    self.made.insert(ticket.clone(), now);
                }
                let is_good = made.is_some_and(|made| now.since(made) < Duration::from_secs(1));
                if is_good && health.host(now, host, GOOD) && health.desk(now, *desk, GOOD) {
                    return Err(format!("{host} sends {desk:?} on, which was sent there"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
