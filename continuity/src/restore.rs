//! What becomes of an object's references when a session is restored.
//!
//! The traits are asked in the order of the pools. Whoever implements them does so with the rights of the session's user:
//! an object is written by that user's programs, and a daemon that followed it would read for him what he may not.

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
