//! Nobody is sent to a host that can make no session, unless for a session that it has, while there are others that can.

use std::collections::{BTreeMap, BTreeSet};

use proto::time::Duration;
use proto::{HostName, Instant, SessionId};

use super::rule::{Check, Moment};
use crate::world::{DeskId, Observation};

/// What a host lacks is known to all that hear it after so long, and who was sent to it before has come.
const KNOWN_AFTER: Duration = Duration::from_secs(2);
/// A session that ended may have been answered for so long ago.
const ANSWERED: Duration = Duration::from_secs(2);
/// In a larger group not everybody reaches everybody.
const HOSTS_MAX: usize = 10;

/// A session, and when it ended, if it has.
type Lived = (SessionId, Option<Instant>);

/// See the module's text.
#[derive(Debug, Default)]
pub struct Fitness {
    hosts: BTreeSet<HostName>,
    unable: BTreeMap<HostName, Instant>,
    /// Of which tokens each host has sessions, and until when it had some.
    tokens: BTreeMap<(HostName, String), Vec<Lived>>,
    /// Tickets of those who were sent on and have not come yet. A stranger may present one that is not its own.
    tickets: BTreeSet<(DeskId, String)>,
    evaluated: u64,
}

impl Fitness {
    fn has_session(&self, now: Instant, host: &HostName, token: &str) -> bool {
        let sessions = self.tokens.get(&(host.clone(), token.to_owned()));
        sessions
            .is_some_and(|all| all.iter().any(|(_, until)| until.is_none_or(|at| now.since(at) < ANSWERED)))
    }

    fn on_redirected(&mut self, moment: Moment<'_>, host: &HostName, token: &str) -> Result<(), String> {
        let Moment { now, health } = moment;
        let is_known = |at: &Instant| now.since(*at) > KNOWN_AFTER;
        if !self.unable.values().any(is_known) || self.hosts.len() > HOSTS_MAX {
            return Ok(());
        }
        self.evaluated += 1;
        let is_well = |host: &HostName| health.host(now, host, KNOWN_AFTER);
        let can_others = self.hosts.iter().any(|other| !self.unable.contains_key(other) && is_well(other));
        let is_unable = self.unable.get(host).is_some_and(is_known) && is_well(host);
        if is_unable && can_others && !self.has_session(now, host, token) {
            return Err(format!("{token} is sent to {host}, which has said that it can make no session"));
        }
        Ok(())
    }
}

impl Check for Fitness {
    fn rule(&self) -> &'static str {
        "nobody is sent to a host that can make no session"
    }

    fn see(&mut self, moment: Moment<'_>, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Host { host, fate } => {
                self.hosts.insert(host.clone());
                // Whoever starts starts a spawner too.
                if matches!(fate, crate::world::Fate::Starts(_)) {
                    self.unable.remove(host);
                }
            }
            Observation::Spawner { host, gone: true } => {
                self.unable.insert(host.clone(), moment.now);
            }
            Observation::Spawner { host, gone: false } => {
                self.unable.remove(host);
            }
            Observation::Begins { host, session, token } => {
                self.tokens.entry((host.clone(), token.to_string())).or_default().push((*session, None));
            }
            Observation::Gone { host, session, .. } => {
                let all = self.tokens.iter_mut().filter(|((of, _), _)| of == host).flat_map(|(_, all)| all);
                for (_, until) in all.filter(|(id, _)| id == session) {
                    *until = Some(moment.now);
                }
            }
            Observation::SendsOn { desk, ticket: Some(ticket), .. } => {
                self.tickets.insert((*desk, ticket.clone()));
            }
            Observation::Presents { desk, host, token, ticket: Some(ticket), .. }
                if self.tickets.remove(&(*desk, ticket.clone())) =>
            {
                return self.on_redirected(moment, host, token);
            }
            _ => {}
        }
        Ok(())
    }

    fn evaluated(&self) -> u64 {
        self.evaluated
    }
}
