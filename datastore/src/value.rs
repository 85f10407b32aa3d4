//! What is stored under a key: bytes, bounded, cheap to hand around.

use core::fmt;
use std::sync::Arc;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value: any bytes, at most [`Value::LEN_MAX`] of them. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value(Arc<[u8]>);

/// More bytes than a value may have. Nothing was stored; the caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value of {bytes} bytes is too large: at most {max} are stored", max = Value::LEN_MAX)]
pub struct ValueTooLarge {
    /// How many there are.
    pub bytes: usize,
}

impl Value {
    /// Largest value, in bytes: records and notes. Whatever is larger belongs into a file.
    pub const LEN_MAX: usize = 64 * 1024;

    /// A value of these bytes.
    ///
    /// # Errors
    /// [`ValueTooLarge`] above [`Value::LEN_MAX`].
    pub fn new(bytes: &[u8]) -> Result<Self, ValueTooLarge> {
        if bytes.len() > Self::LEN_MAX {
            return Err(ValueTooLarge { bytes: bytes.len() });
        }
        Ok(Self(bytes.into()))
    }

    /// The value's bytes, as they were put.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {} bytes", Value::LEN_MAX)
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Value, E> {
                Value::new(bytes).map_err(E::custom)
            }
        }
        d.deserialize_bytes(Bytes).map_err(D::Error::custom)
    }
}

impl fmt::Debug for Value {
    /// Text as text, anything else by its length: values end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match core::str::from_utf8(&self.0) {
            Ok(text) if text.len() <= 64 => write!(f, "Value({text:?})"),
            _ => write!(f, "Value({} bytes)", self.0.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_above_the_bound_is_neither_made_nor_read() {
        assert_eq!(
            Value::new(&[0; Value::LEN_MAX + 1]).unwrap_err(),
            ValueTooLarge { bytes: Value::LEN_MAX + 1 }
        );
        let largest = postcard::to_stdvec(&Value::new(&[7; Value::LEN_MAX]).unwrap()).unwrap();
        assert_eq!(postcard::from_bytes::<Value>(&largest).unwrap().as_bytes().len(), Value::LEN_MAX);
        let mut longer = vec![0x81, 0x80, 0x04];
        longer.extend_from_slice(&[7; Value::LEN_MAX + 1]);
        assert!(postcard::from_bytes::<Value>(&longer).is_err());
    }
}
