//! The names of things, each a type of its own with its rules.
//!
//! Everything here can be put into a message, a file name or a log line as it is: the constructors refuse
//! what could not. Text is shared, not copied: one name is in many tables.

use core::fmt;
use core::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hex;

/// Text that is not a name of the wanted kind. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: {rule}")]
pub struct BadName {
    /// Which kind of name was wanted.
    pub what: &'static str,
    /// The offending text, cut to 64 characters.
    pub text: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

impl BadName {
    /// Says that `text` is no `what`, because of `rule`.
    #[must_use]
    pub fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        Self { what, text: text.chars().take(64).collect(), rule }
    }
}

#[doc(hidden)]
pub use serde;

/// Text and serde forms by way of `Display` and `FromStr`, which every name has.
#[macro_export]
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl $crate::ids::serde::Serialize for $name {
            fn serialize<S: $crate::ids::serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> $crate::ids::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::ids::serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err($crate::ids::serde::de::Error::custom)
            }
        }
        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    )*};
}

/// A type for names: text of 1 to `$max` bytes of which `$fits` holds. `$rule` tells both to people.
///
/// ```
/// proto::text_name! {
///     /// The name of a rack.
///     Rack, "rack", 8, "1 to 8 letters", |s: &str| s.bytes().all(|b| b.is_ascii_alphabetic())
/// }
/// assert_eq!("north".parse::<Rack>().unwrap().as_str(), "north");
/// assert_eq!("7".parse::<Rack>().unwrap_err().to_string(), "\"7\" is not a rack: 1 to 8 letters");
/// ```
#[macro_export]
macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr, $rule:expr, $fits:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(::std::sync::Arc<str>);

        impl $name {
            /// Longest accepted text, in bytes.
            pub const LEN_MAX: usize = $max;

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl ::core::str::FromStr for $name {
            type Err = $crate::ids::BadName;
            fn from_str(s: &str) -> Result<Self, $crate::ids::BadName> {
                let fits: fn(&str) -> bool = $fits;
                if !s.is_empty() && s.len() <= Self::LEN_MAX && fits(s) {
                    Ok(Self(s.into()))
                } else {
                    Err($crate::ids::BadName::new($what, s, $rule))
                }
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.pad(&self.0)
            }
        }

        $crate::as_text!($name);
    };
}

/// Whether text is letters, digits and bytes of `extra` only.
#[must_use]
pub fn is_word(s: &str, extra: &str) -> bool {
    s.bytes().all(|b| b.is_ascii_alphanumeric() || extra.as_bytes().contains(&b))
}

/// Whether a word can be a part of a path: dots alone are other directories.
fn is_path_word(s: &str, extra: &str) -> bool {
    is_word(s, extra) && s.bytes().any(|b| b != b'.')
}

text_name! {
    /// A host's name, unique within its group. Rows of the topology table are keyed by it, never by an
    /// address: hosts behind one router may show the same one.
    HostName, "host name", 63, "1 to 63 of letters, digits and ._-, not dots alone", |s| is_path_word(s, "._-")
}

text_name! {
    /// A DTU's serial: its MAC address as 12 hex digits, or what a software terminal says instead.
    Serial, "serial", 64, "1 to 64 of letters, digits and ._:-, not dots alone", |s| is_path_word(s, "._:-")
}

text_name! {
    /// The name of a service within a session.
    ServiceName, "service name", 32, "1 to 32 of letters, digits and _-", |s| is_word(s, "_-")
}

/// A number shown as a fixed count of hex digits.
macro_rules! hex_name {
    ($(#[$doc:meta])* $name:ident, $int:ty, $digits:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(s: &str) -> Result<Self, BadName> {
                hex::decode(s.as_bytes())
                    .map(|bytes| Self(<$int>::from_be_bytes(bytes)))
                    .ok_or_else(|| BadName::new($what, s, concat!(stringify!($digits), " hex digits")))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(&self.0.to_be_bytes()))
            }
        }

        as_text!($name);
    };
}

hex_name! {
    /// One run of a host's `groupmgr`. Drawn at random at start, so that neither a clock that went back nor
    /// a recording can pass for it.
    BootId, u64, 16, "boot id"
}

hex_name! {
    /// A data store, unique for good: drawn at random when the store is made, and kept with its data. Two addresses
    /// with one id are one store.
    StoreId, u128, 32, "store id"
}

hex_name! {
    /// A hash of the machine's own id: two hosts that show the same one share a machine, and die together.
    MachineId, u64, 16, "machine id"
}

hex_name! {
    /// Which key of the ring signed a message; derived from the key, so it needs no agreement.
    KeyId, u32, 8, "key id"
}

hex_name! {
    /// A session, unique for good: drawn at random by the host that makes it.
    SessionId, u128, 32, "session id"
}

hex_name! {
    /// A random number that must come back, so that an answer cannot have been recorded earlier.
    Nonce, u128, 32, "nonce"
}

hex_name! {
    /// A target's single-use permission to present one token with cause=redirect.
    GrantId, u128, 32, "grant"
}

hex_name! {
    /// A token as hosts name it to each other: an HMAC of it, since for a plain card the id is the
    /// credential.
    TokenTag, u128, 32, "token tag"
}

/// A DTU's own key, by the fingerprint of its public half: SHA-256 of the `SubjectPublicKeyInfo` of the certificate that
/// it shows (RFC 5280). Whoever shows it has proved that it holds the private half.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DtuKey(pub [u8; 32]);

impl DtuKey {
    /// The first eight digits: enough for a person to tell keys apart.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

impl FromStr for DtuKey {
    type Err = BadName;
    fn from_str(s: &str) -> Result<Self, BadName> {
        let rule = "64 hex digits, the SHA-256 of a public key";
        hex::decode(s.as_bytes()).map(Self).ok_or_else(|| BadName::new("key of a DTU", s, rule))
    }
}

impl fmt::Display for DtuKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(&self.0))
    }
}

as_text!(DtuKey);

impl SessionId {
    /// The first eight digits: enough for a person to tell sessions apart.
    #[must_use]
    pub fn short(self) -> String {
        hex::encode(&self.0.to_be_bytes()[..4])
    }
}

/// What names a user to us: `card.<id>`, `pseudo.<serial>` (a DTU without a card) or `user.<name>`; real
/// terminals send other card types (`mondex.<id>`), which are kept as they are.
///
/// The part before the first dot is the type, the rest the id. At most [`Token::LEN_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    text: Arc<str>,
    dot: u8,
}

impl Token {
    /// Longest accepted text, in bytes.
    pub const LEN_MAX: usize = 160;
    const RULE: &'static str =
        "a type of up to 32 letters, digits, '_' or '-', a dot, and an id of letters, digits and \"._:@-\"";

    /// The token `<kind>.<id>`.
    ///
    /// ```
    /// let token = proto::Token::new("card", "7f3a")?;
    /// assert_eq!(token, "card.7f3a".parse()?);
    /// assert!(token.is_card() && token.id() == "7f3a");
    /// assert!("card 7f3a".parse::<proto::Token>().is_err());
    /// # Ok::<(), proto::ids::BadName>(())
    /// ```
    ///
    /// # Errors
    /// When either part is empty, too long or outside its alphabet.
    pub fn new(kind: &str, id: &str) -> Result<Self, BadName> {
        let bad = |text: &str| BadName::new("token", text, Self::RULE);
        let Ok(dot) = u8::try_from(kind.len()) else { return Err(bad(kind)) };
        let text = format!("{kind}.{id}");
        let is_kind = !kind.is_empty() && kind.len() <= 32 && is_word(kind, "_-");
        if !is_kind || id.is_empty() || text.len() > Self::LEN_MAX || !is_word(id, "._:@-") {
            return Err(bad(&text));
        }
        Ok(Self { text: text.into(), dot })
    }

    /// The pseudo token of a DTU without a card.
    #[must_use]
    pub fn pseudo(serial: &Serial) -> Self {
        Self { text: format!("pseudo.{serial}").into(), dot: 6 }
    }

    /// The part before the first dot.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.text[..usize::from(self.dot)]
    }

    /// The part after the first dot.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.text[usize::from(self.dot) + 1..]
    }

    /// The whole, `<kind>.<id>`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it stands for a DTU without a card.
    #[must_use]
    pub fn is_pseudo(&self) -> bool {
        self.kind() == "pseudo"
    }

    /// Whether it stands for a typed login.
    #[must_use]
    pub fn is_user(&self) -> bool {
        self.kind() == "user"
    }

    /// Whether it stands for a card of any type.
    #[must_use]
    pub fn is_card(&self) -> bool {
        !self.is_pseudo() && !self.is_user()
    }
}

impl FromStr for Token {
    type Err = BadName;
    fn from_str(s: &str) -> Result<Self, BadName> {
        let (kind, id) = s.split_once('.').ok_or_else(|| BadName::new("token", s, Self::RULE))?;
        Self::new(kind, id)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

as_text!(Token, Epoch);

/// Who is the primary of a session: rises by compare-and-swap in the data store, and a restored backup
/// raises the generation, so that no epoch is ever given out twice. Printed `generation.counter`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// How often the data store was restored from a backup.
    pub generation: u32,
    /// How often the session changed its home within the generation.
    pub counter: u32,
}

impl Epoch {
    /// The next epoch, within the store's `generation`.
    #[must_use]
    pub const fn next(self, generation: u32) -> Self {
        if generation > self.generation {
            Self { generation, counter: 1 }
        } else {
            Self { generation: self.generation, counter: self.counter.saturating_add(1) }
        }
    }
}

impl FromStr for Epoch {
    type Err = BadName;
    fn from_str(s: &str) -> Result<Self, BadName> {
        let bad = || BadName::new("epoch", s, "two numbers with a dot between them");
        let (generation, counter) = s.split_once('.').ok_or_else(bad)?;
        Ok(Self {
            generation: generation.parse().map_err(|_| bad())?,
            counter: counter.parse().map_err(|_| bad())?,
        })
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.counter)
    }
}

/// The time of a session's last connection, in milliseconds since 1970: comparable across hosts whose
/// clocks differ, because whoever sets it goes above every value heard for the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Last(pub u64);

impl Last {
    /// A value further ahead of the own clock than this is refused as absurd: one bad clock must not win
    /// every comparison for years.
    pub const FUTURE_MAX_MS: u64 = 24 * 3600 * 1000;

    /// The value for a connection made at `now`, above everything `heard` for the token.
    #[must_use]
    pub fn next(now: crate::WallTime, heard: Option<Self>) -> Self {
        let floor = heard.map_or(0, |Self(ms)| ms.saturating_add(1));
        Self(now.as_millis().max(floor))
    }

    /// Whether a host whose clock shows `now` should believe it.
    #[must_use]
    pub fn is_plausible(self, now: crate::WallTime) -> bool {
        self.0 <= now.as_millis().saturating_add(Self::FUTURE_MAX_MS)
    }
}

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Last {
    type Err = core::num::ParseIntError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_splits_at_its_first_dot() {
        let token: Token = "mondex.99.98".parse().unwrap();
        assert_eq!((token.kind(), token.id()), ("mondex", "99.98"));
        assert!(token.is_card() && !token.is_pseudo());
    }

    #[test]
    fn a_name_that_could_break_a_line_or_a_path_is_refused() {
        for bad in ["", ".", "..", "a b", "a=b", "a/b", "ä", "a\n", &"x".repeat(64)] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?}");
        }
        for bad in ["card", ".1", "card.", "ca rd.1", "card.a/b", "card.a b"] {
            assert!(bad.parse::<Token>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_epoch_of_a_restored_store_is_above_all_older_ones() {
        let old = Epoch { generation: 1, counter: 900 };
        assert!(old.next(2) > old.next(1));
        assert_eq!(old.next(2).to_string(), "2.1");
    }

    #[test]
    fn last_rises_above_a_faster_clock_and_an_absurd_value_is_refused() {
        let now = crate::WallTime::from_secs(1_000);
        assert_eq!(Last::next(now, Some(Last(2_000_000))), Last(2_000_001));
        assert_eq!(Last::next(now, None), Last(1_000_000));
        assert!(!Last(1_000_000 + Last::FUTURE_MAX_MS + 1).is_plausible(now));
    }
}
