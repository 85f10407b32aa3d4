//! Names of users, templates and accounts, and the keys of the registry in the data store.

use core::fmt;
use std::sync::Arc;

use datastore::{Key, Prefix};
use proto::ids::{BadName, is_word};
use proto::line::Line;
use proto::{Serial, Token};

/// Whose permanent data a session works on: the data store keeps it under `data/<owner>/`.
///
/// A registered token may have a user's name; the owner of any other is the token's own text. A user's name
/// holds no dot and a token always does, so nobody gets at a user's data by stating the right card.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner(Arc<str>);

impl Owner {
    /// Longest user name, in bytes.
    pub const USER_MAX: usize = 64;

    /// The user `name`.
    ///
    /// # Errors
    /// When it is empty, too long or outside its alphabet, which has no dot.
    pub fn user(name: &str) -> Result<Self, BadName> {
        let rule = "1 to 64 of letters, digits and \"_@-\", without a dot";
        if !name.is_empty() && name.len() <= Self::USER_MAX && is_word(name, "_@-") {
            Ok(Self(name.into()))
        } else {
            Err(BadName::new("user name", name, rule))
        }
    }

    /// Whoever holds `token`, as long as nobody else is registered for it.
    #[must_use]
    pub fn of_token(token: &Token) -> Self {
        Self(token.as_str().into())
    }

    /// The name as text: one part of a key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the owner's data is stored under, `data/<owner>/`.
    #[must_use]
    pub fn data(&self) -> Prefix {
        made(format!("data/{self}/").parse())
    }
}

/// A word that begins neither as an option nor as a hidden file.
fn is_plain_word(s: &str) -> bool {
    is_word(s, "._-") && s.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

proto::text_name! {
    /// The name of a template, under which the data store keeps it.
    TemplateName, "template name", 64, "1 to 64 of letters, digits and \"._-\", a letter or digit first", is_plain_word
}

proto::text_name! {
    /// The name of an account of the hosts' operating system.
    AccountName, "account name", 32, "1 to 32 of letters, digits and \"._-\", a letter or digit first", is_plain_word
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({self})")
    }
}

/// Where the policy is stored.
#[must_use]
pub fn policy_key() -> Key {
    made("policy/login".parse())
}

/// Where the record of `token` is stored.
#[must_use]
pub fn token_key(token: &Token) -> Key {
    made(format!("{TOKENS}{token}").parse())
}

/// Where the claim of `token` is stored, as long as a session of it runs.
#[must_use]
pub fn claim_key(token: &Token) -> Key {
    made(format!("{CLAIMS}{token}").parse())
}

/// Where all records are.
#[must_use]
pub fn token_prefix() -> Prefix {
    made(TOKENS.parse())
}

/// The token whose record `key` holds.
#[must_use]
pub fn token_of(key: &Key) -> Option<Token> {
    key.as_str().strip_prefix(TOKENS)?.parse().ok()
}

/// Where the key of a DTU is pinned.
#[must_use]
pub fn dtu_key(serial: &Serial) -> Key {
    made(format!("{DTUS}{serial}").parse())
}

/// Where the keys of all DTUs are pinned.
#[must_use]
pub fn dtu_prefix() -> Prefix {
    made(DTUS.parse())
}

/// The DTU whose key is pinned under `key`.
#[must_use]
pub fn dtu_of(key: &Key) -> Option<Serial> {
    key.as_str().strip_prefix(DTUS)?.parse().ok()
}

/// All that a host watches of the registry and the policy.
#[must_use]
pub fn watched() -> [Prefix; 3] {
    [made(policy_key().as_str().parse()), token_prefix(), dtu_prefix()]
}

/// The key in a stored record or policy that names who wrote it.
pub const AUTHOR: &str = "by";
/// The key in a stored record that says that the record is being deleted.
pub const REMOVED: &str = "removed";

/// Who wrote a stored record or policy, as far as it says.
#[must_use]
pub fn author_of(bytes: &[u8]) -> Option<String> {
    Line::parse(bytes).ok()?.get(AUTHOR).map(str::to_owned)
}

/// Whether a stored record is the last one before its deletion.
#[must_use]
pub fn is_removal(bytes: &[u8]) -> bool {
    Line::parse(bytes).is_ok_and(|line| line.get(REMOVED).is_some())
}

const TOKENS: &str = "token/";
const CLAIMS: &str = "claim/";
const DTUS: &str = "dtu/";
const _: () = assert!(Token::LEN_MAX + TOKENS.len() <= Key::LEN_MAX);
const _: () = assert!(64 + DTUS.len() <= Key::LEN_MAX);
const _: () = assert!(CLAIMS.len() == TOKENS.len());

/// Tokens, serials and owners are made of the bytes that keys are made of, and are shorter, so there is no failure to
/// report.
fn made<T>(parsed: Result<T, BadName>) -> T {
    match parsed {
        Ok(name) => name,
        Err(error) => unreachable!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_users_name_is_never_the_text_of_a_token() {
        assert!(Owner::user("ann.smith").is_err());
        assert_eq!(Owner::user("ann@desk").unwrap().as_str(), "ann@desk");
        assert!("ann@desk".parse::<Token>().is_err());
    }

    #[test]
    fn names_that_could_be_an_option_or_a_hidden_file_are_refused() {
        for bad in ["", "-x", ".x", "a/b", "a b", &"x".repeat(33)] {
            assert!(bad.parse::<AccountName>().is_err(), "{bad:?}");
        }
        assert_eq!("kiosk-1.2".parse::<TemplateName>().unwrap().to_string(), "kiosk-1.2");
    }

    #[test]
    fn what_is_watched_holds_what_admission_reads_and_no_claim() {
        let (token, serial) = ("card.1".parse().unwrap(), "080020a1b2c3".parse().unwrap());
        let holds = |key: &Key| watched().iter().any(|prefix| prefix.holds(key));
        assert!(holds(&policy_key()) && holds(&token_key(&token)) && holds(&dtu_key(&serial)));
        assert!(!holds(&claim_key(&token)));
        assert_eq!((dtu_of(&dtu_key(&serial)), dtu_of(&token_key(&token))), (Some(serial), None));
    }

    proptest! {
        #[test]
        fn every_token_has_a_key_and_every_owner_a_place_for_data(
            kind in "[a-zA-Z0-9_-]{1,32}", id in "[a-zA-Z0-9._:@-]{1,127}", name in "[a-zA-Z0-9_@-]{1,64}",
        ) {
            let token = Token::new(&kind, &id).unwrap();
            prop_assert_eq!(token_of(&token_key(&token)), Some(token.clone()));
            prop_assert!(token_prefix().holds(&token_key(&token)));
            prop_assert!(Owner::of_token(&token).data().as_str().starts_with("data/"));
            let user = Owner::user(&name).unwrap();
            prop_assert!(user.data().as_str().ends_with('/'));
            prop_assert!(user != Owner::of_token(&token));
        }
    }
}
