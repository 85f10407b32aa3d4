//! How what goes wrong at a DTU ends a command, and what all commands read.

use std::path::Path;

use proto::io::card_file;
use proto::io::cli::Failure;

use crate::io::control::ClientError;
use crate::io::own_key::OwnKeyError;
use crate::io::trust::TrustError;

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        Self::usage(error)
    }
}

impl From<OwnKeyError> for Failure {
    fn from(error: OwnKeyError) -> Self {
        Self::usage(error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(_) => Self::no(error),
            ClientError::Which(_) => Self::usage(error),
            _ => Self::nobody(error),
        }
    }
}

/// Reads a card file; the card as one line.
pub(crate) fn read_card(path: &Path) -> Result<String, Failure> {
    let card = card_file::read(path).map_err(Failure::usage)?;
    Ok(card.to_line().to_string())
}
