//! How busy the machine is, and which machine it is, as the kernel tells.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use proto::time::Duration;
use proto::{Instant, MachineId};
use sha2::{Digest, Sha256};

/// How often the run queue is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// Samples for one report to the host machine.
const SAMPLES_PER_REPORT: u32 = 4;

/// Weight of the newest sample, as a divisor: the run queue is what was seen in about the last two seconds,
/// long enough not to jump with every process and short enough for a storm of DTUs.
const SMOOTHING: u32 = 8;

/// The run queue of this machine, smoothed.
#[derive(Debug)]
pub struct Sampler {
    cpus: u32,
    /// Runnable threads, times 100 and times [`SMOOTHING`].
    level: Option<u32>,
    /// When to look again, and how often that was done.
    due: Instant,
    samples: u32,
}

impl Sampler {
    /// A sampler that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { cpus: u32::from(cpus()).max(1), level: None, due: Instant::ZERO, samples: 0 }
    }

    /// Looks once more if it is time. Returns the run queue per processor times 100 when that is to be reported: the
    /// first time, and then about once a second.
    pub fn poll(&mut self, now: Instant) -> Option<u32> {
        if now < self.due {
            return None;
        }
        self.due = now + SAMPLE_EVERY;
        let run_queue = self.sample();
        self.samples += 1;
        (self.samples % SAMPLES_PER_REPORT == 1).then_some(run_queue)
    }

    fn sample(&mut self) -> u32 {
        let running = read("/proc/loadavg").and_then(|text| running(&text)).unwrap_or(0);
        self.take(running)
    }

    fn take(&mut self, running: u32) -> u32 {
        let now = running.min(1_000_000) * 100;
        let level = match self.level {
            None => now * SMOOTHING,
            Some(level) => level - level / SMOOTHING + now,
        };
        self.level = Some(level);
        level / SMOOTHING / self.cpus
    }
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

/// What the kernel says in a file. Room for most of them is there at once: else it would be read in a dozen pieces, each
/// with a call of its own.
fn read(path: impl AsRef<Path>) -> Option<String> {
    let mut text = String::with_capacity(4096);
    fs::File::open(path).ok()?.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Runnable threads of a `/proc/loadavg`, without the one that reads it.
fn running(text: &str) -> Option<u32> {
    let (running, _) = text.split_whitespace().nth(3)?.split_once('/')?;
    running.parse::<u32>().ok().map(|n| n.saturating_sub(1))
}

/// Where the kernel shows control groups (cgroups(7), version 2).
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// MiB of memory that programs can still get: of the machine's, and within the limits of the control groups that
/// this process and its sessions are in. None when the kernel does not say.
#[must_use]
pub fn mem_mib() -> Option<u32> {
    let machine = read("/proc/meminfo").and_then(|text| available_mib(&text));
    let group = read("/proc/self/cgroup")
        .and_then(|groups| group_mib(&groups, |file| read(Path::new(CONTROL_GROUPS).join(file))));
    machine.into_iter().chain(group).min()
}

/// MiB that the control groups of a `/proc/self/cgroup` leave, each of which has the limits of those above it, too.
/// `read` reads a file below [`CONTROL_GROUPS`]. None without a limit.
fn group_mib(groups: &str, read: impl Fn(&str) -> Option<String>) -> Option<u32> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let ends = own.match_indices('/').map(|(at, _)| at).chain([0, own.len()]);
    let left = ends.filter_map(|end| {
        let group = &own[..end];
        let bytes =
            |file: &str| read(format!("{group}/{file}").trim_start_matches('/'))?.trim().parse::<u64>().ok();
        // `max` is no number, and no limit.
        let (max, current) = (bytes("memory.max")?, bytes("memory.current")?);
        // Copies of files count as used, and are given up when memory is needed.
        let stat = read(format!("{group}/memory.stat").trim_start_matches('/')).unwrap_or_default();
        let files =
            stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse().ok()).unwrap_or(0);
        Some(max.saturating_sub(current.saturating_sub(files)))
    });
    left.min().map(|bytes| u32::try_from(bytes >> 20).unwrap_or(u32::MAX))
}

fn available_mib(text: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().and_then(|kib| u32::try_from(kib / 1024).ok())
}

/// Processors this process may use.
#[must_use]
pub fn cpus() -> u16 {
    std::thread::available_parallelism().ok().and_then(|n| u16::try_from(n.get()).ok()).unwrap_or(1)
}

/// The clock of the first processor, in MHz; a round 1000 where the kernel does not say.
#[must_use]
pub fn clock_mhz() -> u32 {
    const UNKNOWN: u32 = 1000;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    clock_of(&cpuinfo).filter(|mhz| *mhz > 0).unwrap_or(UNKNOWN)
}

fn clock_of(cpuinfo: &str) -> Option<u32> {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("cpu MHz"))?;
    line.split_once(':')?.1.trim().split('.').next()?.parse().ok()
}

/// A hash of the machine's own id. Machines without one are told apart by a random number, so that no two are
/// ever taken for the same.
#[must_use]
pub fn machine() -> MachineId {
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/proc/sys/kernel/random/boot_id"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find(|id| !id.trim().is_empty());
    id.map_or_else(|| MachineId(u64::from_be_bytes(proto::io::random())), |id| machine_of(id.trim()))
}

/// The id itself is a secret by convention (machine-id(5)); its hash is not.
fn machine_of(id: &str) -> MachineId {
    let digest = Sha256::new().chain_update(b"hotdesk machine").chain_update(id).finalize();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    MachineId(u64::from_be_bytes(bytes))
}

/// Files this process has open. Kernels since 6.2 say so without listing them.
#[must_use]
pub(crate) fn open_files() -> u64 {
    let told = fs::metadata("/proc/self/fd").map_or(0, |meta| meta.len());
    if told > 0 { told } else { fs::read_dir("/proc/self/fd").map_or(0, |dir| dir.count() as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_kernels_figures_are_read() {
        assert_eq!(running("0.52 0.58 0.59 9/1034 12345\n"), Some(8));
        assert_eq!(running("rubbish"), None);
        assert_eq!(available_mib("MemTotal: 9 kB\nMemAvailable:   2097152 kB\n"), Some(2048));
        assert_eq!(clock_of("x\ncpu MHz\t\t: 2445.404\n"), Some(2445));
        assert!(mem_mib().is_some() && cpus() > 0 && clock_mhz() > 0);
        assert_eq!(machine(), machine());
    }

    #[test]
    fn the_memory_of_a_control_group_is_what_the_tightest_of_its_limits_leaves() {
        let files = |tight: &'static str| {
            move |file: &str| {
                let text = match file {
                    "hotdesk.slice/memory.max" => tight,
                    "hotdesk.slice/memory.current" => "300000000\n",
                    "hotdesk.slice/memory.stat" => "anon 1\ninactive_file 90284800\n",
                    "hotdesk.slice/a.service/memory.max" => "1073741824\n",
                    "hotdesk.slice/a.service/memory.current" => "209715200\n",
                    "hotdesk.slice/a.service/memory.stat" => "",
                    _ => return None,
                };
                Some(text.to_owned())
            }
        };
        let own = "1:name=systemd:/else\n0::/hotdesk.slice/a.service\n";
        assert_eq!(group_mib(own, files("max\n")), Some(824), "its own limit");
        assert_eq!(
            group_mib(own, files("419430400\n")),
            Some(200),
            "that of the group above it, without files"
        );
        assert_eq!(group_mib(own, files("1000\n")), Some(0));
        assert_eq!(group_mib("0::/\n", files("max\n")), None, "no group");
        assert_eq!(group_mib("0::/elsewhere\n", files("max\n")), None, "no limit");
        assert_eq!(group_mib("12:memory:/a\n", files("max\n")), None, "version 1 only");
        let container = |file: &str| (!file.contains('/')).then(|| "1048576000".to_owned());
        assert_eq!(group_mib("0::/\n", container), Some(0), "a container's own");
    }

    #[test]
    fn the_run_queue_follows_a_storm_within_two_seconds_and_ignores_one_blip() {
        let mut sampler = Sampler { cpus: 2, ..Sampler::new() };
        assert_eq!(sampler.take(0), 0);
        assert!(sampler.take(8) <= 50);
        let after = (0..16).map(|_| sampler.take(8)).last();
        assert!(after.is_some_and(|load| (330..=400).contains(&load)), "{after:?}");
    }

    proptest! {
        #[test]
        fn no_text_of_the_kernel_can_stop_a_host(text: String, loads in "[0-9/ .]{0,40}") {
            for text in [text, loads] {
                let _ = (running(&text), available_mib(&text), clock_of(&text));
                let _ = group_mib(&text, |_| Some(text.clone()));
            }
        }
    }
}
