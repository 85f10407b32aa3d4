//! Why a link is over.

use proto::link::FrameError;

/// Why a link is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// The stream broke: the other end's process or machine is gone, or gave up.
    #[error("the link to it broke")]
    Reset,
    /// The other end did not answer: it, or the way to it, stands still.
    #[error("it fell silent")]
    Silence,
    /// Either end said goodbye. What was asked of the other end behind that was not seen.
    #[error("it closed the link")]
    Goodbye,
    /// The other end broke the rules.
    #[error("it broke the rules of the link: {0}")]
    Fault(Fault),
}

/// Which rule the other end has broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A frame is too long.
    #[error("a frame that is too long")]
    TooLong,
    /// A frame is none.
    #[error("a malformed frame")]
    Malformed,
    /// A channel that was never opened, is not the sender's to open, or had ended.
    #[error("a channel that is not open")]
    Channel,
    /// More data than the window allows.
    #[error("more than its window")]
    Overrun,
    /// Credit for what was never sent.
    #[error("credit for nothing")]
    Credit,
    /// It opens channels and does not read that they are refused.
    #[error("too many channels")]
    Channels,
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLong(_) => Self::TooLong,
            FrameError::Payload(_) => Self::Malformed,
        }
    }
}
