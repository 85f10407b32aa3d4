//! What a gate says to its holder.

use core::fmt;
use std::net::Ipv4Addr;

use proto::alp::{Cause, DiscCause, DisconnectCause, FromHost};
use proto::frame::Size;
use proto::ticket::Ticket;
use proto::{DtuKey, HostName, Serial, Token};

use crate::admission::Admitted;
use crate::denial::Denial;

/// What a gate wants done or known, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateEffect {
    /// Send this to the DTU.
    Send(FromHost),
    /// Send what is still to be sent, then close the connection. The last effect of a gate.
    Close(CloseReason),
    /// Something happened that the holder of the gate acts on.
    Event(GateEvent),
}

/// What happened at a DTU. `token_seq` is the gate's own count of presentations on this connection: DTUs
/// number them too, but may use a number twice, and then an order for the one would be taken for the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateEvent {
    /// A token is there: decide about it.
    Presented(Box<Presentation>),
    /// The token is gone from the DTU; whatever it was shown is to be detached. Not said when another
    /// presentation of the same token takes the place of the first.
    Removed {
        /// Which presentation ended.
        token_seq: u32,
        /// The token that was presented, in its canonical form.
        token: Token,
    },
    /// The DTU took what it was granted: the session is shown.
    Took {
        /// The presentation concerned, by the gate's count.
        token_seq: u32,
    },
    /// The DTU did not take what it was granted, or did not say so in time: nothing is shown.
    Refused {
        /// The presentation concerned, by the gate's count.
        token_seq: u32,
    },
    /// The card's answer to a challenge was judged.
    CardAnswered {
        /// The presentation concerned, by the gate's count.
        token_seq: u32,
        /// What the token gets, or why it is denied.
        result: Result<Admitted, Denial>,
    },
    /// The DTU is gone: whatever it was shown is to be detached. Said once, and last.
    Left {
        /// What ended the connection.
        cause: CloseReason,
    },
    /// The DTU said something odd that changed nothing: count it.
    Odd(Odd),
}

/// A token presented at a DTU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presentation {
    /// The gate's count of it: orders about it name this.
    pub token_seq: u32,
    /// The token, as the DTU states it: whether it is genuine and allowed is not yet decided.
    pub token: Token,
    /// Which DTU; the first serial it said on this connection.
    pub serial: Serial,
    /// The key that it has proved; none of a plain terminal and one of a version without keys.
    pub key: Option<DtuKey>,
    /// Its address: that of the TCP peer, since terminals are often wrong about their own.
    pub addr: Ipv4Addr,
    /// What it believes its address is.
    pub real_ip: Option<Ipv4Addr>,
    /// Why it presents the token. `Redirect` exactly together with a ticket.
    pub cause: Cause,
    /// The ticket of a redirect, unverified.
    pub ticket: Option<Ticket>,
    /// Its screen, in characters.
    pub size: Size,
    /// A host that a redirect named and that could not be reached or refused.
    pub avoid: Option<HostName>,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseReason {
    /// The DTU presented nothing in time.
    NothingPresented,
    /// The DTU said nothing for [`proto::alp::EXPIRY`].
    Expired,
    /// The DTU said goodbye.
    Bye(Option<DiscCause>),
    /// It was sent to another host.
    Redirected,
    /// It was told that the host goes.
    SentAway(DisconnectCause),
    /// The connection broke, or the DTU closed it.
    ConnectionLost,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingPresented => f.write_str("nothing_presented"),
            Self::Expired => f.write_str("expired"),
            Self::Bye(Some(cause)) => write!(f, "bye_{cause}"),
            Self::Bye(None) => f.write_str("bye"),
            Self::Redirected => f.write_str("redirected"),
            Self::SentAway(cause) => write!(f, "sent_away_{cause}"),
            Self::ConnectionLost => f.write_str("connection_lost"),
        }
    }
}

/// What a DTU said that was odd. Counted, never a reason to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Odd {
    /// A field without which its command means nothing is missing or unusable.
    BadField,
    /// A command that is not known.
    UnknownCommand,
    /// The DTU could not handle what we said.
    ProtocolError,
    /// Sun's software client began its dialogue.
    SoftwareClient,
    /// A token that is none: an unreadable card, or text outside the alphabet.
    BadToken,
    /// A type that only a typed login may have, or that imitates a pseudo token.
    ReservedType,
    /// A serial that differs from the first one; ignored.
    SerialChanged,
    /// cause=redirect without a ticket that can be read; treated as cause=insert.
    NoTicket,
    /// A removal while nothing was there.
    NothingToRemove,
    /// A removal of another token than the one that was there; that one is detached all the same.
    OtherRemoved,
    /// A connRsp that answers nothing, or something older.
    ConnRspOutOfTurn,
    /// An infoSmartCard that answers nothing, or something older.
    CardAnswerOutOfTurn,
    /// A token presented after the DTU was told that the host goes.
    Leaving,
}

impl Odd {
    /// One word for counters and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadField => "bad_field",
            Self::UnknownCommand => "unknown_command",
            Self::ProtocolError => "protocol_error",
            Self::SoftwareClient => "software_client",
            Self::BadToken => "bad_token",
            Self::ReservedType => "reserved_type",
            Self::SerialChanged => "serial_changed",
            Self::NoTicket => "no_ticket",
            Self::NothingToRemove => "nothing_to_remove",
            Self::OtherRemoved => "other_removed",
            Self::ConnRspOutOfTurn => "conn_rsp_out_of_turn",
            Self::CardAnswerOutOfTurn => "card_answer_out_of_turn",
            Self::Leaving => "leaving",
        }
    }
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
