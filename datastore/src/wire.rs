//! Frames between a client and a data store: `length u32 (big endian), postcard`.
//!
//! The same frames are spoken over TCP (inside TLS, after [`crate::handshake`]) and over the Unix socket
//! inside a session (at once, without either), so that whoever relays between the two need not understand
//! them. Since a frame is far shorter than 16 MiB, its first byte is always zero, which tells this protocol
//! from any text on a shared socket.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::key::Key;
use crate::message::{Page, Request, RequestId, Response, WatchEvent};
use crate::value::Value;

/// Largest payload of a frame: a full page with one more value of the largest size.
pub const FRAME_MAX: usize = 512 * 1024;

const _: () = assert!(
    FRAME_MAX > Page::BYTES_MAX + Value::LEN_MAX + Key::LEN_MAX + Page::ENTRIES_MAX as usize * 8 + 64
        && FRAME_MAX < 1 << 24
);

/// Bytes before a payload.
pub const HEADER_LEN: usize = 4;

/// How many requests one connection may have under way; a server reads no further then. A client keeps below
/// it ([`crate::client::IN_FLIGHT_MAX`]), so that its pings are always read.
pub const IN_FLIGHT_MAX: usize = 160;

/// Client → store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Names the request on this connection. The client's choice; not to be used again while under way.
    pub id: RequestId,
    /// What is asked for.
    pub request: Request,
}

/// Store → client. The order of variants is the wire form: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromStore {
    /// The answer to a [`Call`]. Answers come in any order.
    Reply {
        /// The id of the call that is answered.
        id: RequestId,
        /// What the store answers.
        response: Response,
    },
    /// An event of a watch.
    Event {
        /// The id of the call that began it.
        watch: RequestId,
        /// The change that the watch reports.
        event: WatchEvent,
    },
}

/// Bytes that are no frame. The connection is of no further use; whoever sent them is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The length is above what this side reads.
    #[error("a frame of {bytes} bytes where at most {max} belong")]
    TooLong {
        /// What it says.
        bytes: usize,
        /// How long a frame may be, in bytes.
        max: usize,
    },
    /// The payload is not the message that belongs here.
    #[error("a frame of {bytes} bytes that is no message: {why}")]
    Payload {
        /// The length that the header states, in bytes.
        bytes: usize,
        /// What postcard says.
        why: String,
    },
}

/// Appends `message` as one frame.
///
/// # Errors
/// [`WireError::TooLong`] when it is above [`FRAME_MAX`], which no message built by this crate's types
/// within their bounds is. `out` is unchanged then.
pub fn encode<M: Serialize>(message: &M, out: &mut Vec<u8>) -> Result<(), WireError> {
    let payload =
        postcard::to_stdvec(message).map_err(|e| WireError::Payload { bytes: 0, why: e.to_string() })?;
    let too_long = WireError::TooLong { bytes: payload.len(), max: FRAME_MAX };
    if payload.len() > FRAME_MAX {
        return Err(too_long);
    }
    let len = u32::try_from(payload.len()).map_err(|_| too_long)?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&payload);
    Ok(())
}

/// Reads a payload. Trailing bytes are refused.
///
/// # Errors
/// [`WireError::Payload`].
pub fn decode<M: DeserializeOwned>(payload: &[u8]) -> Result<M, WireError> {
    let bad = |why: String| WireError::Payload { bytes: payload.len(), why };
    match postcard::take_from_bytes(payload) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(bad(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// Cuts a byte stream into frames. Holds at most one frame beyond what was pushed last.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    read: usize,
    payload_max: usize,
}

impl Default for FrameBuffer {
    fn default() -> Self {
        Self::new(FRAME_MAX)
    }
}

impl FrameBuffer {
    /// A buffer that refuses payloads above `payload_max` bytes, as soon as their length is read.
    #[must_use]
    pub const fn new(payload_max: usize) -> Self {
        Self { bytes: Vec::new(), read: 0, payload_max }
    }

    /// Takes in what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The payload of the next whole frame, if there is one.
    ///
    /// # Errors
    /// [`WireError::TooLong`]; the buffer is of no further use then.
    pub fn next_payload(&mut self) -> Result<Option<&[u8]>, WireError> {
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let len = u32::from_be_bytes(*header) as usize;
        if len > self.payload_max {
            return Err(WireError::TooLong { bytes: len, max: self.payload_max });
        }
        let payload = rest.get(..len);
        if payload.is_some() {
            self.read += HEADER_LEN + len;
        }
        Ok(payload)
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// See [`WireError`]; the buffer is of no further use then.
    pub fn next_message<M: DeserializeOwned>(&mut self) -> Result<Option<M>, WireError> {
        self.next_payload()?.map(decode).transpose()
    }

    /// Sets how large a payload may be from now on: small before the other side is trusted.
    pub const fn set_payload_max(&mut self, payload_max: usize) {
        self.payload_max = payload_max;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Refusal, StoreError};
    use crate::guard::{Guard, Write};
    use crate::key::Prefix;
    use crate::message::{Answer, Change, Event, Expected, Generation, Revision};
    use crate::once::{Deed, EffectId, Past};
    use proptest::prelude::*;
    use proto::Epoch;

    fn key() -> impl Strategy<Value = Key> {
        "[a-z]{1,8}(/[a-z.]{3,8}){0,2}".prop_map(|k| k.parse().unwrap())
    }

    fn value() -> impl Strategy<Value = Value> {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|v| Value::new(&v).unwrap())
    }

    fn request() -> impl Strategy<Value = Request> {
        let prefix = "[a-z]{0,3}/?".prop_filter_map("no prefix", |p| p.parse::<Prefix>().ok());
        prop_oneof![
            key().prop_map(|key| Request::Get { key }),
            (key(), value()).prop_map(|(key, value)| Request::Put { key, value }),
            (key(), proptest::option::of(value()), proptest::option::of(value()))
                .prop_map(|(key, old, new)| Request::Swap { key, expected: Expected::from(old), new }),
            key().prop_map(|key| Request::Delete { key }),
            (prefix.clone(), proptest::option::of(key()), any::<u16>())
                .prop_map(|(prefix, after, limit)| Request::Scan { prefix, after, limit }),
            prefix.prop_map(|prefix| Request::Watch { prefix }),
            any::<u64>().prop_map(|n| Request::Unwatch { watch: RequestId(n) }),
            Just(Request::Ping),
            Just(Request::Status),
            (key(), key(), value(), any::<(u32, u32)>()).prop_map(
                |(of, key, value, (generation, counter))| {
                    Request::Put { key, value }.guarded(Guard { key: of, generation, counter })
                }
            ),
            (key(), value(), any::<u64>(), any::<u8>()).prop_map(|(key, value, operation, step)| {
                let effect = EffectId { service: "shop".parse().unwrap(), epoch: (1, 2), operation, step };
                let deed =
                    if step % 2 == 0 { Deed::End(value) } else { Deed::Write(Write::Put { key, value }) };
                Request::Once { guard: None, effect, deed }
            }),
        ]
    }

    fn reply(answer: Answer) -> FromStore {
        let response = Response { generation: Generation(1), revision: Revision(300), answer };
        FromStore::Reply { id: RequestId(2), response }
    }

    /// What is on disks and wires of another version must still be read: these bytes may not change.
    #[test]
    fn every_message_has_its_golden_bytes_and_reads_back() {
        let (k, v) = (|| "a/b".parse::<Key>().unwrap(), || Value::new(b"hi").unwrap());
        let call = |request| Call { id: RequestId(2), request };
        let calls = [
            (call(Request::Get { key: k() }), "00000006020003612f62"),
            (call(Request::Put { key: k(), value: v() }), "00000009020103612f62026869"),
            (
                call(Request::Swap { key: k(), expected: Expected::Exactly(v()), new: None }),
                "0000000b020203612f620102686900",
            ),
            (
                call(Request::Swap { key: k(), expected: Expected::Absent, new: Some(v()) }),
                "0000000b020203612f620001026869",
            ),
            (call(Request::Delete { key: k() }), "00000006020303612f62"),
            (call(Request::scan("a/".parse().unwrap())), "00000008020402612f00e807"),
            (call(Request::Watch { prefix: Prefix::default() }), "00000003020500"),
            (call(Request::Unwatch { watch: RequestId(1) }), "00000003020601"),
            (call(Request::Ping), "000000020207"),
            (call(Request::Status), "000000020208"),
            (
                call(
                    Request::Delete { key: k() }
                        .guarded(Guard::new(k(), Epoch { generation: 1, counter: 300 })),
                ),
                "0000000e020903612f6201ac020203612f62",
            ),
        ];
        for (message, golden) in calls {
            check_golden(&message, golden);
        }
        let page = Page { entries: vec![(k(), v())], more: true };
        let failed = |e| reply(Answer::Failed(e));
        let change = Change { key: k(), value: None };
        let replies = [
            (reply(Answer::Value(None)), "00000007000201ac020000"),
            (reply(Answer::Stored), "00000006000201ac0201"),
            (reply(Answer::Swapped), "00000006000201ac0202"),
            (reply(Answer::Lost { current: Some(v()) }), "0000000a000201ac020301026869"),
            (reply(Answer::Deleted { existed: true }), "00000007000201ac020401"),
            (reply(Answer::Page(page)), "0000000f000201ac02050103612f6202686901"),
            (reply(Answer::Watching), "00000006000201ac0206"),
            (reply(Answer::Unwatched), "00000006000201ac0207"),
            (reply(Answer::Pong), "00000006000201ac0208"),
            (reply(Answer::Status(vec![("x".into(), 1)])), "0000000a000201ac020901017801"),
            (failed(Refusal::Busy.into()), "00000008000201ac020a0200"),
            (failed(Refusal::Fenced.into()), "00000008000201ac020a0205"),
            (
                failed(StoreError::Unreachable { at: "x".into(), why: "y".into() }),
                "0000000b000201ac020a0001780179",
            ),
            (FromStore::Event { watch: RequestId(1), event: WatchEvent::Lagged }, "00000003010101"),
            (
                FromStore::Event {
                    watch: RequestId(1),
                    event: WatchEvent::Changed(Event { revision: Revision(3), change }),
                },
                "000000090101000303612f6200",
            ),
        ];
        for (message, golden) in replies {
            check_golden(&message, golden);
        }
    }

    #[test]
    fn every_effect_has_its_golden_bytes_and_reads_back() {
        let (k, v) = (|| "a/b".parse::<Key>().unwrap(), || Value::new(b"hi").unwrap());
        let effect = EffectId { service: "s".parse().unwrap(), epoch: (1, 300), operation: 5, step: 2 };
        let guard = Guard::new(k(), Epoch { generation: 1, counter: 300 });
        let once = |deed| Call {
            id: RequestId(2),
            request: Request::Once { guard: None, effect: effect.clone(), deed }.guarded(guard.clone()),
        };
        for (message, golden) in [
            (
                once(Deed::Write(Write::Delete { key: k() })),
                "00000017020a0103612f6201ac02017301ac020502000203612f62",
            ),
            (once(Deed::Begin), "00000012020a0103612f6201ac02017301ac02050201"),
            (once(Deed::End(v())), "00000015020a0103612f6201ac02017301ac02050202026869"),
        ] {
            check_golden(&message, golden);
        }
        let replies = [
            (reply(Answer::Failed(Refusal::Superseded.into())), "00000008000201ac020a0206"),
            (reply(Answer::Already(Past::Deleted { existed: true })), "00000008000201ac020b0201"),
            (reply(Answer::Already(Past::Ended(v()))), "0000000a000201ac020b04026869"),
            (reply(Answer::Begun), "00000006000201ac020c"),
            (reply(Answer::Ended), "00000006000201ac020d"),
        ];
        for (message, golden) in replies {
            check_golden(&message, golden);
        }
    }

    fn check_golden<M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
        message: &M,
        golden: &str,
    ) {
        let mut bytes = Vec::new();
        encode(message, &mut bytes).unwrap();
        assert_eq!(proto::hex::encode(&bytes), golden, "{message:?}");
        let mut buffer = FrameBuffer::default();
        for byte in bytes {
            assert_eq!(buffer.next_message::<M>().unwrap(), None);
            buffer.push(&[byte]);
        }
        assert_eq!(buffer.next_message::<M>().unwrap().as_ref(), Some(message));
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_it_is_buffered() {
        let mut buffer = FrameBuffer::new(1000);
        buffer.push(&1001_u32.to_be_bytes());
        assert_eq!(buffer.next_payload(), Err(WireError::TooLong { bytes: 1001, max: 1000 }));
    }

    #[test]
    fn the_largest_page_fits_a_frame() {
        let key = |n: usize| format!("{n:04}{}", "k".repeat(Key::LEN_MAX - 4)).parse::<Key>().unwrap();
        let small = Value::new(&[]).unwrap();
        let mut entries: Vec<_> = (0..999).map(|n| (key(n), small.clone())).collect();
        entries.push((key(999), Value::new(&[1; Value::LEN_MAX]).unwrap()));
        let message = reply(Answer::Page(Page { entries, more: true }));
        encode(&message, &mut Vec::new()).unwrap();
    }

    #[test]
    fn bytes_after_a_message_are_refused() {
        assert!(decode::<Call>(&[1, 7]).is_ok());
        assert!(matches!(decode::<Call>(&[1, 7, 0]), Err(WireError::Payload { bytes: 3, .. })));
    }

    proptest! {
        #[test]
        fn calls_read_back(id: u64, request in request()) {
            let call = Call { id: RequestId(id), request };
            let mut bytes = Vec::new();
            encode(&call, &mut bytes).unwrap();
            prop_assert_eq!(bytes[0], 0);
            let mut buffer = FrameBuffer::default();
            buffer.push(&bytes);
            prop_assert_eq!(buffer.next_message::<Call>().unwrap(), Some(call));
        }

        #[test]
        fn reading_frames_never_panics(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..6)) {
            let mut buffer = FrameBuffer::new(64);
            'chunks: for chunk in chunks {
                let _ = decode::<Call>(&chunk);
                let _ = decode::<FromStore>(&chunk);
                buffer.push(&chunk);
                loop {
                    match buffer.next_payload() {
                        Ok(Some(payload)) => drop(decode::<Call>(payload)),
                        Ok(None) => break,
                        Err(_) => break 'chunks,
                    }
                }
            }
        }

        #[test]
        fn a_damaged_call_is_read_as_some_call_or_refused(id: u64, request in request(), at: usize, flip in 1_u8..) {
            let mut bytes = postcard::to_stdvec(&Call { id: RequestId(id), request }).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let _ = decode::<Call>(&bytes);
        }
    }
}
