//! Every message of Hotdesk: its meaning, its text and its bytes.
//!
//! This crate owns names and their rules ([`ids`]), our own clock types ([`time`]), the text grammar
//! ([`mod@line`]) and what is said in it ([`host_message`], [`beacon`], [`peer`], [`digest`], [`discovery`],
//! [`alp`]), the display channel's frames ([`frame`]), those of a link between hosts ([`mod@link`]), what makes a message
//! believable ([`keys`], [`ticket`], [`chain`]), and how
//! cores draw ([`rng`]). It refuses to decide anything: no state machine, socket, clock or random source is here. The
//! one exception is [`io`] (feature `io`), which reads key files and builds TLS configurations from them.

pub mod alp;
pub mod beacon;
pub mod card;
pub mod chain;
pub mod digest;
pub mod discovery;
pub mod envelope;
pub mod exit;
pub mod frame;
pub mod hex;
pub mod host_message;
pub mod ids;
#[cfg(feature = "io")]
pub mod io;
pub mod keys;
pub mod lack;
pub mod line;
pub mod link;
pub mod net;
pub mod peer;
pub mod rng;
pub mod ticket;
pub mod time;
pub mod version;

pub use ids::{
    BootId, DtuKey, Epoch, GrantId, HostName, KeyId, Last, MachineId, Nonce, Serial, ServiceName, SessionId,
    StoreId, Token, TokenTag,
};
pub use line::Line;
pub use time::{Instant, WallTime};

/// The one port of the system, UDP and TCP: the port real terminals and their servers use.
pub const PORT: u16 = 7009;
