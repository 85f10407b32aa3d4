//! What this host learns of policy and registry from the data store before anybody presents a token.
//!
//! The whole registry is listed from time to time, so that a token which this host never saw can still be judged
//! when the data store dies together with the host that had its session (DESIGN 5).

use datastore::{Answer, Key, Page, Request, Response, StoreError, Value};
use proto::Instant;
use proto::time::Duration;

use super::driver::Effect;
use super::store::Errand;
use super::{Clock, Host};

/// How often policy and registry are read again.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// How soon, when that failed.
const LIST_AGAIN: Duration = Duration::from_secs(1);

/// When the registry is read next.
#[derive(Debug)]
pub(super) struct Registry {
    due: Option<Instant>,
}

impl Registry {
    pub(super) const fn new(now: Instant) -> Self {
        Self { due: Some(now) }
    }

    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.due
    }
}

impl Host {
    pub(super) fn read_registry_at(&mut self, at: Instant) {
        self.registry.due = Some(self.registry.due.map_or(at, |due| due.min(at)));
    }

    pub(super) fn poll_registry(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        if self.registry.due.is_none_or(|at| at > clock.now) {
            return;
        }
        self.registry.due = Some(clock.now + LIST_EVERY);
        let request = Request::Get { key: authmgr::admission::policy_key() };
        self.ask_store(clock.now, Errand::Policy, request, out);
        self.admission.listing_begins(clock.now);
        self.list_tokens(clock, None, out);
    }

    fn list_tokens(&mut self, clock: Clock, after: Option<Key>, out: &mut Vec<Effect>) {
        let prefix = authmgr::admission::token_prefix();
        let request = Request::Scan { prefix, after, limit: Page::ENTRIES_MAX };
        self.ask_store(clock.now, Errand::Listing, request, out);
    }

    pub(super) fn on_policy(&mut self, clock: Clock, policy: Result<Option<Value>, ()>) {
        if policy.is_err() {
            self.read_registry_at(clock.now + LIST_AGAIN);
        }
        let found = policy.as_ref().map(|v| v.as_ref().map(Value::as_bytes)).map_err(|()| authmgr::StoreAway);
        if self.admission.on_policy(found).is_err() {
            self.counters.refused("bad_policy");
        }
    }

    pub(super) fn on_listing(
        &mut self,
        clock: Clock,
        outcome: Result<Response, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        let Ok(Response { answer: Answer::Page(page), .. }) = outcome else {
            self.read_registry_at(clock.now + LIST_AGAIN);
            return;
        };
        for (key, value) in &page.entries {
            self.admission.learn(clock.now, key, Some(value.clone()));
        }
        match page.entries.last() {
            Some((key, _)) if page.more => self.list_tokens(clock, Some(key.clone()), out),
            _ => self.admission.is_whole(clock.now),
        }
    }
}
