//! What a value is stored under, and the prefixes by which keys are listed and watched.
//!
//! A key is text that can stand in a log line, a file name or a command line as it is. Its parts are
//! separated by `/`; this module gives the parts no meaning, but refuses empty ones and those that a file
//! system would read as a way up, so that a key and what it looks like are the same thing.

use core::borrow::Borrow;
use core::fmt;
use core::str::FromStr;
use std::sync::Arc;

use proto::ids::BadName;

proto::text_name! {
    /// Names one value: parts of letters, digits, `.`, `_`, `:`, `@` and `-`, separated by `/`.
    ///
    /// At most [`Key::LEN_MAX`] bytes; no part is empty, `.` or `..`. Keys are ordered by their bytes.
    ///
    /// ```
    /// use datastore::{Key, Prefix};
    ///
    /// let (key, prefix): (Key, Prefix) = ("data/ann/note".parse()?, "data/ann/".parse()?);
    /// assert!(prefix.holds(&key));
    /// assert!("data/../token".parse::<Key>().is_err());
    /// # Ok::<(), proto::ids::BadName>(())
    /// ```
    Key, "key", 256,
    "1 to 256 bytes: parts of letters, digits and \"._:@-\" with one '/' between them, none of them . or ..",
    |s| s.split('/').all(is_part)
}

impl Borrow<str> for Key {
    /// Keys are ordered as their text is, so that a map of keys can be searched from a [`Prefix`] on.
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The beginning of keys: every key whose text starts with it is held by it. The empty prefix holds all.
///
/// It is text, not a directory: `notes` holds `notes/1` and `notes2`; `notes/` holds only the first.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix(Arc<str>);

impl Prefix {
    const RULE: &'static str = "the beginning of a key: at most 256 bytes of letters, digits and \"._:@-/\"";

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `key` starts with it.
    #[must_use]
    pub fn holds(&self, key: &Key) -> bool {
        key.0.starts_with(&*self.0)
    }
}

impl FromStr for Prefix {
    type Err = BadName;
    fn from_str(s: &str) -> Result<Self, BadName> {
        let empty_part = s.starts_with('/') || s.contains("//");
        if s.len() <= Key::LEN_MAX && !empty_part && s.bytes().all(|c| c == b'/' || is_key_byte(c)) {
            Ok(Self(s.into()))
        } else {
            Err(BadName::new("prefix", s, Self::RULE))
        }
    }
}

impl From<Key> for Prefix {
    fn from(key: Key) -> Self {
        Self(key.0)
    }
}

fn is_part(part: &str) -> bool {
    !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_key_byte)
}

const fn is_key_byte(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b':' | b'@' | b'-')
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

proto::as_text!(Prefix);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_that_looks_like_something_else_is_refused() {
        for good in ["a", "token/card.99", "users/a@b:c/notes/x-1_2", &"k".repeat(256), ".profile", "a/..."] {
            assert_eq!(good.parse::<Key>().unwrap().as_str(), good);
        }
        for bad in
            ["", "/", "/a", "a/", "a//b", "a b", "ä", "a\n", "a/./b", "a/..", "..", "a\\b", &"k".repeat(257)]
        {
            assert!(bad.parse::<Key>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_is_text_and_a_slash_ends_a_part() {
        let key: Key = "notes2/x".parse().unwrap();
        assert!("notes".parse::<Prefix>().unwrap().holds(&key));
        assert!(!"notes/".parse::<Prefix>().unwrap().holds(&key));
        assert!(Prefix::default().holds(&key));
        assert!(Prefix::from(key.clone()).holds(&key));
        for bad in ["/", "a//", "a b", &"k".repeat(257)] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_keys_never_panics_and_every_beginning_of_a_key_is_a_prefix(text in "[a-c./:@ ]{0,12}|.{0,12}") {
            if let Ok(key) = text.parse::<Key>() {
                for end in 0..=text.len() {
                    prop_assert!(text[..end].parse::<Prefix>().unwrap().holds(&key));
                }
            }
        }
    }
}
