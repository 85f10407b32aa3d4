//! The permanent data of a card that becomes a user's.
//!
//! As long as nobody is registered for a token, its sessions store under the token's own name. From the registration
//! on they work on the user's data, so what lies under the token's name is handed over: value by value, and never
//! over something that the user has. Each value is copied before it is deleted, so whoever is interrupted loses
//! nothing and does it again.

use datastore::{Expected, Key, Page, Prefix, StoreError, Value};
use proto::Token;

use super::store::{StoredRegistry, TRIES};
use crate::admission::{Owner, Record, claim_key};

/// Values that stay with a card are named up to this many, and counted beyond it: a list that a person can read.
pub(super) const NAMED_MAX: usize = 100;

/// What became of a card's data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandedOver {
    /// How many values are the user's now.
    pub moved: usize,
    /// How many values stay with the card alone.
    pub left: usize,
    /// The first 100 of those, by their keys in the data store.
    pub named: Vec<(Key, Left)>,
    /// The tokens of which a session runs and goes on with the card's data: what is the user's now was only copied.
    pub running: Vec<Token>,
}

/// Why a value stays with a card alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Left {
    /// The user has another value under the same key.
    #[error("the user has another value under this key")]
    Exists,
    /// The user's quota is reached.
    #[error(transparent)]
    NoRoom(StoreError),
    /// The key has no room for the user's name, which is longer than the token.
    #[error("the key would be too long under the user's name")]
    KeyTooLong,
    /// Somebody writes it all the time.
    #[error("it keeps changing")]
    Busy,
}

impl StoredRegistry {
    /// Hands what is stored under the name of a registered card's tokens over to whoever the card's sessions belong to
    /// now. `progress` is told after each page of many. To be called when the hosts know the registration: until then
    /// they may begin sessions that store under the token's name.
    ///
    /// Under the name of a token of which a session runs, nothing is deleted: the session was told at its start where
    /// its data is, and goes on there.
    ///
    /// # Errors
    /// When the data store does not do it. What was handed over until then stays so; doing it again completes it.
    pub async fn hand_over(
        &self,
        record: &Record,
        mut progress: impl FnMut(&HandedOver),
    ) -> Result<HandedOver, StoreError> {
        let mut done = HandedOver::default();
        let owner = record.session_owner();
        let mut tokens = vec![&record.token];
        tokens.extend(record.alias.as_ref());
        for token in tokens {
            let own = Owner::of_token(token);
            if own != owner {
                self.hand_over_of(token, &own, &owner, &mut done, &mut progress).await?;
            }
        }
        Ok(done)
    }

    async fn hand_over_of(
        &self,
        token: &Token,
        own: &Owner,
        owner: &Owner,
        done: &mut HandedOver,
        progress: &mut impl FnMut(&HandedOver),
    ) -> Result<(), StoreError> {
        let (from, to) = (own.data(), owner.data());
        let mut page = self.store.scan(&from, None, Page::ENTRIES_MAX).await?;
        if page.entries.is_empty() {
            return Ok(());
        }
        let is_running = self.store.get(&claim_key(token)).await?.is_some();
        if is_running {
            done.running.push(token.clone());
        }
        loop {
            let last = page.entries.last().map(|(key, _)| key.clone());
            for (key, value) in page.entries {
                match self.hand_over_one(&key, value, (&from, &to), is_running).await? {
                    Ok(()) => done.moved += 1,
                    Err(why) => {
                        done.left += 1;
                        if done.named.len() < NAMED_MAX {
                            done.named.push((key, why));
                        }
                    }
                }
            }
            if !page.more {
                return Ok(());
            }
            progress(done);
            page = self.store.scan(&from, last.as_ref(), Page::ENTRIES_MAX).await?;
        }
    }

    /// Hands over the value of one key under the prefix `from`, found as `value`.
    async fn hand_over_one(
        &self,
        key: &Key,
        mut value: Value,
        (from, to): (&Prefix, &Prefix),
        is_running: bool,
    ) -> Result<Result<(), Left>, StoreError> {
        let name = key.as_str().strip_prefix(from.as_str()).unwrap_or_default();
        let text = format!("{to}{name}");
        let Ok(copy) = text.parse::<Key>() else { return Ok(Err(Left::KeyTooLong)) };
        let mut expected = Expected::Absent;
        for _ in 0..TRIES {
            let is_ours = match self.store.swap(&copy, expected, Some(value.clone())).await {
                Ok(Ok(())) => true,
                // The copy of a command that was interrupted, or as good as one.
                Ok(Err(Some(there))) if there == value => false,
                Ok(Err(_)) => return Ok(Err(Left::Exists)),
                Err(error @ StoreError::TooLarge { .. }) => return Ok(Err(Left::NoRoom(error))),
                Err(error) => return Err(error),
            };
            if is_running {
                return Ok(Ok(()));
            }
            match self.store.swap(key, Expected::Exactly(value.clone()), None).await? {
                Ok(()) | Err(None) => return Ok(Ok(())),
                Err(Some(_)) if !is_ours => return Ok(Err(Left::Exists)),
                // It was written after it was read: our copy is brought up to date.
                Err(Some(newer)) => expected = Expected::Exactly(std::mem::replace(&mut value, newer)),
            }
        }
        Ok(Err(Left::Busy))
    }
}

#[cfg(test)]
mod tests;
