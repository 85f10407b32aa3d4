//! The session protocol on TCP 7009: what a DTU and a host say to each other, in the grammar of real
//! terminals, with our additions in keys that they ignore.
//!
//! [`FromDtu`] and [`FromHost`] hold one variant per command. Reading is tolerant: what no known
//! command is becomes `Other`, an odd number in a field that only informs becomes `None`, and only a field that a
//! command cannot do without makes an error. A terminal states its common fields when it likes and keeps them
//! otherwise ([`Terminal::merge`]).

mod cookie;
mod dtu;
mod host;
mod seq;

pub use cookie::Cookie;
pub use dtu::{
    Cause, DiscCause, Event, FromDtu, InfoReq, KeepAliveReq, Presented, ProtocolFault, State, Terminal,
};
pub use host::{
    Access, AnchorNote, BusyReason, ConnInf, DISPLAYS_MAX, DisconnectCause, Display, FromHost, Grant,
    RedirectInf, STANDBYS_MAX, Standby,
};

pub use seq::TokenSeq;

use core::time::Duration;

/// A connected DTU sends keepAliveReq this often.
pub const KEEPALIVE_CONNECTED: Duration = Duration::from_secs(20);
/// A disconnected one this often.
pub const KEEPALIVE_DISCONNECTED: Duration = Duration::from_secs(40);
/// A DTU that heard nothing from its host for this long expires, and a host drops a DTU after the same.
pub const EXPIRY: Duration = Duration::from_secs(60);

// A DTU in either state must have had a chance to be heard before it is dropped.
const _: () = assert!(EXPIRY.as_secs() > KEEPALIVE_DISCONNECTED.as_secs());

/// An enumeration that is one word on the wire.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl core::str::FromStr for $name {
            type Err = ();
            fn from_str(s: &str) -> Result<Self, ()> {
                match s {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(()),
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),* })
            }
        }
    };
}
use words;
