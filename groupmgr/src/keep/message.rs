//! What hosts say to each other about copies, and its bytes: `kind u8, length u32 (big endian), payload`, as the frames
//! of a link. They travel in order on a channel of the link between two hosts, one in each direction.

use continuity::limits::DELTA_MAX;
use continuity::{Delta, Encoded, Hash, Stamp};
use proto::envelope::{self, FrameError};
use proto::{Epoch, SessionId, Token};
use sessiond::control::{Kind, Part};
use sessiond::template::SERVICES_MAX;

/// Objects that a session has at most: one of each kind for each service, and as many again for later kinds.
pub const PARTS_MAX: usize = 4 * SERVICES_MAX;
/// Longest payload of a message, in bytes: the largest delta or object, and what is said around it.
pub const PAYLOAD_MAX: usize = DELTA_MAX + 1024;

/// A version of a part, by which two hosts compare what they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Of which part.
    pub part: Part,
    /// Which version of it.
    pub stamp: Stamp,
    /// The hash of that version.
    pub hash: Hash,
}

/// What one host says to another about copies of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Primary: keep this object, whatever was there before.
    Whole {
        /// The session that it is about.
        session: SessionId,
        /// The epoch of the primary.
        epoch: Epoch,
        /// The token that the session belongs to.
        token: Token,
        /// Which of its objects.
        part: Part,
        /// All of it.
        object: Encoded,
    },
    /// Primary: keep what this makes of the object.
    Delta {
        /// The session that it is about.
        session: SessionId,
        /// The epoch of the primary.
        epoch: Epoch,
        /// Which of its objects.
        part: Part,
        /// What makes the next version of what is kept.
        delta: Delta,
    },
    /// Keeper: it has the versions up to this one.
    Kept {
        /// The session that it is about.
        session: SessionId,
        /// Which of its objects.
        part: Part,
        /// The newest version it has.
        stamp: Stamp,
    },
    /// Keeper: it needs the whole object, since a version is missing or the copies differ.
    Want {
        /// The session that it is about.
        session: SessionId,
        /// Which of its objects.
        part: Part,
    },
    /// Keeper: it takes nothing of such an old epoch. Another host is primary now, or is about to be.
    Stale {
        /// The session that it is about.
        session: SessionId,
        /// The epoch of what was refused.
        epoch: Epoch,
    },
    /// Keeper: it has no room.
    Full {
        /// The session that it is about.
        session: SessionId,
        /// The epoch of what was refused.
        epoch: Epoch,
    },
    /// Primary: the copies of this epoch, and of those before, are no longer needed.
    Drop {
        /// The session that it is about.
        session: SessionId,
        /// The epoch of the primary.
        epoch: Epoch,
    },
    /// Primary: this is what the keeper should have, and nothing else.
    Compare {
        /// The session that it is about.
        session: SessionId,
        /// The epoch of the primary.
        epoch: Epoch,
        /// At most [`PARTS_MAX`].
        parts: Vec<Standing>,
    },
    /// A host that takes over: give me what you have, and take nothing of this epoch any more.
    Fetch {
        /// The session that it is about.
        session: SessionId,
        /// The epoch of the primary that is gone.
        epoch: Epoch,
        /// What was kept before this epoch is not enough.
        floor: Epoch,
    },
    /// Keeper: one of the objects that were asked for.
    Object {
        /// The session that it is about.
        session: SessionId,
        /// Which of its objects.
        part: Part,
        /// All of it.
        object: Encoded,
    },
    /// Keeper: these were all. None at all means that it has no copy of the session.
    Fetched {
        /// The session that it is about.
        session: SessionId,
        /// The epoch that was asked for.
        epoch: Epoch,
        /// How many objects were sent before.
        objects: u16,
    },
    /// Primary: go on with the session in its place. It has stopped, and the keeper has all of it.
    HandOver {
        /// The session that it is about.
        session: SessionId,
        /// The epoch of the primary.
        epoch: Epoch,
    },
    /// Keeper: what came of that.
    HandedOver {
        /// The session that it is about.
        session: SessionId,
        /// The epoch of the primary that it was handed over by.
        epoch: Epoch,
        /// Whether it runs at the keeper now. If not, the primary goes on with it.
        done: bool,
    },
    /// Primary: go on with the session unasked when this host is gone.
    Watch {
        /// The session that it is about.
        session: SessionId,
        /// The epoch of the primary.
        epoch: Epoch,
    },
    /// A kind, or a part of a kind, of a later version: its reader skips it.
    Other,
}

mod kind {
    pub(super) const WHOLE: u8 = 1;
    pub(super) const DELTA: u8 = 2;
    pub(super) const KEPT: u8 = 3;
    pub(super) const WANT: u8 = 4;
    pub(super) const STALE: u8 = 5;
    pub(super) const FULL: u8 = 6;
    pub(super) const DROP: u8 = 7;
    pub(super) const COMPARE: u8 = 8;
    pub(super) const FETCH: u8 = 9;
    pub(super) const OBJECT: u8 = 10;
    pub(super) const FETCHED: u8 = 11;
    pub(super) const HAND_OVER: u8 = 12;
    pub(super) const HANDED_OVER: u8 = 13;
    pub(super) const WATCH: u8 = 14;
}

impl Message {
    /// Reads the first message of `bytes` and says how many bytes it took; `None` when it is not complete yet.
    ///
    /// # Errors
    /// It is too long, or a known kind does not hold what it should. What follows it cannot be read either.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((kind, payload)) = envelope::open(bytes, PAYLOAD_MAX)? else { return Ok(None) };
        let message = Reader(payload).message(kind).ok_or(FrameError::Payload(kind))?;
        Ok(Some((message, envelope::HEADER_LEN + payload.len())))
    }

    /// Appends the message to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        envelope::seal(out, |out| self.payload(out));
    }

    /// Appends what it says to `out`; returns its kind.
    fn payload(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Self::Whole { session, epoch, token, part, object } => {
                head(out, *session, *epoch);
                text(out, token.to_string().as_bytes());
                put_part(out, part);
                out.extend_from_slice(object.as_bytes());
                kind::WHOLE
            }
            Self::Delta { session, epoch, part, delta } => {
                head(out, *session, *epoch);
                put_part(out, part);
                out.extend_from_slice(&delta.to_bytes());
                kind::DELTA
            }
            Self::Kept { session, part, stamp } => {
                out.extend_from_slice(&session.0.to_be_bytes());
                put_part(out, part);
                out.extend_from_slice(&stamp.to_bytes());
                kind::KEPT
            }
            Self::Want { session, part } => {
                out.extend_from_slice(&session.0.to_be_bytes());
                put_part(out, part);
                kind::WANT
            }
            Self::Stale { session, epoch }
            | Self::Full { session, epoch }
            | Self::Drop { session, epoch }
            | Self::HandOver { session, epoch }
            | Self::Watch { session, epoch } => {
                head(out, *session, *epoch);
                self.bare_kind()
            }
            Self::Compare { session, epoch, parts } => {
                head(out, *session, *epoch);
                for Standing { part, stamp, hash } in parts.iter().take(PARTS_MAX) {
                    put_part(out, part);
                    out.extend_from_slice(&stamp.to_bytes());
                    out.extend_from_slice(&hash.0);
                }
                kind::COMPARE
            }
            Self::Fetch { session, epoch, floor } => {
                head(out, *session, *epoch);
                put_epoch(out, *floor);
                kind::FETCH
            }
            Self::Object { session, part, object } => {
                out.extend_from_slice(&session.0.to_be_bytes());
                put_part(out, part);
                out.extend_from_slice(object.as_bytes());
                kind::OBJECT
            }
            Self::Fetched { session, epoch, objects } => {
                head(out, *session, *epoch);
                out.extend_from_slice(&objects.to_be_bytes());
                kind::FETCHED
            }
            Self::HandedOver { session, epoch, done } => {
                head(out, *session, *epoch);
                out.push(u8::from(*done));
                kind::HANDED_OVER
            }
            // Nobody sends what it does not know.
            Self::Other => u8::MAX,
        }
    }
}

impl Message {
    /// The kind of one that says no more than session and epoch.
    const fn bare_kind(&self) -> u8 {
        match self {
            Self::Full { .. } => kind::FULL,
            Self::Drop { .. } => kind::DROP,
            Self::HandOver { .. } => kind::HAND_OVER,
            Self::Watch { .. } => kind::WATCH,
            _ => kind::STALE,
        }
    }
}

/// Appends the session and the epoch.
fn head(out: &mut Vec<u8>, session: SessionId, epoch: Epoch) {
    out.extend_from_slice(&session.0.to_be_bytes());
    put_epoch(out, epoch);
}

fn put_epoch(out: &mut Vec<u8>, epoch: Epoch) {
    out.extend_from_slice(&epoch.generation.to_be_bytes());
    out.extend_from_slice(&epoch.counter.to_be_bytes());
}

/// Appends a text of at most 255 bytes, with its length.
fn text(out: &mut Vec<u8>, text: &[u8]) {
    // No name of ours is longer.
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(text);
}

fn put_part(out: &mut Vec<u8>, part: &Part) {
    out.push(match part.kind {
        Kind::State => 0,
        Kind::Screen => 1,
    });
    text(out, part.service.as_str().as_bytes());
}

/// What is left of a payload.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn message(mut self, kind: u8) -> Option<Message> {
        let r = &mut self;
        let message = match kind {
            kind::WHOLE => {
                let (session, epoch, token) = (r.session()?, r.epoch()?, r.text()?.parse().ok()?);
                let Some(part) = r.part()? else { return Some(Message::Other) };
                Message::Whole { session, epoch, token, part, object: Encoded::open(r.rest()).ok()? }
            }
            kind::DELTA => {
                let (session, epoch) = (r.session()?, r.epoch()?);
                let Some(part) = r.part()? else { return Some(Message::Other) };
                Message::Delta { session, epoch, part, delta: Delta::from_bytes(r.rest()).ok()? }
            }
            kind::KEPT => {
                let session = r.session()?;
                let Some(part) = r.part()? else { return Some(Message::Other) };
                Message::Kept { session, part, stamp: Stamp::from_bytes(r.fixed()?) }
            }
            kind::WANT => {
                let session = r.session()?;
                let Some(part) = r.part()? else { return Some(Message::Other) };
                Message::Want { session, part }
            }
            kind::STALE => Message::Stale { session: r.session()?, epoch: r.epoch()? },
            kind::FULL => Message::Full { session: r.session()?, epoch: r.epoch()? },
            kind::DROP => Message::Drop { session: r.session()?, epoch: r.epoch()? },
            kind::COMPARE => {
                let (session, epoch, mut parts) = (r.session()?, r.epoch()?, Vec::new());
                while !r.0.is_empty() {
                    let (part, stamp, hash) = (r.part()?, Stamp::from_bytes(r.fixed()?), Hash(r.fixed()?));
                    if parts.len() == PARTS_MAX {
                        return None;
                    }
                    parts.extend(part.map(|part| Standing { part, stamp, hash }));
                }
                Message::Compare { session, epoch, parts }
            }
            kind::FETCH => Message::Fetch { session: r.session()?, epoch: r.epoch()?, floor: r.epoch()? },
            kind::OBJECT => {
                let session = r.session()?;
                let Some(part) = r.part()? else { return Some(Message::Other) };
                Message::Object { session, part, object: Encoded::open(r.rest()).ok()? }
            }
            kind::FETCHED => {
                let (session, epoch) = (r.session()?, r.epoch()?);
                Message::Fetched { session, epoch, objects: u16::from_be_bytes(r.fixed()?) }
            }
            kind::HAND_OVER => Message::HandOver { session: r.session()?, epoch: r.epoch()? },
            kind::HANDED_OVER => {
                let (session, epoch) = (r.session()?, r.epoch()?);
                let done = match r.fixed()? {
                    [0] => false,
                    [1] => true,
                    _ => return None,
                };
                Message::HandedOver { session, epoch, done }
            }
            kind::WATCH => Message::Watch { session: r.session()?, epoch: r.epoch()? },
            _ => return Some(Message::Other),
        };
        self.0.is_empty().then_some(message)
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }

    fn session(&mut self) -> Option<SessionId> {
        Some(SessionId(u128::from_be_bytes(self.fixed()?)))
    }

    fn epoch(&mut self) -> Option<Epoch> {
        let [generation, counter] = [self.fixed()?, self.fixed()?].map(u32::from_be_bytes);
        Some(Epoch { generation, counter })
    }

    fn text(&mut self) -> Option<&'a str> {
        let [len] = self.fixed()?;
        let (text, rest) = self.0.split_at_checked(len.into())?;
        self.0 = rest;
        core::str::from_utf8(text).ok()
    }

    /// A part; the inner `None` is one of a later kind.
    fn part(&mut self) -> Option<Option<Part>> {
        let [kind] = self.fixed()?;
        let service = self.text()?.parse().ok()?;
        let kind = match kind {
            0 => Kind::State,
            1 => Kind::Screen,
            _ => return Some(None),
        };
        Some(Some(Part { service, kind }))
    }
}

#[cfg(test)]
mod tests;
