//! The record in the data store of which host made the session of a token.

use datastore::{Key, Prefix, StoreError, Value};
use proto::line::{FieldError, Line};
use proto::{BootId, Epoch, HostName, SessionId, Token};
use sessiond::template::Continuity;

/// Who made the session of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRecord {
    /// The session that has the token.
    pub session: SessionId,
    /// The host that made it.
    pub host: HostName,
    /// In which run.
    pub boot: BootId,
    /// The epoch of the session's home: it never falls.
    pub epoch: Epoch,
    /// Whether the session outlives its host: then its record says what became of it.
    pub is_replicated: bool,
}

impl ClaimRecord {
    /// Reads a claim from its value in the store.
    ///
    /// # Errors
    /// A missing or unusable field: another version wrote it.
    pub fn parse(value: &[u8]) -> Result<Self, FieldError> {
        let line = Line::parse(value).map_err(|_| FieldError::NotThis("claim"))?;
        line.expect("claim")?;
        Ok(Self {
            session: line.need("session")?,
            host: line.need("host")?,
            boot: line.need("boot")?,
            epoch: line.need("epoch")?,
            is_replicated: line.get("class") == Some(Continuity::Replicated.as_str()),
        })
    }

    /// Its value in the store.
    ///
    /// # Errors
    /// None that can happen: the text is short.
    pub fn value(&self) -> Result<Value, StoreError> {
        let line = Line::new("claim")
            .with("session", self.session)
            .with("host", &self.host)
            .with("boot", self.boot)
            .with("epoch", self.epoch)
            .with_some("class", self.is_replicated.then_some(Continuity::Replicated));
        stored(line.to_string().as_bytes())
    }

    /// Where the claim of a token lies.
    #[must_use]
    pub fn key(token: &Token) -> Option<Key> {
        Some(authmgr::admission::claim_key(token))
    }

    /// Where those of a token's other sessions lie.
    #[must_use]
    pub fn seconds(token: &Token) -> Option<Prefix> {
        format!("{}/", authmgr::admission::claim_key(token)).parse().ok()
    }

    /// Where the claim of a session lies that is not the one its token's claim names.
    #[must_use]
    pub fn second_key(token: &Token, session: SessionId) -> Option<Key> {
        format!("{}/{session}", authmgr::admission::claim_key(token)).parse().ok()
    }
}

pub(super) fn stored(bytes: &[u8]) -> Result<Value, StoreError> {
    Value::new(bytes).map_err(|too| StoreError::TooLarge {
        what: "value".into(),
        bytes: u32::try_from(too.bytes).unwrap_or(u32::MAX),
        max: Value::LEN_MAX as u32,
    })
}
