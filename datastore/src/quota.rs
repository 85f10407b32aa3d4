//! How much permanent data each user may have: a store that one program fills is everybody's loss.
//!
//! Counted is what lies under `data/<owner>/`, where sessions write; what the group itself stores is bounded where it is
//! made. An owner whose name holds a dot is a token for which no user is registered. Anybody can invent such tokens, so
//! all of them together have a bound, too.

use std::collections::BTreeMap;

use crate::error::StoreError;
use crate::key::Key;
use crate::value::Value;

/// Bytes counted for a key beside its text and value: what an empty value costs.
const ENTRY: u64 = 128;
/// Where permanent data lies.
const DATA: &str = "data/";

/// What an error names when a user's quota is reached. Part of the wire form: older programs print it as it is.
pub(crate) const OF_USER: &str = "total of a user's permanent data";
/// The same for tokens without a user.
pub(crate) const OF_TOKENS: &str = "total of the permanent data of cards and desks without a user";

/// What may be stored, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Of one owner.
    pub owner: u64,
    /// Of all owners together that are tokens.
    pub tokens: u64,
}

impl Default for Quota {
    /// 16 MiB each, and 1 GiB for all tokens.
    fn default() -> Self {
        Self { owner: 16 << 20, tokens: 1 << 30 }
    }
}

/// What is stored, by owner.
#[derive(Clone, Debug)]
pub struct Usage {
    quota: Quota,
    owners: BTreeMap<String, u64>,
    tokens: u64,
}

impl Usage {
    /// Counts from an empty store.
    #[must_use]
    pub const fn new(quota: Quota) -> Self {
        Self { quota, owners: BTreeMap::new(), tokens: 0 }
    }

    /// How much each owner, and all together, may use.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// Bytes that count against an owner's quota.
    #[must_use]
    pub fn of(&self, owner: &str) -> u64 {
        self.owners.get(owner).copied().unwrap_or(0)
    }

    /// Counts what was found stored.
    pub fn add(&mut self, key: &Key, value: &Value) {
        self.change(key, None, Some(value));
    }

    /// Counts a change. It is made whatever the quota says; see [`Usage::check`].
    pub fn change(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        let Some(owner) = owner_of(key) else { return };
        let (less, more) = (cost(key, before), cost(key, after));
        let used = self.owners.entry(owner.to_owned()).or_default();
        *used = (*used + more).saturating_sub(less);
        if *used == 0 {
            self.owners.remove(owner);
        }
        if is_token(owner) {
            self.tokens = (self.tokens + more).saturating_sub(less);
        }
    }

    /// Whether a change is within the quota. What makes less of it always is.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], which says how much there would be and how much there may be.
    pub fn check(&self, key: &Key, before: Option<&Value>, after: Option<&Value>) -> Result<(), StoreError> {
        let Some(owner) = owner_of(key) else { return Ok(()) };
        let (less, more) = (cost(key, before), cost(key, after));
        if more <= less {
            return Ok(());
        }
        let total = |used: u64| used.saturating_sub(less) + more;
        let too_large = |what: &str, bytes: u64, max: u64| {
            let cap = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
            Err(StoreError::TooLarge { what: what.into(), bytes: cap(bytes), max: cap(max) })
        };
        let of_owner = total(self.of(owner));
        if of_owner > self.quota.owner {
            return too_large(OF_USER, of_owner, self.quota.owner);
        }
        let of_tokens = total(self.tokens);
        if is_token(owner) && of_tokens > self.quota.tokens {
            return too_large(OF_TOKENS, of_tokens, self.quota.tokens);
        }
        Ok(())
    }
}

fn owner_of(key: &Key) -> Option<&str> {
    key.as_str().strip_prefix(DATA)?.split_once('/').map(|(owner, _)| owner)
}

fn is_token(owner: &str) -> bool {
    owner.contains('.')
}

fn cost(key: &Key, value: Option<&Value>) -> u64 {
    value.map_or(0, |value| (key.as_str().len() + value.as_bytes().len()) as u64 + ENTRY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUOTA: Quota = Quota { owner: 1000, tokens: 1500 };

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    fn value(len: usize) -> Value {
        Value::new(&vec![b'x'; len]).unwrap()
    }

    /// Stores if it may.
    fn put(usage: &mut Usage, name: &str, len: usize) -> Result<(), StoreError> {
        let (key, value) = (key(name), value(len));
        usage.check(&key, None, Some(&value))?;
        usage.change(&key, None, Some(&value));
        Ok(())
    }

    #[test]
    fn a_user_has_a_quota_of_their_own_and_the_error_says_how_much_it_is() {
        let mut usage = Usage::new(QUOTA);
        put(&mut usage, "data/ann/a", 700).unwrap();
        let error = put(&mut usage, "data/ann/b", 700).unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { max: 1000, bytes: 1676, .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("1676 bytes") && text.contains("1000") && text.contains("datastore rm"),
            "{text}"
        );
        put(&mut usage, "data/bob/a", 700).unwrap();
        put(&mut usage, "claim/card.1", 60_000).unwrap();
        put(&mut usage, "template/x", 60_000).unwrap();
    }

    #[test]
    fn who_is_over_the_quota_may_write_what_makes_it_less() {
        let mut usage = Usage::new(QUOTA);
        usage.add(&key("data/ann/a"), &value(5000));
        let (a, b) = (key("data/ann/a"), key("data/ann/b"));
        assert!(usage.check(&b, None, Some(&value(1))).is_err());
        assert!(usage.check(&a, Some(&value(5000)), Some(&value(4000))).is_ok());
        assert!(usage.check(&a, Some(&value(5000)), None).is_ok());
        usage.change(&a, Some(&value(5000)), None);
        assert!(usage.owners.is_empty());
        assert!(usage.check(&b, None, Some(&value(1))).is_ok());
    }

    #[test]
    fn invented_tokens_have_a_bound_together_and_users_are_not_held_to_it() {
        let mut usage = Usage::new(QUOTA);
        put(&mut usage, "data/card.1/a", 700).unwrap();
        let error = put(&mut usage, "data/card.2/a", 700).unwrap_err();
        assert!(error.to_string().contains("without a user"), "{error}");
        put(&mut usage, "data/ann/a", 700).unwrap();
    }

    proptest! {
        /// However entries come and go, what is counted is what is there.
        #[test]
        fn what_is_counted_is_what_is_there(ops in proptest::collection::vec((0_usize..3, 0_usize..4, proptest::option::of(0_usize..400)), 0..60)) {
            let mut usage = Usage::new(QUOTA);
            let mut there: BTreeMap<Key, Value> = BTreeMap::new();
            for (owner, name, len) in ops {
                let key = key(&format!("data/{}/{name}", ["ann", "card.1", "card.2"][owner]));
                let (before, after) = (there.get(&key).cloned(), len.map(value));
                usage.change(&key, before.as_ref(), after.as_ref());
                match after {
                    Some(value) => drop(there.insert(key, value)),
                    None => drop(there.remove(&key)),
                }
            }
            let mut anew = Usage::new(QUOTA);
            there.iter().for_each(|(key, value)| anew.add(key, value));
            prop_assert_eq!((usage.owners, usage.tokens), (anew.owners, anew.tokens));
        }
    }
}
