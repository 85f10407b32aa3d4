//! A session is made under a claim that the data store gave for it, and none is made for a token whose session
//! is there to be found.

use std::collections::{BTreeMap, BTreeSet};

use groupmgr::host::Note;
use proto::time::Duration;
use proto::{HostName, SessionId, Token};

use super::rule::{Check, Moment};
use crate::world::{DeskId, Observation};

/// Host and store must have been well for so long that everybody knows of it: what was held for a host's next
/// daemon has been given up, and what was made without a claim has been offered.
const SETTLED: Duration = Duration::from_secs(15);
/// The sessions that a host keeps are held for its next daemon, if that comes within this time.
const HELD: Duration = Duration::from_secs(9);

/// See the module's text.
#[derive(Debug, Default)]
pub struct Claims {
    alive: BTreeMap<Token, BTreeMap<SessionId, HostName>>,
    tokens: BTreeMap<SessionId, Token>,
    /// Sessions that the store has named in a claim.
    named: BTreeSet<SessionId>,
    /// Where a token was last presented.
    presented: BTreeMap<String, DeskId>,
    evaluated: u64,
    claimed: u64,
}

impl Claims {
    fn on_made(
        &mut self,
        Moment { now, health }: Moment<'_>,
        maker: &HostName,
        token: &Token,
        session: SessionId,
        claimed: bool,
    ) -> Result<(), String> {
        self.claimed += u64::from(claimed);
        if claimed && !self.named.contains(&session) {
            return Err(format!("{maker} made {session} for {token} without the store's word"));
        }
        if !health.undisturbed(now, maker, SETTLED) || !health.store(now, SETTLED) {
            return Ok(());
        }
        // Whose way to the host of the session is cut is made one beside it, which has no claim.
        let desk = self.presented.get(token.as_str());
        if !claimed && desk.is_some_and(|desk| !health.desk(now, *desk, SETTLED)) {
            return Ok(());
        }
        self.evaluated += 1;
        let others = self.alive.get(token).into_iter().flatten();
        let is_there =
            |host| health.undisturbed(now, host, SETTLED) || health.only_restarted(now, host, SETTLED, HELD);
        let mut there = others.filter(|(other, host)| **other != session && is_there(host));
        match there.next() {
            Some((other, host)) => {
                Err(format!("{maker} made {session} for {token}, which has {other} on {host}"))
            }
            None => Ok(()),
        }
    }
}

impl Check for Claims {
    fn rule(&self) -> &'static str {
        "no two claimed sessions are made for one token"
    }

    fn see(&mut self, moment: Moment<'_>, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Claimed { claim: Some(claim), .. } => {
                self.named.insert(claim.session);
            }
            Observation::Presents { desk, token, .. } => {
                self.presented.insert(token.clone(), *desk);
            }
            Observation::Begins { host, session, token } => {
                self.alive.entry(token.clone()).or_default().insert(*session, host.clone());
                self.tokens.insert(*session, token.clone());
            }
            Observation::Gone { session, .. } => {
                let token = self.tokens.remove(session);
                if let Some(sessions) = token.and_then(|token| self.alive.get_mut(&token)) {
                    sessions.remove(session);
                }
                self.named.remove(session);
            }
            Observation::Logs { host, note: Note::Made { token, session, claimed } } => {
                return self.on_made(moment, host, token, *session, *claimed);
            }
            _ => {}
        }
        Ok(())
    }

    fn evaluated(&self) -> u64 {
        self.evaluated
    }

    fn parts(&self) -> Vec<(&'static str, u64)> {
        vec![(self.rule(), self.evaluated), ("a claimed session has the store's word", self.claimed)]
    }
}
