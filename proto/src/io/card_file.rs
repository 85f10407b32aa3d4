//! Card files: a smart card for a DTU that is a program.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::card::{Card, CardError};
use zeroize::Zeroizing;

/// Largest card file, in bytes.
const FILE_MAX: u64 = 4 * 1024;

/// Why a card file cannot be made or read. The text names the file, the place in it and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum CardFileError {
    /// There is a file already. Nothing was changed: it may be somebody's card.
    #[error("{}: exists already, and a card that is overwritten is lost: choose another name", .0.display())]
    Exists(PathBuf),
    /// The file cannot be written.
    #[error("{}: {source}; choose a directory you may write to", path.display())]
    Write {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("{}: {source}; name a card file, as made by: authmgr card new FILE", path.display())]
    Read {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds no card.
    #[error("{}:{line}: {source}; make a card with: authmgr card new FILE", path.display())]
    Content {
        /// The file or directory concerned.
        path: PathBuf,
        /// In which line, from 1.
        line: usize,
        /// Why it holds none.
        source: CardError,
    },
}

/// Writes a new card file that only its owner may read: for a plain card the id is all that is needed to get
/// at its session, for a keyed one the secret is.
///
/// # Errors
/// See [`CardFileError`]; nothing is overwritten, and a file that could not be written whole is removed.
pub fn write_new(path: &Path, card: &Card) -> Result<(), CardFileError> {
    let fail = |source| CardFileError::Write { path: path.into(), source };
    let mut file = match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(CardFileError::Exists(path.into()));
        }
        Err(error) => return Err(fail(error)),
    };
    let text = Zeroizing::new(format!(
        "# A Hotdesk card. Whoever has this file has the card.\n{}\n",
        card.to_line()
    ));
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        drop(fs::remove_file(path));
        fail(error)
    })
}

/// Reads a card file.
///
/// # Errors
/// See [`CardFileError`].
pub fn read(path: &Path) -> Result<Card, CardFileError> {
    let fail = |source| CardFileError::Read { path: path.into(), source };
    let mut bytes = Zeroizing::new(Vec::new());
    fs::File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes)).map_err(fail)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| fail(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    Card::from_file_text(text).map_err(|source| {
        let is_said = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
        // Of a file with several cards, the second is the one too many.
        let at = if source == CardError::NotOne { 1 } else { 0 };
        let said = text.lines().enumerate().filter(|(_, line)| is_said(line)).nth(at);
        CardFileError::Content { path: path.into(), line: said.map_or(1, |(number, _)| number + 1), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const KEYED: &str = "card type=card id=4711 secret=000102030405060708090a0b0c0d0e0f";

    #[test]
    fn a_card_file_is_its_owners_alone_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ann.card");
        let card: Card = KEYED.parse().unwrap();
        write_new(&path, &card).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap(), card);
        let before = fs::read(&path).unwrap();
        let error = write_new(&path, &card).unwrap_err();
        assert!(matches!(error, CardFileError::Exists(_)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn what_is_wrong_with_a_card_file_is_said_with_its_place_and_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.card");
        for (content, wanted) in [
            ("# hello\n\ncard type=card id=1 secret=12\n", "x.card:3: secret is not 32 hex digits"),
            ("card type=card id=1\ncard type=card id=2\n", "x.card:2: a card file holds exactly one line"),
            ("", "x.card:1: a card file holds exactly one line"),
            ("card type=user id=ann\n", "x.card:1: type \"user\" is not a card's"),
        ] {
            fs::write(&path, content).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.ends_with("authmgr card new FILE"), "{error}");
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(read(&path), Err(CardFileError::Read { .. })));
        let error = read(&dir.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none: No such file"), "{error}");
    }
}
