//! Why a command was not done, and what all commands do alike with files and standard output.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use proto::card::{Card, CardError};
use proto::exit::Exit;

use crate::io::control::ClientError;
use crate::io::trust::TrustError;

/// Why a command was not done. The text names the remedy.
#[derive(Debug, thiserror::Error)]
pub(in crate::io) enum CliError {
    #[error("{}: {source}; a card file is made with: authmgr card new FILE", path.display())]
    CardFile { path: PathBuf, source: io::Error },
    #[error("{}: {source}; make a card file with: authmgr card new FILE", path.display())]
    Card { path: PathBuf, source: CardError },
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(
        "by what shall hosts be known? Give --ca FILE (the group's ca.pem), --fingerprint HEX, or set \
         HOTDESK_CA; --plain trusts anybody"
    )]
    NoTrust,
    #[error("--server {name}: {what}; give an IPv4 address or a name that has one")]
    Server { name: String, what: String },
    #[error("{0} is not an address of this machine; see `ip address`, and give one of its own with --bind")]
    Bind(std::net::Ipv4Addr),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("boot shows the session in this terminal, and this is none; use --headless")]
    NoTerminal,
    #[error("{0}")]
    Limit(String),
    #[error("{0}")]
    NotSo(String),
    #[error("{0}")]
    Here(io::Error),
    #[error("{}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl CliError {
    pub(super) const fn exit(&self) -> Exit {
        match self {
            Self::NotSo(_) | Self::Client(ClientError::Refused(_)) => Exit::No,
            Self::CardFile { .. }
            | Self::Card { .. }
            | Self::Trust(_)
            | Self::NoTrust
            | Self::Server { .. }
            | Self::Bind(_)
            | Self::Client(ClientError::Which(_)) => Exit::Usage,
            Self::Client(_) => Exit::Nobody,
            Self::NoTerminal | Self::Limit(_) | Self::Here(_) | Self::Write { .. } => Exit::Machine,
        }
    }
}

/// Reads a card file; the card as one line.
pub(in crate::io) fn read_card(path: &Path) -> Result<String, CliError> {
    const CARD_FILE_MAX: u64 = 64 * 1024;
    let file = |source| CliError::CardFile { path: path.to_path_buf(), source };
    if std::fs::metadata(path).map_err(file)?.len() > CARD_FILE_MAX {
        return Err(file(io::Error::new(io::ErrorKind::InvalidData, "too large for a card file")));
    }
    let text = std::fs::read_to_string(path).map_err(file)?;
    let card =
        Card::from_file_text(&text).map_err(|source| CliError::Card { path: path.to_path_buf(), source })?;
    Ok(card.to_line().to_string())
}

/// Writes to standard output. A reader that has gone away is no error: `| head` is a fair thing to do.
pub(super) fn print(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Here(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_card_file_is_refused_with_its_name_and_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ann.card");
        for content in ["", "card type=card", "card type=card id=1 secret=zz"] {
            std::fs::write(&path, content).unwrap();
            let text = read_card(&path).unwrap_err().to_string();
            assert!(text.contains("ann.card: ") && text.contains("authmgr card new"), "{text}");
        }
        std::fs::write(&path, "# Ann\ncard type=card id=1\n").unwrap();
        assert_eq!(read_card(&path).unwrap(), "card type=card id=1");
    }
}
