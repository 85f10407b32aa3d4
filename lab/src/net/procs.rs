//! Finding the processes of a host, and stopping, continuing and killing all of them.
//!
//! A session's process and a shell's jobs leave every process group and session they were started in, so
//! neither says where they belong. What they cannot leave is the network namespace; where there is none, the
//! environment they have inherited from the host's daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The environment variable that marks a host's processes; its value names the lab and the host.
pub const MARKER: &str = "HOTDESK_LAB_HOST";

/// How long the kernel may take to stop or end a process before we say that it does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at processes that were told to stop.
const PAUSE: Duration = Duration::from_micros(200);

/// What the processes of a host have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Belonging {
    /// One of the network namespaces with these inodes.
    Networks(Vec<u64>),
    /// The value of [`MARKER`] in their environment, or a value that begins with this one if it ends with a
    /// slash; or a parent that has it, since a session's shell gets an environment of its own.
    Marked(String),
}

/// A process, as `/proc/PID/stat` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// The id of the process.
    pub pid: Pid,
    /// The id of the process that started it.
    pub parent: Pid,
    /// Its state: `R` running, `S` sleeping, `T` stopped, `Z` ended but not reaped, ...
    pub state: char,
    /// When it was started, in ticks of the kernel's since the machine was.
    pub started: u64,
}

impl Process {
    /// Reads the line that `/proc/PID/stat` holds. The name in it may contain anything, brackets too.
    fn parse(stat: &str) -> Option<Self> {
        let (before, after) = stat.rsplit_once(") ")?;
        let (pid, _) = before.split_once(" (")?;
        let mut fields = after.split(' ');
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        Some(Self { pid: Pid::from_raw(pid.parse().ok()?), parent: Pid::from_raw(parent), state, started })
    }

    fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// Every process that `/proc` shows.
pub(super) fn all() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        entry.file_name().to_str()?.parse::<i32>().ok()?;
        Process::parse(&fs::read_to_string(entry.path().join("stat")).ok()?)
    })
}

impl Belonging {
    fn includes(&self, pid: Pid) -> bool {
        match self {
            Self::Networks(inodes) => fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|link| {
                let inode = link
                    .to_str()
                    .and_then(|link| link.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok());
                inode.is_some_and(|inode| inodes.contains(&inode))
            }),
            Self::Marked(mark) => fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
                let wanted = format!("{MARKER}={mark}");
                let fits = |entry: &[u8]| match mark.ends_with('/') {
                    true => entry.starts_with(wanted.as_bytes()),
                    false => entry == wanted.as_bytes(),
                };
                environ.split(|&b| b == 0).any(fits)
            }),
        }
    }

    /// The processes that run now, parents before their children.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let me = nix::unistd::getpid();
        // What was there before us is not ours; on a busy machine that saves most of the looking.
        let candidates: Vec<Process> =
            all().filter(|p| p.pid != me && !p.has_ended() && p.started >= own_start()).collect();
        let mut found: Vec<Process> = candidates.iter().filter(|p| self.includes(p.pid)).copied().collect();
        if matches!(self, Self::Marked(_)) {
            add_descendants(&mut found, &candidates);
        }
        let parents: BTreeMap<Pid, Pid> = found.iter().map(|p| (p.pid, p.parent)).collect();
        let depth =
            |pid: Pid| core::iter::successors(Some(pid), |pid| parents.get(pid).copied()).take(1_000).count();
        found.sort_by_key(|p| depth(p.pid));
        found
    }

    /// Stops every process (SIGSTOP), also those that appear meanwhile. Returns once all have stopped.
    ///
    /// Parents are stopped first: a shell must not see its job stop and take the terminal back.
    ///
    /// # Errors
    /// When a process has not stopped in time, or may not be signalled.
    pub fn freeze(&self) -> io::Result<()> {
        let give_up_at = Instant::now() + PATIENCE;
        let mut told = BTreeSet::new();
        loop {
            let running: Vec<Process> = self.processes().into_iter().filter(|p| !p.is_stopped()).collect();
            if running.is_empty() {
                return Ok(());
            }
            for process in &running {
                if told.insert(process.pid) {
                    signal(process.pid, Signal::SIGSTOP)?;
                }
            }
            if Instant::now() > give_up_at {
                return Err(late("stop", &running));
            }
            // Nothing reports that another's child has stopped; it takes the time of one system call.
            std::thread::sleep(PAUSE);
        }
    }

    /// Stops the processes that sessions live in, and nothing else: the spawner forks them of itself, so they are
    /// what calls itself a spawner and has one as its parent. Returns how many.
    ///
    /// # Errors
    /// When a process may not be signalled.
    pub fn freeze_sessions(&self) -> io::Result<usize> {
        let is_spawner = |pid: Pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|b| *b == 0).any(|word| word == b"spawner")
        };
        let spawners: Vec<Process> = self.processes().into_iter().filter(|p| is_spawner(p.pid)).collect();
        let sessions: Vec<&Process> =
            spawners.iter().filter(|p| spawners.iter().any(|other| other.pid == p.parent)).collect();
        for process in &sessions {
            signal(process.pid, Signal::SIGSTOP)?;
        }
        Ok(sessions.len())
    }

    /// Lets every stopped process go on (SIGCONT), children before their parents, so that no shell finds a
    /// job of its own stopped.
    ///
    /// # Errors
    /// When a process may not be signalled.
    pub fn thaw(&self) -> io::Result<()> {
        for process in self.processes().iter().rev() {
            signal(process.pid, Signal::SIGCONT)?;
        }
        Ok(())
    }

    /// Kills every process (SIGKILL), also those that appear meanwhile, and waits until they have ended.
    /// They are stopped first, so that none sees another's end and has time for a last word, as none has when a
    /// machine loses its power. `now` is told the moment just before the first is killed.
    ///
    /// # Errors
    /// When a process has not ended in time, or may not be signalled.
    pub fn kill(&self, now: impl FnOnce(Instant)) -> io::Result<()> {
        self.freeze()?;
        let killed_at = Instant::now();
        now(killed_at);
        let give_up_at = killed_at + PATIENCE;
        loop {
            let left = self.processes();
            if left.is_empty() {
                return Ok(());
            }
            let ends: Vec<OwnedFd> = left.iter().filter_map(|p| watch(p.pid)).collect();
            for process in &left {
                signal(process.pid, Signal::SIGKILL)?;
            }
            for end in &ends {
                let left_over = give_up_at.saturating_duration_since(Instant::now());
                let timeout = PollTimeout::try_from(left_over).unwrap_or(PollTimeout::ZERO);
                match poll(&mut [PollFd::new(end.as_fd(), PollFlags::POLLIN)], timeout) {
                    Ok(0) => return Err(late("end", &left)),
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
    }
}

/// When this program was started.
fn own_start() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    *START.get_or_init(|| {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Process::parse(&stat).map_or(0, |process| process.started)
    })
}

/// Adds whoever has a parent among `found`, and so on.
fn add_descendants(found: &mut Vec<Process>, candidates: &[Process]) {
    let mut ids: BTreeSet<Pid> = found.iter().map(|p| p.pid).collect();
    loop {
        let more: Vec<Process> =
            candidates.iter().filter(|p| ids.contains(&p.parent) && !ids.contains(&p.pid)).copied().collect();
        if more.is_empty() {
            return;
        }
        ids.extend(more.iter().map(|p| p.pid));
        found.extend(more);
    }
}

/// Sends a signal; a process that has ended meanwhile is no error.
fn signal(pid: Pid, signal: Signal) -> io::Result<()> {
    match kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// A descriptor that becomes readable when the process ends.
fn watch(pid: Pid) -> Option<OwnedFd> {
    // SAFETY: pidfd_open takes a process id and flags and returns a new descriptor, which only the OwnedFd owns.
    unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0)).ok()?;
        Some(OwnedFd::from_raw_fd(i32::try_from(fd).ok()?))
    }
}

fn late(what: &str, processes: &[Process]) -> io::Error {
    let pids: Vec<String> = processes.iter().map(|p| p.pid.to_string()).collect();
    let text = format!("process {} did not {what} within {PATIENCE:?}", pids.join(", "));
    io::Error::new(io::ErrorKind::TimedOut, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let stat = "4711 (a) b (c) S 1 4711 4711 0 -1 4194560 5 0 0 0 1 2 0 0 20 0 1 0 777 16384 5";
        let expected =
            Process { pid: Pid::from_raw(4711), parent: Pid::from_raw(1), state: 'S', started: 777 };
        assert_eq!(Process::parse(stat), Some(expected));
        for bad in ["", "12", "12 (x", "x (y) S 1", "12 (y) S", "12 (y) S 1 2 3"] {
            assert_eq!(Process::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_marked_process_is_found_with_its_children_and_killed_with_them() {
        let lab = format!("unit-{}/", std::process::id());
        let mark = format!("{lab}a");
        let host = Belonging::Marked(mark.clone());
        // The shell starts children that leave its session, as a session's process does, one without a mark.
        let mut shell = std::process::Command::new("setsid")
            .args(["sh", "-c", "setsid sleep 1000 & env -i setsid sleep 1000 & echo ready; wait"])
            .env(MARKER, &mark)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut ready).unwrap();

        host.freeze().unwrap();
        let frozen = host.processes();
        assert!(frozen.len() >= 3 && frozen.iter().all(Process::is_stopped), "{frozen:?}");
        assert_eq!(Belonging::Marked(lab.clone()).processes(), frozen, "the whole lab is this host");
        assert_eq!(Belonging::Marked(format!("{lab}b")).processes(), []);
        host.thaw().unwrap();
        host.kill(drop).unwrap();
        assert!(host.processes().is_empty());
        shell.wait().unwrap();
    }
}
