//! The frames of the display channel: `kind u8, length u32 (big endian), payload`.
//!
//! See `docs/protocol.md`, "The display channel". Output carries the offset of its first byte in the service's output stream, input the number of
//! its first byte in the DTU's input stream, so that either side can say what it has and the other send the
//! rest. Integers are big endian. Unknown kinds are kept ([`Frame::Other`]) and skipped by their reader.

use crate::envelope;
pub use crate::envelope::{FrameError, HEADER_LEN};
use crate::ids::{BadName, Nonce, Serial, ServiceName};

/// Largest payload: a repaint of 200 by 60 cells fits even when every cell has colours of its own. What a DTU
/// sends is far smaller, and the session holds it to that.
pub const PAYLOAD_MAX: usize = 1024 * 1024;

/// Input bytes a DTU may have on the way beyond what was acknowledged. It holds the rest back until an
/// [`Frame::Ack`] makes room; a session drops the connection that sends more, since a service may have stopped
/// reading and a ping behind its input must still be answered.
pub const INPUT_WINDOW: usize = 64 * 1024;

/// Columns and rows of a screen, each at least 1 and at most [`Size::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Size {
    /// Columns of cells, 1 to [`Size::MAX`].
    pub cols: u16,
    /// Rows of cells, 1 to [`Size::MAX`].
    pub rows: u16,
}

impl Size {
    /// The largest accepted value of either: the screen is kept in memory.
    pub const MAX: u16 = 500;

    /// A size within bounds: what lies outside is moved to the nearest bound.
    #[must_use]
    pub fn clamped(cols: u16, rows: u16) -> Self {
        Self { cols: cols.clamp(1, Self::MAX), rows: rows.clamp(1, Self::MAX) }
    }
}

impl Default for Size {
    fn default() -> Self {
        Self { cols: 80, rows: 24 }
    }
}

/// Pixels of a character cell on a screen that does not say how large its characters are.
const CELL: Pixels = Pixels { width: 8, height: 16 };

/// Width and height of a screen in pixels, as the protocol of real terminals states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
}

impl Pixels {
    /// The size in characters; `None` for a screen that has no room for one.
    #[must_use]
    pub fn in_cells(self) -> Option<Size> {
        let (cols, rows) = (self.width / CELL.width, self.height / CELL.height);
        (cols > 0 && rows > 0).then(|| Size::clamped(cols, rows))
    }
}

impl From<Size> for Pixels {
    fn from(Size { cols, rows }: Size) -> Self {
        Self { width: cols.saturating_mul(CELL.width), height: rows.saturating_mul(CELL.height) }
    }
}

/// One frame of a display channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// DTU → session, first: who is there and what it has.
    Hello(Hello),
    /// Session → DTU, the answer to [`Frame::Hello`]: input up to `input_applied` is applied, send what follows.
    Welcome {
        /// Input bytes of this DTU's run that were applied.
        input_applied: u64,
        /// Names the run of the service whose output is numbered: after another value, offsets start anew.
        stream: Nonce,
    },
    /// Session → DTU: output of the service.
    Output {
        /// Offset of the first byte.
        offset: u64,
        /// What the service wrote.
        bytes: Vec<u8>,
    },
    /// Session → DTU: the whole screen, as bytes for an empty terminal of `size`; output goes on at `offset`.
    Repaint {
        /// Offset of the output that follows.
        offset: u64,
        /// Size of the screen.
        size: Size,
        /// What draws it.
        bytes: Vec<u8>,
    },
    /// DTU → session: input for the service.
    Input {
        /// Number of the first byte.
        seq: u64,
        /// What was typed.
        bytes: Vec<u8>,
    },
    /// DTU → session: the screen has this size now.
    Resize(Size),
    /// Either way: everything below these was received (output by the DTU) or applied (input by the session).
    /// The field that is not the sender's to say is 0.
    Ack {
        /// Output received up to here.
        output: u64,
        /// Input applied up to here.
        input: u64,
    },
    /// DTU → session: send a [`Frame::Repaint`].
    WantRepaint,
    /// Session → DTU: a line for the person at the screen, not part of the output.
    Notice(String),
    /// Session → DTU: the service ended with this status; the channel closes.
    Exit(i32),
    /// Either way: answer with [`Frame::Pong`]. Only such an answer counts as life.
    Ping(u64),
    /// The answer, with the same number.
    Pong(u64),
    /// A kind from a later version.
    Other {
        /// The kind's number on the wire.
        kind: u8,
        /// What followed the header, not looked at.
        payload: Vec<u8>,
    },
}

/// What a DTU says first on the display channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The one-time ticket of connInf.
    pub ticket: Nonce,
    /// Who is there.
    pub serial: Serial,
    /// Which service of the session.
    pub service: ServiceName,
    /// Drawn by the DTU when it presented the token: input is numbered within it, and applied once.
    pub run: Nonce,
    /// The output stream it has part of; all zeros for none.
    pub stream: Nonce,
    /// Output it has: everything below this offset.
    pub have: u64,
    /// The size of its screen.
    pub size: Size,
}

impl From<BadName> for FrameError {
    fn from(_: BadName) -> Self {
        Self::Payload(kind::HELLO)
    }
}

mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const WELCOME: u8 = 2;
    pub(super) const OUTPUT: u8 = 3;
    pub(super) const REPAINT: u8 = 4;
    pub(super) const INPUT: u8 = 5;
    pub(super) const RESIZE: u8 = 6;
    pub(super) const ACK: u8 = 7;
    pub(super) const WANT_REPAINT: u8 = 8;
    pub(super) const NOTICE: u8 = 9;
    pub(super) const EXIT: u8 = 10;
    pub(super) const PING: u8 = 11;
    pub(super) const PONG: u8 = 12;
}

impl Frame {
    /// Reads the first frame of `bytes` and says how many bytes it took; `None` when it is not complete yet.
    ///
    /// ```
    /// use proto::frame::Frame;
    ///
    /// let mut bytes = Vec::new();
    /// Frame::Ping(7).emit(&mut bytes);
    /// assert_eq!(Frame::parse(&bytes[..12])?, None);
    /// assert_eq!(Frame::parse(&bytes)?, Some((Frame::Ping(7), 13)));
    /// # Ok::<(), proto::frame::FrameError>(())
    /// ```
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, FrameError> {
        Self::parse_within(bytes, PAYLOAD_MAX)
    }

    /// The same, of a frame whose payload may have `payload_max` bytes and no more.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub fn parse_within(bytes: &[u8], payload_max: usize) -> Result<Option<(Self, usize)>, FrameError> {
        let found = envelope::open(bytes, payload_max.min(PAYLOAD_MAX))?;
        let Some((kind, payload)) = found else { return Ok(None) };
        Ok(Some((Self::read(kind, payload)?, HEADER_LEN + payload.len())))
    }

    fn read(kind: u8, payload: &[u8]) -> Result<Self, FrameError> {
        let mut r = Reader { kind, rest: payload };
        let frame = match kind {
            kind::HELLO => Self::Hello(Hello {
                ticket: Nonce(r.u128()?),
                run: Nonce(r.u128()?),
                stream: Nonce(r.u128()?),
                have: r.u64()?,
                size: r.size()?,
                serial: r.short_text()?.parse()?,
                service: r.short_text()?.parse()?,
            }),
            kind::WELCOME => Self::Welcome { input_applied: r.u64()?, stream: Nonce(r.u128()?) },
            kind::OUTPUT => Self::Output { offset: r.u64()?, bytes: r.all() },
            kind::REPAINT => Self::Repaint { offset: r.u64()?, size: r.size()?, bytes: r.all() },
            kind::INPUT => Self::Input { seq: r.u64()?, bytes: r.all() },
            kind::RESIZE => Self::Resize(r.size()?),
            kind::ACK => Self::Ack { output: r.u64()?, input: r.u64()? },
            kind::WANT_REPAINT => Self::WantRepaint,
            kind::NOTICE => Self::Notice(String::from_utf8_lossy(&r.all()).into_owned()),
            kind::EXIT => Self::Exit(i32::from_be_bytes(r.array()?)),
            kind::PING => Self::Ping(r.u64()?),
            kind::PONG => Self::Pong(r.u64()?),
            _ => Self::Other { kind, payload: r.all() },
        };
        if r.rest.is_empty() { Ok(frame) } else { Err(FrameError::Payload(kind)) }
    }

    /// Appends the frame to `out`. A payload above [`PAYLOAD_MAX`] is the caller's error; the other side
    /// refuses it.
    pub fn emit(&self, out: &mut Vec<u8>) {
        envelope::seal(out, |out| self.emit_payload(out));
    }

    fn emit_payload(&self, out: &mut Vec<u8>) -> u8 {
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        match self {
            Self::Hello(hello) => {
                for nonce in [hello.ticket, hello.run, hello.stream] {
                    put(&nonce.0.to_be_bytes());
                }
                put(&hello.have.to_be_bytes());
                put_size(hello.size, out);
                put_short_text(hello.serial.as_str(), out);
                put_short_text(hello.service.as_str(), out);
                kind::HELLO
            }
            Self::Welcome { input_applied, stream } => {
                put(&input_applied.to_be_bytes());
                put(&stream.0.to_be_bytes());
                kind::WELCOME
            }
            Self::Output { offset, bytes } => {
                put(&offset.to_be_bytes());
                put(bytes);
                kind::OUTPUT
            }
            Self::Repaint { offset, size, bytes } => {
                put(&offset.to_be_bytes());
                put_size(*size, out);
                out.extend_from_slice(bytes);
                kind::REPAINT
            }
            Self::Input { seq, bytes } => {
                put(&seq.to_be_bytes());
                put(bytes);
                kind::INPUT
            }
            Self::Resize(size) => {
                put_size(*size, out);
                kind::RESIZE
            }
            Self::Ack { output, input } => {
                put(&output.to_be_bytes());
                put(&input.to_be_bytes());
                kind::ACK
            }
            Self::WantRepaint => kind::WANT_REPAINT,
            Self::Notice(text) => {
                put(text.as_bytes());
                kind::NOTICE
            }
            Self::Exit(status) => {
                put(&status.to_be_bytes());
                kind::EXIT
            }
            Self::Ping(number) => {
                put(&number.to_be_bytes());
                kind::PING
            }
            Self::Pong(number) => {
                put(&number.to_be_bytes());
                kind::PONG
            }
            Self::Other { kind, payload } => {
                put(payload);
                *kind
            }
        }
    }
}

fn put_size(size: Size, out: &mut Vec<u8>) {
    out.extend_from_slice(&size.cols.to_be_bytes());
    out.extend_from_slice(&size.rows.to_be_bytes());
}

/// Names are at most 64 bytes, so one byte of length is enough.
fn put_short_text(text: &str, out: &mut Vec<u8>) {
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(FrameError::Payload(self.kind))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(u64::from_be_bytes)
    }

    fn u128(&mut self) -> Result<u128, FrameError> {
        self.array().map(u128::from_be_bytes)
    }

    fn size(&mut self) -> Result<Size, FrameError> {
        let [cols, rows] = [self.array()?, self.array()?].map(u16::from_be_bytes);
        Ok(Size::clamped(cols, rows))
    }

    fn short_text(&mut self) -> Result<String, FrameError> {
        let [len] = self.array()?;
        let (text, rest) =
            self.rest.split_at_checked(usize::from(len)).ok_or(FrameError::Payload(self.kind))?;
        self.rest = rest;
        String::from_utf8(text.to_vec()).map_err(|_| FrameError::Payload(self.kind))
    }

    fn all(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.rest).to_vec()
    }
}

/// Cuts a byte stream into frames. Holds at most one frame beyond what was pushed last.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    read: usize,
}

impl FrameBuffer {
    /// Takes in what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// See [`FrameError`]; the buffer is of no further use then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((frame, len)) = Frame::parse(&self.bytes[self.read..])? else { return Ok(None) };
        self.read += len;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples() -> Vec<(Frame, &'static str)> {
        let size = Size { cols: 80, rows: 24 };
        vec![
            (
                Frame::Hello(Hello {
                    ticket: Nonce(1),
                    serial: "080020abcdef".parse().unwrap(),
                    service: "terminal".parse().unwrap(),
                    run: Nonce(2),
                    stream: Nonce(0),
                    have: 0,
                    size,
                }),
                "01000000520000000000000000000000000000000100000000000000000000000000000002000000000000000000000000000000000000000000000000005000180c303830303230616263646566087465726d696e616c",
            ),
            (
                Frame::Welcome { input_applied: 7, stream: Nonce(3) },
                "0200000018000000000000000700000000000000000000000000000003",
            ),
            (Frame::Output { offset: 258, bytes: b"hi".to_vec() }, "030000000a00000000000001026869"),
            (
                Frame::Repaint { offset: 9, size, bytes: b"x".to_vec() },
                "040000000d00000000000000090050001878",
            ),
            (Frame::Input { seq: 1, bytes: b"l".to_vec() }, "050000000900000000000000016c"),
            (Frame::Resize(size), "060000000400500018"),
            (Frame::Ack { output: 1, input: 2 }, "070000001000000000000000010000000000000002"),
            (Frame::WantRepaint, "0800000000"),
            (Frame::Notice("ok".into()), "09000000026f6b"),
            (Frame::Exit(-1), "0a00000004ffffffff"),
            (Frame::Ping(1), "0b000000080000000000000001"),
            (Frame::Pong(1), "0c000000080000000000000001"),
            (Frame::Other { kind: 200, payload: vec![1, 2] }, "c8000000020102"),
        ]
    }

    #[test]
    fn every_frame_has_its_golden_bytes_and_reads_back() {
        for (frame, golden) in samples() {
            let mut bytes = Vec::new();
            frame.emit(&mut bytes);
            assert_eq!(crate::hex::encode(&bytes), golden, "{frame:?}");
            assert_eq!(Frame::parse(&bytes), Ok(Some((frame, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(Frame::parse(&bytes[..cut]), Ok(None), "cut to {cut}");
            }
        }
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_it_is_buffered() {
        assert_eq!(Frame::parse(&[3, 0xff, 0, 0, 0]), Err(FrameError::TooLong(0xff00_0000)));
        assert_eq!(Frame::parse(&[6, 0, 0, 0, 1, 0]), Err(FrameError::Payload(6)));
    }

    proptest! {
        #[test]
        fn reading_frames_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0_u8..16) {
            let _ = Frame::parse(&bytes);
            let _ = Frame::read(kind, &bytes);
        }
    }
}
