//! Whether a DTU is the one that its serial belongs to: the key that it proves, against the one that the registry has
//! pinned to its serial.
//!
//! A key is pinned when its DTU is admitted for the first time. What is pinned is read, watched, believed and remembered as
//! records of tokens are.
//!
//! | pinned | proved | |
//! |---|---|---|
//! | a key | the same | admitted |
//! | a key | another, or none | refused, until an operator forgets the pin |
//! | nothing | a key | pinned and admitted |
//! | nothing | none | as the policy says |

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use core::time::Duration;

use datastore::Value;
use proto::line::{FieldError, Line, LineError};
use proto::{DtuKey, Instant, Serial};

use super::known::Entry;
use super::names::{AUTHOR, REMOVED};
use super::policy::{Dtus, Policy};
use crate::denial::Denial;

/// Keys that a host pins in an hour: whoever can reach it can invent serials, and a pin stays.
pub const PINS_AN_HOUR: usize = 16 * 1024;
/// Of them for DTUs of one address: a thousand desks behind one router are switched on on one day.
pub const PINS_OF_ADDRESS: usize = 1024;
/// Of a registry with so many pins a host makes it no larger.
pub const PINNED_MAX: usize = 64 * 1024;

const HOUR: Duration = Duration::from_secs(3600);

/// What a DTU proves of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtuProof {
    /// Which DTU it says it is.
    pub serial: Serial,
    /// The key that it has proved, if it has one.
    pub key: Option<DtuKey>,
    /// Where it connects from.
    pub addr: Ipv4Addr,
}

/// How a DTU stands with the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may come.
    Good,
    /// It may come, and its key is to be pinned.
    New {
        /// What is there now: nothing, or what an operator was about to delete.
        expected: Option<Value>,
    },
    /// It may not.
    Refused(Denial),
}

/// The key that is pinned to a serial: one line in the data store, `dtu serial=080020a1b2c3 key=<hex>`, under
/// [`super::dtu_key`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Whose it is; the pin's key in the store ends with it.
    pub serial: Serial,
    /// The key that was proved first.
    pub key: DtuKey,
}

/// Bytes that are no pin of the serial they are stored under: its DTU is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// They are no line of the grammar.
    #[error(transparent)]
    Line(#[from] LineError),
    /// A field is missing or unusable.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The pin is stored under another serial than the one it is of.
    #[error("it is the key of {0}")]
    OfAnother(Serial),
}

impl Pin {
    /// Reads what the data store holds for `serial`. Unknown fields mean nothing.
    ///
    /// # Errors
    /// See [`PinError`].
    pub fn from_bytes(serial: &Serial, bytes: &[u8]) -> Result<Self, PinError> {
        let line = Line::parse(bytes)?;
        line.expect("dtu")?;
        let of: Serial = line.need("serial")?;
        if of != *serial {
            return Err(PinError::OfAnother(of));
        }
        Ok(Self { serial: of, key: line.need("key")? })
    }

    /// The pin as the line that is stored; `by` is who pinned it.
    #[must_use]
    pub fn to_line(&self, by: &str) -> Line {
        Line::new("dtu").with("serial", &self.serial).with("key", self.key).with(AUTHOR, by)
    }

    /// What is stored for a moment where a pin is being deleted, so that hosts learn by whom.
    #[must_use]
    pub fn removal(serial: &Serial) -> Line {
        Line::new("dtu").with("serial", serial).with(REMOVED, true)
    }
}

/// How a DTU stands where `entry` is what the registry has under its serial.
pub(super) fn judge(policy: Policy, proof: &DtuProof, entry: Entry) -> Standing {
    let (pinned, stored) = match entry {
        Entry::Unregistered => (None, None),
        Entry::Damaged => return Standing::Refused(Denial::WrongKey),
        Entry::Registered(value) if super::is_removal(value.as_bytes()) => (None, Some(value)),
        Entry::Registered(value) => match Pin::from_bytes(&proof.serial, value.as_bytes()) {
            Ok(pin) => (Some(pin.key), Some(value)),
            Err(_) => return Standing::Refused(Denial::WrongKey),
        },
    };
    match (pinned, proof.key) {
        (Some(pinned), Some(key)) if pinned == key => Standing::Good,
        (Some(_), _) => Standing::Refused(Denial::WrongKey),
        (None, Some(_)) => Standing::New { expected: stored },
        (None, None) if policy.dtus == Dtus::Keyed => Standing::Refused(Denial::NoKey),
        (None, None) => Standing::Good,
    }
}

/// How many keys were pinned in this hour, and for which addresses.
#[derive(Debug, Default)]
pub(super) struct Pinning {
    since: Option<Instant>,
    made: usize,
    by_address: BTreeMap<Ipv4Addr, usize>,
}

impl Pinning {
    /// Whether another key may be pinned for a DTU of this address. If so, it is counted.
    pub(super) fn take(&mut self, now: Instant, addr: Ipv4Addr) -> bool {
        if self.since.is_none_or(|since| now.since(since) >= HOUR) {
            *self = Self { since: Some(now), ..Self::default() };
        }
        if self.made >= PINS_AN_HOUR {
            return false;
        }
        let of_address = self.by_address.entry(addr).or_default();
        if *of_address >= PINS_OF_ADDRESS {
            return false;
        }
        *of_address += 1;
        self.made += 1;
        true
    }

    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEYED: Policy = Policy { dtus: Dtus::Keyed, ..Policy::STRICT };

    fn serial() -> Serial {
        "080020a1b2c3".parse().unwrap()
    }

    fn proof(key: Option<u8>) -> DtuProof {
        DtuProof { serial: serial(), key: key.map(|n| DtuKey([n; 32])), addr: Ipv4Addr::LOCALHOST }
    }

    fn pinned(n: u8) -> Entry {
        let pin = Pin { serial: serial(), key: DtuKey([n; 32]) };
        stored(&pin.to_line("a").to_string())
    }

    fn stored(text: &str) -> Entry {
        Entry::of(Some(Value::new(text.as_bytes()).unwrap()))
    }

    #[test]
    fn a_pinned_dtu_proves_its_key_whatever_the_policy() {
        for policy in [Policy::default(), KEYED] {
            assert_eq!(judge(policy, &proof(Some(1)), pinned(1)), Standing::Good);
            for other in [Some(2), None] {
                let refused = Standing::Refused(Denial::WrongKey);
                assert_eq!(judge(policy, &proof(other), pinned(1)), refused);
            }
        }
    }

    #[test]
    fn a_dtu_that_was_never_pinned_is_pinned_or_comes_as_the_policy_says() {
        let new = Standing::New { expected: None };
        for policy in [Policy::default(), KEYED] {
            assert_eq!(judge(policy, &proof(Some(1)), Entry::Unregistered), new);
        }
        assert_eq!(judge(Policy::default(), &proof(None), Entry::Unregistered), Standing::Good);
        let refused = Standing::Refused(Denial::NoKey);
        assert_eq!(judge(KEYED, &proof(None), Entry::Unregistered), refused);
    }

    #[test]
    fn a_pin_that_is_being_deleted_is_none_and_what_is_damaged_refuses_everybody() {
        let removal = Value::new(Pin::removal(&serial()).to_string().as_bytes()).unwrap();
        let new = Standing::New { expected: Some(removal.clone()) };
        assert_eq!(judge(Policy::default(), &proof(Some(2)), Entry::of(Some(removal))), new);
        let damaged = ["junk", "dtu serial=080020a1b2c3 key=12", "dtu serial=other key=12"].map(stored);
        for entry in damaged.into_iter().chain([Entry::Damaged]) {
            for key in [Some(1), None] {
                let refused = Standing::Refused(Denial::WrongKey);
                assert_eq!(judge(Policy::default(), &proof(key), entry.clone()), refused);
            }
        }
    }

    #[test]
    fn an_address_has_a_share_of_the_pins_of_an_hour() {
        let (mut pinning, mut now) = (Pinning::default(), Instant::from_micros(1));
        let addr = Ipv4Addr::from_bits;
        for _ in 0..2 {
            let taken = (0..5000).filter(|_| pinning.take(now, addr(1))).count();
            assert_eq!(taken, PINS_OF_ADDRESS);
            let others = (0..40_000).filter(|n| pinning.take(now, addr(10 + n))).count();
            assert_eq!(others, PINS_AN_HOUR - PINS_OF_ADDRESS);
            assert!(pinning.len() <= PINS_AN_HOUR + 1);
            now += HOUR;
        }
    }

    proptest! {
        #[test]
        fn reading_a_pin_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Pin::from_bytes(&serial(), &bytes);
            let _ = Pin::from_bytes(&serial(), &[b"dtu serial=080020a1b2c3 ", &bytes[..]].concat());
        }

        #[test]
        fn every_pin_reads_back_as_it_was_written(serial in "[a-zA-Z0-9._:-]{0,63}x", key: [u8; 32], by in "\\PC{0,80}") {
            let pin = Pin { serial: serial.parse().unwrap(), key: DtuKey(key) };
            let text = pin.to_line(&by).to_string();
            prop_assert_eq!(Pin::from_bytes(&pin.serial, text.as_bytes()), Ok(pin));
        }
    }
}
