//! The trait every data store implements.

use std::future::Future;
use std::pin::Pin;

use proto::StoreId;

use super::watch::Watch;
use crate::error::{Refusal, StoreError};
use crate::key::{Key, Prefix};
use crate::message::{Answer, Expected, Page, Request, Response};
use crate::value::Value;

/// What a [`Store`] method returns: boxed, so that the trait can be used as `dyn Store`.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A data store, wherever it is. Share it as `Arc<dyn Store>`.
///
/// [`Store::call`] is all of it but watching; the named methods ask by it and take the answer apart. Who needs
/// the generation, as every epoch does, uses `call`. Dropping a returned future gives up waiting, not the
/// request: a write may be done all the same.
pub trait Store: Send + Sync {
    /// Does one request. [`Request::Watch`] and [`Request::Unwatch`] are refused here: use [`Store::watch`].
    ///
    /// The answer is never [`Answer::Failed`]: that is returned as the error.
    fn call(&self, request: Request) -> Pending<'_, Response>;

    /// Begins to watch `prefix`. Every change after the watch's [`Watch::since`] is told, once it is safe.
    fn watch(&self, prefix: Prefix) -> Pending<'_, Watch>;

    /// Which store this is, as far as it is known: a remote one says so when a connection is made.
    fn id(&self) -> Option<StoreId> {
        None
    }

    /// The value of `key`.
    fn get<'a>(&'a self, key: &Key) -> Pending<'a, Option<Value>> {
        let request = Request::Get { key: key.clone() };
        ask(self.call(request), |answer| match answer {
            Answer::Value(value) => Ok(value),
            other => Err(other),
        })
    }

    /// Stores `value`, whatever was there.
    fn put<'a>(&'a self, key: &Key, value: Value) -> Pending<'a, ()> {
        let request = Request::Put { key: key.clone(), value };
        ask(self.call(request), |answer| match answer {
            Answer::Stored => Ok(()),
            other => Err(other),
        })
    }

    /// Compare-and-swap: `Ok(Ok(()))` when the key was as expected, `Ok(Err(current))` with what it is
    /// instead when it was not. `new: None` deletes.
    fn swap<'a>(
        &'a self,
        key: &Key,
        expected: Expected,
        new: Option<Value>,
    ) -> Pending<'a, Result<(), Option<Value>>> {
        let request = Request::Swap { key: key.clone(), expected, new };
        ask(self.call(request), |answer| match answer {
            Answer::Swapped => Ok(Ok(())),
            Answer::Lost { current } => Ok(Err(current)),
            other => Err(other),
        })
    }

    /// Deletes `key` and says whether it had a value.
    fn delete<'a>(&'a self, key: &Key) -> Pending<'a, bool> {
        let request = Request::Delete { key: key.clone() };
        ask(self.call(request), |answer| match answer {
            Answer::Deleted { existed } => Ok(existed),
            other => Err(other),
        })
    }

    /// One page of the keys `prefix` holds, after `after`.
    fn scan<'a>(&'a self, prefix: &Prefix, after: Option<&Key>, limit: u16) -> Pending<'a, Page> {
        let request = Request::Scan { prefix: prefix.clone(), after: after.cloned(), limit };
        ask(self.call(request), |answer| match answer {
            Answer::Page(page) => Ok(page),
            other => Err(other),
        })
    }

    /// All keys `prefix` holds, page by page. The whole is no single moment's state when somebody writes
    /// meanwhile; each page is. Not for prefixes that strangers can fill: the answer has no bound.
    fn list<'a>(&'a self, prefix: &Prefix) -> Pending<'a, Vec<(Key, Value)>> {
        let prefix = prefix.clone();
        Box::pin(async move {
            let mut entries: Vec<(Key, Value)> = Vec::new();
            loop {
                let after = entries.last().map(|(key, _)| key.clone());
                let page = self.scan(&prefix, after.as_ref(), Page::ENTRIES_MAX).await?;
                entries.extend(page.entries);
                if !page.more {
                    return Ok(entries);
                }
            }
        })
    }
}

fn ask<'a, T: 'a>(
    response: Pending<'a, Response>,
    read: impl FnOnce(Answer) -> Result<T, Answer> + Send + 'a,
) -> Pending<'a, T> {
    Box::pin(async move {
        read(response.await?.answer).map_err(|other| StoreError::Malformed {
            at: "?".into(),
            why: format!("an answer that does not fit its request: {other:?}").chars().take(200).collect(),
        })
    })
}

/// Makes a failed answer the error it is.
pub(super) fn into_result(response: Response) -> Result<Response, StoreError> {
    match response.answer {
        Answer::Failed(error) => Err(error),
        _ => Ok(response),
    }
}

/// What [`Store::call`] says to watches.
pub(super) fn not_here() -> StoreError {
    Refusal::NotHere.into()
}
