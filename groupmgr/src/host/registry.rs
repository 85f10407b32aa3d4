//! What this host knows of the login policy and the registry of tokens before anybody presents one.
//!
//! The driver watches both in the data store, and every change takes effect as it is told ([`Followed`]). They are
//! also read as a whole: when the watch begins or has missed something, and, for as long as nobody watches, every ten
//! seconds. So a token that this host never saw can still be judged when the data store dies together with the host
//! that had its session (DESIGN 5).
//!
//! An answer of the data store and the news of a later change may cross on their way here. So the last changes are
//! remembered with their revisions, and an answer never undoes a change that is newer than it.
//!
//! What was changed while nobody watched is found by the next listing, and noted then as a late change.

use std::collections::BTreeMap;

use authmgr::StoreAway;
use authmgr::admission::{Record, author_of, is_removal, policy_key, token_key, token_of, token_prefix};
use datastore::{Answer, Event, Key, Page, Request, Response, Revision, StoreError, Value};
use proto::time::Duration;
use proto::{Instant, Token};

use super::admin::Reply;
use super::driver::{AdminReq, Effect, Followed};
use super::note::Note;
use super::store::Errand;
use super::{Clock, Host};

/// How often policy and registry are read again, or while they are watched, whether the watch still holds is checked.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// How soon, when that failed.
const LIST_AGAIN: Duration = Duration::from_secs(1);
/// Changes remembered, so that older answers do not undo them: more than can happen while an answer is on its way.
pub(super) const CHANGES_MAX: usize = 1024;

/// How far the listing of the registry has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// To be begun when it is due.
    Wanted,
    UnderWay,
    /// It ended, and every change since was told.
    Complete,
}

/// A change that was told.
#[derive(Clone, Debug)]
struct Change {
    revision: Revision,
    value: Option<Value>,
    by: Option<String>,
}

impl Change {
    fn of(revision: Revision, value: Option<Value>) -> Self {
        let by = value.as_ref().and_then(|value| author_of(value.as_bytes()));
        Self { revision, value, by }
    }
}

/// What is known of how up to date this host's registry is.
#[derive(Debug)]
pub(super) struct Registry {
    due: Option<Instant>,
    watched: bool,
    listing: Listing,
    /// Counts the listings: pages of an earlier one are nobody's.
    number: u64,
    changes: BTreeMap<Key, Change>,
}

impl Registry {
    pub(super) const fn new(now: Instant) -> Self {
        let changes = BTreeMap::new();
        Self { due: Some(now), watched: false, listing: Listing::Wanted, number: 0, changes }
    }

    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.due
    }

    /// Changes remembered, for the bounds check.
    pub(super) fn changes(&self) -> usize {
        self.changes.len()
    }

    /// Whether changes may have been missed that a listing is going to find.
    fn catches_up(&self) -> bool {
        !self.watched || self.listing != Listing::Complete
    }

    /// What is under `key`, of which `found` was read at `revision`.
    fn newest(&self, key: &Key, revision: Revision, found: Option<Value>) -> Option<Value> {
        match self.changes.get(key) {
            Some(change) if change.revision > revision => change.value.clone(),
            _ => found,
        }
    }

    /// Remembers a change, and returns the one before it of the same key.
    fn remember(&mut self, key: Key, change: Change) -> Option<Change> {
        let before = self.changes.insert(key, change);
        if self.changes.len() > CHANGES_MAX {
            let oldest = self.changes.iter().min_by_key(|(_, c)| c.revision).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.changes.remove(&key));
        }
        before
    }
}

impl Host {
    /// Policy and registry are to be read as a whole, at `at` or before.
    pub(super) fn read_registry_at(&mut self, at: Instant) {
        self.registry.listing = Listing::Wanted;
        self.registry.due = Some(self.registry.due.map_or(at, |due| due.min(at)));
    }

    pub(super) fn poll_registry(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        if self.registry.due.is_none_or(|at| at > clock.now) {
            return;
        }
        self.registry.due = Some(clock.now + LIST_EVERY);
        // Its answer also says that the connection lives, on which changes are told.
        self.ask_store(clock.now, Errand::Policy, Request::Get { key: policy_key() }, out);
        if self.registry.watched && self.registry.listing == Listing::Complete {
            return;
        }
        self.registry.listing = Listing::UnderWay;
        self.registry.number += 1;
        self.admission.listing_begins(clock.now);
        self.list_tokens(clock, None, out);
    }

    fn list_tokens(&mut self, clock: Clock, after: Option<Key>, out: &mut Vec<Effect>) {
        let request = Request::Scan { prefix: token_prefix(), after, limit: Page::ENTRIES_MAX };
        let errand = Errand::Listing { number: self.registry.number };
        self.ask_store(clock.now, errand, request, out);
    }

    /// The policy was read.
    pub(super) fn on_policy(
        &mut self,
        clock: Clock,
        outcome: Result<Response, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        let revision = outcome.as_ref().ok().map(|response| response.revision);
        let before = self.admission.policy();
        let policy = self.newest_of(&policy_key(), outcome);
        match &policy {
            Err(StoreAway) => self.read_registry_at(clock.now + LIST_AGAIN),
            Ok(_) if !self.registry.catches_up() => {
                self.admission.is_whole(clock.now);
            }
            Ok(_) => {}
        }
        self.take_policy(policy.as_ref().map(Option::as_ref).map_err(|away| *away));
        let has_changed = before.is_some() && before != self.admission.policy();
        if let (Ok(value), Some(revision)) = (policy, revision)
            && has_changed
            && self.registry.catches_up()
        {
            let change = Change::of(revision, value);
            self.registry.remember(policy_key(), change.clone());
            self.note_policy(change, true, out);
        }
    }

    fn take_policy(&mut self, policy: Result<Option<&Value>, StoreAway>) {
        if self.admission.on_policy(policy.map(|value| value.map(Value::as_bytes))).is_err() {
            self.counters.refused("bad_policy");
        }
    }

    pub(super) fn on_listing(
        &mut self,
        clock: Clock,
        number: u64,
        outcome: Result<Response, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        if number != self.registry.number {
            return;
        }
        let Ok(Response { answer: Answer::Page(page), revision, .. }) = outcome else {
            self.read_registry_at(clock.now + LIST_AGAIN);
            return;
        };
        for (key, value) in &page.entries {
            let newest = self.registry.newest(key, revision, Some(value.clone()));
            if self.admission.learn_listed(clock.now, key, newest.clone()) {
                self.note_missed(key, Change::of(revision, newest), out);
            }
        }
        match page.entries.last() {
            Some((key, _)) if page.more => self.list_tokens(clock, Some(key.clone()), out),
            _ => {
                for key in self.admission.is_whole(clock.now) {
                    self.note_missed(&key, Change::of(revision, None), out);
                }
                if self.registry.listing == Listing::UnderWay {
                    self.registry.listing = Listing::Complete;
                }
            }
        }
    }

    /// The watch of policy and registry has news.
    pub(super) fn on_followed(&mut self, clock: Clock, news: Followed, out: &mut Vec<Effect>) {
        match news {
            Followed::Anew => {
                self.registry.watched = true;
                // Revisions of another generation of the store mean nothing.
                self.registry.changes.clear();
                self.read_registry_at(clock.now);
            }
            Followed::Lost => {
                self.registry.watched = false;
                self.read_registry_at(clock.now);
            }
            Followed::Changed(Event { revision, change }) => {
                let key = change.key;
                let mut change = Change::of(revision, change.value);
                // A listing was quicker.
                if self.registry.changes.get(&key).is_some_and(|newer| newer.revision >= revision) {
                    return;
                }
                let before = self.registry.remember(key.clone(), change.clone());
                if key == policy_key() {
                    self.take_policy(Ok(change.value.as_ref()));
                    self.note_policy(change, false, out);
                } else if let Some(token) = token_of(&key) {
                    self.admission.learn(clock.now, &key, change.value.clone());
                    // Who deletes a record writes so first, and signs that.
                    change.by = change.by.or_else(|| before.filter(|_| change.value.is_none())?.by);
                    note_record(token, change, false, out);
                }
            }
        }
    }

    /// The policy that was just taken in is another one than before.
    fn note_policy(&self, Change { value, by, .. }: Change, late: bool, out: &mut Vec<Effect>) {
        let policy = self.admission.policy().filter(|_| value.is_some());
        let policy = policy.map(|policy| policy.to_line().to_string());
        out.push(Effect::Note(Note::PolicyChanged { policy, by, late }));
    }

    /// A listing has found a change that was not told.
    fn note_missed(&mut self, key: &Key, change: Change, out: &mut Vec<Effect>) {
        let Some(token) = token_of(key) else { return };
        self.registry.remember(key.clone(), change.clone());
        note_record(token, change, true, out);
    }

    /// What the data store has under `key`, by its answer or by a newer change.
    pub(super) fn newest_of(
        &self,
        key: &Key,
        outcome: Result<Response, StoreError>,
    ) -> Result<Option<Value>, StoreAway> {
        match outcome {
            Ok(Response { answer: Answer::Value(value), revision, .. }) => {
                Ok(self.registry.newest(key, revision, value))
            }
            _ => Err(StoreAway),
        }
    }

    /// What the registry has about `token`, by the data store's answer or by a newer change.
    pub(super) fn newest_record(
        &self,
        token: &Token,
        outcome: Result<Response, StoreError>,
    ) -> Result<Option<Value>, ()> {
        self.newest_of(&token_key(token), outcome).map_err(|StoreAway| ())
    }

    /// An operator wants to be sure that a change of `key` holds here.
    pub(super) fn follow(&mut self, clock: Clock, req: AdminReq, key: Key, out: &mut Vec<Effect>) {
        let refuse = |why: String| Effect::Answer { req, reply: Box::new(Reply::Refused(why)) };
        if key != policy_key() && token_of(&key).is_none() {
            out.push(refuse(format!("{key} is neither the login policy nor a token's record")));
            return;
        }
        let errand = Errand::Follow { req, key: key.clone() };
        if !self.store.is_up() || !self.ask_store(clock.now, errand, Request::Get { key }, out) {
            out.push(refuse("it does not reach the data store".into()));
        }
    }

    pub(super) fn on_follow(
        &mut self,
        clock: Clock,
        req: AdminReq,
        key: &Key,
        outcome: Result<Response, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        let reply = match &outcome {
            Ok(Response { answer: Answer::Value(_), generation, revision, .. }) => Reply::Follows {
                generation: generation.0,
                revision: revision.0,
                store: self.config.identity.store.to_string(),
            },
            Ok(_) => Reply::Refused("the data store answered something else".into()),
            Err(error) => Reply::Refused(error.to_string()),
        };
        if let Ok(value) = self.newest_of(key, outcome) {
            match *key == policy_key() {
                true => self.take_policy(Ok(value.as_ref())),
                false => self.admission.learn(clock.now, key, value),
            }
        }
        out.push(Effect::Answer { req, reply: Box::new(reply) });
    }
}

/// Says what is registered about a token now, unless it is only marked for deletion.
fn note_record(token: Token, Change { value, by, .. }: Change, late: bool, out: &mut Vec<Effect>) {
    if value.as_ref().is_some_and(|value| is_removal(value.as_bytes())) {
        return;
    }
    let record = value.map(|value| match Record::from_bytes(&token, value.as_bytes()) {
        Ok(record) => record.summary(),
        Err(error) => format!("damaged: {error}"),
    });
    out.push(Effect::Note(Note::RegistryChanged { token, record, by, late }));
}
