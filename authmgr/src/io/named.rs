//! How an operator names a card on a command line: by its file or by its token, told apart by how the word is written
//! and never by what happens to be on the disk.

use std::ffi::OsStr;
use std::path::Path;

use proto::Token;
use proto::ids::BadName;
use proto::io::card_file::{self, CardFileError};

use crate::registry::Named;

/// Said before a token whose type is none of [`PLAIN_KINDS`].
const TOKEN_PREFIX: &str = "token:";
/// Types of tokens that may be written without [`TOKEN_PREFIX`].
const PLAIN_KINDS: [&str; 3] = ["card", "pseudo", "user"];

/// Why a word names no card. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum NamedError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] CardFileError),
    /// It begins like a token and is none.
    #[error(transparent)]
    Token(#[from] BadName),
    /// It is written like neither.
    #[error(
        "{0:?} is neither a card's file nor a token: a file has a slash in its path or ends in .card; a token is written \
         card.ID, pseudo.SERIAL or user.NAME, and one of another card type token:TYPE.ID"
    )]
    Neither(String),
}

/// Reads what an operator wrote.
///
/// A word with a slash in it, or one that ends in `.card`, is a file, which must exist; `token:TYPE.ID` is a token, and
/// so is what begins with `card.`, `pseudo.` or `user.`.
///
/// # Errors
/// See [`NamedError`].
pub fn named(word: &OsStr) -> Result<Named, NamedError> {
    let text = word.to_string_lossy();
    if let Some(token) = text.strip_prefix(TOKEN_PREFIX) {
        return Ok(Named::Token(token.parse()?));
    }
    if text.contains('/') || text.ends_with(".card") {
        let card = card_file::read(Path::new(word))?;
        return Ok(Named::Card(card.token().clone(), card.secret().cloned()));
    }
    let is_token = text.split_once('.').is_some_and(|(kind, _)| PLAIN_KINDS.contains(&kind));
    if is_token { Ok(Named::Token(text.parse()?)) } else { Err(NamedError::Neither(text.into_owned())) }
}

/// A token as [`named`] reads it back.
#[must_use]
pub fn written(token: &Token) -> String {
    let is_plain = PLAIN_KINDS.contains(&token.kind()) && !token.as_str().ends_with(".card");
    if is_plain { token.to_string() } else { format!("{TOKEN_PREFIX}{token}") }
}

/// A path as [`named`] reads it back.
#[must_use]
pub fn written_file(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains('/') || text.ends_with(".card") { text } else { format!("./{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(word: &str) -> Option<String> {
        named(OsStr::new(word)).ok().map(|named| named.token().to_string())
    }

    #[test]
    fn a_word_is_a_file_or_a_token_by_how_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("anything");
        std::fs::write(&path, "card type=card id=9\n").unwrap();
        assert_eq!(token(path.to_str().unwrap()).as_deref(), Some("card.9"));
        assert_eq!(token("card.7").as_deref(), Some("card.7"));
        assert_eq!(token("pseudo.080020000001").as_deref(), Some("pseudo.080020000001"));
        assert_eq!(token("token:mondex.4711").as_deref(), Some("mondex.4711"));
        assert_eq!(token("token:ann.card").as_deref(), Some("ann.card"));
        for neither in ["ann.card", "ann", "mondex.4711", "./card.7", "", "token:", "card.", "."] {
            assert_eq!(token(neither), None, "{neither:?}");
        }
    }

    #[test]
    fn a_card_file_that_is_missing_is_named_as_a_file() {
        let error = named(OsStr::new("ann.card")).unwrap_err().to_string();
        assert!(error.starts_with("ann.card: No such file"), "{error}");
        let error = named(OsStr::new("ann.crd")).unwrap_err().to_string();
        assert!(error.contains("neither a card's file nor a token"), "{error}");
    }

    #[test]
    fn what_is_printed_can_be_typed_again() {
        for text in ["card.7", "mondex.4711", "ann.card", "card.card", "user.ann"] {
            let of: Token = text.parse().unwrap();
            assert_eq!(token(&written(&of)).as_deref(), Some(text));
        }
        assert_eq!(written_file(Path::new("ann")), "./ann");
        assert_eq!(written_file(Path::new("ann.card")), "ann.card");
    }
}
