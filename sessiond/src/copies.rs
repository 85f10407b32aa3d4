//! What another host keeps of a session, and what waits until it does.
//!
//! A pure machine. Owns for each [`Part`] the newest version, the one that the secondary keeps, and the one on its way
//! there. At most one version of a part is on its way: what is made meanwhile leaves as one delta when that one has
//! arrived, so a slow link costs its round trips and nothing queues.
//!
//! ```text
//!   changed ──▶ waits ──┬─ a version is made ──▶ under way ──Protected──▶ kept
//!                       │                            │
//!                       └──────── Whole ◀────────────┘ (the next one is sent whole)
//! ```
//!
//! Refuses to know what is in a version, and who the secondary is: the daemon chooses it and says how the session is
//! protected ([`Protection`]).

use std::collections::{BTreeMap, VecDeque};

use continuity::{Delta, Encoded, Stamp};
use proto::time::{Duration, earliest};
use proto::{Instant, ServiceName};

use crate::control::{Bytes, Kind, Part, Protection, Update};

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyEffect {
    /// Tell the daemon which parts there are: a secondary that keeps all of them is filled.
    Parts(Vec<Part>),
    /// Send a version to the secondary.
    Send {
        /// Of which part it is.
        part: Part,
        /// The version, whole or as a delta from the one that the secondary keeps.
        update: Update,
    },
    /// What waits for this version of a part, and for those before it, waits no longer.
    Safe {
        /// Of which part it is.
        part: Part,
        /// The newest version that is safe.
        stamp: Stamp,
    },
    /// The secondary has acknowledged a version of what a service's programs say.
    Acknowledged {
        /// Whose version it is.
        service: ServiceName,
        /// How long after it was made.
        after: Duration,
    },
}

/// Of so many versions of a part it is known when they were made; of further ones nobody learns how long they took.
const MADE_MAX: usize = 256;

/// Where versions are sent together, one that comes after so long a silence is sent at once, and so are those after which
/// nothing comes for so long: only what changes all the time is sent less often.
const QUIET_FOR: Duration = Duration::from_secs(1);

/// One part and its versions.
#[derive(Debug, Default)]
struct Copy {
    /// The newest version that was made; what changed since is not in it.
    newest: Option<Encoded>,
    /// What the secondary keeps, as far as it has said.
    kept: Option<Encoded>,
    under_way: Option<Encoded>,
    /// When that was sent.
    sent_at: Instant,
    /// Changes that were not sent, and since when there are any.
    changes: u32,
    since: Option<Instant>,
    /// When the last of them was made.
    last: Instant,
    /// When the versions were made that the secondary has not acknowledged: those of programs alone.
    made: VecDeque<(Stamp, Instant)>,
}

impl Copy {
    /// Forgets what the secondary has.
    fn forget(&mut self) {
        self.kept = None;
        self.under_way = None;
    }

    /// Until when changes wait for others, if there are any.
    fn waits_until(&self, every: Duration) -> Option<Instant> {
        let since = self.since?;
        let was_quiet = self.sent_at + QUIET_FOR <= since;
        Some(if was_quiet { since } else { (since + every).min(self.last + QUIET_FOR) })
    }

    fn is_due(&self, how: Protection, now: Instant) -> bool {
        match how {
            _ if self.under_way.is_some() => false,
            Protection::Alone | Protection::Held => false,
            _ if self.kept.is_none() => true,
            Protection::Filling | Protection::Each => self.changes > 0,
            Protection::Batch { every, versions } => {
                self.changes >= versions || self.waits_until(every).is_some_and(|until| until <= now)
            }
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Copies {
    how: Protection,
    parts: BTreeMap<Part, Copy>,
    effects: Vec<CopyEffect>,
}

const fn sends(how: Protection) -> bool {
    matches!(how, Protection::Filling | Protection::Each | Protection::Batch { .. })
}

impl Copies {
    /// Those of a session that has no parts yet.
    #[must_use]
    pub const fn new(how: Protection) -> Self {
        Self { how, parts: BTreeMap::new(), effects: Vec::new() }
    }

    /// How the session is protected.
    #[must_use]
    pub const fn how(&self) -> Protection {
        self.how
    }

    /// Whether what comes after a version waits until that is safe.
    #[must_use]
    pub const fn holds(&self) -> bool {
        matches!(self.how, Protection::Each | Protection::Held)
    }

    /// Whether a secondary is sent anything.
    #[must_use]
    pub const fn sends(&self) -> bool {
        sends(self.how)
    }

    /// Whether nothing of a part is on its way to the secondary.
    #[must_use]
    pub fn is_free(&self, part: &Part) -> bool {
        self.sends() && self.parts.get(part).is_some_and(|copy| copy.under_way.is_none())
    }

    /// What is to be done since this was asked last.
    pub fn take_effects(&mut self) -> Vec<CopyEffect> {
        core::mem::take(&mut self.effects)
    }

    /// There is such a part from now on.
    pub fn add(&mut self, part: &Part) {
        if !self.parts.contains_key(part) {
            self.parts.insert(part.clone(), Copy::default());
            if sends(self.how) {
                self.say_parts();
            }
        }
    }

    fn say_parts(&mut self) {
        self.effects.push(CopyEffect::Parts(self.parts.keys().cloned().collect()));
    }

    /// Something has changed of which no version was made yet.
    pub fn changed(&mut self, now: Instant, part: &Part) {
        if let Some(copy) = self.parts.get_mut(part) {
            copy.changes = copy.changes.saturating_add(1);
            copy.since.get_or_insert(now);
            copy.last = now;
        }
    }

    /// Whether a version would be sent if it were made now.
    #[must_use]
    pub fn is_due(&self, now: Instant, part: &Part) -> bool {
        self.parts.get(part).is_some_and(|copy| copy.is_due(self.how, now))
    }

    /// A version of a part was made, above those before it, with all that has changed.
    pub fn made(&mut self, now: Instant, part: &Part, version: Encoded) {
        self.add(part);
        let Some(copy) = self.parts.get_mut(part) else { return };
        let stamp = version.stamp();
        if part.kind == Kind::State && sends(self.how) && copy.made.len() < MADE_MAX {
            copy.made.push_back((stamp, now));
        }
        copy.newest = Some(version);
        if !self.holds() {
            self.effects.push(CopyEffect::Safe { part: part.clone(), stamp });
        }
        self.send(now, part);
    }

    /// Sends the newest version of a part if it is time.
    fn send(&mut self, now: Instant, part: &Part) {
        let Some(copy) = self.parts.get_mut(part) else { return };
        if !copy.is_due(self.how, now) {
            return;
        }
        let Some(newest) = copy.newest.clone() else { return };
        if copy.kept.as_ref().is_some_and(|kept| kept.stamp() >= newest.stamp()) {
            return;
        }
        let whole = newest.as_bytes();
        let delta = copy.kept.as_ref().map(|kept| Delta::between(kept, &newest).to_bytes());
        let update = match delta {
            Some(delta) if delta.len() < whole.len() => Update::Delta(Bytes(delta)),
            _ => Update::Whole(Bytes(whole.to_vec())),
        };
        (copy.changes, copy.since) = (0, None);
        (copy.under_way, copy.sent_at) = (Some(newest), now);
        self.effects.push(CopyEffect::Send { part: part.clone(), update });
    }

    /// The secondary keeps a version. Of one that is not on its way nothing follows.
    pub fn protected(&mut self, now: Instant, part: &Part, stamp: Stamp) {
        let holds = self.holds();
        let Some(copy) = self.parts.get_mut(part) else { return };
        if copy.under_way.as_ref().map(Encoded::stamp) != Some(stamp) {
            return;
        }
        copy.kept = copy.under_way.take();
        while let Some((_, made)) = copy.made.front().filter(|(version, _)| *version <= stamp) {
            let after = now.since(*made);
            copy.made.pop_front();
            self.effects.push(CopyEffect::Acknowledged { service: part.service.clone(), after });
        }
        if holds {
            self.effects.push(CopyEffect::Safe { part: part.clone(), stamp });
        }
        self.send(now, part);
    }

    /// The secondary cannot make the last version from what it has.
    pub fn whole(&mut self, now: Instant, part: &Part) {
        if let Some(copy) = self.parts.get_mut(part) {
            copy.forget();
        }
        self.send(now, part);
    }

    /// The session is protected in another way from now on.
    pub fn protect(&mut self, now: Instant, how: Protection) {
        let was = core::mem::replace(&mut self.how, how);
        // Filling is a new secondary; with none there is nothing that anybody keeps.
        if !sends(how) || !sends(was) || how == Protection::Filling {
            for (part, copy) in &mut self.parts {
                copy.forget();
                copy.made.clear();
                if part.kind == Kind::Screen {
                    // The picture that was kept last is old: of a screen versions are only made for a secondary.
                    copy.newest = None;
                }
            }
        }
        if sends(how) && (!sends(was) || how == Protection::Filling) {
            self.say_parts();
        }
        if !self.holds() {
            for (part, copy) in &self.parts {
                let newest = copy.newest.as_ref().map(Encoded::stamp);
                let safe = |stamp| CopyEffect::Safe { part: part.clone(), stamp };
                self.effects.extend(newest.map(safe));
            }
        }
        self.send_due(now);
    }

    /// Since when something waits for the secondary, or for the daemon to give that up.
    #[must_use]
    pub fn held_since(&self) -> Option<Instant> {
        let waiting = self.parts.values().filter(|copy| copy.under_way.is_some() && self.holds());
        waiting.map(|copy| copy.sent_at).min()
    }

    /// Sends what has waited long enough.
    pub fn send_due(&mut self, now: Instant) {
        let due = self.parts.iter().filter(|(_, copy)| copy.is_due(self.how, now));
        let due: Vec<Part> = due.map(|(part, _)| part.clone()).collect();
        for part in due {
            self.send(now, &part);
        }
    }

    /// When something is to be sent though nothing happens.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        let Protection::Batch { every, .. } = self.how else { return None };
        let waiting = self.parts.values().filter(|copy| copy.under_way.is_none());
        waiting.fold(None, |at, copy| earliest(at, copy.waits_until(every)))
    }
}

#[cfg(test)]
mod tests;
