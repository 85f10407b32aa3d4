//! What is said on a state socket. `docs/state.md`, "The state socket", is the table of it.
//!
//! Lines in the grammar of [`mod@proto::line`]. A line with the key `bytes` is followed by so many bytes and the end of a
//! line: values are not encoded, so one of 16 KiB costs 16 KiB and no value can be taken for a line; whoever reads knows
//! its size beforehand, and skips what it does not know.

use core::fmt::Display;

use datastore::guard::Write;
use datastore::once::Deed;
use proto::line::FieldError;
use proto::time::Duration;
use proto::{Line, ServiceName};

use crate::edit::Edit;
use crate::head::ObjectId;
use crate::limits::VALUE_MAX;
use crate::names::{Key, Place, Scope, SeriesName, StepName};
use crate::stream::Packet;
use crate::value::{PagedQuery, Reference, Value};

/// The version of this protocol.
pub const VERSION: u16 = 1;

/// Words that will mean something in a later version: caches that are invalidated together.
pub const RESERVED: [&str; 4] = ["cache", "invalidate", "publish", "subscribe"];

/// How long the reply to a call may take unless its caller says so, and at most, in milliseconds.
const CALL_WITHIN: (u64, u64) = (5_000, 30_000);

/// What a program asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Says which version it speaks.
    Hello,
    /// Changes the object: at once, or with the operation that the program has begun.
    Edit(Edit),
    /// Asks for a value.
    Get(Place, Key),
    /// Asks for the keys of a pool.
    List(Place),
    /// Begins an operation.
    Begin(Begin),
    /// Does something outside of the object, once, as part of the operation that the program has begun.
    Effect {
        /// What is done.
        deed: Deed,
        /// Which effect of the operation it is, from 1.
        step: u8,
    },
    /// Takes over an operation that is kept, by its number.
    Join(u64),
    /// Calls another service of the session.
    Call {
        /// The service that is called.
        service: ServiceName,
        /// How long the reply may take.
        within: Duration,
        /// What is asked.
        payload: Vec<u8>,
    },
    /// Wants to be told of the calls of other services, and to answer them.
    Serve,
    /// Answers such a call.
    Reply {
        /// The number that it was told with.
        call: u32,
        /// What is said to it.
        payload: Vec<u8>,
    },
    /// Makes all changes since then, or none.
    Commit,
    /// Makes none of them.
    Abort,
    /// Says what the object is for.
    Describe(About),
    /// Asks where the object stands.
    Status {
        /// Whether the times that are told begin anew.
        anew: bool,
    },
    /// Wants to be told events.
    Watch,
}

/// An operation that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// What the program calls it.
    pub name: StepName,
    /// Whether it goes on when the program is gone, so that another can join it.
    pub keep: bool,
    /// Whether one of this name that another home has begun, and not brought to its end, goes on under its number.
    pub again: bool,
}

/// What an object is for; what is not said stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// For what it is good.
    pub scope: Option<Scope>,
    /// The program object behind the service.
    pub object: Option<ObjectId>,
    /// Seconds from now until it is of no more use; 0 for as long as the session lives.
    pub lifetime: Option<u64>,
}

/// Why a request is not one. It changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// There is no such word.
    #[error("there is no {0:?}")]
    Unknown(String),
    /// The word is kept for a later version.
    #[error("{0:?} is reserved for a later version")]
    Reserved(String),
    /// It lacks something, or something in it is not what it should be.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// It is not a line of text.
    #[error(transparent)]
    Line(#[from] proto::line::LineError),
    /// The program speaks another version.
    #[error("version {VERSION} is spoken here")]
    Version,
}

impl BadRequest {
    /// The code of the answer.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown",
            Self::Reserved(_) => "reserved",
            Self::Field(_) | Self::Line(_) => "unreadable",
            Self::Version => "version",
        }
    }
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// See [`BadRequest`].
    pub fn read(packet: &Packet) -> Result<Self, BadRequest> {
        let line = &packet.line;
        let place = || line.need::<Place>("pool");
        let series = || line.need::<SeriesName>("pool");
        Ok(match line.command() {
            "hello" if line.need::<u16>("version")? == VERSION => Self::Hello,
            "hello" => return Err(BadRequest::Version),
            "put" => Self::Edit(Edit::Put { place: place()?, key: line.need("key")?, value: value(packet)? }),
            "remove" => Self::Edit(Edit::Remove { place: place()?, key: line.need("key")? }),
            "push" => Self::Edit(Edit::Push(line.need("name")?)),
            "pop" => Self::Edit(Edit::Pop),
            "mark" => Self::Edit(Edit::Mark(series()?)),
            "back" => Self::Edit(Edit::Back(series()?)),
            "forward" => Self::Edit(Edit::Forward(series()?)),
            "forget" => Self::Edit(Edit::Forget(series()?)),
            "get" => Self::Get(place()?, line.need("key")?),
            "list" => Self::List(place()?),
            "begin" => Self::Begin(Begin {
                name: line.need("name")?,
                keep: line.flag("keep"),
                again: line.flag("again"),
            }),
            "call" => {
                let (usual, most) = CALL_WITHIN;
                let within = Duration::from_millis(line.want("within")?.unwrap_or(usual).min(most));
                Self::Call { service: line.need("service")?, within, payload: payload(packet)? }
            }
            "serve" => Self::Serve,
            "reply" => Self::Reply { call: line.need("call")?, payload: payload(packet)? },
            "effect" => Self::Effect { deed: deed(packet)?, step: line.want("step")?.unwrap_or(1) },
            "join" => Self::Join(line.need("operation")?),
            "commit" => Self::Commit,
            "abort" => Self::Abort,
            "describe" => Self::Describe(About {
                scope: line.want("scope")?,
                object: line.want("object")?.map(ObjectId),
                lifetime: line.want("lifetime")?,
            }),
            "status" => Self::Status { anew: line.flag("anew") },
            "watch" => Self::Watch,
            word if RESERVED.contains(&word) => return Err(BadRequest::Reserved(word.to_owned())),
            word => return Err(BadRequest::Unknown(word.chars().take(32).collect())),
        })
    }
}

/// What a packet brings: its `text`, or the bytes that follow it.
fn content(packet: &Packet) -> Result<&[u8], FieldError> {
    match (&packet.payload, packet.line.get("text")) {
        (Some(_), Some(_)) => Err(FieldError::Bad("text")),
        (Some(payload), None) => Ok(payload),
        (None, Some(text)) => Ok(text.as_bytes()),
        (None, None) => Err(FieldError::Missing("text")),
    }
}

/// What a packet brings, which may be nothing.
fn payload(packet: &Packet) -> Result<Vec<u8>, FieldError> {
    match content(packet) {
        Ok(content) => Ok(content.to_vec()),
        Err(FieldError::Missing(_)) => Ok(Vec::new()),
        Err(bad) => Err(bad),
    }
}

/// What an `effect` does.
fn deed(packet: &Packet) -> Result<Deed, FieldError> {
    let line = &packet.line;
    let value = |bytes| datastore::Value::new(bytes).map_err(|_too_large| FieldError::Bad("text"));
    Ok(match line.need::<String>("do")?.as_str() {
        "put" => Deed::Write(Write::Put { key: line.need("key")?, value: value(content(packet)?)? }),
        "delete" => Deed::Write(Write::Delete { key: line.need("key")? }),
        "begin" => Deed::Begin,
        "done" => {
            let said = payload(packet)?;
            core::str::from_utf8(&said).map_err(|_| FieldError::Bad("text"))?;
            Deed::End(value(&said)?)
        }
        _ => return Err(FieldError::Bad("do")),
    })
}

/// The value of a `put`.
fn value(packet: &Packet) -> Result<Value, FieldError> {
    let (line, content) = (&packet.line, content(packet)?);
    let bad = || FieldError::Bad("text");
    let text = || core::str::from_utf8(content).map_err(|_| bad());
    Ok(Value::Reference(match line.get("kind").unwrap_or("raw") {
        "raw" => return Value::raw(content).ok_or_else(bad),
        "store" => Reference::Store(text()?.parse().map_err(|_| bad())?),
        "directory" => Reference::Directory(text()?.parse().map_err(|_| bad())?),
        "file" => Reference::File(text()?.parse().map_err(|_| bad())?),
        "query" => Reference::Query(PagedQuery {
            text: text()?.parse().map_err(|_| bad())?,
            page_size: line.need("size")?,
            position: line.want("page")?.unwrap_or_default(),
        }),
        _ => return Err(FieldError::Bad("kind")),
    }))
}

/// The kind of a value, as it is written.
#[must_use]
pub const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Raw(_) => "raw",
        Value::Reference(Reference::Store(_)) => "store",
        Value::Reference(Reference::Query(_)) => "query",
        Value::Reference(Reference::Directory(_)) => "directory",
        Value::Reference(Reference::File(_)) => "file",
    }
}

/// `line` with what a value is besides its bytes, and those bytes: the content, or the text it refers by. Read by
/// [`Request::read`] as part of a `put`.
#[must_use]
pub fn with_value(line: Line, value: &Value) -> (Line, &[u8]) {
    let line = line.with("kind", kind(value));
    match value {
        Value::Raw(bytes) => (line, bytes),
        Value::Reference(Reference::Store(key)) => (line, key.as_str().as_bytes()),
        Value::Reference(Reference::Directory(path) | Reference::File(path)) => {
            (line, path.as_str().as_bytes())
        }
        Value::Reference(Reference::Query(PagedQuery { text, page_size, position })) => {
            (line.with("size", page_size).with("page", position), text.as_str().as_bytes())
        }
    }
}

/// An answer that refuses.
#[must_use]
pub fn error(code: &str, text: impl Display) -> Line {
    Line::new("error").with("code", code).with("text", text)
}

const _: () = assert!(VALUE_MAX <= u16::MAX as usize);
