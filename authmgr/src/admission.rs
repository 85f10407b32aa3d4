//! Whether a token is genuine and allowed: the policy, the token registry, and what is remembered of it.
//!
//! The rules are in `docs/architecture.md`. [`Admission`]
//! owns what is remembered and the verdict; it refuses to talk to the data store (it names the key to look up
//! and is told what was found) and to know sessions. What is registered is written by the command line.
//!
//! How long something is believed: a record that was read, for [`FRESH`]; while the data store is away, for
//! [`KEPT`]. Whoever watches the registry can hand in all of it and every change ([`Admission::learn`]), and
//! then the same holds for tokens that are *not* registered: a host that dies together with the data store
//! leaves DTUs to hosts that never saw their tokens, and they must tell an unregistered card from a disabled
//! one.

mod admitted;
mod dtu;
mod known;
mod names;
mod policy;
mod record;

#[cfg(test)]
mod tests;

use core::fmt;
use core::time::Duration;

use datastore::{Key, Value};
use proto::rng::SecretRng;
use proto::{Instant, Token};

use crate::challenge::CardChallenge;
use crate::denial::Denial;
pub use admitted::Admitted;
use dtu::Pinning;
pub use dtu::{DtuProof, PINNED_MAX, PINS_AN_HOUR, PINS_OF_ADDRESS, Pin, PinError, Standing};
use known::{Entry, Known, REGISTERED_MAX, UNREGISTERED_MAX};
pub use names::{
    AUTHOR, AccountName, Owner, REMOVED, TemplateName, author_of, claim_key, dtu_key, dtu_of, dtu_prefix,
    is_removal, policy_key, token_key, token_of, token_prefix, watched,
};
pub use policy::{Cards, Dtus, Policy, PolicyError, Pseudo};
pub use record::{Record, RecordError};

/// What was read is not looked up again for so long: long enough for one presentation with its redirect,
/// short enough that a card registered a moment ago is admitted at the next insert.
pub const FRESH: Duration = Duration::from_secs(1);
/// While the data store is away, what was read is believed for so long; so a card that is disabled meanwhile
/// may be admitted for so long.
pub const KEPT: Duration = Duration::from_secs(15 * 60);

/// The data store gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreAway;

/// What [`Admission::begin`] found out about a presented token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// What is remembered decides it.
    Decided(Verdict),
    /// Nothing fresh is remembered: get this key from the data store and call [`Admission::on_record`].
    Read {
        /// The token's key in the registry.
        key: Key,
    },
}

/// What [`Admission::begin_dtu`] found out about a DTU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DtuLookup {
    /// What is remembered decides it.
    Decided(Standing),
    /// Get this key from the data store and call [`Admission::on_pin`].
    Read {
        /// The key under which the DTU's own is pinned.
        key: Key,
    },
}

/// One of the two parts of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Records of tokens.
    Tokens,
    /// Pinned keys of DTUs.
    Dtus,
}

impl Part {
    /// Both parts, in the order of their keys.
    pub const ALL: [Self; 2] = [Self::Tokens, Self::Dtus];

    /// Where the part is in the data store.
    #[must_use]
    pub fn prefix(self) -> datastore::Prefix {
        match self {
            Self::Tokens => token_prefix(),
            Self::Dtus => dtu_prefix(),
        }
    }
}

/// Whether a token may have a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may have one, at once.
    Admit(Admitted),
    /// When its card proves that it holds its secret: [`crate::Gate::challenge`].
    Challenge(CardChallenge),
    /// It may not, or not now.
    Refuse(Denial),
}

/// One host's knowledge of who may come in.
pub struct Admission {
    policy: Option<Policy>,
    known: Known,
    /// What is known of pinned keys.
    pins: Known,
    pinning: Pinning,
    rng: SecretRng,
}

impl Admission {
    /// Knows nothing yet, the policy included: until [`Admission::on_policy`], tokens wait for the data
    /// store. Challenges are drawn from `rng`.
    #[must_use]
    pub fn new(rng: SecretRng) -> Self {
        let known = Known::new(REGISTERED_MAX, UNREGISTERED_MAX);
        let pins = Known::new(PINNED_MAX, UNREGISTERED_MAX);
        Self { policy: None, known, pins, pinning: Pinning::default(), rng }
    }

    /// The policy in force.
    #[must_use]
    pub const fn policy(&self) -> Option<Policy> {
        self.policy
    }

    /// Takes in what the data store has under [`policy_key`]. When it is away, the policy stays as it is.
    ///
    /// # Errors
    /// What is stored is no policy: the one in force stays, or [`Policy::STRICT`] when there was none.
    pub fn on_policy(&mut self, found: Result<Option<&[u8]>, StoreAway>) -> Result<(), PolicyError> {
        let Ok(found) = found else { return Ok(()) };
        match found.map(Policy::from_bytes).transpose() {
            Ok(policy) => self.policy = Some(policy.unwrap_or_default()),
            Err(error) => {
                self.policy.get_or_insert(Policy::STRICT);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Begins to decide about a presented token.
    pub fn begin(&mut self, now: Instant, token: &Token) -> Lookup {
        let Some(policy) = self.policy else { return Lookup::Decided(Verdict::Refuse(Denial::StoreAway)) };
        if let Some(denial) = denied_at_once(policy, token) {
            return Lookup::Decided(Verdict::Refuse(denial));
        }
        let key = token_key(token);
        match self.known.get(now - FRESH, &key) {
            Some(entry) => Lookup::Decided(self.judge(token, &entry)),
            None => Lookup::Read { key },
        }
    }

    /// Decides with what the data store has under the token's key, or with what is remembered when it is
    /// away.
    pub fn on_record(
        &mut self,
        now: Instant,
        token: &Token,
        found: Result<Option<Value>, StoreAway>,
    ) -> Verdict {
        let key = token_key(token);
        match found {
            Ok(found) => {
                let entry = Entry::of(found);
                self.known.put(now, &key, entry.clone());
                self.judge(token, &entry)
            }
            Err(StoreAway) => match self.known.get(now - KEPT, &key) {
                Some(entry) => self.judge(token, &entry),
                None => Verdict::Refuse(Denial::StoreAway),
            },
        }
    }

    /// Begins to decide about a DTU.
    #[must_use]
    pub fn begin_dtu(&self, now: Instant, proof: &DtuProof) -> DtuLookup {
        let key = dtu_key(&proof.serial);
        match self.pins.get(now - FRESH, &key) {
            Some(entry) => DtuLookup::Decided(self.judge_dtu(proof, entry)),
            None => DtuLookup::Read { key },
        }
    }

    /// Decides with what the data store has under the DTU's key, or with what is remembered when it is away.
    pub fn on_pin(
        &mut self,
        now: Instant,
        proof: &DtuProof,
        found: Result<Option<Value>, StoreAway>,
    ) -> Standing {
        let key = dtu_key(&proof.serial);
        match found {
            Ok(found) => {
                let entry = Entry::of(found);
                self.pins.put(now, &key, entry.clone());
                self.judge_dtu(proof, entry)
            }
            Err(StoreAway) => match self.pins.get(now - KEPT, &key) {
                Some(entry) => self.judge_dtu(proof, entry),
                None => Standing::Refused(Denial::StoreAway),
            },
        }
    }

    /// What to pin for a DTU that is new, unless the bounds of this module's `dtu` say that it waits for another time.
    /// `by` is this host.
    pub fn pin(&mut self, now: Instant, proof: &DtuProof, by: &str) -> Option<Value> {
        let pin = Pin { serial: proof.serial.clone(), key: proof.key? };
        let value = Value::new(pin.to_line(by).to_string().as_bytes()).ok()?;
        let has_room = self.pins.registered() < PINNED_MAX && self.pinning.take(now, proof.addr);
        has_room.then_some(value)
    }

    /// Addresses for which keys were pinned in this hour, for the bounds check.
    #[must_use]
    pub fn pinned_for(&self) -> usize {
        self.pinning.len()
    }

    fn judge_dtu(&self, proof: &DtuProof, entry: Entry) -> Standing {
        dtu::judge(self.policy.unwrap_or(Policy::STRICT), proof, entry)
    }

    /// All records of the registry are going to be handed to [`Admission::learn`]. A listing that breaks off,
    /// because the data store goes away, takes nothing from what the one before found.
    pub const fn listing_begins(&mut self, now: Instant) {
        self.known.listing_begins(now);
        self.pins.listing_begins(now);
    }

    /// What is registered under a key, from a watch; `None` when it was deleted. It is read when its token or DTU comes,
    /// and not before.
    pub fn learn(&mut self, now: Instant, key: &Key, found: Option<Value>) {
        self.shelf(part_of(key)).put(now, key, Entry::of(found));
    }

    /// The same from a listing. Returns whether it was changed since a listing was last complete, and that was not handed
    /// in.
    pub fn learn_listed(&mut self, now: Instant, key: &Key, found: Option<Value>) -> bool {
        self.shelf(part_of(key)).put_listed(now, key, Entry::of(found))
    }

    /// The listing that began has ended, of this part. Said again without another listing, it means that every change since
    /// was handed in, too: for as long as a watch is known to be alive. Never said, nothing is lost but what
    /// the head of this module promises for tokens that were not seen before. Returns the keys of records that were
    /// deleted since a listing was last complete, and of which that was not handed in.
    pub fn is_whole(&mut self, now: Instant, part: Part) -> Vec<Key> {
        self.shelf(part).is_whole(now)
    }

    const fn shelf(&mut self, part: Part) -> &mut Known {
        match part {
            Part::Tokens => &mut self.known,
            Part::Dtus => &mut self.pins,
        }
    }

    fn judge(&mut self, token: &Token, entry: &Entry) -> Verdict {
        let Some(policy) = self.policy else { return Verdict::Refuse(Denial::StoreAway) };
        if let Some(denial) = denied_at_once(policy, token) {
            return Verdict::Refuse(denial);
        }
        match entry.read(token) {
            Err(denial) => Verdict::Refuse(denial),
            Ok(Some(record)) if record.disabled => Verdict::Refuse(Denial::Disabled),
            Ok(Some(record)) => {
                let then = Admitted::registered(&record);
                match record.secret {
                    Some(secret) => Verdict::Challenge(CardChallenge::new(self.rng.bytes(), secret, then)),
                    None => Verdict::Admit(then),
                }
            }
            Ok(None) if token.is_card() && policy.cards == Cards::Registered => {
                Verdict::Refuse(Denial::NotRegistered)
            }
            Ok(None) => Verdict::Admit(Admitted::unregistered(token)),
        }
    }
}

/// The records stay out of logs, with their secrets.
impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admission({:?}, {:?})", self.policy, self.rng)
    }
}

/// The part of the registry that a key is of.
fn part_of(key: &Key) -> Part {
    if dtu_of(key).is_some() { Part::Dtus } else { Part::Tokens }
}

/// What the policy alone denies, without a look at the registry.
fn denied_at_once(policy: Policy, token: &Token) -> Option<Denial> {
    // A typed login proves itself in another way; nobody gets one by presenting its name.
    if token.is_user() {
        return Some(Denial::NotRegistered);
    }
    (token.is_pseudo() && policy.pseudo == Pseudo::Deny).then_some(Denial::NoCard)
}
