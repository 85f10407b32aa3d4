//! The topology table as a person or a program reads it: in the form of the original system (`--seed-format`), and
//! with everything we know besides.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use proto::beacon;
use proto::lack::Lacks;
use proto::net::{HexIp, IfName, Interface};
use proto::{BootId, HostName, Instant, MachineId, StoreId};
use serde::{Deserialize, Serialize};

use super::hearing::{Audible, Hearing};
use super::row::{Row, Standing};
use super::strangers::Stranger;
use crate::announce::Announcer;

/// One host of the table, as it is printed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RowView {
    /// The name it signs with.
    pub host: HostName,
    /// Whether it signs with our group key.
    pub trusted: bool,
    /// Whether it is this host.
    pub own: bool,
    /// What is thought of it; none for a stranger, of whom nothing is.
    pub standing: Option<Standing>,
    /// The number of its daemon's present run; none before a host message of it came.
    pub boot: Option<BootId>,
    /// Where it is reached: its primary address.
    pub addr: Ipv4Addr,
    /// Age of the last host message in seconds, -1 when there never was one.
    pub lastseen: i64,
    /// Age of the last beacon in milliseconds, -1 when there never was one.
    pub beacon_age_ms: i64,
    /// Its wall clock minus ours, in seconds.
    pub timeoff: i64,
    /// Interfaces it says it has.
    pub numifs: u16,
    /// Run queue per processor, times 100.
    pub load: u32,
    /// MiB of memory available.
    pub mem_mib: u32,
    /// Sessions it runs.
    pub sessions: u32,
    /// Processors of its machine.
    pub cpus: u16,
    /// Their clock, MHz.
    pub clock: u32,
    /// Hosts with the same value share a machine.
    pub machine: Option<MachineId>,
    /// The rack, as its operator calls it; empty where nobody said.
    pub rack: String,
    /// The site, as its operator calls it; empty where nobody said.
    pub site: String,
    /// Whether it takes no new sessions.
    pub drain: bool,
    /// What it lacks to make sessions; nothing when it is well.
    #[serde(default)]
    pub lacks: Vec<String>,
    /// Whether its sessions outlive its daemon.
    pub keep: bool,
    /// Whether it allows the session protocol without TLS.
    #[serde(default)]
    pub plain: bool,
    /// Where it finds its data store.
    pub store: String,
    /// Which data store that is, once it was told.
    #[serde(default)]
    pub store_id: Option<StoreId>,
    /// The interfaces that it announces, and whether they are heard.
    pub interfaces: Vec<InterfaceView>,
}

/// One interface of a host, as it is printed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterfaceView {
    /// What it announces of the interface: name, address and netmask.
    #[serde(flatten)]
    pub interface: Interface,
    /// Seconds since a host message last came from it, -1 when never.
    pub lastpkt: i64,
    /// Milliseconds since a beacon last came from it, -1 when never.
    #[serde(default = "never")]
    pub beacon_age_ms: i64,
    /// What is thought of it; none for a stranger's.
    #[serde(default)]
    pub audible: Option<Audible>,
    /// Our interfaces on which it was heard within three beacon intervals: those whose DTUs are sent to it.
    #[serde(default)]
    pub heard_on: Vec<IfName>,
}

const fn never() -> i64 {
    -1
}

fn age_millis(now: Instant, at: Option<Instant>) -> i64 {
    at.map_or(-1, |at| i64::try_from(now.since(at).as_millis()).unwrap_or(i64::MAX))
}

fn words(lacks: &Lacks) -> Vec<String> {
    lacks.iter().map(|lack| lack.to_string()).collect()
}

fn age_secs(now: Instant, at: Option<Instant>) -> i64 {
    at.map_or(-1, |at| i64::try_from(now.since(at).as_secs()).unwrap_or(i64::MAX))
}

impl RowView {
    pub(super) fn of_row(now: Instant, row: &Row) -> Self {
        let facts = row.facts();
        let view = |i: &Interface| InterfaceView {
            interface: i.clone(),
            lastpkt: age_secs(now, row.lastpkt(&i.name)),
            beacon_age_ms: age_millis(now, row.lastbeacon(&i.name)),
            audible: Some(row.audible(now, &i.name)),
            heard_on: row.heard_on(now, &i.name),
        };
        Self {
            host: row.host().clone(),
            trusted: true,
            own: false,
            standing: Some(row.standing()),
            boot: Some(row.boot()),
            addr: row.addr(),
            lastseen: age_secs(now, row.message_at()),
            beacon_age_ms: age_millis(now, row.beacon_at()),
            timeoff: facts.time_off,
            numifs: facts.numifs,
            load: facts.load.run_queue,
            mem_mib: facts.load.mem_mib,
            sessions: facts.load.sessions,
            cpus: facts.cpus,
            clock: facts.clock,
            machine: facts.machine,
            rack: facts.rack.to_string(),
            site: facts.site.to_string(),
            drain: facts.drain,
            lacks: words(&facts.lacks),
            keep: facts.keep,
            plain: facts.plain,
            store: facts.store.to_string(),
            store_id: facts.store_id,
            interfaces: row.interfaces().iter().map(view).collect(),
        }
    }

    pub(super) fn of_stranger(now: Instant, stranger: &Stranger) -> Self {
        let message = &stranger.message;
        // A stranger may be shown what it claims; nothing else here is believed.
        let iface = message.vitals.as_ref().map(|v| &v.iface);
        let view = |i: &Interface| InterfaceView {
            interface: i.clone(),
            lastpkt: if iface == Some(&i.name) { age_secs(now, Some(stranger.heard_at)) } else { -1 },
            beacon_age_ms: -1,
            audible: None,
            heard_on: Vec::new(),
        };
        let vitals = message.vitals.as_ref();
        let load = vitals.map(|v| v.load).unwrap_or_default();
        Self {
            host: message.host.clone(),
            trusted: false,
            own: false,
            standing: None,
            boot: vitals.map(|v| v.boot),
            addr: message.addr,
            lastseen: age_secs(now, Some(stranger.heard_at)),
            beacon_age_ms: -1,
            timeoff: stranger.time_off,
            numifs: message.numifs,
            load: load.run_queue,
            mem_mib: load.mem_mib,
            sessions: load.sessions,
            cpus: message.cpus,
            clock: message.clock,
            machine: vitals.map(|v| v.machine),
            rack: vitals.map(|v| v.rack.to_string()).unwrap_or_default(),
            site: vitals.map(|v| v.site.to_string()).unwrap_or_default(),
            drain: vitals.is_some_and(|v| v.drain),
            lacks: vitals.map(|v| words(&v.lacks)).unwrap_or_default(),
            keep: vitals.is_some_and(|v| v.keep),
            plain: vitals.is_some_and(|v| v.plain),
            store: vitals.map(|v| v.store.to_string()).unwrap_or_default(),
            store_id: vitals.and_then(|v| v.store_id),
            interfaces: message.interfaces.iter().map(view).collect(),
        }
    }

    /// This host. Its ages are those of its own messages that it heard back.
    pub(super) fn of_self(now: Instant, announcer: &Announcer, echo: &Hearing) -> Self {
        let id = announcer.identity();
        let load = announcer.load();
        let patience = announcer.every() * beacon::MISSED_MAX;
        let view = |i: &Interface| InterfaceView {
            interface: i.clone(),
            lastpkt: age_secs(now, echo.message_at(&i.name)),
            beacon_age_ms: age_millis(now, echo.beacon_at(&i.name)),
            audible: Some(echo.audible(now, &i.name, patience)),
            heard_on: echo.fresh_on(now, &i.name, patience),
        };
        let interfaces: Vec<InterfaceView> = announcer.interfaces().iter().map(view).collect();
        let youngest = |age: fn(&InterfaceView) -> i64| {
            interfaces.iter().map(age).filter(|age| *age >= 0).min().unwrap_or(-1)
        };
        Self {
            host: id.host.clone(),
            trusted: true,
            own: true,
            standing: Some(Standing::Up),
            boot: Some(id.boot),
            addr: announcer.primary(),
            lastseen: youngest(|view| view.lastpkt),
            beacon_age_ms: youngest(|view| view.beacon_age_ms),
            timeoff: 0,
            numifs: u16::try_from(announcer.interfaces().len()).unwrap_or(u16::MAX),
            load: load.run_queue,
            mem_mib: load.mem_mib,
            sessions: load.sessions,
            cpus: id.cpus,
            clock: id.clock,
            machine: Some(id.machine),
            rack: id.rack.to_string(),
            site: id.site.to_string(),
            drain: announcer.drain(),
            lacks: words(announcer.lacks()),
            keep: id.keep,
            plain: id.plain,
            store: id.store.to_string(),
            store_id: announcer.store_id(),
            interfaces,
        }
    }

    /// The row as the seed prints it, with its typing errors mended (a mask has eight digits).
    #[must_use]
    pub fn seed_form(&self) -> String {
        let mut text = format!(
            "Host {} lastseen {} timeoff {} addr {} numifs {}{}\n",
            self.host,
            self.lastseen,
            self.timeoff,
            HexIp(self.addr),
            self.numifs,
            if self.trusted { " TRUSTED" } else { "" },
        );
        for InterfaceView { interface: i, lastpkt, .. } in &self.interfaces {
            let _ = writeln!(
                text,
                "interface {} ip {} mask {} bcast {} lastpkt {lastpkt}",
                i.name,
                HexIp(i.ip),
                HexIp(i.mask),
                HexIp(i.bcast),
            );
        }
        text
    }
}
