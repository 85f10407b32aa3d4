//! The host message: what a host says of itself and its interfaces, every twenty seconds and on change.
//!
//! The fields of the original system come first, in its order (`docs/protocol.md`, "Between hosts"); ours
//! follow ([`Vitals`]), and a message without them is still read, since host messages are always
//! accepted. Whether one is believed is decided by its signature ([`crate::keys`]), not here.

use std::net::Ipv4Addr;

use crate::ids::{BootId, HostName, MachineId, StoreId};
use crate::lack::Lacks;
use crate::line::{FieldError, Line};
use crate::net::{HexIp, IfName, Interface};
use crate::version::Version;

/// A datagram with a host message is at most this long, so that it crosses any Ethernet in one piece.
pub const DATAGRAM_MAX: usize = 1400;

/// Interfaces in one datagram: more go into several messages of the same `seq`.
pub const INTERFACES_PER_MESSAGE: usize = 8;

/// Interfaces a host may have in all; further ones are not announced.
pub const INTERFACES_MAX: usize = 64;

/// What a host says of itself. One message holds at most [`INTERFACES_PER_MESSAGE`] of `numifs` interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostMessage {
    /// The host's name.
    pub host: HostName,
    /// Its primary address.
    pub addr: Ipv4Addr,
    /// Its wall clock, in seconds since 1970.
    pub time: u64,
    /// How many interfaces it has in all.
    pub numifs: u16,
    /// Flags of the original system, of unknown meaning: kept as it came.
    pub flags: u32,
    /// Processors of its machine.
    pub cpus: u16,
    /// Their clock, in MHz.
    pub clock: u32,
    /// The interfaces this message tells of.
    pub interfaces: Vec<Interface>,
    /// What we add; absent in a message of the original system.
    pub vitals: Option<Vitals>,
}

/// The fields that this system adds to a host message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// The version of the protocol that it speaks.
    pub ver: Version,
    /// Which run of the host speaks.
    pub boot: BootId,
    /// Counts the announcements sent on interface `iface`.
    pub seq: u64,
    /// The interface it was sent on.
    pub iface: IfName,
    /// The port the host serves.
    pub port: u16,
    /// What a placement needs to know.
    pub load: Load,
    /// Hosts with the same value share a machine.
    pub machine: MachineId,
    /// Where it stands, for operators and later for keepers; free text without spaces, or `-`.
    pub rack: Place,
    /// In which site or room, likewise.
    pub site: Place,
    /// Whether it takes no new sessions.
    pub drain: bool,
    /// Whether its sessions outlive its daemon.
    pub keep: bool,
    /// Where it finds the data store it uses. One store may have several addresses: [`Vitals::store_id`] tells them
    /// apart.
    pub store: StoreName,
    /// Which data store it uses, once that has said so (key `storeid`).
    pub store_id: Option<StoreId>,
    /// Whether it takes terminals that speak without TLS. Said only where it does.
    pub plain: bool,
    /// What it lacks to make sessions. Whoever lacks something says `drain` as well. Empty from older versions.
    pub lacks: Lacks,
    /// For how long it has run, in milliseconds; none from older versions. Of two hosts of one name the one that has run
    /// for longer was there first.
    pub up_ms: Option<u64>,
}

/// How busy a host is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Run queue per processor, times 100.
    pub run_queue: u32,
    /// Memory available, in MiB.
    pub mem_mib: u32,
    /// Sessions it runs.
    pub sessions: u32,
}

crate::text_name! {
    /// A short free text in a message: a rack, a site or a data store's name, with `-` for none. At most 40
    /// printable characters without spaces.
    Label, "label", 40, "1 to 40 printable characters without space, '=' or '\\'",
    |s| s.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'=' | b'\\'))
}

/// A rack or a site.
pub type Place = Label;
/// Names a data store: `ip:port` of a served one, or `own-<boot>` of an embedded one.
pub type StoreName = Label;

impl Default for Label {
    fn default() -> Self {
        Self("-".into())
    }
}

impl HostMessage {
    /// Reads a host message.
    ///
    /// # Errors
    /// A field of the original system's that is missing or unusable, an interface without its address, or our fields
    /// begun (`ver`) and not complete. Unknown keys are ignored.
    pub fn from_line(line: &Line) -> Result<Self, FieldError> {
        line.expect("").map_err(|_| FieldError::NotThis("host"))?;
        let interfaces = interfaces(line)?;
        Ok(Self {
            host: line.need("host")?,
            addr: line.need::<HexIp>("addr")?.0,
            time: line.need("time")?,
            numifs: line.need("numifs")?,
            flags: line.need("flags")?,
            cpus: line.need("cpus")?,
            clock: line.need("clock")?,
            interfaces,
            vitals: line.get("ver").map(|_| Vitals::from_line(line)).transpose()?,
        })
    }

    /// The message as a line, not yet signed.
    #[must_use]
    pub fn to_line(&self) -> Line {
        let mut line = Line::bare()
            .with("host", &self.host)
            .with("addr", HexIp(self.addr))
            .with("time", self.time)
            .with("numifs", self.numifs)
            .with("flags", self.flags)
            .with("cpus", self.cpus)
            .with("clock", self.clock);
        for interface in &self.interfaces {
            line.push("interface", &interface.name);
            line.push("ip", HexIp(interface.ip));
            line.push("mask", HexIp(interface.mask));
            line.push("bcast", HexIp(interface.bcast));
        }
        match &self.vitals {
            Some(vitals) => vitals.append_to(line),
            None => line,
        }
    }
}

/// Each `interface` opens a row which the `ip`, `mask` and `bcast` that follow it fill.
fn interfaces(line: &Line) -> Result<Vec<Interface>, FieldError> {
    let ip = |value: &str, key| value.parse::<HexIp>().map(|ip| ip.0).map_err(|()| FieldError::Bad(key));
    let mut rows: Vec<(IfName, [Option<Ipv4Addr>; 3])> = Vec::new();
    for (key, value) in line.pairs() {
        let column = match key {
            "interface" => {
                let name = value.parse().map_err(|_| FieldError::Bad("interface"))?;
                rows.push((name, [None; 3]));
                continue;
            }
            "ip" => 0,
            "mask" => 1,
            "bcast" => 2,
            _ => continue,
        };
        let (_, row) = rows.last_mut().ok_or(FieldError::Missing("interface"))?;
        row[column] = Some(ip(value, ["ip", "mask", "bcast"][column])?);
    }
    if rows.len() > INTERFACES_MAX {
        return Err(FieldError::Bad("numifs"));
    }
    rows.into_iter()
        .map(|(name, row)| match row {
            [Some(ip), Some(mask), Some(bcast)] => Ok(Interface { name, ip, mask, bcast }),
            [None, ..] => Err(FieldError::Missing("ip")),
            [_, None, _] => Err(FieldError::Missing("mask")),
            [.., None] => Err(FieldError::Missing("bcast")),
        })
        .collect()
}

impl Vitals {
    fn from_line(line: &Line) -> Result<Self, FieldError> {
        Ok(Self {
            ver: line.need("ver")?,
            boot: line.need("boot")?,
            seq: line.need("seq")?,
            iface: line.need("if")?,
            port: line.need("port")?,
            load: Load {
                run_queue: line.need("load")?,
                mem_mib: line.need("mem")?,
                sessions: line.need("sessions")?,
            },
            machine: line.need("machine")?,
            rack: line.want("rack")?.unwrap_or_default(),
            site: line.want("site")?.unwrap_or_default(),
            drain: line.flag("drain"),
            keep: line.flag("keep"),
            store: line.want("store")?.unwrap_or_default(),
            store_id: line.want("storeid")?,
            plain: line.flag("plain"),
            lacks: line.want("lacks")?.unwrap_or_default(),
            up_ms: line.want("up")?,
        })
    }

    fn append_to(&self, line: Line) -> Line {
        line.with("ver", self.ver)
            .with("boot", self.boot)
            .with("seq", self.seq)
            .with("if", &self.iface)
            .with("port", self.port)
            .with("load", self.load.run_queue)
            .with("mem", self.load.mem_mib)
            .with("sessions", self.load.sessions)
            .with("machine", self.machine)
            .with("rack", &self.rack)
            .with("site", &self.site)
            .with("drain", u8::from(self.drain))
            .with("keep", u8::from(self.keep))
            .with("store", &self.store)
            .with_some("storeid", self.store_id)
            .with_some("plain", self.plain.then_some(1))
            .with_some("lacks", (!self.lacks.is_empty()).then_some(&self.lacks))
            .with_some("up", self.up_ms)
    }
}
