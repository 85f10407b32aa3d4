//! What processes have used, as the kernel counts it.

use std::fs;
use std::time::Duration;

use lab::world::World;

use super::{Outcome, cannot};

/// Processor time and memory of some processes together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// Memory of their own: no files, nothing shared.
    pub(crate) anonymous: u64,
    /// The most that was ever resident.
    pub(crate) peak: u64,
}

impl Usage {
    /// Of these processes; one that has ended counts nothing.
    pub(crate) fn of(pids: impl IntoIterator<Item = u32>) -> Self {
        pids.into_iter().filter_map(Self::of_one).fold(Self::default(), |sum, one| Self {
            cpu: sum.cpu + one.cpu,
            anonymous: sum.anonymous + one.anonymous,
            peak: sum.peak + one.peak,
        })
    }

    fn of_one(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let bytes = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.split_ascii_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0) * 1_024
        };
        Some(Self { cpu: cpu(pid)?, anonymous: bytes("RssAnon:"), peak: bytes("VmHWM:") })
    }
}

/// Time on a processor, of all threads, and of the children that were waited for.
fn cpu(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<u64> =
        stat.rsplit_once(") ")?.1.split(' ').map(|field| field.parse().unwrap_or(0)).collect();
    // User and system time, then the same of children, in the kernel's hundredths of a second.
    Some(Duration::from_millis(fields.get(11..15)?.iter().sum::<u64>() * 10))
}

/// Time on a processor of the threads that there are, to the nanosecond: for what runs little.
pub(crate) fn exact_cpu(pid: u32) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        sum += Duration::from_nanos(times.split(' ').next()?.parse().ok()?);
    }
    Some(sum)
}

/// The processes of a host: its daemon, then its spawner and whatever its sessions are.
pub(crate) fn of_host(world: &World, host: &str) -> Outcome<(u32, Vec<u32>)> {
    let found = world.backend().belonging(host).map_err(cannot("look a host up"))?.processes();
    let mut pids = found.iter().filter_map(|process| u32::try_from(process.pid.as_raw()).ok());
    let daemon = pids.next().ok_or(format!("nothing runs on {host}"))?;
    Ok((daemon, pids.collect()))
}

/// What the network of this namespace has carried since it was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    /// UDP datagrams sent.
    pub(crate) sent: u64,
    /// UDP datagrams that were handed to a socket.
    pub(crate) heard: u64,
    /// Bytes over the loopback interface, headers included.
    pub(crate) bytes: u64,
}

impl Carried {
    pub(crate) fn now() -> Outcome<Self> {
        let snmp = fs::read_to_string("/proc/self/net/snmp").map_err(cannot("read counters"))?;
        let mut udp = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let names: Vec<&str> = udp.next().unwrap_or_default().split(' ').collect();
        let values: Vec<&str> = udp.next().unwrap_or_default().split(' ').collect();
        let value = |name: &str| -> u64 {
            let at = names.iter().position(|n| *n == name);
            at.and_then(|at| values.get(at)?.parse().ok()).unwrap_or(0)
        };
        let devices = fs::read_to_string("/proc/self/net/dev").map_err(cannot("read counters"))?;
        let lo = devices.lines().find_map(|line| line.trim().strip_prefix("lo:")).unwrap_or_default();
        let bytes = lo.split_ascii_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
        Ok(Self { sent: value("OutDatagrams"), heard: value("InDatagrams"), bytes })
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            heard: self.heard - before.heard,
            bytes: self.bytes - before.bytes,
        }
    }
}
