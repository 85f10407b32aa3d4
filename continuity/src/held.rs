//! A copy of an object on another host.

use crate::delta::{Delta, Refused};
use crate::encoded::Encoded;
use crate::names::Stamp;

/// What a host holds of an object that is not its own: one version, unread. It only ever takes a higher one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    encoded: Option<Encoded>,
}

impl Held {
    /// The version that is held.
    #[must_use]
    pub const fn encoded(&self) -> Option<&Encoded> {
        self.encoded.as_ref()
    }

    /// Which version it is.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        self.encoded.as_ref().map(Encoded::stamp)
    }

    /// Takes a whole object, whatever it follows.
    ///
    /// # Errors
    /// [`Refused::Stale`] unless its version is above the held one.
    pub fn take_whole(&mut self, encoded: Encoded) -> Result<(), Refused> {
        if let Some(held) = self.stamp()
            && encoded.stamp() <= held
        {
            return Err(Refused::Stale { result: encoded.stamp(), held });
        }
        self.encoded = Some(encoded);
        Ok(())
    }

    /// Takes a delta from the held version.
    ///
    /// # Errors
    /// See [`Refused`]. After [`Refused::Gap`] and [`Refused::Corrupt`] the whole object is to be asked for.
    pub fn take_delta(&mut self, delta: &Delta) -> Result<(), Refused> {
        let held = self.encoded.as_ref().ok_or(Refused::Gap { base: delta.base(), held: None })?;
        self.encoded = Some(delta.apply(held)?);
        Ok(())
    }
}
