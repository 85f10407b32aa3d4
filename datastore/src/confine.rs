//! Keeps a user inside their own data: keys gain a prefix on the way in and lose it on the way out.
//!
//! Used by a host for the requests of a session. The user cannot name a key outside, because a
//! key has no way up, and is not shown one, because every listing and event is of keys under the prefix.

use crate::error::{Refusal, StoreError};
use crate::guard::Write;
use crate::key::{Key, Prefix};
use crate::message::{Answer, Change, Event, Page, Request, Response, WatchEvent};
use crate::once::Deed;

/// One user's part of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    prefix: Prefix,
}

/// A prefix that does not end a part of a key, so that it would also hold somebody else's data
/// (`users/al` holds `users/alice`). The program is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{prefix} cannot confine a user: it must end with '/'")]
pub struct OpenPrefix {
    /// What all keys of the confined caller begin with.
    pub prefix: Prefix,
}

impl Confinement {
    /// Confines to `prefix`.
    ///
    /// # Errors
    /// [`OpenPrefix`] when it does not end with `/`.
    pub fn new(prefix: Prefix) -> Result<Self, OpenPrefix> {
        if prefix.as_str().ends_with('/') { Ok(Self { prefix }) } else { Err(OpenPrefix { prefix }) }
    }

    /// A user's request as the store shall see it.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] when the key leaves no room for the prefix; [`Refusal::NotHere`] for
    /// [`Request::Status`], which tells about others, and for what has a guard.
    pub fn inward(&self, request: Request) -> Result<Request, StoreError> {
        Ok(match request {
            Request::Get { key } => Request::Get { key: self.key(&key)? },
            Request::Put { key, value } => Request::Put { key: self.key(&key)?, value },
            Request::Swap { key, expected, new } => Request::Swap { key: self.key(&key)?, expected, new },
            Request::Delete { key } => Request::Delete { key: self.key(&key)? },
            Request::Scan { prefix, after, limit } => Request::Scan {
                prefix: self.prefix(&prefix)?,
                after: after.map(|key| self.key(&key)).transpose()?,
                limit,
            },
            Request::Watch { prefix } => Request::Watch { prefix: self.prefix(&prefix)? },
            Request::Unwatch { .. } | Request::Ping => request,
            Request::Once { guard: None, effect, deed: Deed::Write(write) } => {
                let write = Write::try_from(self.inward(write.into())?).map_err(|_| Refusal::NotHere)?;
                Request::Once { guard: None, effect, deed: Deed::Write(write) }
            }
            Request::Once { guard: None, .. } => request,
            // A guard is its host's to set.
            Request::Status | Request::Guarded { .. } | Request::Once { .. } => {
                return Err(Refusal::NotHere.into());
            }
        })
    }

    /// The store's answer as the user shall see it.
    #[must_use]
    pub fn outward(&self, mut response: Response) -> Response {
        if let Answer::Page(page) = &mut response.answer {
            let entries = std::mem::take(&mut page.entries);
            let shown = entries.into_iter().filter_map(|(key, value)| Some((self.strip(&key)?, value)));
            *page = Page { entries: shown.collect(), more: page.more };
        }
        response
    }

    /// An event of a watch as the user shall see it.
    #[must_use]
    pub fn event(&self, event: WatchEvent) -> Option<WatchEvent> {
        let WatchEvent::Changed(Event { revision, change }) = event else { return Some(event) };
        let key = self.strip(&change.key)?;
        Some(WatchEvent::Changed(Event { revision, change: Change { key, value: change.value } }))
    }

    fn key(&self, key: &Key) -> Result<Key, StoreError> {
        let text = format!("{}{key}", self.prefix);
        text.parse().map_err(|_| self.too_large(key.as_str()))
    }

    pub(crate) fn prefix(&self, prefix: &Prefix) -> Result<Prefix, StoreError> {
        let text = format!("{}{prefix}", self.prefix);
        text.parse().map_err(|_| self.too_large(prefix.as_str()))
    }

    fn too_large(&self, text: &str) -> StoreError {
        StoreError::too_large("key", text.len(), Key::LEN_MAX.saturating_sub(self.prefix.as_str().len()))
    }

    fn strip(&self, key: &Key) -> Option<Key> {
        key.as_str().strip_prefix(self.prefix.as_str())?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::value::Value;

    fn confined(prefix: &str) -> Confinement {
        Confinement::new(prefix.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_user_sees_and_changes_their_own_data_only() {
        let mut store = MemoryStore::default();
        let value = Value::new(b"x").unwrap();
        for key in ["users/al/n", "users/alice/n", "users/alice/m/1", "users/bob/n"] {
            let put = Request::Put { key: key.parse().unwrap(), value: value.clone() };
            store.apply(put, &mut Vec::new());
        }
        let alice = confined("users/alice/");
        let mut changed = Vec::new();
        let all = alice.inward(Request::scan(Prefix::default())).unwrap();
        let Answer::Page(page) = alice.outward(store.apply(all, &mut changed)).answer else { panic!() };
        let keys: Vec<_> = page.entries.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["m/1", "n"]);

        let delete = alice.inward(Request::Delete { key: "n".parse().unwrap() }).unwrap();
        store.apply(delete, &mut changed);
        let event = WatchEvent::Changed(changed.remove(0));
        let Some(WatchEvent::Changed(seen)) = alice.event(event.clone()) else { panic!() };
        assert_eq!(seen.change.key.as_str(), "n");
        assert_eq!(confined("users/bob/").event(event), None);
    }

    #[test]
    fn a_prefix_that_would_hold_another_user_is_refused() {
        for open in ["", "users/al"] {
            assert!(Confinement::new(open.parse().unwrap()).is_err(), "{open:?}");
        }
    }

    #[test]
    fn a_key_that_leaves_no_room_is_too_large_and_the_bound_is_said() {
        let alice = confined("users/alice/");
        let fits: Key = "k".repeat(Key::LEN_MAX - 12).parse().unwrap();
        assert!(alice.inward(Request::Get { key: fits }).is_ok());
        let long: Key = "k".repeat(Key::LEN_MAX - 11).parse().unwrap();
        let error = alice.inward(Request::Get { key: long }).unwrap_err();
        assert_eq!(error, StoreError::TooLarge { what: "key".into(), bytes: 245, max: 244 });
        assert_eq!(alice.inward(Request::Status), Err(Refusal::NotHere.into()));
    }
}
