//! Messages as packets: the bounds of each, its bytes, and what is refused.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    ALREADY_MAX, DATA_MAX, EndReason, FromSession, FromSpawner, META_MAX, PACKET_MAX, PARTS_MAX, TEXT_MAX,
    ToSession, ToSpawner, VERSION, protection,
};

/// A packet that is not a message of ours. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Another version; the daemon is older or newer than what it speaks to.
    #[error("a control message of version {0}, where {VERSION} is spoken")]
    Version(u8),
    /// It does not read as a message.
    #[error("a malformed control message")]
    Malformed,
    /// It reads, but something in it is longer than allowed.
    #[error("a control message out of bounds")]
    Bounds,
}

/// A message that can travel as a packet.
pub trait Message: Serialize + DeserializeOwned {
    /// Whether what is in it is within the bounds.
    ///
    /// # Errors
    /// [`ControlError::Bounds`].
    fn check(&self) -> Result<(), ControlError>;

    /// Whether a file descriptor goes with it.
    fn has_fd(&self) -> bool {
        false
    }

    /// The packet.
    ///
    /// # Errors
    /// [`ControlError::Bounds`] when something in it is longer than allowed.
    fn encode(&self) -> Result<Vec<u8>, ControlError> {
        self.check()?;
        let packet = postcard::to_extend(self, vec![VERSION]).map_err(|_| ControlError::Malformed)?;
        if packet.len() > PACKET_MAX { Err(ControlError::Bounds) } else { Ok(packet) }
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// See [`ControlError`]; whoever sent it is at fault.
    fn decode(packet: &[u8]) -> Result<Self, ControlError> {
        let (version, body) = packet.split_first().ok_or(ControlError::Malformed)?;
        if *version != VERSION {
            return Err(ControlError::Version(*version));
        }
        let message: Self = postcard::from_bytes(body).map_err(|_| ControlError::Malformed)?;
        message.check()?;
        Ok(message)
    }
}

fn fits(ok: bool) -> Result<(), ControlError> {
    if ok { Ok(()) } else { Err(ControlError::Bounds) }
}

impl Message for ToSpawner {
    fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::Spawn(spec) | Self::SpawnNamed(spec) => spec.check(),
            Self::Kill(_) | Self::Keep(_) | Self::EndAll | Self::Ping(_) | Self::Renew => Ok(()),
        }
    }
}

impl Message for FromSpawner {
    fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::SpawnFailed { reason, .. } | Self::Failed(reason) => fits(reason.len() <= TEXT_MAX),
            _ => Ok(()),
        }
    }

    fn has_fd(&self) -> bool {
        matches!(self, Self::Kept(_) | Self::Spawned(_))
    }
}

impl Message for ToSession {
    fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::StartService(service) => fits(service.check().is_ok()),
            Self::SetMeta(meta) => fits(meta.0.len() <= META_MAX),
            Self::DataReply { reply: data, .. } | Self::DataPart { part: data, .. } => {
                fits(data.0.len() <= DATA_MAX)
            }
            Self::Display { already } => fits(already.0.len() <= ALREADY_MAX),
            Self::Notice(text) | Self::Protect { why: text, .. } => fits(text.len() <= TEXT_MAX),
            Self::Restore { object, .. } => fits(protection::object_fits(object)),
            _ => Ok(()),
        }
    }

    fn has_fd(&self) -> bool {
        matches!(self, Self::Display { .. })
    }
}

impl Message for FromSession {
    fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::Ready(description) | Self::Described(description) => description.spec.check(),
            Self::ServiceFailed { reason, .. } | Self::Ended(EndReason::CouldNotStart(reason)) => {
                fits(reason.len() <= TEXT_MAX)
            }
            Self::Data { request, .. } => fits(request.0.len() <= DATA_MAX),
            Self::Committed { update, .. } => fits(update.fits()),
            Self::Parts(parts) => fits(parts.len() <= PARTS_MAX),
            _ => Ok(()),
        }
    }
}
