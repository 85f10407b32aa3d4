//! No stranger's word changes a decision: whatever a host or a desk takes for true has happened.

use std::collections::{BTreeMap, BTreeSet};

use dtu_emu::dtu::{DtuEvent, HostRef};
use groupmgr::host::Note;
use groupmgr::topology::Change;
use proto::time::Duration;
use proto::{BootId, HostName, Instant};

use super::{Check, Moment};
use crate::world::{DeskId, Fate, Sight};

/// What a dead host said may be under way for so long.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// What really became of a host.
#[derive(Debug, Default)]
struct Truth {
    runs: BTreeSet<BootId>,
    leaves: u32,
    died: Option<Instant>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Words {
    hosts: BTreeMap<HostName, Truth>,
    /// The desks that were granted a token.
    granted: BTreeMap<String, BTreeSet<DeskId>>,
    /// What each desk was granted last.
    at: BTreeMap<DeskId, String>,
    looked: u64,
}

impl Words {
    fn on_change(&mut self, Moment { now, health }: Moment<'_>, by: &HostName, change: &Change) -> Result<(), String> {
        self.looked += 1;
        let (Change::Up(host)
        | Change::Silent(host)
        | Change::Down(host)
        | Change::Left(host)
        | Change::Restarted(host)
        | Change::Changed(host)) = change;
        let Some(truth) = self.hosts.get(host) else {
            return Err(format!("{by} believes in {host}, which is nobody"));
        };
        let is_true = match change {
            Change::Left(_) => truth.leaves > 0,
            Change::Restarted(_) => truth.runs.len() > 1,
            // One that was stopped itself reads late what was said before.
            Change::Up(_) => {
                let is_dead = truth.died.is_some_and(|at| now.since(at) > UNDER_WAY);
                !(is_dead && health.host(now, by, UNDER_WAY * 2))
            }
            Change::Silent(_) | Change::Down(_) | Change::Changed(_) => true,
        };
        if is_true { Ok(()) } else { Err(format!("{by} believes {change:?}, which is not so")) }
    }

    fn on_event(&mut self, desk: DeskId, event: &DtuEvent) -> Result<(), String> {
        match event {
            DtuEvent::HostFound { host: HostRef { name: Some(name), .. } }
            | DtuEvent::Attached { host: HostRef { name: Some(name), .. }, .. } => {
                self.looked += 1;
                if !self.hosts.contains_key(name) {
                    return Err(format!("{desk:?} is at {name}, which is nobody"));
                }
            }
            DtuEvent::Detached { cause: Some(cause), .. } if cause == "shownElsewhere" => {
                self.looked += 1;
                let Some(token) = self.at.get(&desk) else { return Ok(()) };
                let elsewhere = self.granted.get(token).is_some_and(|desks| desks.len() > 1);
                if !elsewhere {
                    return Err(format!("{token} is taken off {desk:?} and was never shown elsewhere"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Check for Words {
    fn rule(&self) -> &'static str {
        "no stranger's word changes a decision"
    }

    fn see(&mut self, moment: Moment<'_>, sight: &Sight) -> Result<(), String> {
        match sight {
            Sight::Host { host, fate } => {
                let truth = self.hosts.entry(host.clone()).or_default();
                match fate {
                    Fate::Starts(boot) => {
                        truth.runs.insert(*boot);
                        truth.died = None;
                    }
                    Fate::Leaves => truth.leaves += 1,
                    Fate::Dies => truth.died = Some(moment.now),
                }
            }
            Sight::Grants { desk, token, .. } => {
                self.granted.entry(token.clone()).or_default().insert(*desk);
                self.at.insert(*desk, token.clone());
            }
            Sight::Logs { host, note: Note::Host(change) } => return self.on_change(moment, host, change),
            Sight::Says { desk, event } => return self.on_event(*desk, event),
            _ => {}
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
