//! What sessions need of this machine, looked at once a second; and the run directory, made again when somebody has
//! removed it.
//!
//! What is found goes to the host machine, which decides what follows ([`crate::fitness`]).

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use authmgr::admission::AccountName;
use nix::sys::statvfs::statvfs;
use nix::unistd::User;
use proto::lack::Lack;
use tokio::runtime::Handle;

use super::accept::bounds::Bounds;
use super::admin::local;
use super::admin::service::AdminService;
use super::counters::Counters;
use super::dirs::RunDir;
use super::inbox::{Event, Inbox};
use super::net::Ends;
use super::{sessions, vitals};
use crate::fitness::{Condition, Finding};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// And sooner after something was mended, to see whether it is well.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Accounts may lie in a directory service: they are looked up less often than the rest.
const ACCOUNT_EVERY: u32 = 5;

/// File descriptors that must be left beyond those of connections: an interface may come up, another host be asked.
const FDS_SPARE: u64 = 8;
/// Terminals that must be left, and from how many on there are enough again.
const TERMINALS: (u64, u64) = (4, 16);
/// The same of memory, in MiB.
const MEMORY_MIB: (u64, u64) = (48, 96);
/// And of the disks that hold the run directory and this host's own data store, in KiB.
const DISK_KIB: (u64, u64) = (4 * 1024, 8 * 1024);
/// Files that must still fit on such a disk.
const FILES_MIN: u64 = 64;

/// The administration socket, which may have to be opened again.
pub(crate) struct Operators {
    pub(crate) admin: Arc<AdminService>,
    pub(crate) counters: Counters,
    pub(crate) workers: Handle,
    serving: Option<Ends>,
}

impl Operators {
    pub(crate) const fn new(admin: Arc<AdminService>, counters: Counters, workers: Handle) -> Self {
        Self { admin, counters, workers, serving: None }
    }

    /// Opens the socket, in the place of one that was open.
    pub(crate) fn open(&mut self, path: &Path) -> io::Result<()> {
        let _context = self.workers.enter();
        let listener = local::bind(path)?;
        let serve = local::serve(listener, Arc::clone(&self.admin), self.counters.clone());
        self.serving = Some(Ends::of(self.workers.spawn(serve).abort_handle()));
        Ok(())
    }
}

/// Watches what sessions need of the machine, and keeps the daemon's sockets in their places.
pub(crate) struct Caretaker {
    pub(crate) run_dir: RunDir,
    pub(crate) operators: Operators,
    /// Directories on disks that must not be full.
    pub(crate) disks: Vec<PathBuf>,
    /// The account that sessions run as, if it is not the daemon's.
    pub(crate) account: Option<AccountName>,
    pub(crate) bounds: Bounds,
    pub(crate) fds_max: u64,
}

impl Caretaker {
    /// Looks until its task is dropped.
    pub(crate) async fn watch(mut self, inbox: Inbox) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for n in 0_u32.. {
            ticks.tick().await;
            let mem_mib = vitals::mem_mib();
            let memory = Finding { of: Lack::Memory, how: memory_left(mem_mib) };
            let mut findings = vec![self.descriptors(), memory, self.disk()];
            findings.extend(terminals());
            if n.is_multiple_of(ACCOUNT_EVERY) {
                findings.extend(self.account().await);
            }
            let run_dir = self.run_dir();
            if matches!(run_dir, Condition::Wrong(_)) {
                inbox.send(Event::Renew).await;
                ticks.reset_after(LOOK_AGAIN);
            }
            findings.push(Finding { of: Lack::RunDir, how: run_dir });
            inbox.send(Event::Looked { findings, mem_mib }).await;
        }
    }

    /// Makes again what is missing of the daemon's own part; the spawner is told to do the same with its.
    fn run_dir(&mut self) -> Condition {
        let path = self.run_dir.path().to_owned();
        let socket = self.run_dir.admin_socket();
        let is_socket =
            |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
        let is_ours = self.run_dir.is_locked();
        let sessions = sessions::missing_in(&path);
        if is_ours && is_socket(&socket) && sessions.is_none() {
            return Condition::Well;
        }
        if is_ours && is_socket(&socket) {
            let gone = sessions.unwrap_or(path).display().to_string();
            return Condition::Wrong(format!("{gone} is gone; the spawner is making it again"));
        }
        let made = self.run_dir.restore().map_err(|error| error.to_string());
        let made = made.and_then(|()| self.operators.open(&socket).map_err(|error| error.to_string()));
        let path = path.display();
        Condition::Wrong(match made {
            Ok(()) => format!("the run directory {path} was removed; it is being made again"),
            Err(error) => format!("the run directory {path} was removed and cannot be made again: {error}"),
        })
    }

    fn descriptors(&self) -> Finding {
        let free = self.fds_max.saturating_sub(vitals::open_files()).saturating_sub(FDS_SPARE);
        let (places, total) = (self.bounds.left() as u64, self.bounds.total() as u64);
        let how = Condition::Left {
            left: free.min(places),
            few: (total / 64).max(1),
            enough: (total / 16).max(2),
            text: format!(
                "its file descriptors are used up: {} of {}, and {} of {total} connections; raise the limit (ulimit -n, or LimitNOFILE= of the unit)",
                vitals::open_files(),
                self.fds_max,
                total - places,
            ),
        };
        Finding { of: Lack::Descriptors, how }
    }

    fn disk(&self) -> Finding {
        fn room(path: &PathBuf) -> Option<(u64, &PathBuf)> {
            let fs = statvfs(path).ok()?;
            // Some file systems count no files.
            let is_full = fs.files() > 0 && fs.files_available() < FILES_MIN;
            let kib = fs.blocks_available().saturating_mul(fs.fragment_size()) / 1024;
            Some((if is_full { 0 } else { kib }, path))
        }
        let how = match self.disks.iter().filter_map(room).min() {
            Some((left, path)) => Condition::Left {
                left,
                few: DISK_KIB.0,
                enough: DISK_KIB.1,
                text: format!("the disk of {} is full: {left} KiB are left; make room", path.display()),
            },
            None => Condition::Well,
        };
        Finding { of: Lack::Disk, how }
    }

    async fn account(&self) -> Option<Finding> {
        let name = self.account.as_ref()?.to_string();
        let asked = name.clone();
        let found = tokio::task::spawn_blocking(move || User::from_name(&asked)).await.ok()?;
        let how = match found {
            Ok(Some(_)) => Condition::Well,
            Ok(None) => Condition::Wrong(format!(
                "there is no account {name}, which sessions are to run as; add it, or name another with --account"
            )),
            // Whoever knows the accounts cannot be asked: that says nothing of this one.
            Err(_) => return None,
        };
        Some(Finding { of: Lack::Account, how })
    }
}

fn memory_left(mib: Option<u32>) -> Condition {
    // Of what the kernel does not tell nothing is known to be lacking.
    let Some(left) = mib.map(u64::from) else { return Condition::Well };
    let text = format!(
        "its memory is used up: {left} MiB are left; end programs, raise the limit of its control group \
         (MemoryMax= of the unit), or use a larger machine"
    );
    Condition::Left { left, few: MEMORY_MIB.0, enough: MEMORY_MIB.1, text }
}

fn terminals() -> Option<Finding> {
    let number = |name: &str| {
        fs::read_to_string(format!("/proc/sys/kernel/pty/{name}")).ok()?.trim().parse::<u64>().ok()
    };
    let (max, used) = (number("max")?, number("nr")?);
    let text = format!("its terminals are used up: {used} of {max}; raise kernel.pty.max (sysctl)");
    let how = Condition::Left { left: max.saturating_sub(used), few: TERMINALS.0, enough: TERMINALS.1, text };
    Some(Finding { of: Lack::Terminals, how })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fitness::Fitness;

    #[test]
    fn a_host_whose_memory_is_used_up_takes_no_sessions_and_one_that_is_not_told_of_it_does() {
        let lacks = |mib| {
            let mut fitness = Fitness::new();
            fitness.find(Finding { of: Lack::Memory, how: memory_left(mib) });
            fitness.lacks().to_string()
        };
        assert_eq!([Some(0), Some(47), Some(48), None].map(lacks), ["memory", "memory", "", ""]);
    }
}
