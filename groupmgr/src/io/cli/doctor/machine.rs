//! What this machine's kernel gives a host: terminals, buffers, descriptors, and the users' home directories.

use std::path::Path;

use nix::sys::statfs::{
    FUSE_SUPER_MAGIC, FsType, NFS_SUPER_MAGIC, OCFS2_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs,
};

use super::checks::Checks;
use super::seen::Seen;
use crate::io::admin::wire::{Facts, Home};

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

fn number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(super) fn check_terminals(_: &Seen, checks: &mut Checks) {
    if let (Some(max), Some(used)) = (number("/proc/sys/kernel/pty/max"), number("/proc/sys/kernel/pty/nr")) {
        let found = format!("{used} of {max} terminals are in use");
        match max.saturating_sub(used) < PTYS_MIN {
            true => checks.fail("terminals", found, "raise kernel.pty.max (sysctl)"),
            false => checks.ok("terminals", found),
        }
    }
}

pub(super) fn check_buffers(_: &Seen, checks: &mut Checks) {
    if let Some(max) = number("/proc/sys/net/core/rmem_max") {
        let found = format!("receive buffers of up to {} KiB", max / 1024);
        match max < RMEM_MIN {
            true => checks.warn("datagrams", found, "raise net.core.rmem_max to 4194304 (sysctl)"),
            false => checks.ok("datagrams", found),
        }
    }
}

pub(super) fn check_descriptors(seen: &Seen, checks: &mut Checks) {
    let Some(Facts { fds, fds_max, .. }) = seen.group().map(|group| &group.facts) else { return };
    let found = format!("{fds} of {fds_max} file descriptors are in use");
    match *fds_max < FDS_MIN || fds_max.saturating_sub(*fds) < FDS_MIN / 8 {
        true => {
            let remedy = "raise the limit (ulimit -n, or LimitNOFILE= of the unit)";
            checks.warn("file descriptors", found, remedy);
        }
        false => checks.ok("file descriptors", found),
    }
}

/// A user's files must be there on whichever host the session is made: those of the accounts that sessions run as, not
/// of whoever asks.
pub(super) fn check_homes(seen: &Seen, checks: &mut Checks) {
    let Some(group) = seen.group() else { return };
    let mut machines: Vec<_> = group.trusted().filter_map(|row| row.machine).collect();
    machines.sort_unstable();
    machines.dedup();
    for Home { account, dir } in &group.facts.homes {
        match dir {
            Some(dir) => check_home(account, Path::new(dir), machines.len(), checks),
            None => checks.fail(
                "home directory",
                format!("there is no account {account} on this machine, and sessions are to run as it"),
                "make the account, on every host alike, or register the card for another one",
            ),
        }
    }
}

fn check_home(account: &str, home: &Path, machines: usize, checks: &mut Checks) {
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
    let at = format!("{account}'s {}", home.display());
    match statfs(home) {
        Err(error) => {
            checks.fail(
                "home directory",
                format!("{at}: {}", error.desc()),
                "make the directory, or mount it",
            );
        }
        Ok(fs) if shared.contains(&fs.filesystem_type()) => {
            checks.ok("home directory", format!("{at} is on a shared mount"));
        }
        Ok(_) if machines > 1 => checks.warn(
            "home directory",
            format!("{at} is on a disk of this machine"),
            "mount the same home directories on every host (NFS), or users find other files after a failover",
        ),
        Ok(_) => checks.ok("home directory", format!("{at} is on this machine, the only one")),
    }
}
