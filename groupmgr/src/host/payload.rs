//! What steps carry: who wants something, questions, and answers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use authmgr::{Admitted, CardChallenge, Denial, Verdict};
use continuity::Encoded;
use datastore::{StoreError, Value};
use proto::frame::Size;
use proto::net::IfName;
use proto::time::Duration;
use proto::{Epoch, HostName, KeyId, Last, Nonce, Serial, SessionId, Token, TokenTag};
use sessiond::control::Part;
use sessiond::manager::Claim;
use sessiond::template::Replication;

use super::claim_record::ClaimRecord;
use super::driver::{AdminReq, ConnId};
use super::session_record::SessionRecord;
use crate::reach::Dtu;

/// Names one decision about one presented token. Never used twice: what comes for one that is over is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PresentationId {
    /// Where it is presented.
    pub(super) conn: ConnId,
    pub(super) number: u64,
}

/// Who wants something that presentations and operators want alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asker {
    Presentation(PresentationId),
    Operator(AdminReq),
}

/// A tokenQ of a member of the group.
#[derive(Debug)]
pub(super) struct TokenQuestion {
    pub(super) from: HostName,
    /// On which interface it came, and where it is answered to.
    pub(super) iface: IfName,
    pub(super) to: SocketAddrV4,
    pub(super) seq: u64,
    pub(super) nonce: Nonce,
    pub(super) tagged: KeyId,
    pub(super) token: TokenTag,
}

/// Whom a lookup asks beside those who may have a session by their digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum LookupScope {
    /// Nobody, but for hosts to choose among for a new session.
    #[default]
    Digests,
    /// The host that the claim names: a digest may lag behind the session by a moment, its claim does not.
    Named(HostName),
    /// Everybody: there is no data store that would tell of a session made a moment ago.
    Everybody,
}

/// A question for the sessions of a token.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) id: PresentationId,
    pub(super) token: Token,
    /// For whom: only hosts that it can reach are asked.
    pub(super) dtu: Dtu,
    /// A host that it could not reach.
    pub(super) avoid: Option<HostName>,
    pub(super) scope: LookupScope,
}

/// What admission says of a token.
#[derive(Debug)]
pub(super) enum Judgement {
    Admit(Admitted),
    /// When its card proves its secret.
    Challenge(Box<CardChallenge>),
    Refuse(Denial),
    /// The policy is not read yet, just after the start.
    NotYet,
}

impl From<Verdict> for Judgement {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Admit(admitted) => Self::Admit(admitted),
            Verdict::Challenge(challenge) => Self::Challenge(Box::new(challenge)),
            Verdict::Refuse(denial) => Self::Refuse(denial),
        }
    }
}

impl From<Result<Admitted, Denial>> for Judgement {
    fn from(result: Result<Admitted, Denial>) -> Self {
        match result {
            Ok(admitted) => Self::Admit(admitted),
            Err(denial) => Self::Refuse(denial),
        }
    }
}

/// A session that is over, and no longer in the table.
#[derive(Clone, Debug)]
pub(super) struct EndedSession {
    pub(super) session: SessionId,
    pub(super) token: Token,
    /// The address of the desk that had it made, when nobody registered the token.
    pub(super) guest: Option<Ipv4Addr>,
    /// How long it was known.
    pub(super) lived: Duration,
    /// Why, for a person.
    pub(super) why: String,
    /// Whether it could not be started.
    pub(super) failed: bool,
}

/// A claim that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    pub(super) id: PresentationId,
    pub(super) token: Token,
    pub(super) session: SessionId,
    /// What was read.
    pub(super) expected: Option<Value>,
    /// The epoch of that.
    pub(super) epoch: Epoch,
    pub(super) is_replicated: bool,
    /// Whether the session had a home before.
    pub(super) is_heir: bool,
}

/// A record that is to be written, before the claim that points to it.
#[derive(Clone, Debug)]
pub(super) struct TakeOver {
    pub(super) id: PresentationId,
    pub(super) session: SessionId,
    /// What was read; none of a new session.
    pub(super) expected: Option<Value>,
    pub(super) record: SessionRecord,
}

/// A session that this host keeps and is to go on with, though nobody presents its token here.
#[derive(Clone, Debug)]
pub(super) struct Unasked {
    pub(super) session: SessionId,
    pub(super) token: Token,
    /// Its home so far, and the epoch of that.
    pub(super) home: HostName,
    pub(super) epoch: Epoch,
    /// Whether that home has handed it over. If not, it goes on only if the home is gone.
    pub(super) is_handed_over: bool,
}

/// A session runs here of which another host is to keep a copy.
#[derive(Debug)]
pub(super) struct Began {
    pub(super) session: SessionId,
    pub(super) token: Token,
    /// What it waits for.
    pub(super) replication: Replication,
    pub(super) epoch: Epoch,
    /// Who has all of it from an earlier home, or an earlier run of this one.
    pub(super) secondary: Option<HostName>,
}

/// What became of a change of who keeps a copy of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    /// It stands in the record.
    Done,
    /// The session has another home.
    Lost,
    /// The store could not be asked, or what became of it is not known.
    Away,
}

/// The epoch of a session by its record, and the host that has to keep something of it; none if there is no record. The
/// error says that it could not be asked.
pub(super) type LookedUp = Result<Option<(Epoch, Option<HostName>)>, StoreError>;

/// A record as the data store has it, and what it says; none if there is none, or another version wrote it. The error
/// says that it could not be asked.
pub(super) type ReadRecord = Result<Option<(Value, SessionRecord)>, StoreError>;

/// What the data store has of a token's claim. The error says that it could not be asked.
pub(super) type ReadClaim = Result<ClaimRead, StoreError>;

/// A claim that was read.
#[derive(Debug, Default)]
pub(super) struct ClaimRead {
    pub(super) value: Option<Value>,
    /// None if there is no claim, or another version wrote it.
    pub(super) record: Option<ClaimRecord>,
    /// Whether this host is making a claim of that very session.
    pub(super) is_being_made: bool,
}

/// What a claim that was asked for came to.
#[derive(Debug)]
pub(super) enum Taken {
    Won,
    /// Somebody else was quicker.
    Lost,
    /// The store could not be asked, or what became of it is not known.
    Away,
}

/// The objects of a session that is taken over, or why they cannot be had.
pub(super) type Fetched = Result<Box<BTreeMap<Part, Encoded>>, NotFetched>;

/// Why the objects of a session cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotFetched {
    /// Its keeper has none: it has begun anew since.
    Nothing,
    /// Its keeper knows a later primary: somebody else was quicker.
    Stale,
    /// Its keeper cannot be reached.
    Lost,
    /// Its keeper does not answer.
    Late,
    /// Its keeper has not sent what it said.
    Incomplete,
    /// Too many are being fetched here, or this one from elsewhere.
    Busy,
}

/// A session that was to be made, and was not.
#[derive(Debug)]
pub(super) struct NotMade {
    pub(super) session: SessionId,
    pub(super) token: Token,
    pub(super) claim: Claim,
    pub(super) epoch: Epoch,
    pub(super) guest: Option<Ipv4Addr>,
    /// Whether it had a home before.
    pub(super) is_heir: bool,
}

/// A session that is to be shown at a DTU.
#[derive(Debug)]
pub(super) struct Attach {
    pub(super) conn: ConnId,
    pub(super) token_seq: u32,
    pub(super) session: SessionId,
    pub(super) serial: Serial,
    pub(super) dtu: Dtu,
    pub(super) size: Size,
    /// The latest time of last connection that any host told of.
    pub(super) last_heard: Last,
}
