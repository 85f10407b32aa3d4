//! Connections by number, and why they end.

use proto::WallTime;
use proto::alp::BusyReason;

/// One attempt at one connection, control or display, from the wish to open it to its end. Numbers are not
/// used again, so that a late event of an old connection is recognised and harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Why a connection could not be opened, or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine is there, the program is not.
    Refused,
    /// No way to the machine, or no answer in time.
    Unreachable,
    /// The other side is not who it should be, or speaks something else.
    Tls(String),
    /// By our clock its certificate is not valid yet, or not any more.
    Clock {
        /// What our clock says.
        ours: WallTime,
        /// From when, or until when, the certificate is valid.
        valid: WallTime,
    },
    /// The other side closed or reset an open connection.
    Closed,
    /// The other side says that it takes no more connections. Not authenticated.
    Busy(Option<BusyReason>),
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Tls(what) => write!(f, "not trusted: {what}"),
            Self::Clock { ours, valid } => {
                let word = if ours < valid { "from" } else { "until" };
                write!(
                    f,
                    "this desk's clock says {ours}, and the group's certificates are valid {word} {valid}: set the \
                     clock"
                )
            }
            Self::Closed => f.write_str("closed"),
            Self::Busy(Some(BusyReason::Address)) => f.write_str("has too many connections of this address"),
            Self::Busy(_) => f.write_str("has too many connections"),
        }
    }
}
