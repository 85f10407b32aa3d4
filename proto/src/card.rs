//! A smart card as it is put into a DTU: its token, and for a keyed card the secret it answers challenges with.
//!
//! See `docs/protocol.md`, "Keyed cards". A plain card proves nothing beyond
//! its id; a keyed card proves that it holds a secret without showing it: the host sends a challenge in
//! [`INTERNAL_AUTHENTICATE`], the card answers HMAC-SHA256(secret, challenge). Who is admitted with which answer is not
//! decided here.

use core::fmt;
use core::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::hex;
use crate::ids::{BadName, Token};
use crate::line::{FieldError, Line, LineError};

/// The head (CLA INS P1 P2) of the command that asks a card to prove its secret: ISO 7816-4's INTERNAL AUTHENTICATE.
pub const INTERNAL_AUTHENTICATE: &str = "00880000";
/// The status word of a command that a card carried out.
pub const STATUS_OK: &str = "9000";
/// The status word of a command that a card does not know.
pub const STATUS_UNKNOWN_COMMAND: &str = "6d00";
/// The status word of a keyed command to a card that has no key.
pub const STATUS_NO_KEY: &str = "6a88";

/// What a keyed card answers to a challenge.
pub type Answer = [u8; 32];

/// Why text is not a card. Nothing was changed; whoever made the card file is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// The text is no line of the grammar.
    #[error(transparent)]
    Line(#[from] LineError),
    /// A field is missing or unusable.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// Type and id make no token.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The type stands for something that is no card.
    #[error("type {0:?} is not a card's: pseudo and user tokens come without a card")]
    NotACard(String),
    /// The secret is not 32 hex digits.
    #[error("secret is not 32 hex digits (128 bits)")]
    Secret,
    /// A file without a card line, or with more than one.
    #[error("a card file holds exactly one line that begins with \"card\"")]
    NotOne,
}

/// The secret of a keyed card. Wiped from memory when dropped; never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct CardSecret(Zeroizing<[u8; Self::LEN]>);

impl CardSecret {
    /// Bytes of a secret.
    pub const LEN: usize = 16;

    /// A secret from its bytes.
    #[must_use]
    pub fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Its hex digits, for a card file or the token registry.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(&*self.0))
    }

    /// The answer that proves the secret: HMAC-SHA256 of `challenge`.
    #[must_use]
    pub fn answer(&self, challenge: &[u8]) -> Answer {
        self.mac(challenge).finalize().into_bytes().into()
    }

    /// Whether `answer` is what [`CardSecret::answer`] gives; compared in constant time.
    #[must_use]
    pub fn is_answer(&self, challenge: &[u8], answer: &[u8]) -> bool {
        self.mac(challenge).verify_slice(answer).is_ok()
    }

    fn mac(&self, challenge: &[u8]) -> Hmac<Sha256> {
        match <Hmac<Sha256> as KeyInit>::new_from_slice(&*self.0) {
            Ok(mac) => mac.chain_update(challenge),
            Err(_) => unreachable!("HMAC takes keys of every length"),
        }
    }
}

impl FromStr for CardSecret {
    type Err = CardError;
    fn from_str(s: &str) -> Result<Self, CardError> {
        hex::decode(s.as_bytes()).map(Self::new).ok_or(CardError::Secret)
    }
}

impl fmt::Debug for CardSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CardSecret(..)")
    }
}

/// A card as its file has it: a token, and the secret of a keyed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    token: Token,
    secret: Option<CardSecret>,
}

impl Card {
    /// A card that is presented as `token`.
    ///
    /// # Errors
    /// [`CardError::NotACard`] for a pseudo or user token.
    pub fn new(token: Token, secret: Option<CardSecret>) -> Result<Self, CardError> {
        if !token.is_card() {
            return Err(CardError::NotACard(token.kind().to_owned()));
        }
        Ok(Self { token, secret })
    }

    /// What it is presented as.
    #[must_use]
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// Its secret, when it is a keyed card.
    #[must_use]
    pub const fn secret(&self) -> Option<&CardSecret> {
        self.secret.as_ref()
    }

    /// What it answers to a challenge; `None` when it has no secret.
    #[must_use]
    pub fn answer(&self, challenge: &[u8]) -> Option<Answer> {
        self.secret.as_ref().map(|secret| secret.answer(challenge))
    }

    /// Reads the text of a card file: one card line; empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// See [`CardError`].
    pub fn from_file_text(text: &str) -> Result<Self, CardError> {
        let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        match (lines.next(), lines.next()) {
            (Some(line), None) => line.parse(),
            _ => Err(CardError::NotOne),
        }
    }

    /// The card as the line of a card file, its secret included.
    #[must_use]
    pub fn to_line(&self) -> Line {
        Line::new("card")
            .with("type", self.token.kind())
            .with("id", self.token.id())
            .with_some("secret", self.secret.as_ref().map(|secret| secret.to_hex().to_string()))
    }
}

impl FromStr for Card {
    type Err = CardError;
    /// Reads one card line, `card type=.. id=.. [secret=..]`; unknown keys are ignored.
    fn from_str(s: &str) -> Result<Self, CardError> {
        let line: Line = s.parse()?;
        line.expect("card")?;
        let (kind, id): (String, String) = (line.need("type")?, line.need("id")?);
        let secret = line.get("secret").map(str::parse).transpose()?;
        Self::new(Token::new(&kind, &id)?, secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEYED: &str = "card type=card id=4711 secret=000102030405060708090a0b0c0d0e0f";

    #[test]
    fn a_card_line_prints_and_reads_back() {
        for text in ["card type=mondex id=99.98", KEYED] {
            let card: Card = text.parse().unwrap();
            assert_eq!(card.to_line().to_string(), text);
        }
        assert_eq!(KEYED.parse::<Card>().unwrap().token().as_str(), "card.4711");
    }

    #[test]
    fn a_keyed_card_answers_with_hmac_sha256_and_a_plain_one_not_at_all() {
        let card: Card = KEYED.parse().unwrap();
        let answer = card.answer(b"challenge").unwrap();
        // Worked out with: printf challenge | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102..0f
        assert_eq!(hex::encode(&answer), "7d9b0ac971678d3e47de3a019244cb353f0bb8a0aec20b004cfc95cc2169a292");
        let secret = card.secret().unwrap();
        assert!(secret.is_answer(b"challenge", &answer));
        assert!(!secret.is_answer(b"another", &answer));
        assert!(!secret.is_answer(b"challenge", &answer[..31]));
        assert_eq!("card type=card id=1".parse::<Card>().unwrap().answer(b"challenge"), None);
    }

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        assert!(!format!("{:?}", KEYED.parse::<Card>().unwrap()).contains("0a0b"));
    }

    #[test]
    fn what_is_no_card_is_refused_with_its_reason() {
        let refused = |text: &str| text.parse::<Card>().unwrap_err();
        assert_eq!(refused("key type=card id=1"), CardError::Field(FieldError::NotThis("card")));
        assert_eq!(refused("card id=1"), CardError::Field(FieldError::Missing("type")));
        assert_eq!(refused("card type=pseudo id=1"), CardError::NotACard("pseudo".into()));
        assert_eq!(refused("card type=card id=1 secret=00"), CardError::Secret);
        assert!(matches!(refused("card type=card id=a/b"), CardError::Name(_)));
    }

    #[test]
    fn a_card_file_holds_one_card_and_any_remarks() {
        let card = Card::from_file_text(&format!("# Ann's card\n\n{KEYED}\n")).unwrap();
        assert_eq!(card, KEYED.parse().unwrap());
        assert_eq!(Card::from_file_text("# none\n"), Err(CardError::NotOne));
        assert_eq!(Card::from_file_text(&format!("{KEYED}\n{KEYED}\n")), Err(CardError::NotOne));
    }

    proptest! {
        #[test]
        fn reading_a_card_never_panics(text in "(card )?(type=\\PC{0,8} )?(id=\\PC{0,8} )?(secret=\\PC{0,40})?") {
            let _ = text.parse::<Card>();
            let _ = Card::from_file_text(&text);
        }
    }
}
