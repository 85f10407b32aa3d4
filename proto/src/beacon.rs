//! The beacon: a short signed line on every interface every 50 ms, by which hosts and DTUs notice a death.
//!
//! See `docs/protocol.md`, "Beacons". Its cost does not grow
//! with the number of DTUs. Hosts check the signature; DTUs, which hold no key, check `chain_value`
//! ([`crate::chain`]).

use core::time::Duration;

use crate::chain::ChainValue;
use crate::digest::DigestVersion;
use crate::ids::{BootId, HostName};
use crate::line::{FieldError, Line};
use crate::net::IfName;
use crate::version::Version;

/// How often a beacon is sent while the group has at most [`GROUP_MAX_AT_FULL_RATE`] hosts.
pub const INTERVAL: Duration = Duration::from_millis(50);

/// A LAN carries at most about 1000 beacons a second: larger groups stretch their interval in proportion.
pub const GROUP_MAX_AT_FULL_RATE: usize = 50;

/// Beacons missed in a row before their sender is silent.
pub const MISSED_MAX: u32 = 3;

// Three missed beacons must be noticed well before a host message is due, or the two could contradict.
const _: () = assert!(INTERVAL.as_millis() * MISSED_MAX as u128 <= 1_000);

/// What one beacon says, and on which interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// The host that sends it.
    pub host: HostName,
    /// Its protocol version.
    pub ver: Version,
    /// Which run of it.
    pub boot: BootId,
    /// Counts the beacons sent on interface `iface`.
    pub seq: u64,
    /// The interface it was sent on.
    pub iface: IfName,
    /// The sender's present interval: how long to wait for the next one.
    pub every: Duration,
    /// Run queue per processor, times 100.
    pub load: u32,
    /// Sessions it runs.
    pub sessions: u32,
    /// Whether it takes no new sessions.
    pub drain: bool,
    /// The number of the revealed value of the chain: the same on all interfaces of one round.
    pub tick: u64,
    /// The revealed value of the sender's hash chain, `link` on the wire.
    pub chain_value: ChainValue,
    /// How far its digest has come; none from a host that has none, which is asked for every token.
    pub digest: Option<DigestVersion>,
}

/// Longest interval a beacon may claim; a larger one would let its sender be dead unnoticed.
pub const INTERVAL_MAX: Duration = Duration::from_secs(10);

impl Beacon {
    /// Reads a beacon.
    ///
    /// # Errors
    /// A missing or unusable field, or an interval of zero or above [`INTERVAL_MAX`].
    pub fn from_line(line: &Line) -> Result<Self, FieldError> {
        line.expect("beacon")?;
        let every = Duration::from_millis(line.need("every")?);
        if every.is_zero() || every > INTERVAL_MAX {
            return Err(FieldError::Bad("every"));
        }
        Ok(Self {
            host: line.need("host")?,
            ver: line.need("ver")?,
            boot: line.need("boot")?,
            seq: line.need("seq")?,
            iface: line.need("if")?,
            every,
            load: line.need("load")?,
            sessions: line.need("sessions")?,
            drain: line.flag("drain"),
            tick: line.need("tick")?,
            chain_value: line.need("link")?,
            digest: line.want("dig")?,
        })
    }

    /// The beacon as a line, not yet signed.
    #[must_use]
    pub fn to_line(&self) -> Line {
        Line::new("beacon")
            .with("host", &self.host)
            .with("ver", self.ver)
            .with("boot", self.boot)
            .with("seq", self.seq)
            .with("if", &self.iface)
            .with("every", self.every.as_millis())
            .with("load", self.load)
            .with("sessions", self.sessions)
            .with("drain", u8::from(self.drain))
            .with("tick", self.tick)
            .with("link", self.chain_value)
            .with_some("dig", self.digest)
    }
}

/// The interval of a host that counts `hosts` trusted hosts, itself among them.
#[must_use]
pub fn interval_for(hosts: usize) -> Duration {
    let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
    let full_rate = GROUP_MAX_AT_FULL_RATE as u32;
    if hosts <= full_rate { INTERVAL } else { (INTERVAL * hosts / full_rate).min(INTERVAL_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_fifty_hosts_the_interval_stretches_in_proportion() {
        assert_eq!(interval_for(3), INTERVAL);
        assert_eq!(interval_for(50), INTERVAL);
        assert_eq!(interval_for(150), INTERVAL * 3);
        assert_eq!(interval_for(1_000_000), INTERVAL_MAX);
    }
}
