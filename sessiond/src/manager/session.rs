//! One session of this host, as its daemon knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use proto::line::{FieldError, Line};
use proto::time::Duration;
use proto::{Epoch, Instant, Last, Serial, ServiceName, SessionId, Token};

use super::{Restore, SessionEffect, Sessions};
use crate::control::{Acknowledged, Beginning, Bytes, Fingerprint, Protection, ServiceState, ToSession};
use crate::template::{Continuity, Protect, Replication};

/// How a session stands with the data store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The data store says that it is the token's session.
    Held,
    /// The data store could not be asked when it was made.
    Unclaimed,
    /// The data store names another one: it was made on another side of a partition, or beside a session
    /// that its DTU could not reach.
    Superseded,
}

impl Claim {
    const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Unclaimed => "unclaimed",
            Self::Superseded => "superseded",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Held, Self::Unclaimed, Self::Superseded].into_iter().find(|claim| claim.word() == word)
    }
}

/// Where a session is in its life.
///
/// ```text
///   Queued ─ its turn ─▶ Starting
///   Starting ── Ready ──▶ Running ── end ──▶ Ending ── exited ──▶ (gone)
///   TakenUp ─ Described ──▲  │ exited, Ended ──────────────────────▲
///      │ 5 s                 └──────────────────────────────────────┘
///      └────▶ Ending
/// ```
///
/// One without services runs from its beginning, and is gone when it is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionPhase {
    /// Others start before it.
    Queued,
    /// Its process was asked for.
    Starting {
        /// When it is given up.
        give_up_at: Instant,
    },
    /// It was made for an earlier daemon and was asked what it is.
    TakenUp {
        /// When it is given up.
        give_up_at: Instant,
    },
    /// It can be attached.
    Running,
    /// It was told to end.
    Ending {
        /// When it is killed.
        kill_at: Instant,
    },
}

impl SessionPhase {
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Starting { give_up_at } | Self::TakenUp { give_up_at } => Some(give_up_at),
            Self::Ending { kill_at } => Some(kill_at),
            Self::Running | Self::Queued => None,
        }
    }

    /// The same with its deadline so much later.
    pub(super) fn postponed(self, by: Duration) -> Self {
        match self {
            Self::Starting { give_up_at } => Self::Starting { give_up_at: give_up_at + by },
            Self::TakenUp { give_up_at } => Self::TakenUp { give_up_at: give_up_at + by },
            Self::Ending { kill_at } => Self::Ending { kill_at: kill_at + by },
            Self::Running | Self::Queued => self,
        }
    }

    /// The word an operator reads.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "in line",
            Self::Starting { .. } => "starting",
            Self::TakenUp { .. } => "taken up",
            Self::Running => "running",
            Self::Ending { .. } => "ending",
        }
    }
}

/// One session of this host.
#[derive(Clone, Debug)]
pub struct Session {
    /// The session's id, drawn at random when it was made.
    pub id: SessionId,
    /// The token that it belongs to.
    pub token: Token,
    /// Under whose name its permanent data lies.
    pub owner: String,
    /// The epoch of its claim.
    pub epoch: Epoch,
    /// How far its state outlives this host.
    pub continuity: Continuity,
    /// What it waits for if it is replicated.
    pub replication: Replication,
    /// When it was last connected.
    pub last: Last,
    /// How it stands with the data store.
    pub claim: Claim,
    /// The address of the desk that had it made, when nobody registered the token.
    pub guest: Option<Ipv4Addr>,
    /// Where it is in its life.
    pub phase: SessionPhase,
    /// The DTU it is shown at.
    pub shown: Option<Serial>,
    /// When this daemon first knew of it.
    pub since: Instant,
    /// The name of its template.
    pub template: String,
    /// Whether the data store is known to have, or to have had, a record of it in its epoch's generation. Of one that is
    /// replicated the next daemon knows it, too.
    pub is_recorded: bool,
    /// How long its secondary has taken to acknowledge what its programs commit.
    pub acknowledged: Option<Acknowledged>,
    /// What its process goes on with, until that is told.
    pub(super) restore: Option<Box<Restore>>,
    /// Whether there is a process of its own: what has no services needs none.
    pub(super) has_process: bool,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) displays: Vec<ServiceName>,
    pub(super) services: BTreeMap<ServiceName, ServiceState>,
    /// Those that were told to start or to end and have not said yet what came of it.
    pub(super) unsettled: BTreeSet<ServiceName>,
}

/// Why a session is no longer there, for a person.
pub(super) enum Why {
    /// It could not be started.
    Failed(String),
    /// It had been there.
    Over(String),
}

impl Why {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Failed(text) | Self::Over(text) => text,
        }
    }
}

impl Session {
    /// Whether a DTU can be shown it now.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.phase, SessionPhase::Running)
    }

    /// Whether a DTU can be shown it, now or as soon as it has started.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        matches!(self.phase, SessionPhase::Running | SessionPhase::Starting { .. } | SessionPhase::Queued)
    }

    /// The fingerprint of its certificate, once it runs.
    #[must_use]
    pub fn fingerprint(&self) -> Option<[u8; 32]> {
        self.fingerprint.map(|f| f.0)
    }

    /// Those of its services that a DTU can show, in the order of the template.
    #[must_use]
    pub fn displays(&self) -> &[ServiceName] {
        &self.displays
    }

    /// Its services and how they stand, in the order of their names.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, &ServiceState)> {
        self.services.iter()
    }

    /// Whether a service was told to start or to end and has not said yet what came of it.
    #[must_use]
    pub fn is_unsettled(&self, service: &ServiceName) -> bool {
        self.unsettled.contains(service)
    }

    /// Whether another host is to keep what it needs to go on.
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        self.continuity == Continuity::Replicated && self.has_process
    }

    /// Has its process begin, with what another host has left of it.
    pub(super) fn begin(&mut self, out: &mut Vec<SessionEffect>) {
        let restore = self.restore.take().map(|restore| *restore);
        let is_kept_elsewhere = restore.as_ref().is_some_and(|restore| restore.is_kept_elsewhere);
        let is_held = self.replication.protect == Protect::Must || is_kept_elsewhere;
        let protection = if is_held { Protection::Held } else { Protection::Alone };
        let Restore { objects, lost, is_moved, .. } = restore.unwrap_or_default();
        for (part, object) in objects {
            let object = Bytes(object.as_bytes().to_vec());
            tell(self, out, || ToSession::Restore { part, object });
        }
        if is_moved {
            tell(self, out, || ToSession::Moved);
        }
        let beginning = Beginning { epoch: self.epoch, lost, protection };
        tell(self, out, || ToSession::Begin(Box::new(beginning)));
    }

    /// What the next daemon must know of it beyond its spec.
    pub(super) fn meta(&self) -> Bytes {
        let replication = Some(&self.replication).filter(|_| self.is_replicated());
        let line = Line::new("session")
            .with("owner", &self.owner)
            .with("epoch", self.epoch)
            .with("last", self.last)
            .with("claim", self.claim.word())
            .with_some("ack", replication.map(|replication| replication.ack))
            .with_some("protect", replication.map(|replication| replication.protect.as_str()))
            .with_some("recorded", replication.filter(|_| self.is_recorded).map(|_| 1))
            .with_some("promote", replication.map(|replication| replication.promote.as_str()))
            .with("template", &self.template)
            .with_some("guest", self.guest);
        Bytes(line.to_string().into_bytes())
    }

    pub(super) fn read_meta(&mut self, meta: &[u8]) -> Result<(), FieldError> {
        let line = Line::parse(meta).map_err(|_| FieldError::NotThis("session"))?;
        line.expect("session")?;
        self.owner = line.need("owner")?;
        self.epoch = line.need("epoch")?;
        self.last = line.need("last")?;
        self.guest = line.lenient("guest");
        self.replication.ack = line.lenient("ack").unwrap_or_default();
        self.replication.protect = line.lenient("protect").unwrap_or_default();
        self.is_recorded = line.lenient("recorded") == Some(1);
        self.replication.promote = line.lenient("promote").unwrap_or_default();
        self.template = line.get("template").unwrap_or("default").to_owned();
        self.claim = line.get("claim").and_then(Claim::from_word).unwrap_or(Claim::Unclaimed);
        Ok(())
    }
}

impl Sessions {
    /// This daemon was not run for so long, and perhaps the whole machine: no session process is given up for what it
    /// could not do or say meanwhile.
    pub fn was_away(&mut self, away: Duration) {
        self.due = self.due.iter().map(|(at, id)| (*at + away, *id)).collect();
        for session in self.table.values_mut() {
            session.phase = session.phase.postponed(away);
        }
    }

    /// From now on it waits for something else than its template says.
    pub fn set_replication(&mut self, id: SessionId, replication: Replication, out: &mut Vec<SessionEffect>) {
        if let Some(session) = self.table.get_mut(&id) {
            session.replication = replication;
            tell(session, out, || ToSession::SetMeta(session.meta()));
        }
    }

    /// The data store has its record.
    pub fn note_recorded(&mut self, id: SessionId, out: &mut Vec<SessionEffect>) {
        let Some(session) = self.table.get_mut(&id).filter(|session| !session.is_recorded) else { return };
        session.is_recorded = true;
        if session.is_running() && session.is_replicated() {
            tell(session, out, || ToSession::SetMeta(session.meta()));
        }
    }

    /// The token of a guest's session was registered: it is a guest's no more. Its process is told when it is attached.
    pub fn adopt(&mut self, id: SessionId) {
        if let Some(session) = self.table.get_mut(&id) {
            session.guest = None;
        }
    }
}

/// Tells a session's process something, if there is one.
pub(super) fn tell(session: &Session, out: &mut Vec<SessionEffect>, what: impl FnOnce() -> ToSession) {
    if session.has_process {
        out.push(SessionEffect::Tell(session.id, Box::new(what())));
    }
}

/// Every change of phase passes here, so that deadlines and phases agree.
pub(super) fn turn(due: &mut BTreeSet<(Instant, SessionId)>, session: &mut Session, next: SessionPhase) {
    if let Some(at) = session.phase.deadline() {
        due.remove(&(at, session.id));
    }
    session.phase = next;
    if let Some(at) = next.deadline() {
        due.insert((at, session.id));
    }
}
