//! What is registered about a token: one line in the data store, under [`super::token_key`].

use proto::Token;
use proto::card::{CardError, CardSecret};
use proto::ids::BadName;
use proto::line::{FieldError, Line, LineError};

use super::names::{AUTHOR, AccountName, Owner, REMOVED, TemplateName};

/// A registered token: `token name=card.12 owner=ann secret=<hex> alias=card.7 template=T account=A
/// disabled=true registered=false`, of which all but the name is optional. Unknown keys are kept and mean nothing, so that an
/// older host can read what a newer one wrote, and change it without loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The token that is registered; the record's key in the store ends with it.
    pub token: Token,
    /// Whose it is; without one, nobody's but its holder's ([`Owner::of_token`]).
    pub owner: Option<Owner>,
    /// What a keyed card must prove that it holds.
    pub secret: Option<CardSecret>,
    /// The token whose sessions it gets: this card replaces a lost one, and keeps its session.
    pub alias: Option<Token>,
    /// From which template its sessions are made.
    pub template: Option<TemplateName>,
    /// The account they run as.
    pub account: Option<AccountName>,
    /// Whether it is refused.
    pub disabled: bool,
    /// Whether the token is registered. A token that is not can be disabled all the same: its record holds nothing but
    /// that, and goes when the token is enabled again.
    pub registered: bool,
    /// Fields that only a later version knows: they mean nothing here, and stay when the record is written anew.
    pub others: Vec<(String, String)>,
}

/// The fields of a record that this version knows. Whoever stores a record adds its author, and whether it goes.
const KNOWN: [&str; 10] =
    ["name", "owner", "secret", "alias", "template", "account", "disabled", "registered", AUTHOR, REMOVED];

/// Bytes that are no record of the token they are stored under. Whoever wrote them is at fault; the token is
/// refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// They are no line of the grammar.
    #[error(transparent)]
    Line(#[from] LineError),
    /// A field is missing or unusable.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A name is none.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The secret is none.
    #[error(transparent)]
    Secret(#[from] CardError),
    /// The record is stored under another token than the one it is of.
    #[error("it is the record of {0}")]
    OfAnother(Token),
    /// What is no card cannot be asked to prove a secret.
    #[error("a secret for {0}, which is no card")]
    NotACard(Token),
}

fn others(line: &Line) -> Vec<(String, String)> {
    let unknown = line.pairs().filter(|(key, _)| !KNOWN.contains(key));
    unknown.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

impl Record {
    /// A record that says nothing but that the token is registered.
    #[must_use]
    pub const fn new(token: Token) -> Self {
        Self {
            token,
            owner: None,
            secret: None,
            alias: None,
            template: None,
            account: None,
            disabled: false,
            registered: true,
            others: Vec::new(),
        }
    }

    /// A record that says nothing but that a token which is not registered is refused.
    #[must_use]
    pub const fn block(token: Token) -> Self {
        let mut record = Self::new(token);
        record.disabled = true;
        record.registered = false;
        record
    }

    /// Reads what the data store holds for `token`.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn from_bytes(token: &Token, bytes: &[u8]) -> Result<Self, RecordError> {
        let line = Line::parse(bytes)?;
        line.expect("token")?;
        let of: Token = line.need("name")?;
        if of != *token {
            return Err(RecordError::OfAnother(of));
        }
        let secret = line.get("secret").map(str::parse).transpose()?;
        if secret.is_some() && !of.is_card() {
            return Err(RecordError::NotACard(of));
        }
        let owner = line.get("owner").map(Owner::user).transpose()?;
        Ok(Self {
            token: of,
            owner,
            secret,
            alias: line.want("alias")?,
            template: line.want("template")?,
            account: line.want("account")?,
            disabled: line.want("disabled")?.unwrap_or(false),
            registered: line.want("registered")?.unwrap_or(true),
            others: others(&line),
        })
    }

    /// The record as the line that is stored, its secret included.
    #[must_use]
    pub fn to_line(&self) -> Line {
        let line = Line::new("token")
            .with("name", &self.token)
            .with_some("owner", self.owner.as_ref())
            .with_some("secret", self.secret.as_ref().map(|secret| secret.to_hex().to_string()))
            .with_some("alias", self.alias.as_ref())
            .with_some("template", self.template.as_ref())
            .with_some("account", self.account.as_ref())
            .with_some("disabled", self.disabled.then_some("true"))
            .with_some("registered", (!self.registered).then_some("false"));
        self.others.iter().fold(line, |line, (key, value)| line.with(key, value))
    }

    /// What may be said of it in a log: all but the secret, and but what may be a secret of a later version.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut shown = self.clone();
        let keyed = shown.secret.take().map(|_| "true");
        shown.others.clear();
        let line = shown.to_line().with_some("keyed", keyed).to_string();
        line.split_once(" name=")
            .and_then(|(_, rest)| rest.split_once(' '))
            .map_or("", |(_, rest)| rest)
            .to_owned()
    }

    /// The token whose sessions it gets.
    #[must_use]
    pub fn session_token(&self) -> &Token {
        self.alias.as_ref().unwrap_or(&self.token)
    }

    /// Whose data its sessions work on.
    #[must_use]
    pub fn session_owner(&self) -> Owner {
        self.owner.clone().unwrap_or_else(|| Owner::of_token(self.session_token()))
    }

    /// The record of `token`, a card that takes the place of this one: same user, same sessions, its own
    /// secret. A card that takes its own place again, having been found, needs no alias.
    #[must_use]
    pub fn replaced_by(&self, token: Token, secret: Option<CardSecret>) -> Self {
        Self {
            alias: Some(self.session_token()).filter(|of| **of != token).cloned(),
            owner: self.owner.clone(),
            template: self.template.clone(),
            account: self.account.clone(),
            token,
            secret,
            disabled: false,
            registered: true,
            others: self.others.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(text: &str) -> Token {
        text.parse().unwrap()
    }

    fn read(of: &str, text: &str) -> Result<Record, RecordError> {
        Record::from_bytes(&token(of), text.as_bytes())
    }

    const FULL: &str = "token name=card.12 owner=ann secret=000102030405060708090a0b0c0d0e0f alias=card.7 \
                        template=kiosk account=ann disabled=true registered=false";

    #[test]
    fn a_record_prints_and_reads_back() {
        let record = read("card.12", FULL).unwrap();
        assert_eq!(record.to_line().to_string(), FULL);
        assert_eq!(Record::new(token("card.1")).to_line().to_string(), "token name=card.1");
        assert!(!format!("{record:?}").contains("0a0b"), "a secret in a log");
        assert_eq!(
            record.summary(),
            "owner=ann alias=card.7 template=kiosk account=ann disabled=true registered=false keyed=true"
        );
        assert_eq!(Record::new(token("card.1")).summary(), "");
    }

    #[test]
    fn what_a_later_version_has_registered_stays_when_the_record_is_written_anew_and_out_of_the_log() {
        let record =
            read("card.1", "token name=card.1 pin=1234 owner=ann until=noon until=2 by=root removed=1")
                .unwrap();
        let disabled = Record { disabled: true, ..record.clone() };
        let line = disabled.to_line().to_string();
        assert_eq!(line, "token name=card.1 owner=ann disabled=true pin=1234 until=noon until=2");
        assert_eq!(record.replaced_by(token("card.2"), None).others, record.others);
        assert_eq!(disabled.summary(), "owner=ann disabled=true");
    }

    #[test]
    fn a_record_of_another_token_or_with_a_field_that_is_none_is_refused() {
        assert_eq!(read("card.1", "token name=card.2"), Err(RecordError::OfAnother(token("card.2"))));
        assert_eq!(read("card.1", "token"), Err(FieldError::Missing("name").into()));
        assert!(matches!(read("card.1", "token name=card.1 owner=a/b"), Err(RecordError::Name(_))));
        assert!(matches!(read("card.1", "token name=card.1 secret=00"), Err(RecordError::Secret(_))));
        assert_eq!(
            read("card.1", "token name=card.1 disabled=maybe"),
            Err(FieldError::Bad("disabled").into())
        );
        assert_eq!(read("card.1", "token name=card.1 alias=x"), Err(FieldError::Bad("alias").into()));
        let pseudo = "token name=pseudo.1 secret=000102030405060708090a0b0c0d0e0f";
        assert_eq!(read("pseudo.1", pseudo), Err(RecordError::NotACard(token("pseudo.1"))));
    }

    #[test]
    fn a_replacement_of_a_replacement_gets_the_first_cards_sessions_and_data() {
        let first = Record { template: Some("kiosk".parse().unwrap()), ..Record::new(token("card.1")) };
        let third = first.replaced_by(token("card.2"), None).replaced_by(token("card.3"), None);
        assert_eq!(third.session_token(), &token("card.1"));
        assert_eq!(third.session_owner(), Owner::of_token(&token("card.1")));
        assert_eq!(third.template, first.template);
        assert_eq!(third.replaced_by(token("card.1"), None), first, "found again");
        assert_eq!(read("card.3", &third.to_line().to_string()), Ok(third));
    }

    proptest! {
        #[test]
        fn reading_a_record_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let of = token("card.1");
            let _ = Record::from_bytes(&of, &bytes);
            let _ = Record::from_bytes(&of, &[b"token name=card.1 ", &bytes[..]].concat());
        }

        #[test]
        fn every_record_reads_back_as_it_was_written(
            id in "[a-z0-9.:@_-]{1,40}", owner in proptest::option::of("[a-zA-Z0-9_@-]{1,64}"),
            secret in proptest::option::of(any::<[u8; 16]>()), alias in proptest::option::of("[a-z0-9]{1,30}"),
            template in proptest::option::of("[a-z][a-z.-]{0,40}"), account in proptest::option::of("[a-z_][a-z-]{0,30}"),
            disabled: bool, registered: bool, other in proptest::option::of(("[a-z]{1,9}", "[a-z ]{0,9}")),
        ) {
            let record = Record {
                token: Token::new("card", &id).unwrap(),
                owner: owner.map(|name| Owner::user(&name).unwrap()),
                secret: secret.map(CardSecret::new),
                alias: alias.map(|id| Token::new("mondex", &id).unwrap()),
                template: template.map(|name| name.parse().unwrap()),
                account: account.map(|name| name.parse().unwrap()),
                disabled,
                registered,
                others: other.map(|(key, value)| (format!("x-{key}"), value)).into_iter().collect(),
            };
            let text = record.to_line().to_string();
            prop_assert!(text.len() <= proto::line::LINE_MAX);
            prop_assert_eq!(Record::from_bytes(&record.token, text.as_bytes()), Ok(record));
        }
    }
}
