//! `doctor`: whether this machine and its group have what they need, and the remedy where not.
//!
//! Works without a daemon too: then it says whether one could start.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::ExitCode;

use nix::sys::statfs::{
    FUSE_SUPER_MAGIC, FsType, NFS_SUPER_MAGIC, OCFS2_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs,
};
use proto::io::KeyDir;
use serde::Serialize;

use super::args::{At, KEYS};
use super::ask::Daemon;
use super::table::Table;
use super::{CliError, say, say_json};
use crate::host::admin::{Command, Reply, Status};
use crate::io::admin::wire::{Answer, Ask, Facts, Outcome, Target};
use crate::io::net::interfaces;
use crate::topology::RowView;

/// Clocks further apart than this make times of last connection misleading.
const CLOCK_SECS_MAX: i64 = 2;
/// A receive buffer below this loses datagrams in a storm.
const RMEM_MIN: u64 = 1 << 20;
/// File descriptors a host should have: one for each connection and each session.
const FDS_MIN: u64 = 4096;
/// Terminals that should still be free.
const PTYS_MIN: u64 = 64;
/// File systems that other machines can have too and for which there is no name in the system's headers.
const CIFS: FsType = FsType(0xff53_4d42);
const SMB2: FsType = FsType(0xfe53_4d42);
const V9FS: FsType = FsType(0x0102_1997);
const CEPH: FsType = FsType(0x00c3_6400);
const LUSTRE: FsType = FsType(0x0bd0_0bd0);
const GFS2: FsType = FsType(0x0116_1970);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    verdict: Verdict,
    what: &'static str,
    found: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    remedy: String,
}

/// All that was looked at.
#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn ok(&mut self, what: &'static str, found: impl Into<String>) {
        self.0.push(Check { verdict: Verdict::Ok, what, found: found.into(), remedy: String::new() });
    }

    fn warn(&mut self, what: &'static str, found: impl Into<String>, remedy: &str) {
        self.0.push(Check { verdict: Verdict::Warn, what, found: found.into(), remedy: remedy.into() });
    }

    fn fail(&mut self, what: &'static str, found: impl Into<String>, remedy: &str) {
        self.0.push(Check { verdict: Verdict::Fail, what, found: found.into(), remedy: remedy.into() });
    }

    /// An error's text holds its remedy already.
    fn error(&mut self, what: &'static str, error: &dyn std::fmt::Display) {
        self.fail(what, error.to_string(), "");
    }
}

/// What a running group says.
struct Group {
    facts: Facts,
    hosts: Vec<Status>,
    unreachable: Vec<String>,
    rows: Vec<RowView>,
}

pub(super) fn run(at: &At, keys: Option<&Path>) -> Result<ExitCode, CliError> {
    let mut checks = Checks::default();
    let group = match ask(at) {
        Ok(group) => Some(group),
        Err(error @ CliError::Usage(_)) => return Err(error),
        Err(error) => {
            checks.warn("daemon", error.to_string(), "");
            None
        }
    };
    let running_keys = group.as_ref().map(|group| group.facts.keys.as_str());
    check_keys(&mut checks, keys.unwrap_or_else(|| Path::new(running_keys.unwrap_or(KEYS))));
    match &group {
        Some(group) => check_group(&mut checks, group),
        None => check_network(&mut checks),
    }
    check_machine(&mut checks, group.as_ref());
    report(at, &checks.0)
}

fn ask(at: &At) -> Result<Group, CliError> {
    let mut daemon = Daemon::connect(at)?;
    let facts = daemon.ask(Target::Local, Ask::Facts)?.into_iter().find_map(|answer| match answer.outcome {
        Outcome::Answer(Answer::Facts(facts)) => Some(*facts),
        _ => None,
    });
    let facts = facts.ok_or_else(|| CliError::No("the daemon does not tell its facts; restart it".into()))?;
    let gathered = daemon.command(Target::All, Command::Status)?;
    let unreachable = gathered.unreachable.iter().map(|(host, why)| format!("{host}: {why}")).collect();
    let hosts = gathered.replies.into_iter().filter_map(|(_, reply)| match reply {
        Reply::Status(status) => Some(*status),
        _ => None,
    });
    let hosts = hosts.collect();
    let table = daemon.command(Target::Local, Command::Topology)?;
    let rows = table.replies.into_iter().find_map(|(_, reply)| match reply {
        Reply::Topology(rows) => Some(rows),
        _ => None,
    });
    Ok(Group { facts, hosts, unreachable, rows: rows.unwrap_or_default() })
}

fn check_keys(checks: &mut Checks, dir: &Path) {
    let usable = KeyDir::open(dir).and_then(|keys| keys.server_tls("doctor").map(|_| keys));
    match usable {
        Err(error) => checks.error("keys", &error),
        Ok(keys) => {
            let ids: Vec<String> = keys.ring.keys().iter().map(|key| key.id().to_string()).collect();
            checks
                .ok("keys", format!("{}: signs with {}, verifies {}", dir.display(), ids[0], ids.join(", ")));
        }
    }
}

/// Without a daemon: could one start here?
fn check_network(checks: &mut Checks) {
    let found = interfaces::list();
    if let Err(error) = interfaces::check(&found, &[]) {
        checks.error("interfaces", &error);
    }
    for wire in interfaces::choose(&found, &[]) {
        let ip = wire.interface.ip;
        let free = UdpSocket::bind((ip, proto::PORT)).and_then(|_| TcpListener::bind((ip, proto::PORT)));
        match free {
            Ok(_) => checks.ok("interface", format!("{} {ip}: {} is free", wire.interface.name, proto::PORT)),
            Err(error) => checks.fail(
                "interface",
                format!("{} {ip}: port {}: {error}", wire.interface.name, proto::PORT),
                "stop the program that has it (ss -lpn sport = :7009)",
            ),
        }
    }
}

fn check_group(checks: &mut Checks, group: &Group) {
    let Facts { pid, version, interfaces, .. } = &group.facts;
    checks.ok("daemon", format!("process {pid}, version {version}"));
    let named: Vec<String> = interfaces.iter().map(|i| format!("{} {}", i.name, i.ip)).collect();
    match named.is_empty() {
        true => checks.fail("interfaces", "none is up with a carrier", "connect the network"),
        false => checks.ok("interfaces", named.join(", ")),
    }
    for missing in &group.unreachable {
        checks.fail(
            "hosts",
            missing.clone(),
            "start the daemon there, or forget the host: groupmgr forget HOST",
        );
    }
    for row in group.rows.iter().filter(|row| !row.trusted) {
        let remedy = "if it belongs to the group, give it the same key directory";
        checks.warn("hosts", format!("{} at {} has another key", row.host, row.addr), remedy);
    }
    for status in &group.hosts {
        match status.store_up {
            true => checks.ok("data store", format!("{} reaches {}", status.host, status.store)),
            false => checks.fail(
                "data store",
                format!("{} does not reach {}", status.host, status.store),
                "start it (datastore serve), or mend the network between",
            ),
        }
    }
    check_clocks(checks, &group.rows);
    check_same_store(checks, &group.rows);
}

fn check_clocks(checks: &mut Checks, rows: &[RowView]) {
    let off = |row: &&RowView| row.trusted && row.timeoff.abs() > CLOCK_SECS_MAX;
    for row in rows.iter().filter(off) {
        checks.warn(
            "clocks",
            format!("{} is {:+} s from this host", row.host, row.timeoff),
            "set the clocks by NTP",
        );
    }
    if !rows.iter().any(|row| off(&row)) {
        checks.ok("clocks", format!("all within {CLOCK_SECS_MAX} s"));
    }
}

fn check_same_store(checks: &mut Checks, rows: &[RowView]) {
    let mut stores: Vec<&str> = rows.iter().filter(|row| row.trusted).map(|row| row.store.as_str()).collect();
    stores.sort_unstable();
    stores.dedup();
    match stores[..] {
        [] | [_] => {}
        _ => checks.fail(
            "same data store",
            format!("the hosts use several: {}", stores.join(", ")),
            "run one (datastore serve) and start every host with the same --store IP:PORT",
        ),
    }
}

fn check_machine(checks: &mut Checks, group: Option<&Group>) {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    if let (Some(max), Some(used)) = (number("/proc/sys/kernel/pty/max"), number("/proc/sys/kernel/pty/nr")) {
        let found = format!("{used} of {max} terminals are in use");
        match max.saturating_sub(used) < PTYS_MIN {
            true => checks.fail("terminals", found, "raise kernel.pty.max (sysctl)"),
            false => checks.ok("terminals", found),
        }
    }
    if let Some(max) = number("/proc/sys/net/core/rmem_max") {
        let found = format!("receive buffers of up to {} KiB", max / 1024);
        match max < RMEM_MIN {
            true => checks.warn("datagrams", found, "raise net.core.rmem_max to 4194304 (sysctl)"),
            false => checks.ok("datagrams", found),
        }
    }
    if let Some(Facts { fds, fds_max, .. }) = group.map(|group| &group.facts) {
        let found = format!("{fds} of {fds_max} file descriptors are in use");
        match *fds_max < FDS_MIN || fds_max - fds < FDS_MIN / 8 {
            true => checks.warn(
                "file descriptors",
                found,
                "raise the limit (ulimit -n, or LimitNOFILE= of the unit)",
            ),
            false => checks.ok("file descriptors", found),
        }
    }
    check_home(checks, group);
}

/// A user's files must be there on whichever host the session is made.
fn check_home(checks: &mut Checks, group: Option<&Group>) {
    let Some(home) = std::env::var_os("HOME") else { return };
    let home = Path::new(&home);
    let shared = [
        NFS_SUPER_MAGIC,
        SMB_SUPER_MAGIC,
        CIFS,
        SMB2,
        FUSE_SUPER_MAGIC,
        V9FS,
        OCFS2_SUPER_MAGIC,
        CEPH,
        LUSTRE,
        GFS2,
    ];
    let machines = group.map_or(0, |group| {
        let mut machines: Vec<_> =
            group.rows.iter().filter(|r| r.trusted).filter_map(|r| r.machine).collect();
        machines.sort_unstable();
        machines.dedup();
        machines.len()
    });
    match statfs(home) {
        Err(error) => checks.fail("home directory", format!("{}: {error}", home.display()), "mount it"),
        Ok(fs) if shared.contains(&fs.filesystem_type()) => {
            checks.ok("home directory", format!("{} is on a shared mount", home.display()));
        }
        Ok(_) if machines > 1 => checks.warn(
            "home directory",
            format!("{} is on a disk of this machine", home.display()),
            "mount the same home directories on every host (NFS), or users find other files after a failover",
        ),
        Ok(_) => checks.ok("home directory", format!("{} is on this machine, the only one", home.display())),
    }
}

fn report(at: &At, checks: &[Check]) -> Result<ExitCode, CliError> {
    if at.json {
        say_json(&checks)?;
    } else {
        let mut table = Table::new(&["", "WHAT", "FOUND"]);
        for check in checks {
            let verdict = format!("{:?}", check.verdict).to_lowercase();
            let remedy = if check.remedy.is_empty() { String::new() } else { format!("; {}", check.remedy) };
            table.row([verdict, check.what.to_owned(), check.found.clone() + &remedy]);
        }
        say(&table.to_string())?;
    }
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
