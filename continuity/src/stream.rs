//! The bytes of a state socket, cut into lines and what follows them.

use proto::line::{LINE_MAX, Line};

use crate::limits::VALUE_MAX;

/// A line and the bytes that its key `bytes` announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The line itself, without its end.
    pub line: Line,
    /// What followed it, if anything was announced.
    pub payload: Option<Vec<u8>>,
}

/// Bytes after which nothing that follows can be understood: the connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No end of a line within [`LINE_MAX`] bytes.
    #[error("a line of more than {LINE_MAX} bytes")]
    LineTooLong,
    /// More bytes are announced than a value may have, or no number of them.
    #[error("more than {VALUE_MAX} bytes announced, or not a number of them")]
    PayloadTooLong,
    /// What follows the payload is not the end of a line.
    #[error("no end of a line after the payload")]
    Unended,
}

/// Bytes that were not yet understood: at most a line, a payload and what was pushed last.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    bytes: Vec<u8>,
    done: usize,
}

impl Stream {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.done);
        self.done = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes are not understood yet.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len() - self.done
    }

    /// Whether all was understood.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next packet; `None` until all of it is there. A line that is none is an error that spoils nothing else
    /// (`Some(Err(_))` inside).
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn next_packet(&mut self) -> Result<Option<Result<Packet, proto::line::LineError>>, Fault> {
        loop {
            let rest = &self.bytes[self.done..];
            let Some(end) = rest.iter().take(LINE_MAX + 1).position(|byte| *byte == b'\n') else {
                return if rest.len() > LINE_MAX { Err(Fault::LineTooLong) } else { Ok(None) };
            };
            let line = match Line::parse(&rest[..end]) {
                Ok(line) => line,
                Err(proto::line::LineError::Empty) => {
                    self.done += end + 1;
                    continue;
                }
                Err(error) => {
                    self.done += end + 1;
                    return Ok(Some(Err(error)));
                }
            };
            let Some(announced) = line.get("bytes") else {
                self.done += end + 1;
                return Ok(Some(Ok(Packet { line, payload: None })));
            };
            let len = announced.parse().ok().filter(|len| *len <= VALUE_MAX).ok_or(Fault::PayloadTooLong)?;
            let Some((payload, [last, ..])) = rest[end + 1..].split_at_checked(len) else { return Ok(None) };
            if *last != b'\n' {
                return Err(Fault::Unended);
            }
            let payload = Some(payload.to_vec());
            self.done += end + 1 + len + 1;
            return Ok(Some(Ok(Packet { line, payload })));
        }
    }
}

/// Appends a line, and its payload if it has one, as [`Stream`] reads it.
pub fn emit(line: Line, payload: Option<&[u8]>, out: &mut Vec<u8>) {
    let line = line.with_some("bytes", payload.map(<[u8]>::len));
    out.extend_from_slice(line.to_string().as_bytes());
    out.push(b'\n');
    if let Some(payload) = payload {
        out.extend_from_slice(payload);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], piece: usize) -> (Vec<Packet>, Option<Fault>) {
        let (mut stream, mut packets) = (Stream::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            stream.push(piece);
            loop {
                match stream.next_packet() {
                    Ok(Some(packet)) => packets.extend(packet.ok()),
                    Ok(None) => break,
                    Err(fault) => return (packets, Some(fault)),
                }
            }
        }
        (packets, None)
    }

    #[test]
    fn a_payload_may_hold_anything_and_come_in_any_pieces() {
        let mut bytes = Vec::new();
        emit(Line::new("put").with("key", "a b"), Some(b"x\nput key=c\n\0"), &mut bytes);
        emit(Line::new("status"), None, &mut bytes);
        emit(Line::new("put").with("key", "e"), Some(b""), &mut bytes);
        let (packets, fault) = read(&bytes, bytes.len());
        assert_eq!((packets.len(), fault), (3, None));
        assert_eq!(packets[0].payload.as_deref(), Some(&b"x\nput key=c\n\0"[..]));
        assert_eq!((packets[0].line.get("key"), packets[1].line.command()), (Some("a b"), "status"));
        assert_eq!(packets[2].payload.as_deref(), Some(&b""[..]));
        for piece in 1..5 {
            assert_eq!(read(&bytes, piece).0, packets);
        }
    }

    #[test]
    fn what_cannot_be_cut_ends_the_connection_and_a_bad_line_does_not() {
        assert_eq!(read(&[b'x'; LINE_MAX + 1], 100).1, Some(Fault::LineTooLong));
        for bad in ["put bytes=-1\n", "put bytes=x\n", "put bytes=32769\n"] {
            assert_eq!(read(bad.as_bytes(), 100).1, Some(Fault::PayloadTooLong), "{bad}");
        }
        assert_eq!(read(b"put bytes=2\nabc\n", 100).1, Some(Fault::Unended));
        let (packets, fault) = read(b"\n\x01\n\xff\n =x\nstatus\n", 100);
        assert_eq!((packets.len(), fault), (1, None));
    }
}
