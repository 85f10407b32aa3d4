//! What is kept under a key: bytes, or a reference to what can be looked up again.

use core::fmt;
use std::sync::Arc;

use crate::limits::{PATH_MAX, QUERY_MAX, VALUE_MAX};

proto::text_name! {
    /// An absolute path of a file or a directory, in UTF-8.
    PathName, "path", PATH_MAX, "an absolute path of at most 1024 bytes without NUL",
    |s| s.starts_with('/') && !s.contains('\0')
}

proto::text_name! {
    /// The text of a query, as the program that made it can put it again.
    QueryText, "query", QUERY_MAX, "1 to 1024 bytes of text", |_| true
}

/// One value. Cloning shares its bytes.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Bytes, at most [`VALUE_MAX`] of them.
    Raw(Arc<[u8]>),
    /// What is looked up when the session is restored.
    Reference(Reference),
}

/// What a value can be looked up by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A key of the data store.
    Store(datastore::Key),
    /// A page of what a query finds.
    Query(PagedQuery),
    /// A directory, by its path.
    Directory(PathName),
    /// A file, by its path.
    File(PathName),
}

/// A page of what a query finds: 40 hits are kept as these three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagedQuery {
    /// What is asked, by the rules of its program.
    pub text: QueryText,
    /// Hits on a page.
    pub page_size: u32,
    /// Which page is shown, from 0.
    pub position: u64,
}

impl Value {
    /// A value of bytes; `None` above [`VALUE_MAX`] of them.
    #[must_use]
    pub fn raw(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= VALUE_MAX).then(|| Self::Raw(bytes.into()))
    }

    /// Its bytes, if it is not a reference.
    #[must_use]
    pub fn as_raw(&self) -> Option<&[u8]> {
        match self {
            Self::Raw(bytes) => Some(bytes),
            Self::Reference(_) => None,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw(bytes) if bytes.len() > 64 => write!(f, "Raw({} bytes)", bytes.len()),
            Self::Raw(bytes) => write!(f, "Raw({})", bytes.escape_ascii()),
            Self::Reference(reference) => reference.fmt(f),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(key) => write!(f, "key {key} of the data store"),
            Self::Query(PagedQuery { text, page_size, position }) => {
                write!(f, "page {position} of {page_size} of the query {text:?}")
            }
            Self::Directory(path) => write!(f, "directory {path}"),
            Self::File(path) => write!(f, "file {path}"),
        }
    }
}
