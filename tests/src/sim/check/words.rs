//! No stranger's word changes a decision: whatever a host or a desk takes for true has happened.

use std::collections::{BTreeMap, BTreeSet};

use dtu_emu::dtu::{DtuEvent, HostRef};
use groupmgr::host::Note;
use groupmgr::topology::{Change, Double};
use proto::time::Duration;
use proto::{BootId, HostName, Instant};

use super::rule::{Check, Moment};
use crate::world::{DeskId, Fate, Observation};

/// What a dead host said may be under way for so long.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// Two desks that are granted a token at about the same time may each be taken for the later one.
const RACE: Duration = Duration::from_secs(2);
/// A host that was cut off may believe for so long that a desk is still its own: until the keep-alive expires.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// What really became of a host.
#[derive(Debug, Default)]
struct Truth {
    runs: BTreeSet<BootId>,
    leaves: u32,
    died: Option<Instant>,
    /// Whether somebody ever started a second host of this name, and when it ended.
    had_second: bool,
    second_ended: Option<Instant>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Words {
    hosts: BTreeMap<HostName, Truth>,
    /// Where a token was granted to whom, and when last.
    granted: BTreeMap<String, BTreeMap<(DeskId, HostName), Instant>>,
    /// What each desk was granted last.
    at: BTreeMap<DeskId, String>,
    evaluated: u64,
    taken_off: u64,
}

impl Words {
    fn on_change(
        &mut self,
        Moment { now, health }: Moment<'_>,
        by: &HostName,
        change: &Change,
    ) -> Result<(), String> {
        let (Change::Up(host)
        | Change::Silent(host)
        | Change::Down(host)
        | Change::Left(host)
        | Change::Restarted(host)
        | Change::Changed(host)
        | Change::Interface { host, .. }
        | Change::Forgotten(host)
        | Change::Lacks(host, _)
        | Change::Two(Double { host, .. })
        | Change::OneAgain(host)) = change;
        let Some(truth) = self.hosts.get(host) else {
            return Err(format!("{by} believes in {host}, which is nobody"));
        };
        let is_true = match change {
            Change::Left(_) => truth.leaves > 0,
            Change::Restarted(_) => truth.runs.len() > 1 || truth.had_second,
            // One that was stopped itself reads late what was said before.
            Change::Up(_) if !health.host(now, by, UNDER_WAY * 2) => return Ok(()),
            Change::Up(_) => {
                let runs = |ended: Option<Instant>| ended.is_none_or(|at| now.since(at) <= UNDER_WAY);
                runs(truth.died) || truth.had_second && runs(truth.second_ended)
            }
            Change::Silent(_)
            | Change::Down(_)
            | Change::Changed(_)
            | Change::Interface { .. }
            | Change::Forgotten(_)
            | Change::Lacks(..) => return Ok(()),
            Change::Two(_) | Change::OneAgain(_) => truth.had_second,
        };
        self.evaluated += 1;
        if is_true { Ok(()) } else { Err(format!("{by} believes {change:?}, which is not so")) }
    }

    /// Whether a host that was cut off may still believe that a token is shown where it no longer is.
    fn may_be_forgotten(&self, moment: Moment<'_>, token: &str, desk: DeskId, host: &HostName) -> bool {
        let Moment { now, health } = moment;
        let mut where_it_was = self.granted.get(token).into_iter().flat_map(BTreeMap::keys);
        let was_disturbed = |host| !health.undisturbed(now, host, FORGOTTEN);
        where_it_was.any(|(_, at)| was_disturbed(at))
            || was_disturbed(host)
            || !health.desk(now, desk, FORGOTTEN)
    }

    /// Whether a token that a host granted to a desk was shown at another one since.
    fn was_elsewhere(&self, token: &str, desk: DeskId, host: &HostName) -> bool {
        let Some(granted) = self.granted.get(token) else { return false };
        let since = granted.get(&(desk, host.clone())).copied().unwrap_or(Instant::ZERO);
        granted.iter().any(|((other, _), when)| *other != desk && *when + RACE >= since)
    }

    fn on_event(&mut self, moment: Moment<'_>, desk: DeskId, event: &DtuEvent) -> Result<(), String> {
        match event {
            DtuEvent::HostFound { host: HostRef { name: Some(name), .. } }
            | DtuEvent::Attached { host: HostRef { name: Some(name), .. }, .. } => {
                self.evaluated += 1;
                if !self.hosts.contains_key(name) {
                    return Err(format!("{desk:?} is at {name}, which is nobody"));
                }
            }
            DtuEvent::Detached { cause: Some(cause), host: HostRef { name: Some(host), .. } }
                if cause == "shownElsewhere" =>
            {
                let Some(token) = self.at.get(&desk) else { return Ok(()) };
                if self.may_be_forgotten(moment, token, desk, host) {
                    return Ok(());
                }
                self.taken_off += 1;
                if !self.was_elsewhere(token, desk, host) {
                    return Err(format!("{host} takes {token} off {desk:?}, and it was shown nowhere else"));
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

    fn see(&mut self, moment: Moment<'_>, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Host { host, fate } => {
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
            Observation::Second { host, runs } => {
                let truth = self.hosts.entry(host.clone()).or_default();
                truth.had_second = true;
                truth.second_ended = (!runs).then_some(moment.now);
            }
            Observation::Grants { desk, host, token, .. } => {
                let granted = self.granted.entry(token.clone()).or_default();
                granted.insert((*desk, host.clone()), moment.now);
                self.at.insert(*desk, token.clone());
            }
            Observation::Logs { host, note: Note::Host(change) } => {
                return self.on_change(moment, host, change);
            }
            Observation::Says { desk, event } => return self.on_event(moment, *desk, event),
            _ => {}
        }
        Ok(())
    }

    fn evaluated(&self) -> u64 {
        self.evaluated
    }

    fn parts(&self) -> Vec<(&'static str, u64)> {
        vec![
            (self.rule(), self.evaluated),
            ("a session is taken off a desk only if it is shown at another", self.taken_off),
        ]
    }
}
