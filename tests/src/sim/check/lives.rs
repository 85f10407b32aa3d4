//! A session that was shown is lost with its machine, with a daemon that does not keep sessions, or because
//! somebody killed its process; never otherwise. One that another host goes on with is not lost, nor what its home of before
//! ends when it learns that the record names a later one.

use std::collections::{BTreeMap, BTreeSet};

use groupmgr::host::Note;
use proto::{HostName, SessionId, Token};

use super::rule::{Check, Moment};
use crate::world::{End, Observation};

/// See the module's text.
#[derive(Debug, Default)]
pub struct Lives {
    alive: BTreeMap<(HostName, SessionId), Token>,
    /// Those that a desk has shown: one that nobody ever saw may be given up while it starts.
    shown: BTreeSet<SessionId>,
    /// Those that a host ends because another one has them.
    moved: BTreeSet<(HostName, SessionId)>,
    evaluated: u64,
}

impl Check for Lives {
    fn rule(&self) -> &'static str {
        "a session is lost only with its host, its daemon or its process"
    }

    fn see(&mut self, _moment: Moment<'_>, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Begins { host, session, token } => {
                self.alive.insert((host.clone(), *session), token.clone());
            }
            Observation::Logs { host, note: Note::MovedAway { session, .. } } => {
                self.moved.insert((host.clone(), *session));
            }
            Observation::Screen { shows: Some(shown), .. } => {
                self.evaluated += u64::from(self.shown.insert(shown.session));
            }
            Observation::Gone { host, session, end } => {
                let token = self.alive.remove(&(host.clone(), *session));
                let has_moved = self.moved.remove(&(host.clone(), *session));
                if has_moved || self.alive.keys().any(|(_, other)| other == session) {
                    return Ok(());
                }
                let was_shown = self.shown.remove(session);
                if *end == End::Ended && was_shown {
                    return Err(format!("{session} of {token:?} on {host} ended with nobody's doing"));
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
