//! What the daemon, the spawner and the session processes say to each other.
//!
//! Every message is one packet of a Unix SOCK_SEQPACKET socket, so a process that dies half-way never leaves
//! half a message. A packet is one byte of version and the message in postcard; file descriptors travel beside
//! it. Owns the messages and their bounds; the sockets are in `io`.
//!
//! A session may be older than the daemon that takes it up (`--keep-sessions`), so within a version variants and
//! fields are only ever appended as new variants; anything else raises [`VERSION`].

mod packet;
mod protection;
mod spawner;

use core::fmt;

use continuity::Stamp;
use proto::frame::Size;
use proto::{HostName, Nonce, Serial, ServiceName, SessionId, Token};
use serde::{Deserialize, Serialize};

pub use packet::{ControlError, Message};
pub use protection::{Acknowledged, Beginning, Kind, Part, Protection, Update};
pub use spawner::{FromSpawner, ToSpawner};

use crate::template::{self, Continuity, Service};

/// Version of the messages below: 1 is the first.
pub const VERSION: u8 = 1;
/// Largest packet: below what a Unix socket takes with the kernel's default buffers.
pub const PACKET_MAX: usize = 192 * 1024;
/// Largest request to the data store: a swap of the two largest values. Longer replies come in parts.
pub const DATA_MAX: usize = 132 * 1024;
/// Largest reply of the data store, all parts together: the largest frame it sends.
pub const REPLY_MAX: usize = datastore::wire::FRAME_MAX;
/// Most bytes the daemon may leave with a session.
pub const META_MAX: usize = 32 * 1024;
/// Most bytes of a display connection that were read before it was handed over.
pub const ALREADY_MAX: usize = 16 * 1024;
/// Most links to our own program in a session's `PATH`.
pub const TOOLS_MAX: usize = 16;
/// Most parts of a session: of each service what its programs say, and what its terminal shows.
pub const PARTS_MAX: usize = 2 * template::SERVICES_MAX;
/// Longest text of a reason or a notice, in bytes.
pub const TEXT_MAX: usize = 1024;

const _: () = assert!(DATA_MAX + META_MAX < PACKET_MAX);

/// Bytes that are moved, not understood: serialised as one piece, not byte by byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        d.deserialize_bytes(Visitor)
    }
}

/// All a session process needs to know to be a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSpec {
    /// The session's id, drawn at random when it is made.
    pub session: SessionId,
    /// The token that it belongs to.
    pub token: Token,
    /// The host it runs on.
    pub host: HostName,
    /// The account it runs as; without one, the spawner's own, unless that is root.
    pub account: Option<String>,
    /// Whether the registry names the account for the very token, so that it may be root. Does not travel with the
    /// rest: [`ToSpawner::SpawnNamed`] says it.
    #[serde(skip)]
    pub named_by_registry: bool,
    /// Its services on this host.
    pub services: Vec<Service>,
    /// The size of its screens until a DTU says what it has.
    pub size: Size,
    /// How far its state outlives the host.
    pub continuity: Continuity,
    /// Our own program as commands of the session.
    pub tools: Option<Tools>,
    /// Left by the daemon for itself or the next one ([`ToSession::SetMeta`]); at most [`META_MAX`] bytes.
    pub meta: Bytes,
}

/// Our own program under other names, first in the session's `PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tools {
    /// Absolute path of the program.
    pub exe: String,
    /// The names it is to be found under, such as `datastore`.
    pub names: Vec<String>,
}

impl SessionSpec {
    /// Whether another host is to keep what it needs to go on.
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        self.continuity == Continuity::Replicated
    }

    /// Whether it is within the bounds.
    ///
    /// # Errors
    /// Which bound it breaks; whoever made it is at fault.
    pub fn check(&self) -> Result<(), ControlError> {
        let fits = self.services.len() <= template::SERVICES_MAX
            && self.services.iter().all(|service| service.check().is_ok())
            && self.account.as_deref().is_none_or(|a| template::check_account(a).is_ok())
            && self.tools.as_ref().is_none_or(Tools::fits)
            && self.meta.0.len() <= META_MAX;
        if fits { Ok(()) } else { Err(ControlError::Bounds) }
    }
}

impl Tools {
    fn fits(&self) -> bool {
        let is_file_name = |name: &String| {
            !name.is_empty()
                && name.len() <= 64
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        };
        self.exe.starts_with('/')
            && !self.exe.contains('\0')
            && self.exe.len() <= template::WORDS_LEN_MAX
            && self.names.len() <= TOOLS_MAX
            && self.names.iter().all(is_file_name)
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// As one number: the status, or 128 and the signal, as shells count.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Status(status) => status,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exited with status {status}"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
        }
    }
}

/// SHA-256 of a session's certificate in DER: what `fp=` says in connInf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&proto::hex::encode(&self.0))
    }
}

/// Daemon → session process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSession {
    /// The session is shown at this DTU from now on, and nowhere else. Required services that are not running
    /// are started.
    Attach {
        /// Lets the DTU open each service's display once.
        ticket: Nonce,
        /// The DTU that may open displays with the ticket.
        serial: Serial,
        /// The size of its screen.
        size: Size,
    },
    /// The session is shown nowhere; its services run on.
    Detach,
    /// End the session and all it has started.
    End,
    /// Start a service, a new one or one of the template's; one that runs already is left alone.
    StartService(Box<Service>),
    /// End a service and all it has started.
    StopService(ServiceName),
    /// Keep these bytes for the next daemon.
    SetMeta(Bytes),
    /// The data store's answer to [`FromSession::Data`], or an event of a watch; at most [`REPLY_MAX`] bytes. Goes
    /// through [`ToSession::in_parts`].
    DataReply {
        /// Whose request it was.
        client: u32,
        /// The payload of one frame ([`datastore::wire::FromStore`]).
        reply: Bytes,
    },
    /// Say what you are: answered by [`FromSession::Described`]. A daemon that takes a session up asks this
    /// first; data requests made to an earlier daemon are given up by it.
    Describe,
    /// A DTU's display connection, as a file descriptor beside this message.
    Display {
        /// What was read from it before it was known to be one for this session, its first line excluded.
        already: Bytes,
    },
    /// A line for the person at the screen.
    Notice(String),
    /// The beginning of a reply that does not fit one packet; more of it follows for the same client.
    DataPart {
        /// Whose request it was.
        client: u32,
        /// The next part of the payload.
        part: Bytes,
    },
    /// Make again what is missing in the session's directory, which somebody has removed: its sockets and its
    /// commands. The directory itself is there. Said by the spawner, of which the session process is a copy.
    Renew,
    /// What was kept of the session at another host, before [`ToSession::Begin`]; only to a session of the class
    /// `replicated`.
    Restore {
        /// Of what it is a copy.
        part: Part,
        /// The bytes of a [`continuity::Encoded`].
        object: Bytes,
    },
    /// A session of the class `replicated` begins: before this it starts no service.
    Begin(Box<Beginning>),
    /// Send the whole of this part: the secondary misses what the last update builds on.
    Whole(Part),
    /// The secondary keeps the versions of this part up to `stamp`.
    Protected {
        /// Of what it is a copy.
        part: Part,
        /// The newest version it keeps.
        #[serde(with = "protection::stamp")]
        stamp: Stamp,
    },
    /// How the session is protected from now on.
    Protect {
        /// What is sent, and what is held until it is safe.
        how: Protection,
        /// Why, for the person at the screen; shown where that person has to know.
        why: String,
    },
    /// The session is about to move to another host: give its services no more input from the end of the line on that is
    /// being typed. Answered by [`FromSession::Still`]. `false`: it stays, and gets all that waits.
    Still(bool),
    /// Before [`ToSession::Begin`]: the host before has handed the session over, and nothing that was typed was applied
    /// there after the version that is restored.
    Moved,
}

impl ToSession {
    /// The messages to send for this one: a long [`ToSession::DataReply`] becomes several, all others stay as they
    /// are.
    #[must_use]
    pub fn in_parts(self) -> Vec<Self> {
        let Self::DataReply { client, reply: Bytes(mut rest) } = self else { return vec![self] };
        let mut messages = Vec::new();
        while rest.len() > DATA_MAX {
            let after = rest.split_off(DATA_MAX);
            messages.push(Self::DataPart { client, part: Bytes(core::mem::replace(&mut rest, after)) });
        }
        messages.push(Self::DataReply { client, reply: Bytes(rest) });
        messages
    }
}

/// Session process → daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSession {
    /// First: the session can be attached.
    Ready(Box<Description>),
    /// The answer to [`ToSession::Describe`].
    Described(Box<Description>),
    /// A service runs.
    ServiceStarted {
        /// The service that runs now.
        service: ServiceName,
        /// The service's first process.
        pid: u32,
    },
    /// A service could not be started.
    ServiceFailed {
        /// The service that was to be started.
        service: ServiceName,
        /// The cause, for a person to read.
        reason: String,
    },
    /// A service ended.
    ServiceExited {
        /// The service that ran until now.
        service: ServiceName,
        /// How its process ended.
        exit: Exit,
    },
    /// A DTU has a service's display open.
    DisplayConnected {
        /// The DTU at the other end.
        serial: Serial,
        /// The service that is shown.
        service: ServiceName,
    },
    /// And no longer has it.
    DisplayGone {
        /// The DTU at the other end.
        serial: Serial,
        /// The service that was shown.
        service: ServiceName,
        /// What became of it.
        why: Gone,
    },
    /// A display connection was refused before it showed anything.
    DisplayRefused(Refusal),
    /// A request to the data store on behalf of the session's user; answered by [`ToSession::DataReply`].
    Data {
        /// Which connection to the state socket asks. Never used again by the same process.
        client: u32,
        /// The payload of one frame as it came ([`datastore::wire::Call`]); not looked at here.
        request: Bytes,
    },
    /// The session is over and all it had started is gone; the process exits.
    Ended(EndReason),
    /// A new version of a part, for the secondary; answered by [`ToSession::Protected`] or [`ToSession::Whole`]. The
    /// next one of this part follows after that answer.
    Committed {
        /// Of what it is a version.
        part: Part,
        /// The version, whole or as what changed since the one before.
        update: Update,
    },
    /// The parts that a secondary has to keep to be filled, at most [`PARTS_MAX`]. Said when filling begins and when there
    /// is one more, before anything of it.
    Parts(Vec<Part>),
    /// No service gets any input from now on: see [`ToSession::Still`].
    Still,
    /// How long acknowledgements have taken since the session began here, at most once a second.
    Acknowledged(Acknowledged),
}

/// What a session is and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// What it was made from, with services and meta as they are now.
    pub spec: SessionSpec,
    /// The session process itself.
    pub pid: u32,
    /// The fingerprint of the certificate that its displays show.
    pub fingerprint: Fingerprint,
    /// Its services, in the order of their names.
    pub services: Vec<(ServiceName, ServiceState)>,
    /// The DTU it is shown at.
    pub attached: Option<Serial>,
}

/// How a service stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceState {
    /// Nobody has asked for it.
    Idle,
    /// Its process runs.
    Running {
        /// The service's first process.
        pid: u32,
    },
    /// It is being ended.
    Stopping {
        /// The service's first process.
        pid: u32,
    },
    /// It ended, and this is how.
    Exited(Exit),
    /// It could not be started.
    Failed(String),
}

/// Why a display is no longer open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Gone {
    /// The DTU closed it or the network did.
    Closed,
    /// The daemon detached the session, or it is shown elsewhere.
    Detached,
    /// The same DTU opened it again.
    Replaced,
    /// The service ended.
    ServiceEnded,
    /// The DTU broke the rules of the channel.
    Fault,
}

/// Why a display connection was refused. The connection is closed; nothing else changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Refusal {
    /// The TLS handshake failed.
    Tls,
    /// What came was not a hello.
    NoHello,
    /// No hello came in time.
    Late,
    /// The session is not attached.
    Detached,
    /// The ticket is not the one of the present attachment.
    WrongTicket,
    /// The ticket was used for this service before.
    UsedTicket,
    /// The ticket was not used in time.
    OldTicket,
    /// The ticket is for another DTU.
    WrongSerial,
    /// There is no such service, or it has no display.
    NoSuchService,
    /// Too many connections are waiting to say hello; the oldest goes.
    TooMany,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "the TLS handshake failed",
            Self::NoHello => "no hello",
            Self::Late => "no hello in time",
            Self::Detached => "the session is not attached",
            Self::WrongTicket => "not the ticket of the present attachment",
            Self::UsedTicket => "the ticket was used before",
            Self::OldTicket => "the ticket was not used in time",
            Self::WrongSerial => "the ticket is for another DTU",
            Self::NoSuchService => "no such service, or one without a display",
            Self::TooMany => "too many connections wait to say hello",
        })
    }
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndReason {
    /// It never began: whose fault it is and what to do about it.
    CouldNotStart(String),
    /// All required services ended by themselves, the last one like this.
    Finished(Exit),
    /// The daemon asked for it.
    Asked,
    /// Neither daemon nor spawner is there any more.
    Alone,
}

/// `text` cut to [`TEXT_MAX`] bytes at a character's end.
#[must_use]
pub fn short(mut text: String) -> String {
    let end = proto::line::cut(&text, TEXT_MAX).len();
    text.truncate(end);
    text
}

#[cfg(test)]
pub(crate) mod tests;
