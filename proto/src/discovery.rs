//! serverQ and serverR: how a DTU that knows no host finds one.
//!
//! See `docs/protocol.md`, "Finding a host". The format is our own, in the
//! grammar of the rest. Neither is signed: a DTU holds no group key, so a serverR is a hint that the DTU follows
//! with a TLS connection.

use std::net::Ipv4Addr;

use crate::ids::{HostName, Serial};
use crate::line::{FieldError, Line};
use crate::net::HexIp;

/// "Which hosts are there?", broadcast by a DTU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerQ {
    /// The serial of the DTU that asks.
    pub sn: Serial,
    /// The DTU's own address, by which a host chooses the address it answers with.
    pub ip: Ipv4Addr,
}

impl ServerQ {
    /// Reads a serverQ.
    ///
    /// # Errors
    /// A missing or unusable field.
    pub fn from_line(line: &Line) -> Result<Self, FieldError> {
        line.expect("serverQ")?;
        Ok(Self { sn: line.need("sn")?, ip: line.need::<HexIp>("ip")?.0 })
    }

    /// The message as a line.
    #[must_use]
    pub fn to_line(&self) -> Line {
        Line::new("serverQ").with("sn", &self.sn).with("ip", HexIp(self.ip))
    }
}

/// "Here is one", unicast back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerR {
    /// The host that answers.
    pub host: HostName,
    /// Its address on the DTU's subnet, or its primary one.
    pub ip: Ipv4Addr,
    /// The TCP port it serves.
    pub port: u16,
    /// Its run queue per processor, times 100.
    pub load: u32,
    /// Whether it takes no new sessions.
    pub drain: bool,
    /// Whether it allows the session protocol without TLS; hosts of older versions do not say so.
    pub plain: bool,
}

impl ServerR {
    /// Reads a serverR.
    ///
    /// # Errors
    /// A missing or unusable field.
    pub fn from_line(line: &Line) -> Result<Self, FieldError> {
        line.expect("serverR")?;
        Ok(Self {
            host: line.need("host")?,
            ip: line.need::<HexIp>("ip")?.0,
            port: line.need("port")?,
            load: line.need("load")?,
            drain: line.flag("drain"),
            plain: line.flag("plain"),
        })
    }

    /// The message as a line.
    #[must_use]
    pub fn to_line(&self) -> Line {
        Line::new("serverR")
            .with("host", &self.host)
            .with("ip", HexIp(self.ip))
            .with("port", self.port)
            .with("load", self.load)
            .with("drain", u8::from(self.drain))
            .with_some("plain", self.plain.then_some(1))
    }
}
