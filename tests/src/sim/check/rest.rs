//! What must be so once the faults have stopped and the group has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use proto::{HostName, SessionId};

use crate::world::Shown;

/// A host that has started again looks through all records for those of its earlier runs, 256 in half a second. Where there are
/// more than this, no run can wait for it.
const SWEPT_MAX: usize = 5_000;

/// Sessions that a host may have above 1.3 times the mean.
const MORE_BY_CHANCE: usize = 2;
/// The same where there are between two and five for each host: of a dozen desks that are switched on in one moment, whose
/// hosts know nothing of each other's choices yet, half may draw the same idle one.
const MORE_OF_A_DOZEN: usize = 3;

/// A desk at rest.
#[derive(Clone, Debug)]
pub struct RestDesk {
    /// What the desk is called in complaints.
    pub name: String,
    /// The token that is in it.
    pub token: String,
    /// Whether somebody should let it in: not with a copy of a keyed card, nor where no host can be reached.
    pub is_due: bool,
    /// What it shows.
    pub shows: Option<Shown>,
    /// What it says of itself, for whoever reads the complaint.
    pub state: String,
}

/// The whole group at rest.
#[derive(Clone, Debug, Default)]
pub struct Rest {
    /// All desks, by number.
    pub desks: Vec<RestDesk>,
    /// The session processes that run, by host, with their tokens.
    pub running: Vec<(HostName, SessionId, String)>,
    /// What the hosts list, and whether they hold its claim.
    pub listed: BTreeMap<(HostName, SessionId), bool>,
    /// All claims that the data store has, with their tokens.
    pub stored: Vec<(String, HostName, SessionId)>,
    /// The sessions of which the data store has a record, and their homes.
    pub records: BTreeMap<SessionId, HostName>,
    /// The sessions of which hosts keep something for others, and those among them that neither have a record nor run.
    pub copies: BTreeMap<(HostName, SessionId), bool>,
    /// Tokens whose claims name sessions that are kept for their next home; what their desks show has claims of its own.
    pub kept: BTreeSet<String>,
    /// The claims of the tokens that are in desks.
    pub claims: BTreeMap<String, Option<(HostName, SessionId)>>,
}

impl Rest {
    /// What is wrong, if anything is.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        self.idle()
            .or_else(|| self.doubled())
            .or_else(|| self.unlisted())
            .or_else(|| self.unclaimed())
            .or_else(|| self.stray())
            .or_else(|| self.unrecorded())
            .or_else(|| self.outlived())
    }

    /// A token that is in a desk, is let in, and is shown nowhere.
    fn idle(&self) -> Option<String> {
        let shown: BTreeSet<&str> =
            self.desks.iter().filter(|desk| desk.shows.is_some()).map(|desk| desk.token.as_str()).collect();
        let idle = self.desks.iter().find(|d| d.is_due && !shown.contains(d.token.as_str()))?;
        Some(format!("{} in {} is shown nowhere: {}", idle.token, idle.name, idle.state))
    }

    /// A token on two screens, or a screen with a session that its host does not run.
    fn doubled(&self) -> Option<String> {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        let running: BTreeSet<(&HostName, SessionId)> =
            self.running.iter().map(|(h, s, _)| (h, *s)).collect();
        for desk in &self.desks {
            let Some(shown) = &desk.shows else { continue };
            if let Some(other) = seen.insert(&desk.token, &desk.name) {
                return Some(format!("{} is shown at {other} and {}", desk.token, desk.name));
            }
            if !running.contains(&(&shown.host, shown.session)) {
                return Some(format!("{} shows {shown:?}, which does not run there", desk.name));
            }
        }
        None
    }

    fn unlisted(&self) -> Option<String> {
        let (host, session, token) =
            self.running.iter().find(|(h, s, _)| !self.listed.contains_key(&(h.clone(), *s)))?;
        Some(format!("{session} of {token} runs unlisted on {host}"))
    }

    /// There are no more claims than sessions: each names one.
    fn stray(&self) -> Option<String> {
        let is_stray = |(_, host, session): &&(String, HostName, SessionId)| {
            !self.listed.contains_key(&(host.clone(), *session))
        };
        let strays: Vec<_> = self.stored.iter().filter(is_stray).collect();
        let (token, host, session) = strays.first()?;
        let (claims, sessions, of) = (self.stored.len(), self.listed.len(), strays.len());
        Some(format!(
            "{claims} claims for {sessions} sessions; {of} name none, as that of {token}: {session} on {host}"
        ))
    }

    /// Each session that has a place in the data store has a record there that names its home, and no other has one.
    fn unrecorded(&self) -> Option<String> {
        let claimed = self.stored.iter().map(|(_, host, session)| (session, host));
        if let Some((session, host)) = claimed.clone().find(|(s, host)| self.records.get(s) != Some(host)) {
            return Some(format!(
                "{session} on {host} is claimed and its record is {:?}",
                self.records.get(session)
            ));
        }
        if self.records.len() > SWEPT_MAX {
            return None;
        }
        let listed = |(session, host): &(&SessionId, &HostName)| {
            self.listed.contains_key(&((*host).clone(), **session))
        };
        let (session, host) = self.records.iter().find(|record| !listed(record))?;
        Some(format!("the record of {session} points to {host}, which does not run it"))
    }

    /// No copy outlives its session.
    fn outlived(&self) -> Option<String> {
        let ((host, session), _) = self.copies.iter().find(|(_, is_over)| **is_over)?;
        Some(format!("{host} keeps a copy of {session}, which is over"))
    }

    /// A claim must name a session that its host lists and takes for the claimed one.
    fn unclaimed(&self) -> Option<String> {
        let shown = self.desks.iter().filter(|desk| desk.shows.is_some()).map(|desk| &desk.token);
        for token in shown.filter(|token| !self.kept.contains(*token)) {
            match self.claims.get(token) {
                Some(Some(claim)) if self.listed.get(claim) == Some(&true) => {}
                Some(Some(claim)) if self.listed.contains_key(claim) => {
                    return Some(format!(
                        "the claim of {token} points to {claim:?}, whose host does not hold it"
                    ));
                }
                Some(Some(claim)) => return Some(format!("the claim of {token} points nowhere: {claim:?}")),
                _ => return Some(format!("{token} is shown and has no claim")),
            }
        }
        None
    }
}

/// Whether sessions lie unevenly on hosts that could have shared them: one has more than 1.3 times the mean, and more
/// than two or three sessions more than that, which is as much as chance does to a few.
#[must_use]
pub fn uneven(counts: &[usize]) -> Option<String> {
    let (total, most) = (counts.iter().sum::<usize>(), counts.iter().max().copied()?);
    let are_few = (2 * counts.len() + 1..5 * counts.len()).contains(&total);
    let by_chance = if are_few { MORE_OF_A_DOZEN } else { MORE_BY_CHANCE };
    let may_have = (total * 13).div_ceil(10 * counts.len()) + by_chance;
    (most > may_have)
        .then(|| format!("{most} sessions on one of {} hosts that have {total} in all", counts.len()))
}
