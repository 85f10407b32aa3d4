//! One decision about one presented token, as a value, and the table of its stages.
//!
//! ```text
//! Redeeming    → Admitting | Starting | Settled
//! Admitting    → Challenged | LookingUp | ReadingClaim | Starting | Waiting | Settled
//! Challenged   → LookingUp | Settled
//! LookingUp    → ReadingClaim | Starting | Settled
//! ReadingClaim → LookingUp | AskingRivals | Placing | ReadingRecord | Preparing | Starting | Waiting | Settled
//! AskingRivals → Preparing | Waiting | Settled
//! Placing      → ReadingRecord | Preparing | Waiting | Settled
//! ReadingRecord → Fetching | Preparing | Starting | Waiting | Settled
//! Fetching     → Preparing | Waiting | Settled
//! Preparing    → Recording | Claiming | Starting | Settled
//! Recording    → LookingUp | AskingRivals | Claiming | Starting | Waiting | Settled
//! Claiming     → LookingUp | AskingRivals | Starting | Waiting | Settled
//! Starting     → Settled
//! Waiting      → Admitting | LookingUp | ReadingClaim
//! ```

use authmgr::{Admitted, Presentation};
use datastore::Value;
use proto::{Epoch, Instant, Last, SessionId, Token};
use sessiond::manager::Restore;
use sessiond::template::Template;

use super::super::session_record::SessionRecord;
use super::super::step::{ClaimRead, LookupScope, PresentationId, Unasked};
use crate::directory::Found;
use crate::reach::Dtu;

/// Where a decision stands. Each stage is left by one kind of answer; those without a deadline wait for something that
/// has one itself.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// For the directory to say whether the grant of a ticket is good; of which session.
    Redeeming(Option<SessionId>),
    /// For the verdict of admission.
    Admitting,
    /// For the card; the gate has the deadline.
    Challenged,
    /// For other hosts; the directory has the deadline.
    LookingUp,
    /// For the claim to be read.
    ReadingClaim,
    /// For the directory to say who else asks for the token: there is no data store to decide.
    AskingRivals,
    /// For the host that takes the new session to be chosen.
    Placing(NewClaim),
    /// For the record of a session that outlives its home.
    ReadingRecord(NewClaim),
    /// For the host that keeps a copy of it.
    Fetching(NewClaim),
    /// For the template.
    Preparing(NewClaim),
    /// For the record of such a session to be written; the epoch is the one before.
    Recording(Box<Template>, NewClaim, Epoch),
    /// For the claim to be made.
    Claiming(Box<Template>),
    /// For the session to start; the session manager has the deadline.
    Starting(SessionId),
    /// For a host that may come back, for a lower one to go first, or for the data store.
    Waiting {
        /// When it is tried again.
        again_at: Instant,
    },
    /// Attached, denied or sent elsewhere. What was presented stays known, for an operator's "again".
    Settled,
}

/// How a session that is about to be made stands with the data store.
#[derive(Clone, Debug)]
pub(super) enum NewClaim {
    /// To be claimed, in the place of what was read.
    Swap {
        /// What was read.
        expected: Option<Value>,
        /// The epoch of that.
        epoch: Epoch,
        /// The session it names, if that may be gone on with.
        heir: Option<SessionId>,
    },
    /// The store is away.
    Unclaimed,
    /// The claim is another session's, which the DTU cannot reach.
    Beside,
}

/// A stage without what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Redeeming,
    Admitting,
    Challenged,
    LookingUp,
    ReadingClaim,
    AskingRivals,
    Placing,
    ReadingRecord,
    Fetching,
    Preparing,
    Recording,
    Claiming,
    Starting,
    Waiting,
    Settled,
}

use Kind::{
    Admitting, AskingRivals, Challenged, Claiming, Fetching, LookingUp, Placing, Preparing, ReadingClaim,
    ReadingRecord, Recording, Redeeming, Settled, Starting, Waiting,
};

/// The stages that each may become: the table above.
pub(in super::super) const EDGES: [(Kind, &[Kind]); 14] = [
    (Redeeming, &[Admitting, Starting, Settled]),
    (Admitting, &[Challenged, LookingUp, ReadingClaim, Starting, Waiting, Settled]),
    (Challenged, &[LookingUp, Settled]),
    (LookingUp, &[ReadingClaim, Starting, Settled]),
    (ReadingClaim, &[LookingUp, AskingRivals, Placing, ReadingRecord, Preparing, Starting, Waiting, Settled]),
    (AskingRivals, &[Preparing, Waiting, Settled]),
    (Placing, &[ReadingRecord, Preparing, Waiting, Settled]),
    (ReadingRecord, &[Fetching, Preparing, Starting, Waiting, Settled]),
    (Fetching, &[Preparing, Waiting, Settled]),
    (Preparing, &[Recording, Claiming, Starting, Settled]),
    (Recording, &[LookingUp, AskingRivals, Claiming, Starting, Waiting, Settled]),
    (Claiming, &[LookingUp, AskingRivals, Starting, Waiting, Settled]),
    (Starting, &[Settled]),
    (Waiting, &[Admitting, LookingUp, ReadingClaim]),
];

impl Stage {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Redeeming(_) => Redeeming,
            Self::Admitting => Admitting,
            Self::Challenged => Challenged,
            Self::LookingUp => LookingUp,
            Self::ReadingClaim => ReadingClaim,
            Self::AskingRivals => AskingRivals,
            Self::Placing(_) => Placing,
            Self::ReadingRecord(_) => ReadingRecord,
            Self::Fetching(_) => Fetching,
            Self::Preparing(_) => Preparing,
            Self::Recording(..) => Recording,
            Self::Claiming(_) => Claiming,
            Self::Starting(_) => Starting,
            Self::Waiting { .. } => Waiting,
            Self::Settled => Settled,
        }
    }

    /// Whether a decision may go from this stage to `next`.
    fn may_become(&self, next: &Self) -> bool {
        EDGES.iter().any(|(from, to)| *from == self.kind() && to.contains(&next.kind()))
    }
}

/// Something that is read before it is known to be needed, so that reads of the store that need not wait for each other
/// start together.
#[derive(Debug)]
pub(super) enum Early<T> {
    Asked,
    Known(T),
    /// It was used, is not good for anything, or was not asked for.
    Gone,
}

impl<T> Early<T> {
    /// An answer has come; none if it is not good for anything.
    pub(super) fn put(&mut self, answer: Option<T>) {
        if matches!(self, Self::Asked) {
            *self = answer.map_or(Self::Gone, Self::Known);
        }
    }
}

/// A session that this host is about to go on with.
#[derive(Clone, Debug)]
pub(super) struct Heir {
    pub(super) session: SessionId,
    /// Its record, as it was read.
    pub(super) read: Value,
    /// What that says.
    pub(super) record: SessionRecord,
    pub(super) restore: Restore,
}

/// A presented token, and what is decided about it.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) id: PresentationId,
    pub(super) presented: Presentation,
    /// Where the DTU can go.
    pub(super) dtu: Dtu,
    /// Whether another host decided it and sent the DTU here: then it is served here or denied.
    pub(super) bound: bool,
    pub(super) admitted: Option<Admitted>,
    pub(super) attempts: u32,
    /// How often the claim named a session that its host knew nothing of.
    pub(super) doubts: u32,
    pub(super) scope: LookupScope,
    /// Whether the last lookup left anybody out who could have been asked.
    pub(super) skips: bool,
    /// The session that this host is about to go on with.
    pub(super) heir: Option<Box<Heir>>,
    /// Whether it is of another session of a token, to which its claim does not point.
    pub(super) is_second: bool,
    /// Which session this host is to go on with though nobody presents its token.
    pub(super) unasked: Option<Box<Unasked>>,
    /// Since when the host that keeps a copy of it has not answered.
    pub(super) keeper_since: Option<Instant>,
    /// How often its kernel has refused the link, or broken it off.
    pub(super) keeper_refused: u32,
    /// What the last lookup found.
    pub(super) found: Option<Box<Found>>,
    /// The claim and the template that were asked for together with the token's record.
    pub(super) claim: Early<Box<ClaimRead>>,
    pub(super) template: Early<Box<Template>>,
    stage: Stage,
}

impl Decision {
    pub(super) fn new(id: PresentationId, presented: Presentation, dtu: Dtu, stage: Stage) -> Self {
        Self {
            id,
            presented,
            dtu,
            bound: false,
            admitted: None,
            attempts: 0,
            doubts: 0,
            scope: LookupScope::default(),
            skips: false,
            heir: None,
            is_second: false,
            unasked: None,
            keeper_since: None,
            keeper_refused: 0,
            found: None,
            claim: Early::Asked,
            template: Early::Asked,
            stage,
        }
    }

    pub(super) const fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Goes on to another stage, and returns the one before.
    pub(super) fn turn(&mut self, next: Stage) -> Stage {
        debug_assert!(self.stage.may_become(&next), "{:?} became {next:?}", self.stage);
        core::mem::replace(&mut self.stage, next)
    }

    /// Ends a wait. Returns when it would have ended.
    pub(super) const fn hurry(&mut self, now: Instant) -> Option<Instant> {
        match &mut self.stage {
            Stage::Waiting { again_at } => Some(core::mem::replace(again_at, now)),
            _ => None,
        }
    }

    pub(super) const fn due(&self) -> Option<Instant> {
        match self.stage {
            Stage::Waiting { again_at } => Some(again_at),
            _ => None,
        }
    }

    /// Whose sessions are looked for: those of the token, or of the one it is an alias of.
    pub(super) fn token(&self) -> &Token {
        self.admitted.as_ref().map_or(&self.presented.token, |admitted| &admitted.token)
    }

    /// Whether no DTU waits for it: it is tried once.
    pub(super) const fn is_unattended(&self) -> bool {
        self.is_second || self.unasked.is_some()
    }

    /// Whether the registry has a record of the token.
    pub(super) fn is_registered(&self) -> bool {
        self.admitted.as_ref().is_some_and(|admitted| admitted.registered)
    }

    /// The latest time of last connection that any host told of.
    pub(super) fn last_heard(&self) -> Last {
        let notes = self.found.iter().flat_map(|f| &f.answers).flat_map(|a| &a.sessions);
        notes.map(|note| note.last).max().unwrap_or_default()
    }
}
