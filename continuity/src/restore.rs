//! What becomes of an object's references when a session is restored.
//!
//! The traits are asked in the order of the pools. Whoever implements them does so with the rights of the session's user:
//! an object is written by that user's programs, and a daemon that followed it would read for him what he may not.

use std::collections::BTreeMap;

use datastore::message::Page;
use datastore::{Answer, Refusal, Request, StoreError};
use proto::HostName;

use crate::names::{Key, Place};
use crate::object::Object;
use crate::pool::Pool;
use crate::value::{PagedQuery, PathName, Reference, Value};

/// Why a reference found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// It is not there any more.
    #[error("is gone")]
    Gone,
    /// The session's user may not have it.
    #[error("may not be read")]
    Denied,
    /// Whoever has it cannot be asked now.
    #[error("cannot be reached")]
    Unavailable,
}

/// Looks up keys of the data store.
pub trait StoreResolver {
    /// The value of a key.
    ///
    /// # Errors
    /// See [`Missing`].
    fn value(&mut self, key: &datastore::Key) -> Result<Vec<u8>, Missing>;
}

/// Puts queries again.
pub trait QueryResolver {
    /// One page of what a query finds, in the form its program gives it.
    ///
    /// # Errors
    /// See [`Missing`].
    fn page(&mut self, query: &PagedQuery) -> Result<Vec<u8>, Missing>;
}

/// Looks for directories.
pub trait DirectoryResolver {
    /// Whether a directory is there and can be entered.
    ///
    /// # Errors
    /// See [`Missing`].
    fn directory(&mut self, path: &PathName) -> Result<(), Missing>;
}

/// Looks for files.
pub trait FileResolver {
    /// Whether a file is there and can be read. What is in it is its program's to read.
    ///
    /// # Errors
    /// See [`Missing`].
    fn file(&mut self, path: &PathName) -> Result<(), Missing>;
}

/// Who looks up what. References of a kind without a resolver are left to the program that made them.
#[derive(Default)]
pub struct Resolvers<'a> {
    /// For keys of the data store.
    pub store: Option<&'a mut dyn StoreResolver>,
    /// For queries, which only their program can put again.
    pub query: Option<&'a mut dyn QueryResolver>,
    /// For directories, as the session sees them.
    pub directory: Option<&'a mut dyn DirectoryResolver>,
    /// For files, as the session sees them.
    pub file: Option<&'a mut dyn FileResolver>,
}

/// What stands behind a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The bytes that were found.
    Bytes(Vec<u8>),
    /// What it names is there.
    Present,
}

/// One reference of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked<T> {
    /// How many composite steps are below that whose value it is.
    pub depth: usize,
    /// The pool, of that composite step.
    pub place: Place,
    /// Under which key it is.
    pub key: Key,
    /// What it refers to.
    pub reference: Reference,
    /// What came of it.
    pub what: T,
}

/// How an object came back: the bytes in it are as they were, and of each reference this says what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The host that had it, as the session's record says; whoever has looked up the references fills it in.
    pub from: Option<HostName>,
    /// Values that are bytes.
    pub raw: usize,
    /// References that found something.
    pub found: Vec<Looked<Found>>,
    /// References that found nothing.
    pub missing: Vec<Looked<Missing>>,
    /// References that nobody here looks up.
    pub left: Vec<Looked<()>>,
}

impl Restored {
    /// Whether every reference that was looked up found something.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }
}

/// What is asked of the data store for one reference of those that were [left](Restored::left).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The number of the reference among them.
    pub number: usize,
    /// What is asked: the value of a key, or the keys up to the end of a page.
    pub request: Request,
}

/// What a query of the data store's keys begins with; what they begin with follows.
const KEYS: &str = "keys ";

/// The data store's own part of queries: a page of the keys that begin with something. Other queries are their program's.
fn scan(query: &PagedQuery) -> Option<Request> {
    let prefix = query.text.as_str().strip_prefix(KEYS)?.parse().ok()?;
    let upto = query.position.checked_add(1)?.checked_mul(query.page_size.into())?;
    let limit = u16::try_from(upto).ok().filter(|limit| (1..=Page::ENTRIES_MAX).contains(limit))?;
    Some(Request::Scan { prefix, after: None, limit })
}

impl Restored {
    /// What the data store can say of the references that were left.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        let request = |reference: &Reference| match reference {
            Reference::Store(key) => Some(Request::Get { key: key.clone() }),
            Reference::Query(query) => scan(query),
            Reference::Directory(_) | Reference::File(_) => None,
        };
        let left = self.left.iter().enumerate();
        left.filter_map(|(number, left)| Some(Question { number, request: request(&left.reference)? }))
            .collect()
    }

    /// Takes in what the data store has said to [questions](Self::questions), by their numbers: none of those is left then.
    pub fn answered(&mut self, answers: &BTreeMap<usize, Result<Answer, StoreError>>) {
        for (number, looked) in core::mem::take(&mut self.left).into_iter().enumerate() {
            let Some(outcome) = answers.get(&number) else {
                self.left.push(looked);
                continue;
            };
            let Looked { depth, place, key, reference, what: () } = looked;
            match found(&reference, outcome) {
                Ok(what) => self.found.push(Looked { depth, place, key, reference, what }),
                Err(what) => self.missing.push(Looked { depth, place, key, reference, what }),
            }
        }
    }
}

fn found(reference: &Reference, outcome: &Result<Answer, StoreError>) -> Result<Found, Missing> {
    match (outcome, reference) {
        (Ok(Answer::Value(Some(value))), _) => Ok(Found::Bytes(value.as_bytes().to_vec())),
        (Ok(Answer::Value(None)), _) => Err(Missing::Gone),
        (Ok(Answer::Page(page)), Reference::Query(query)) => {
            let before = query.position.saturating_mul(query.page_size.into());
            let shown = page.entries.iter().skip(usize::try_from(before).unwrap_or(usize::MAX));
            let keys: Vec<&str> = shown.map(|(key, _)| key.as_str()).collect();
            if keys.is_empty() { Err(Missing::Gone) } else { Ok(Found::Bytes(keys.join("\n").into_bytes())) }
        }
        (Ok(Answer::Failed(error)) | Err(error), _) => Err(match error {
            StoreError::Refused(Refusal::NotHere) | StoreError::TooLarge { .. } => Missing::Denied,
            _ => Missing::Unavailable,
        }),
        (Ok(_), _) => Err(Missing::Unavailable),
    }
}

impl core::fmt::Display for Looked<Missing> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {}: {} {}", self.place, self.key, self.reference, self.what)
    }
}

impl Resolvers<'_> {
    fn look_up(&mut self, reference: &Reference) -> Option<Result<Found, Missing>> {
        let present = |()| Found::Present;
        Some(match reference {
            Reference::Store(key) => self.store.as_mut()?.value(key).map(Found::Bytes),
            Reference::Query(query) => self.query.as_mut()?.page(query).map(Found::Bytes),
            Reference::Directory(path) => self.directory.as_mut()?.directory(path).map(present),
            Reference::File(path) => self.file.as_mut()?.file(path).map(present),
        })
    }

    fn restore(&mut self, depth: usize, place: &Place, pool: &Pool, restored: &mut Restored) {
        for (key, value) in pool.sorted() {
            let Value::Reference(reference) = value else {
                restored.raw += 1;
                continue;
            };
            let (place, key, reference) = (place.clone(), key.clone(), reference.clone());
            match self.look_up(&reference) {
                None => restored.left.push(Looked { depth, place, key, reference, what: () }),
                Some(Ok(what)) => restored.found.push(Looked { depth, place, key, reference, what }),
                Some(Err(what)) => restored.missing.push(Looked { depth, place, key, reference, what }),
            }
        }
    }
}

impl Object {
    /// Looks up the references of all current states. Other states are looked up when somebody goes back to them.
    pub fn restore(&self, resolvers: &mut Resolvers<'_>) -> Restored {
        let mut restored = Restored::default();
        resolvers.restore(0, &Place::Global, &self.global, &mut restored);
        for (depth, composite) in self.composites.iter().enumerate() {
            let step = composite.states.current();
            resolvers.restore(depth, &Place::Composite, &step.values, &mut restored);
            for (name, pool) in &step.simple {
                resolvers.restore(depth, &Place::Step(name.clone()), pool, &mut restored);
            }
        }
        resolvers.restore(0, &Place::Interactive, self.interactive.current(), &mut restored);
        resolvers.restore(0, &Place::Application, self.application.current(), &mut restored);
        restored
    }
}
