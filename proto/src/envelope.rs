//! What is around every frame of a display channel and of a link, and around what hosts say about copies: `kind u8, length u32 (big endian), payload`.

/// Bytes before a payload.
pub const HEADER_LEN: usize = 5;

/// Bytes that are no frame. The connection is of no further use; whoever sent them is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is above what a frame may have.
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    /// The payload of a known kind is shorter or longer than its fields, or not what they hold.
    #[error("a frame of kind {0} with a payload that does not fit it")]
    Payload(u8),
}

/// The kind and the payload of the first frame of `bytes`, which takes [`HEADER_LEN`] bytes more; `None` when it is not
/// complete yet.
///
/// # Errors
/// [`FrameError::TooLong`] when its payload has more than `payload_max` bytes, as soon as its header is there.
pub fn open(bytes: &[u8], payload_max: usize) -> Result<Option<(u8, &[u8])>, FrameError> {
    let Some(([kind, len @ ..], rest)) = bytes.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let len = u32::from_be_bytes(*len) as usize;
    if len > payload_max {
        return Err(FrameError::TooLong(len));
    }
    Ok(rest.get(..len).map(|payload| (*kind, payload)))
}

/// Appends a frame to `out`, whose payload `emit` appends; it returns the kind.
pub fn seal(out: &mut Vec<u8>, emit: impl FnOnce(&mut Vec<u8>) -> u8) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    let kind = emit(out);
    let len = u32::try_from(out.len() - start - HEADER_LEN).unwrap_or(u32::MAX);
    out[start] = kind;
    out[start + 1..start + HEADER_LEN].copy_from_slice(&len.to_be_bytes());
}
