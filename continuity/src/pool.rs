//! A pool: values by their keys, in a hash table.

use core::hash::BuildHasherDefault;
use std::collections::BTreeMap;
use std::hash::DefaultHasher;

use crate::names::Key;
use crate::value::Value;

/// The hasher is always the same, and no order of it gets out of this file.
#[expect(clippy::disallowed_types, reason = "a lookup by hash; whoever lists a pool gets it in order")]
type Table = std::collections::HashMap<Key, Value, BuildHasherDefault<DefaultHasher>>;

/// Values by key: looked up by hash, listed in the order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool(Table);

impl Pool {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.0.get(key)
    }

    /// How many values it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, in the order of the keys.
    #[must_use]
    pub fn sorted(&self) -> BTreeMap<&Key, &Value> {
        self.0.iter().collect()
    }

    pub(crate) fn put(&mut self, key: Key, value: Value) {
        self.0.insert(key, value);
    }

    /// Returns whether there was one.
    pub(crate) fn remove(&mut self, key: &Key) -> bool {
        self.0.remove(key).is_some()
    }
}
