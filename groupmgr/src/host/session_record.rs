//! The record in the data store of a session: what it is, and where its home is.
//!
//! A session has one as soon as it has an epoch, and keeps it through all of its homes. The claim of a token points to one of them.

use datastore::{Key, StoreError, Value};
use proto::line::{FieldError, Line};
use proto::{BootId, Epoch, HostName, SessionId, Token, WallTime};
use sessiond::manager::Session;
use sessiond::template::Continuity;

use super::claim_record::{ClaimRecord, stored};

/// What a session is, and where its home is. Everybody who changes it swaps exactly what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Whose it is.
    pub token: Token,
    /// The name of its template.
    pub name: String,
    /// How far its state outlives its home.
    pub class: Continuity,
    /// The host that runs it.
    pub home: HostName,
    /// In which run.
    pub boot: BootId,
    /// The epoch of that home: it never falls.
    pub epoch: Epoch,
    /// The host that keeps copies of its state and has all of it, if there is one.
    pub secondary: Option<HostName>,
    /// Copies of an earlier epoch are not taken up.
    pub floor: Option<Epoch>,
    /// When nobody need keep it any longer, if ever.
    pub expiry: Option<WallTime>,
}

impl SessionRecord {
    /// The record of a session that this host runs, in this run.
    #[must_use]
    pub(super) fn of(home: &HostName, boot: BootId, session: &Session) -> Self {
        Self {
            token: session.token.clone(),
            name: session.template.clone(),
            class: if session.is_replicated() { session.continuity } else { Continuity::Restart },
            home: home.clone(),
            boot,
            epoch: session.epoch,
            secondary: None,
            floor: None,
            expiry: None,
        }
    }

    /// Reads a record from its value in the store.
    ///
    /// # Errors
    /// A missing or unusable field: another version wrote it.
    pub fn parse(value: &[u8]) -> Result<Self, FieldError> {
        let line = Line::parse(value).map_err(|_| FieldError::NotThis("session"))?;
        line.expect("session")?;
        Ok(Self {
            token: line.need("token")?,
            name: line.need("name")?,
            class: line.need("class")?,
            home: line.need("host")?,
            boot: line.need("boot")?,
            epoch: line.need("epoch")?,
            secondary: line.lenient("secondary"),
            floor: line.lenient("floor"),
            expiry: line.lenient("expiry").map(WallTime::from_secs),
        })
    }

    /// Its value in the store.
    ///
    /// # Errors
    /// None that can happen: the text is short.
    pub fn value(&self) -> Result<Value, StoreError> {
        let line = Line::new("session")
            .with("token", &self.token)
            .with("name", &self.name)
            .with("class", self.class)
            .with("host", &self.home)
            .with("boot", self.boot)
            .with("epoch", self.epoch)
            .with_some("secondary", self.secondary.as_ref())
            .with_some("floor", self.floor)
            .with_some("expiry", self.expiry.map(WallTime::as_secs));
        stored(line.to_string().as_bytes())
    }

    /// Whether another host can go on with it when its home is gone.
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        self.class == Continuity::Replicated
    }

    /// What a person is told when nobody can go on with it.
    #[must_use]
    pub(super) fn unkept(&self) -> String {
        format!("host {} is gone, and no other had a copy", self.home)
    }

    /// The same as a claim says it: whether its home lives is judged alike.
    #[must_use]
    pub(super) fn as_claim(&self, session: SessionId) -> ClaimRecord {
        let (host, boot, epoch) = (self.home.clone(), self.boot, self.epoch);
        ClaimRecord { session, host, boot, epoch, is_replicated: self.is_replicated() }
    }

    /// Where the record of a session lies.
    #[must_use]
    pub fn key(session: SessionId) -> Option<Key> {
        format!("{SESSIONS}{session}").parse().ok()
    }

    /// Whose record lies under a key.
    #[must_use]
    pub fn session_of(key: &Key) -> Option<SessionId> {
        key.as_str().strip_prefix(SESSIONS)?.parse().ok()
    }
}

/// Under what all records lie.
pub(super) const SESSIONS: &str = "session/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_fields_of_later_versions_are_read_past() {
        let record = SessionRecord {
            token: "card.ann".parse().unwrap(),
            name: "default".into(),
            class: Continuity::Replicated,
            home: "h1".parse().unwrap(),
            boot: BootId(7),
            epoch: Epoch { generation: 1, counter: 2 },
            secondary: Some("h2".parse().unwrap()),
            floor: Some(Epoch { generation: 1, counter: 1 }),
            expiry: Some(WallTime::from_secs(1_700_000_000)),
        };
        let value = record.value().unwrap();
        assert_eq!(SessionRecord::parse(value.as_bytes()).unwrap(), record);
        let later = [value.as_bytes(), b" colour=red"].concat();
        assert_eq!(SessionRecord::parse(&later).unwrap(), record);
        let bare = SessionRecord { secondary: None, floor: None, expiry: None, ..record };
        assert_eq!(SessionRecord::parse(bare.value().unwrap().as_bytes()).unwrap(), bare);
        assert!(SessionRecord::parse(b"session token=card.ann").is_err());
    }
}
