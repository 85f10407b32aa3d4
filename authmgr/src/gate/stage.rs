//! Where a DTU's connection stands, and from where it may go where.

use core::fmt;

use proto::{HostName, Instant, Token};

use super::words::CloseReason;
use crate::challenge::CardChallenge;

/// Where a DTU's connection stands.
///
/// ```text
///   Fresh ─────────insert─────▶ Judging ───grant───▶ Offered ───connRsp───▶ Shown
///     │                         ▲  ▲ │                ▲ │ ▲                  │ │
///     │ remove                  │  │ │ deny           │ │ └───grant again────┘ │
///     ▼                         │  │ ▼                │ │ refusal              │ disconnect
///   Vacant ─────────insert──────┘  │ Idle ◀───────────┼─┴──────────────────────┘
///                                  │ │ └────grant─────┘
///                          answer  │ │ challenge (also of Judging, Offered and Shown)
///                                  │ ▼
///                                Challenged ──deny──▶ Idle
///
///   every stage with a token ── remove ──▶ Vacant
///                            ── insert ──▶ Judging, or Vacant when what is inserted is no token
///   every stage ── redirect, or the host goes ──▶ Leaving ── discReq, or time ──▶ Closed
///               ── expiry, discReq, end of file ──▶ Closed
///   Leaving, by a redirect ── insert ──▶ as any insert
///                          ── redirectError ──▶ Judging
/// ```
///
/// A token is in the DTU in `Judging`, `Challenged`, `Idle`, `Offered` and `Shown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GateStage {
    /// Connected; nothing was presented yet.
    Fresh,
    /// No token is there, or none that could get a session.
    Vacant,
    /// A token is there; the holder of the gate decides about it.
    Judging,
    /// Its card was asked to prove its secret.
    Challenged,
    /// It is there, and nothing is shown: denied, refused by the DTU, or disconnected.
    Idle,
    /// The DTU was granted a session and has not taken it yet.
    Offered,
    /// A session is shown.
    Shown,
    /// The DTU was told to go elsewhere.
    Leaving,
    /// The connection is over.
    Closed,
}

impl GateStage {
    /// Every stage, in the order of the diagram.
    pub const ALL: [Self; 9] = [
        Self::Fresh,
        Self::Vacant,
        Self::Judging,
        Self::Challenged,
        Self::Idle,
        Self::Offered,
        Self::Shown,
        Self::Leaving,
        Self::Closed,
    ];

    /// Whether the diagram has this edge. Every change of a gate's stage passes through here.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use GateStage::{Challenged, Closed, Fresh, Idle, Judging, Leaving, Offered, Shown, Vacant};
        matches!(
            (self, next),
            (Fresh | Vacant, Vacant | Judging | Leaving | Closed)
                | (Judging, Vacant | Judging | Challenged | Idle | Offered | Leaving | Closed)
                | (Challenged, Vacant | Judging | Idle | Leaving | Closed)
                | (Idle, Vacant | Judging | Challenged | Idle | Offered | Leaving | Closed)
                | (Offered, Vacant | Judging | Challenged | Idle | Offered | Shown | Leaving | Closed)
                | (Shown, Vacant | Judging | Challenged | Idle | Offered | Leaving | Closed)
                | (Leaving, Vacant | Judging | Leaving | Closed)
        )
    }

    /// Whether a token is in the DTU, so that orders about it make sense.
    #[must_use]
    pub const fn has_token(self) -> bool {
        matches!(self, Self::Judging | Self::Challenged | Self::Idle | Self::Offered | Self::Shown)
    }

    /// One word for listings.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Vacant => "vacant",
            Self::Judging => "judging",
            Self::Challenged => "challenged",
            Self::Idle => "idle",
            Self::Offered => "offered",
            Self::Shown => "shown",
            Self::Leaving => "leaving",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for GateStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What a DTU had presented that was sent to another host, and to which: it may say that it could not follow.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) token: Token,
    pub(super) to: Option<HostName>,
}

/// A [`GateStage`] with what only it needs, deadlines included.
#[derive(Debug)]
pub(super) enum GateState {
    Fresh { present_by: Instant },
    Vacant,
    Judging,
    Challenged { challenge: Box<CardChallenge>, answer_by: Instant },
    Idle,
    Offered { take_by: Instant },
    Shown,
    Leaving { close_by: Instant, reason: CloseReason, sent: Option<Box<Sent>> },
    Closed,
}

impl GateState {
    pub(super) const fn stage(&self) -> GateStage {
        match self {
            Self::Fresh { .. } => GateStage::Fresh,
            Self::Vacant => GateStage::Vacant,
            Self::Judging => GateStage::Judging,
            Self::Challenged { .. } => GateStage::Challenged,
            Self::Idle => GateStage::Idle,
            Self::Offered { .. } => GateStage::Offered,
            Self::Shown => GateStage::Shown,
            Self::Leaving { .. } => GateStage::Leaving,
            Self::Closed => GateStage::Closed,
        }
    }

    /// When something has to be done about it.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Fresh { present_by: at }
            | Self::Challenged { answer_by: at, .. }
            | Self::Offered { take_by: at }
            | Self::Leaving { close_by: at, .. } => Some(*at),
            Self::Vacant | Self::Judging | Self::Idle | Self::Shown | Self::Closed => None,
        }
    }

    /// The same deadline for moving it.
    pub(super) fn deadline_mut(&mut self) -> Option<&mut Instant> {
        match self {
            Self::Fresh { present_by: at }
            | Self::Challenged { answer_by: at, .. }
            | Self::Offered { take_by: at }
            | Self::Leaving { close_by: at, .. } => Some(at),
            Self::Vacant | Self::Judging | Self::Idle | Self::Shown | Self::Closed => None,
        }
    }
}
