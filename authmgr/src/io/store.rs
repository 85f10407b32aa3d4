//! The registry and the policy where they are kept: in the data store.
//!
//! Every change is a compare-and-swap of one record, tried again when somebody else was faster, so that two
//! operators never undo each other.

use std::sync::Arc;

use datastore::io::Store;
use datastore::{Answer, Expected, Generation, Key, Request, Revision, StoreError, Value};
use proto::line::Line;
use proto::{Serial, Token};

use super::named::written;
use crate::admission::{
    AUTHOR, Policy, PolicyError, REMOVED, Record, RecordError, policy_key, token_key, token_of, token_prefix,
};
use crate::registry::{self, Details, Named, Refused, Replacement};

/// How often a change is tried while others change the same record.
pub(super) const TRIES: usize = 8;

/// Why the registry or the policy was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The data store did not do it; the error says whether anything was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It would be wrong; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// What is stored is no record; nothing was changed.
    #[error(
        "the record of {token} in the data store is damaged: {source}; delete it with: authmgr card rm {}",
        written(token)
    )]
    Damaged {
        /// The token whose record it is.
        token: Token,
        /// Why it cannot be read.
        source: RecordError,
    },
    /// What is stored is no policy; nothing was changed.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// No key is pinned to the serial.
    #[error("no key is pinned to {0}; see: authmgr dtu list")]
    NotPinned(Serial),
    /// Somebody changes it all the time; nothing was changed.
    #[error("{0} in the data store keeps changing; nothing was changed, try again")]
    Busy(Key),
}

/// An entry of the registry.
#[derive(Debug)]
pub struct Listed {
    /// Whose record it is.
    pub token: Token,
    /// The record, or why it is none.
    pub record: Result<Record, RecordError>,
}

/// Up to where the data store has to be read so that a change is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What was changed last.
    pub key: Key,
    /// The store's generation.
    pub generation: Generation,
    /// A revision at or after the change.
    pub revision: Revision,
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// What was registered before.
    pub before: Option<Record>,
    /// What is registered now.
    pub now: Option<Record>,
    /// Where that can be seen.
    pub written: Written,
}

/// The registry and the policy, in a data store.
#[derive(Clone)]
pub struct StoredRegistry {
    pub(super) store: Arc<dyn Store>,
    author: String,
}

impl StoredRegistry {
    /// The registry in `store`. Changes are signed with the name `author`, which hosts put into their audit records.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, author: &str) -> Self {
        Self { store, author: author.into() }
    }

    /// Registers a token, or changes what is registered about it.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn register(&self, named: &Named, details: &Details) -> Result<Changed, RegistryError> {
        self.change(named.token(), |found| registry::register(found, named, details.clone()).map(Some)).await
    }

    /// Refuses a token from now on.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn disable(&self, token: &Token) -> Result<Changed, RegistryError> {
        self.change(token, |found| registry::disable(found, token).map(Some)).await
    }

    /// Enables a disabled token again.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn enable(&self, token: &Token) -> Result<Changed, RegistryError> {
        self.change(token, |found| registry::enable(found, token)).await
    }

    /// Deletes the record of a token, a damaged one too. The record is disabled first and then deleted, so that the
    /// hosts, which see both changes, learn from the first who ordered the second.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn remove(&self, token: &Token, insists: bool) -> Result<Written, RegistryError> {
        let key = token_key(token);
        let mut stored = self.store.get(&key).await?;
        for _ in 0..TRIES {
            let found = parse(token, stored.as_ref());
            registry::remove(found.as_ref().map(Option::as_ref), token, insists)?;
            let last = self.signed(&Record::block(token.clone()).to_line().with(REMOVED, true))?;
            match self.swap(&key, stored, Some(last.clone())).await? {
                Ok(_) => match self.swap(&key, Some(last), None).await? {
                    Ok(written) => return Ok(written),
                    Err(current) => stored = current,
                },
                Err(current) => stored = current,
            }
        }
        Err(RegistryError::Busy(key))
    }

    /// Lets a card take the place of a lost one. If it fails half-way, the lost card is disabled and the new
    /// one not yet registered; doing it again completes it.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn replace(&self, old: &Token, new: &Named) -> Result<(Replacement, Written), RegistryError> {
        let planned = |old_found, new_found| registry::replace((old, old_found), (new, new_found));
        // What cannot be done is refused before anything is written.
        let new_found = self.record(new.token()).await?;
        let mut plan = planned(self.record(old).await?, new_found.clone())?;
        self.change(old, |found| {
            planned(found, new_found.clone()).map(|replacement| {
                plan.old = replacement.old.clone();
                Some(replacement.old)
            })
        })
        .await?;
        let old_now = plan.old.clone();
        let changed = self
            .change(new.token(), |found| {
                planned(Some(old_now.clone()), found).map(|replacement| {
                    plan.new = replacement.new.clone();
                    Some(replacement.new)
                })
            })
            .await?;
        Ok((plan, changed.written))
    }

    /// What is registered about a token.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn show(&self, token: &Token) -> Result<Record, RegistryError> {
        self.record(token).await?.ok_or_else(|| Refused::NotRegistered(token.clone()).into())
    }

    /// All that is registered, in the order of tokens.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn list(&self) -> Result<Vec<Listed>, RegistryError> {
        let entries = self.store.list(&token_prefix()).await?;
        let listed = entries.into_iter().filter_map(|(key, value)| {
            let token = token_of(&key)?;
            let record = Record::from_bytes(&token, value.as_bytes());
            Some(Listed { token, record })
        });
        Ok(listed.collect())
    }

    /// The policy, and whether one was ever set.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn policy(&self) -> Result<(Policy, bool), RegistryError> {
        let stored = self.store.get(&policy_key()).await?;
        Ok(match &stored {
            Some(value) => (Policy::from_bytes(value.as_bytes())?, true),
            None => (Policy::default(), false),
        })
    }

    /// Changes the policy. A damaged one is replaced, beginning from the strictest: what is not said must not
    /// open the group.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn set_policy(
        &self,
        change: impl Fn(Policy) -> Policy,
    ) -> Result<(Policy, Written), RegistryError> {
        let key = policy_key();
        let mut stored = self.store.get(&key).await?;
        for _ in 0..TRIES {
            let before = match &stored {
                None => Policy::default(),
                Some(value) => Policy::from_bytes(value.as_bytes()).unwrap_or(Policy::STRICT),
            };
            let now = change(before);
            match self.swap(&key, stored, Some(self.signed(&now.to_line())?)).await? {
                Ok(written) => return Ok((now, written)),
                Err(current) => stored = current,
            }
        }
        Err(RegistryError::Busy(key))
    }

    async fn record(&self, token: &Token) -> Result<Option<Record>, RegistryError> {
        parse(token, self.store.get(&token_key(token)).await?.as_ref())
    }

    async fn change(
        &self,
        token: &Token,
        mut change: impl FnMut(Option<Record>) -> Result<Option<Record>, Refused>,
    ) -> Result<Changed, RegistryError> {
        let key = token_key(token);
        let response = self.store.call(Request::Get { key: key.clone() }).await?;
        let (generation, revision) = (response.generation, response.revision);
        let Answer::Value(mut stored) = response.answer else { return Err(unfit()) };
        for _ in 0..TRIES {
            let before = parse(token, stored.as_ref())?;
            let now = change(before.clone())?;
            if before == now {
                let written = Written { key, generation, revision };
                return Ok(Changed { before, now, written });
            }
            let value = now.as_ref().map(|record| self.signed(&record.to_line())).transpose()?;
            match self.swap(&key, stored, value).await? {
                Ok(written) => return Ok(Changed { before, now, written }),
                Err(current) => stored = current,
            }
        }
        Err(RegistryError::Busy(key))
    }

    /// `line` with the author's name, as a value.
    pub(super) fn signed(&self, line: &Line) -> Result<Value, StoreError> {
        let line = line.clone().with(AUTHOR, &self.author);
        Ok(Value::new(line.to_string().as_bytes())?)
    }

    pub(super) async fn swap(
        &self,
        key: &Key,
        stored: Option<Value>,
        new: Option<Value>,
    ) -> Result<Result<Written, Option<Value>>, RegistryError> {
        let request = Request::Swap { key: key.clone(), expected: Expected::from(stored), new };
        let response = self.store.call(request).await?;
        let (generation, revision) = (response.generation, response.revision);
        match response.answer {
            Answer::Swapped => Ok(Ok(Written { key: key.clone(), generation, revision })),
            Answer::Lost { current } => Ok(Err(current)),
            _ => Err(unfit()),
        }
    }
}

fn unfit() -> RegistryError {
    let why = "an answer that does not fit its request".into();
    StoreError::Malformed { at: "?".into(), why }.into()
}

fn parse(token: &Token, stored: Option<&Value>) -> Result<Option<Record>, RegistryError> {
    let read = stored.map(|value| Record::from_bytes(token, value.as_bytes())).transpose();
    read.map_err(|source| RegistryError::Damaged { token: token.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Cards, Dtus, Owner, Pseudo};
    use datastore::io::{Memory, Pending};
    use datastore::{Prefix, Request, Response};
    use proto::card::CardSecret;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn token(text: &str) -> Token {
        text.parse().unwrap()
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    /// A store in which somebody else writes a record before each of the first `rivals` swaps.
    struct Contended {
        inner: Memory,
        rivals: AtomicUsize,
    }

    impl Store for Contended {
        fn call(&self, request: Request) -> Pending<'_, Response> {
            Box::pin(async move {
                let left = self.rivals.load(Ordering::SeqCst);
                if let Request::Swap { key, .. } = &request
                    && left > 0
                {
                    self.rivals.store(left - 1, Ordering::SeqCst);
                    let text = format!("token name=card.1 template=t{left}");
                    self.inner.put(key, Value::new(text.as_bytes()).unwrap()).await?;
                }
                self.inner.call(request).await
            })
        }

        fn watch(&self, prefix: Prefix) -> Pending<'_, datastore::io::Watch> {
            self.inner.watch(prefix)
        }
    }

    fn contended(rivals: usize) -> StoredRegistry {
        StoredRegistry::new(Arc::new(Contended { inner: Memory::default(), rivals: rivals.into() }), "root@a")
    }

    fn of_ann() -> Details {
        Details { owner: Some(Owner::user("ann").unwrap()), ..Details::default() }
    }

    #[test]
    fn two_operators_never_undo_each_other() {
        run(async {
            let registry = contended(3);
            let changed = registry.register(&Named::Token(token("card.1")), &of_ann()).await.unwrap();
            let now = changed.now.unwrap();
            assert_eq!(now.template.unwrap().as_str(), "t1", "what the other wrote last is kept");
            assert_eq!(now.owner, of_ann().owner);
            let busy = contended(1000).register(&Named::Token(token("card.1")), &of_ann()).await;
            assert!(matches!(busy, Err(RegistryError::Busy(_))), "{busy:?}");
        });
    }

    #[test]
    fn a_lost_card_is_replaced_and_the_list_shows_both() {
        run(async {
            let registry = contended(0);
            let secret = CardSecret::new([1; 16]);
            let ann = Named::Card(token("card.1"), Some(secret));
            registry.register(&ann, &of_ann()).await.unwrap();
            let (done, _) = registry.replace(&token("card.1"), &Named::Token(token("card.2"))).await.unwrap();
            assert_eq!(done.new.session_token(), &token("card.1"));
            let listed = registry.list().await.unwrap();
            let records: Vec<_> = listed.into_iter().map(|l| l.record.unwrap()).collect();
            assert_eq!(records, [done.old, done.new]);
        });
    }

    #[test]
    fn a_replacement_that_is_refused_disables_nothing() {
        run(async {
            let registry = contended(0);
            let bob = Details { owner: Some(Owner::user("bob").unwrap()), ..Details::default() };
            registry.register(&Named::Token(token("card.2")), &bob).await.unwrap();
            let refused = registry.replace(&token("card.1"), &Named::Token(token("card.2"))).await;
            assert!(matches!(refused, Err(RegistryError::Refused(Refused::InUse { .. }))), "{refused:?}");
            assert_eq!(registry.list().await.unwrap().len(), 1);
        });
    }

    #[test]
    fn a_damaged_record_is_listed_as_such_and_never_written_over() {
        run(async {
            let memory = Arc::new(Memory::default());
            let key = token_key(&token("card.1"));
            memory.put(&key, Value::new(b"token name=card.2").unwrap()).await.unwrap();
            let registry = StoredRegistry::new(memory, "root@a");
            let refused = registry.register(&Named::Token(token("card.1")), &of_ann()).await.unwrap_err();
            assert!(refused.to_string().contains("authmgr card rm card.1"), "{refused}");
            assert!(registry.list().await.unwrap()[0].record.is_err());
            registry.remove(&token("card.1"), false).await.unwrap();
            assert!(registry.list().await.unwrap().is_empty());
        });
    }

    #[test]
    fn a_policy_is_changed_field_by_field_and_a_damaged_one_does_not_open_the_group() {
        run(async {
            let memory = Arc::new(Memory::default());
            let registry = StoredRegistry::new(Arc::clone(&memory) as Arc<dyn Store>, "root@a");
            assert_eq!(registry.policy().await.unwrap(), (Policy::default(), false));
            registry.set_policy(|p| Policy { cards: Cards::Registered, ..p }).await.unwrap();
            registry.set_policy(|p| Policy { pseudo: Pseudo::Deny, ..p }).await.unwrap();
            registry.set_policy(|p| Policy { dtus: Dtus::Keyed, ..p }).await.unwrap();
            assert_eq!(registry.policy().await.unwrap(), (Policy::STRICT, true));
            memory.put(&policy_key(), Value::new(b"junk").unwrap()).await.unwrap();
            assert!(matches!(registry.policy().await, Err(RegistryError::Policy(_))));
            let (set, _) = registry.set_policy(|p| Policy { pseudo: Pseudo::Allow, ..p }).await.unwrap();
            assert_eq!(set, Policy { pseudo: Pseudo::Allow, ..Policy::STRICT });
        });
    }
}
