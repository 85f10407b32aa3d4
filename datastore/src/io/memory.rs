//! [`MemoryStore`] behind the trait.

use std::sync::{Mutex, PoisonError};

use super::store::{Pending, Store, into_result, not_here};
use super::watch::{Watch, Watchers};
use crate::error::Refusal;
use crate::key::Prefix;
use crate::memory::MemoryStore;
use crate::message::{Request, Response};

/// A data store in this process's memory, for tests and for a host that runs alone and keeps nothing.
#[derive(Debug, Default)]
pub struct Memory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    store: MemoryStore,
    watchers: Watchers,
}

impl Memory {
    /// A store that begins with the content of `store`.
    #[must_use]
    pub fn new(store: MemoryStore) -> Self {
        Self(Mutex::new(State { store, watchers: Watchers::default() }))
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for Memory {
    fn call(&self, request: Request) -> Pending<'_, Response> {
        let result = match request {
            Request::Watch { .. } | Request::Unwatch { .. } => Err(not_here()),
            request => self.with(|state| {
                let mut changed = Vec::new();
                let response = state.store.apply(request, &mut changed);
                state.watchers.tell(&changed);
                into_result(response)
            }),
        };
        Box::pin(std::future::ready(result))
    }

    fn watch(&self, prefix: Prefix) -> Pending<'_, Watch> {
        let watch = self.with(|state| {
            let since = state.store.apply(Request::Ping, &mut Vec::new()).revision;
            state.watchers.begin(prefix, since)
        });
        Box::pin(std::future::ready(watch.ok_or(Refusal::TooManyWatches.into())))
    }
}
