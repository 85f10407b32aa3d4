//! What a session's programs were told is kept is lost only with its home and the host that keeps it; what nobody keeps, only
//! with its home. And whoever makes another session in the place of one that is lost says so.

use std::collections::{BTreeMap, BTreeSet};

use groupmgr::host::{ClaimRecord, Note, SessionRecord};
use proto::time::Duration;
use proto::{BootId, HostName, SessionId};

use super::rule::{Check, Moment};
use crate::world::{End, Fate, Observation};

/// A keeper that is not reached is waited for a while, and given up then: whoever says so and the hosts it speaks of must
/// have been well for longer.
const WELL: Duration = Duration::from_secs(25);

/// The rule itself.
pub const KEPT: &str = "what is kept is lost only with all that keep it";
/// The rule that is put to the test when nobody keeps a session.
pub const UNKEPT: &str = "what is not kept is lost only with its home, and that is said";

/// See the module's text.
#[derive(Debug, Default)]
pub struct Kept {
    boots: BTreeMap<HostName, BootId>,
    records: BTreeMap<SessionId, SessionRecord>,
    /// In which run the keeper of each session was when the record came to name it.
    keepers: BTreeMap<SessionId, BootId>,
    /// Sessions whose home has taken them over from what it kept itself, and has not begun them: it keeps them still.
    waiting: BTreeSet<SessionId>,
    /// Sessions that have run.
    began: BTreeSet<SessionId>,
    /// Sessions whose programs were told that a version is kept.
    safe: BTreeSet<SessionId>,
    running: BTreeSet<(SessionId, HostName)>,
    /// Sessions that ended, by themselves or by somebody's doing, while their record named that home.
    over: BTreeSet<SessionId>,
    /// Sessions of which it was said that they are lost.
    lost: BTreeSet<SessionId>,
    claims: BTreeMap<String, ClaimRecord>,
    kept: u64,
    unkept: u64,
}

impl Kept {
    /// The host that keeps a session, if it has not begun anew since.
    fn keeper(&self, session: SessionId) -> Option<&HostName> {
        let record = self.records.get(&session)?;
        let at_home = Some(&record.home).filter(|_| self.waiting.contains(&session));
        let keeper = record.secondary.as_ref().or(at_home)?;
        let is_same = self.keepers.get(&session) == self.boots.get(keeper);
        (self.safe.contains(&session) && is_same).then_some(keeper)
    }

    fn is_running(&self, session: SessionId) -> bool {
        self.running.iter().any(|(of, _)| *of == session)
    }

    /// The keeper may be another one, or none.
    fn on_keeper(&mut self, session: SessionId, before: Option<&SessionRecord>, record: &SessionRecord) {
        if before.is_some_and(|before| before.secondary == record.secondary && before.home == record.home) {
            return;
        }
        let was = before.and_then(|before| before.secondary.as_ref());
        if record.secondary.is_none() && was == Some(&record.home) {
            self.waiting.insert(session);
            return;
        }
        self.waiting.remove(&session);
        if record.secondary.as_ref() != was {
            let boot = record.secondary.as_ref().and_then(|keeper| self.boots.get(keeper));
            match boot {
                Some(boot) => drop(self.keepers.insert(session, *boot)),
                None => drop(self.keepers.remove(&session)),
            }
        }
    }

    fn on_record(&mut self, session: SessionId, record: Option<&SessionRecord>) -> Result<(), String> {
        let Some(record) = record.filter(|record| record.is_replicated()) else {
            let is_over = self.over.contains(&session) || self.lost.contains(&session);
            let keeper = self.keeper(session).filter(|_| !is_over).cloned();
            self.records.remove(&session);
            return match keeper {
                Some(keeper) => Err(format!("the record of {session} is removed, and {keeper} keeps it")),
                None => Ok(()),
            };
        };
        let before = self.records.insert(session, record.clone());
        self.on_keeper(session, before.as_ref(), record);
        self.kept += u64::from(before.is_some_and(|before| before.home != record.home));
        Ok(())
    }

    fn on_lost(
        &mut self,
        Moment { now, health }: Moment<'_>,
        by: &HostName,
        session: SessionId,
    ) -> Result<(), String> {
        self.lost.insert(session);
        let is_well = |host: &HostName| health.undisturbed(now, host, WELL);
        let Some(record) = self.records.get(&session) else { return Ok(()) };
        if !is_well(by) || !health.store(now, WELL) {
            return Ok(());
        }
        if record.secondary.is_some() || self.waiting.contains(&session) {
            self.kept += 1;
            return match self.keeper(session).filter(|keeper| is_well(keeper)) {
                Some(keeper) => Err(format!("{by} gives {session} up, and {keeper} keeps it")),
                None => Ok(()),
            };
        }
        self.unkept += 1;
        let is_there = self.boots.get(&record.home) == Some(&record.boot) && is_well(&record.home);
        match is_there && self.running.contains(&(session, record.home.clone())) {
            true => Err(format!("{by} gives {session} up, and it runs on {}", record.home)),
            false => Ok(()),
        }
    }

    /// A token's claim names another session, or none.
    fn on_claim(&mut self, token: &str, claim: Option<&ClaimRecord>) -> Result<(), String> {
        let before = match claim {
            Some(claim) => self.claims.insert(token.to_owned(), claim.clone()),
            None => self.claims.remove(token),
        };
        let Some(before) = before.filter(|before| before.is_replicated) else { return Ok(()) };
        let session = before.session;
        let is_known = self.over.contains(&session) || self.lost.contains(&session);
        let is_same = claim.is_some_and(|claim| claim.session == session);
        self.unkept += u64::from(!is_same && self.lost.contains(&session));
        let own = format!("{token}/{session}");
        let has_own = self.claims.contains_key(&own) || token.ends_with(&session.to_string());
        let is_there = self.began.contains(&session) && self.records.contains_key(&session);
        if is_same || is_known || has_own || self.is_running(session) || !is_there {
            return Ok(());
        }
        Err(format!("the claim of {token} goes from {session} to {claim:?}, and nobody says that it is lost"))
    }
}

impl Check for Kept {
    fn rule(&self) -> &'static str {
        KEPT
    }

    fn see(&mut self, moment: Moment<'_>, observation: &Observation) -> Result<(), String> {
        match observation {
            Observation::Host { host, fate: Fate::Starts(boot) } => {
                self.boots.insert(host.clone(), *boot);
            }
            Observation::Host { host, fate: Fate::Dies } => drop(self.boots.remove(host)),
            Observation::Begins { host, session, .. } => {
                self.over.remove(session);
                self.waiting.remove(session);
                self.began.insert(*session);
                self.running.insert((*session, host.clone()));
            }
            Observation::Gone { host, session, end } => {
                self.running.remove(&(*session, host.clone()));
                let is_home = self.records.get(session).is_none_or(|record| record.home == *host);
                if is_home && matches!(end, End::Ended | End::Killed) {
                    self.over.insert(*session);
                }
            }
            Observation::Safe { session, .. } => drop(self.safe.insert(*session)),
            Observation::Recorded { session, record } => return self.on_record(*session, record.as_deref()),
            Observation::Claimed { token, claim } => return self.on_claim(token, claim.as_ref()),
            Observation::Logs { host, note: Note::StateLost { session, .. } } => {
                return self.on_lost(moment, host, *session);
            }
            // What a backup holds is of before.
            Observation::Restored => {
                self.records.clear();
                self.keepers.clear();
                self.safe.clear();
                self.claims.clear();
            }
            _ => {}
        }
        Ok(())
    }

    fn evaluated(&self) -> u64 {
        self.kept
    }

    fn parts(&self) -> Vec<(&'static str, u64)> {
        vec![(self.rule(), self.kept), (UNKEPT, self.unkept)]
    }
}

#[cfg(test)]
mod tests {
    use proto::{Epoch, Instant};
    use sessiond::control::{Kind, Part};
    use sessiond::template::Continuity;

    use super::super::Checks;
    use super::*;

    const ONE: SessionId = SessionId(1);

    fn name(host: &str) -> HostName {
        host.parse().unwrap()
    }

    fn recorded(home: &str, secondary: Option<&str>) -> Observation {
        let record = SessionRecord {
            token: "card.ann".parse().unwrap(),
            name: "default".into(),
            class: Continuity::Replicated,
            home: name(home),
            boot: BootId(1),
            epoch: Epoch { generation: 1, counter: 1 },
            secondary: secondary.map(name),
            floor: None,
            expiry: None,
        };
        Observation::Recorded { session: ONE, record: Some(Box::new(record)) }
    }

    fn claimed(session: SessionId) -> Observation {
        let (host, boot, epoch) = (name("a"), BootId(1), Epoch { generation: 1, counter: 1 });
        let claim = ClaimRecord { session, host, boot, epoch, is_replicated: true };
        Observation::Claimed { token: "card.ann".into(), claim: Some(claim) }
    }

    fn fate(host: &str, fate: Fate) -> Observation {
        Observation::Host { host: name(host), fate }
    }

    fn lost() -> Observation {
        let note =
            Note::StateLost { token: "card.ann".parse().unwrap(), session: ONE, why: "it is gone".into() };
        Observation::Logs { host: name("c"), note }
    }

    /// A session that ran on `a`, which is gone, and what came then. It was kept by `secondary`, if that is anybody.
    fn verdict(secondary: Option<&str>, then: &[Observation]) -> Result<(), String> {
        let mut checks = Checks::new();
        let mut history: Vec<Observation> =
            ["a", "b", "c"].map(|host| fate(host, Fate::Starts(BootId(1)))).to_vec();
        let part = Part { service: "terminal".parse().unwrap(), kind: Kind::State };
        history.extend([
            recorded("a", None),
            claimed(ONE),
            Observation::Begins { host: name("a"), session: ONE, token: "card.ann".parse().unwrap() },
            recorded("a", secondary),
        ]);
        history.extend(secondary.map(|_| Observation::Safe { session: ONE, part, stamp: [1; 16] }));
        history.extend_from_slice(then);
        for (n, observation) in history.into_iter().enumerate() {
            checks.see(&[(Instant::from_micros(1_000_000 + n as u64), observation)])?;
        }
        Ok(())
    }

    fn power_off(host: &str) -> [Observation; 2] {
        let gone = Observation::Gone { host: name(host), session: ONE, end: End::Power };
        [fate(host, Fate::Dies), gone]
    }

    #[track_caller]
    fn broken(secondary: Option<&str>, then: &[Observation], says: &str) {
        let said = verdict(secondary, then).expect_err("the rule is broken");
        assert!(said.contains("lost only with all that keep it") && said.contains(says), "{said}");
    }

    #[test]
    fn a_session_that_is_given_up_though_somebody_keeps_it_is_seen() {
        let then = |more: &[Observation]| [&power_off("a")[..], more].concat();
        broken(Some("b"), &then(&[lost()]), "b keeps it");
        let removed = Observation::Recorded { session: ONE, record: None };
        broken(Some("b"), &then(core::slice::from_ref(&removed)), "b keeps it");
        // The keeper has begun anew, or is gone.
        let anew = [fate("b", Fate::Dies), fate("b", Fate::Starts(BootId(2))), lost()];
        verdict(Some("b"), &then(&anew)).unwrap();
        verdict(Some("b"), &then(&[fate("b", Fate::Dies), lost(), removed.clone()])).unwrap();
        // It was over.
        let gone = Observation::Gone { host: name("a"), session: ONE, end: End::Ended };
        verdict(Some("b"), &[gone, removed]).unwrap();
    }

    #[test]
    fn a_home_that_gives_up_what_it_keeps_itself_and_never_began_is_seen() {
        let taken = |more: &[Observation]| [&power_off("a")[..], &[recorded("b", None)], more].concat();
        broken(Some("b"), &taken(&[lost()]), "b keeps it");
        let begins =
            Observation::Begins { host: name("b"), session: ONE, token: "card.ann".parse().unwrap() };
        verdict(Some("b"), &taken(&[begins, power_off("b")[1].clone(), lost()])).unwrap();
        verdict(Some("b"), &taken(&[fate("b", Fate::Dies), lost()])).unwrap();
    }

    #[test]
    fn a_session_that_is_given_up_though_it_runs_or_without_a_word_is_seen() {
        broken(None, &[lost()], "it runs on a");
        verdict(None, &[&power_off("a")[..], &[lost(), claimed(SessionId(2))]].concat()).unwrap();
        broken(
            None,
            &[&power_off("a")[..], &[claimed(SessionId(2))]].concat(),
            "nobody says that it is lost",
        );
    }
}
