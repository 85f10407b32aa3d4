//! The frames of a link between two hosts: `kind u8, length u32 (big endian), payload`.
//!
//! A link is one TLS stream between two hosts that have proved themselves to each other. It carries numbered channels,
//! each a pair of byte streams. Whoever opened the stream opens channels with odd numbers, the other end with even
//! ones; both count upwards. A channel's sender may have [`WINDOW`] bytes on the way beyond what [`Frame::Credit`] gave
//! back. Integers are big endian. Unknown kinds are kept ([`Frame::Other`]) and skipped by their reader.

use crate::envelope;
pub use crate::envelope::{FrameError, HEADER_LEN};

/// Largest payload, in bytes.
pub const PAYLOAD_MAX: usize = 16 * 1024;
/// Most bytes in one [`Frame::Data`].
pub const DATA_MAX: usize = PAYLOAD_MAX - 4;
/// Bytes that may be on the way in one direction of a channel before any credit.
pub const WINDOW: usize = 64 * 1024;
/// Longest text that says what a channel is for, in bytes.
pub const PURPOSE_MAX: usize = 1024;

/// The number of a channel, unique in the life of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelId(pub u32);

/// One frame of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Begins a channel, whose number is above all that this end has opened.
    Open {
        /// The number it has from now on.
        channel: ChannelId,
        /// What it is for, a line of text without its end.
        purpose: String,
    },
    /// Bytes of a channel.
    Data {
        /// The number of the channel.
        channel: ChannelId,
        /// At least one, at most [`DATA_MAX`].
        bytes: Vec<u8>,
    },
    /// So many more bytes may come: they were consumed.
    Credit {
        /// On which channel.
        channel: ChannelId,
        /// How many bytes were consumed.
        bytes: u32,
    },
    /// The sender sends nothing more on the channel. It is over when both ends have said so.
    End {
        /// The number of the channel.
        channel: ChannelId,
    },
    /// The channel is over at once; what was on the way is dropped.
    Cancel {
        /// The number of the channel.
        channel: ChannelId,
    },
    /// Answer with [`Frame::Pong`].
    Ping,
    /// The sender lives.
    Pong,
    /// The sender reads nothing more and closes the stream: a channel that it has not opened or answered was not seen.
    Goodbye,
    /// A kind from a later version.
    Other {
        /// The kind's number on the wire.
        kind: u8,
        /// What followed the header, not looked at.
        payload: Vec<u8>,
    },
}

mod kind {
    pub(super) const OPEN: u8 = 1;
    pub(super) const DATA: u8 = 2;
    pub(super) const CREDIT: u8 = 3;
    pub(super) const END: u8 = 4;
    pub(super) const CANCEL: u8 = 5;
    pub(super) const PING: u8 = 6;
    pub(super) const PONG: u8 = 7;
    pub(super) const GOODBYE: u8 = 8;
}

impl Frame {
    /// Reads the first frame of `bytes` and says how many bytes it took; `None` when it is not complete yet.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((kind, payload)) = envelope::open(bytes, PAYLOAD_MAX)? else { return Ok(None) };
        let frame = Self::read(kind, payload).ok_or(FrameError::Payload(kind))?;
        Ok(Some((frame, HEADER_LEN + payload.len())))
    }

    fn read(kind: u8, payload: &[u8]) -> Option<Self> {
        let of_channel = || {
            let (number, rest) = payload.split_first_chunk()?;
            Some((ChannelId(u32::from_be_bytes(*number)), rest))
        };
        let alone = |frame| payload.is_empty().then_some(frame);
        let of_channel_alone = || of_channel().and_then(|(channel, rest)| rest.is_empty().then_some(channel));
        match kind {
            kind::OPEN => {
                let (channel, text) = of_channel()?;
                let purpose = String::from_utf8(text.to_vec()).ok()?;
                let is_line = purpose.len() <= PURPOSE_MAX && !purpose.contains(['\n', '\r', '\0']);
                is_line.then_some(Self::Open { channel, purpose })
            }
            kind::DATA => {
                let (channel, bytes) = of_channel()?;
                (!bytes.is_empty()).then(|| Self::Data { channel, bytes: bytes.to_vec() })
            }
            kind::CREDIT => {
                let (channel, bytes) = of_channel()?;
                Some(Self::Credit { channel, bytes: u32::from_be_bytes(bytes.try_into().ok()?) })
            }
            kind::END => Some(Self::End { channel: of_channel_alone()? }),
            kind::CANCEL => Some(Self::Cancel { channel: of_channel_alone()? }),
            kind::PING => alone(Self::Ping),
            kind::PONG => alone(Self::Pong),
            kind::GOODBYE => alone(Self::Goodbye),
            _ => Some(Self::Other { kind, payload: payload.to_vec() }),
        }
    }

    /// Appends the frame to `out`. A payload above [`PAYLOAD_MAX`] is the caller's error; the other end refuses it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let (kind, channel, rest): (u8, Option<ChannelId>, &[u8]) = match self {
            Self::Open { channel, purpose } => (kind::OPEN, Some(*channel), purpose.as_bytes()),
            Self::Data { channel, bytes } => (kind::DATA, Some(*channel), bytes),
            Self::Credit { channel, bytes } => (kind::CREDIT, Some(*channel), &bytes.to_be_bytes()),
            Self::End { channel } => (kind::END, Some(*channel), &[]),
            Self::Cancel { channel } => (kind::CANCEL, Some(*channel), &[]),
            Self::Ping => (kind::PING, None, &[]),
            Self::Pong => (kind::PONG, None, &[]),
            Self::Goodbye => (kind::GOODBYE, None, &[]),
            Self::Other { kind, payload } => (*kind, None, payload),
        };
        envelope::seal(out, |out| {
            out.extend(channel.iter().flat_map(|channel| channel.0.to_be_bytes()));
            out.extend_from_slice(rest);
            kind
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const C: ChannelId = ChannelId(258);

    fn samples() -> [(Frame, &'static str); 9] {
        [
            (Frame::Open { channel: C, purpose: "ask".into() }, "01000000070000010261736b"),
            (Frame::Data { channel: C, bytes: b"x".to_vec() }, "02000000050000010278"),
            (Frame::Credit { channel: C, bytes: 3 }, "03000000080000010200000003"),
            (Frame::End { channel: C }, "040000000400000102"),
            (Frame::Cancel { channel: C }, "050000000400000102"),
            (Frame::Ping, "0600000000"),
            (Frame::Pong, "0700000000"),
            (Frame::Goodbye, "0800000000"),
            (Frame::Other { kind: 99, payload: vec![1] }, "630000000101"),
        ]
    }

    #[test]
    fn every_frame_has_the_bytes_that_the_other_version_reads() {
        for (frame, text) in samples() {
            let mut bytes = Vec::new();
            frame.emit(&mut bytes);
            assert_eq!(crate::hex::encode(&bytes), text);
            assert_eq!(Frame::parse(&bytes), Ok(Some((frame, bytes.len()))));
            assert_eq!(Frame::parse(&bytes[..bytes.len() - 1]), Ok(None));
        }
    }

    #[test]
    fn what_is_too_long_or_does_not_fit_its_kind_is_no_frame() {
        assert_eq!(Frame::parse(&[99, 0, 0, 0x40, 1]), Err(FrameError::TooLong(PAYLOAD_MAX + 1)));
        for bytes in [
            &[1, 0, 0, 0, 3, 0, 0, 1][..],
            &[1, 0, 0, 0, 5, 0, 0, 0, 1, b'\n'],
            &[1, 0, 0, 0, 5, 0, 0, 0, 1, 0xff],
            &[2, 0, 0, 0, 4, 0, 0, 0, 1],
            &[3, 0, 0, 0, 5, 0, 0, 0, 1, 1],
            &[4, 0, 0, 0, 5, 0, 0, 0, 1, 1],
            &[6, 0, 0, 0, 1, 1],
        ] {
            assert_eq!(Frame::parse(bytes), Err(FrameError::Payload(bytes[0])), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..64), kind in 0_u8..10) {
            let mut framed = vec![kind, 0, 0, 0, u8::try_from(bytes.len()).unwrap()];
            framed.extend(bytes);
            if let Ok(Some((frame, len))) = Frame::parse(&framed) {
                let mut again = Vec::new();
                frame.emit(&mut again);
                prop_assert_eq!(&again[..], &framed[..len]);
            }
        }
    }
}
