//! Who may come in when nothing else is said about a token.

use core::fmt;
use core::str::FromStr;

use proto::line::{FieldError, Line, LineError};

/// What the group admits. Stored as one line, `login pseudo=allow cards=any dtus=any`, under
/// [`super::policy_key`]; an absent key or an absent line means the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// DTUs without a card.
    pub pseudo: Pseudo,
    /// Which cards are admitted that no record disables.
    pub cards: Cards,
    /// Which DTUs are admitted to whose serials no key is pinned.
    pub dtus: Dtus,
}

/// What happens at a DTU without a card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pseudo {
    /// It gets a session of its own.
    #[default]
    Allow,
    /// It asks for a card.
    Deny,
}

/// Which cards are admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cards {
    /// Every one that is not disabled.
    #[default]
    Any,
    /// Only those that have a record in the registry.
    Registered,
}

/// Which DTUs are admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dtus {
    /// Every one that no key is pinned for, or that proves the pinned one.
    #[default]
    Any,
    /// Only those that prove a key.
    Keyed,
}

/// Text that is no policy. Whoever wrote it is at fault; the policy in force was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is no line of the grammar.
    #[error("the login policy is not a line: {0}; write it with: authmgr policy set")]
    Line(#[from] LineError),
    /// A field has a value that is none.
    #[error("the login policy says nothing usable: {0}; write it with: authmgr policy set")]
    Field(#[from] FieldError),
}

impl Policy {
    /// The one that admits fewest: in force when the stored one cannot be read and none was read before.
    pub const STRICT: Self = Self { pseudo: Pseudo::Deny, cards: Cards::Registered, dtus: Dtus::Keyed };

    /// Reads what the data store holds.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PolicyError> {
        let line = Line::parse(bytes)?;
        line.expect("login")?;
        Ok(Self {
            pseudo: line.want("pseudo")?.unwrap_or_default(),
            cards: line.want("cards")?.unwrap_or_default(),
            dtus: line.want("dtus")?.unwrap_or_default(),
        })
    }

    /// The policy as the line that is stored.
    #[must_use]
    pub fn to_line(self) -> Line {
        Line::new("login").with("pseudo", self.pseudo).with("cards", self.cards).with("dtus", self.dtus)
    }
}

macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),* }) => {
        impl FromStr for $name {
            type Err = String;
            fn from_str(s: &str) -> Result<Self, String> {
                match s {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!(concat!("{:?} is none of", $(" ", $word),*), s)),
                }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $word),* })
            }
        }
    };
}

words! { Pseudo { Allow = "allow", Deny = "deny" } }
words! { Cards { Any = "any", Registered = "registered" } }
words! { Dtus { Any = "any", Keyed = "keyed" } }

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_policy_prints_and_reads_back() {
        for pseudo in [Pseudo::Allow, Pseudo::Deny] {
            for cards in [Cards::Any, Cards::Registered] {
                for dtus in [Dtus::Any, Dtus::Keyed] {
                    let policy = Policy { pseudo, cards, dtus };
                    assert_eq!(Policy::from_bytes(policy.to_line().to_string().as_bytes()), Ok(policy));
                }
            }
        }
        assert_eq!(Policy::STRICT.to_line().to_string(), "login pseudo=deny cards=registered dtus=keyed");
    }

    #[test]
    fn a_word_that_is_none_is_an_error_and_not_the_default() {
        let read = |text: &str| Policy::from_bytes(text.as_bytes());
        assert_eq!(read("login"), Ok(Policy::default()));
        assert_eq!(read("login cards=registerd"), Err(FieldError::Bad("cards").into()));
        assert_eq!(read("logout"), Err(FieldError::NotThis("login").into()));
        assert_eq!(read(""), Err(LineError::Empty.into()));
    }

    proptest! {
        #[test]
        fn reading_a_policy_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Policy::from_bytes(&bytes);
            let _ = Policy::from_bytes(&[b"login pseudo=", &bytes[..]].concat());
        }
    }
}
