//! Session processes that were started ahead of need.
//!
//! Before it matters whose session it becomes, a session process is forked, lets go of what the spawner had open, and
//! makes the key of its displays. A few are brought that far while nobody waits, so that whoever comes alone, from a
//! host that has just died, does not wait for it. They are told whose session they become by the message the
//! spawner itself was sent, and only then take on its account. In a storm there is never time to make more of them, and
//! sessions start in processes that are forked on demand.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use nix::unistd::Pid;
use proto::Instant;
use proto::time::Duration;

use crate::control::ToSpawner;
use crate::io::session::{self, Start};
use crate::io::{packets, sys};

/// How many session processes are started ahead of need, at most. Each holds some 0.3 MiB.
pub const AHEAD_MAX: usize = 4;

/// The spawner has had nothing to do for so long when it makes one: longer than a session takes to show its prompt,
/// so that it does not compete with the one that was just started.
const QUIET: Duration = Duration::from_millis(100);

/// Pause before another is made after one could not be made, or ended without having been told anything.
const PAUSE: Duration = Duration::from_secs(1);

/// A session process.
pub(super) struct Process {
    pub(super) pid: Pid,
    /// The daemon's end of its control socket. As long as it is open the session knows that it is not alone.
    pub(super) control: OwnedFd,
}

impl Process {
    /// Forks one, which reads from its control socket whose session it becomes. `asked` lies there before it begins.
    ///
    /// # Safety
    /// This process has a single thread.
    pub(super) unsafe fn fork(
        asked: Option<&ToSpawner>,
        start: impl FnOnce(OwnedFd) -> Start,
    ) -> io::Result<Self> {
        let (control, theirs) = packets::pair()?;
        if let Some(asked) = asked {
            packets::send(&control, asked, None)?;
        }
        // SAFETY: as promised by the caller.
        match unsafe { sys::fork() }? {
            None => session::run(start(theirs)),
            Some(pid) => Ok(Self { pid, control }),
        }
    }
}

/// Those that wait.
#[derive(Default)]
pub(super) struct Ahead {
    waiting: VecDeque<Process>,
    due: Option<Instant>,
}

impl Ahead {
    /// Makes more of them when nothing was asked for some time.
    pub(super) fn after_quiet(&mut self, now: Instant) {
        self.due = (self.waiting.len() < AHEAD_MAX).then(|| now + QUIET);
    }

    /// When another is to be made, if any is.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// One was made. The next is due at once; whatever else happens goes first.
    pub(super) fn put(&mut self, now: Instant, process: Process) {
        self.waiting.push_back(process);
        self.due = (self.waiting.len() < AHEAD_MAX).then_some(now);
    }

    /// None could be made.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.due = Some(now + PAUSE);
    }

    /// The one that has waited longest; it was told what is asked for.
    pub(super) fn take(&mut self, asked: &ToSpawner) -> Option<Process> {
        while let Some(process) = self.waiting.pop_front() {
            match packets::send(&process.control, asked, None) {
                Ok(()) => return Some(process),
                // Somebody has ended it a moment ago.
                Err(error) => tracing::debug!("a process started ahead of need is gone: {error}"),
            }
        }
        None
    }

    /// A process has ended. Whether it was one of them.
    pub(super) fn lose(&mut self, now: Instant, pid: Pid) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|process| process.pid != pid);
        let is_one = self.waiting.len() < before;
        if is_one {
            self.put_off(now);
        }
        is_one
    }

    pub(super) fn pids(&self) -> impl Iterator<Item = Pid> {
        self.waiting.iter().map(|process| process.pid)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Ends them all, and makes no more: each ends with its control socket.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::io::packets::Receiver;

    /// One without a process, and the end of its socket.
    fn process(pid: i32) -> (Process, OwnedFd) {
        let (control, theirs) = packets::pair().unwrap();
        (Process { pid: Pid::from_raw(pid), control }, theirs)
    }

    #[test]
    fn a_few_are_made_when_nothing_was_asked_for_some_time_and_never_more() {
        let (mut ahead, now) = (Ahead::default(), Instant::from_micros(1));
        ahead.after_quiet(now);
        assert_eq!(ahead.due(), Some(now + QUIET));
        let (later, mut theirs) = (now + QUIET, Vec::new());
        for n in 1..=AHEAD_MAX {
            assert!(ahead.due().is_some_and(|at| at <= later), "after {n}");
            let (process, their) = process(i32::try_from(n).unwrap());
            ahead.put(later, process);
            theirs.push(their);
        }
        assert_eq!((ahead.len(), ahead.due()), (AHEAD_MAX, None));
        assert_eq!(ahead.take(&ToSpawner::Keep(true)).map(|process| process.pid.as_raw()), Some(1));
        let told = Receiver::new().receive::<ToSpawner>(theirs[0].as_fd()).unwrap().unwrap().0;
        assert_eq!(told, ToSpawner::Keep(true));
        ahead.after_quiet(later);
        assert_eq!(ahead.due(), Some(later + QUIET));
    }

    #[test]
    fn one_that_is_gone_becomes_nobodys_session_and_is_not_made_again_at_once() {
        let (mut ahead, now) = (Ahead::default(), Instant::from_micros(1));
        let ((gone, _), (lives, _their)) = (process(7), process(8));
        ahead.put(now, gone);
        ahead.put(now, lives);
        assert_eq!(ahead.take(&ToSpawner::Keep(true)).map(|process| process.pid.as_raw()), Some(8));
        ahead.put(now, process(9).0);
        assert!(!ahead.lose(now, Pid::from_raw(8)));
        assert!(ahead.lose(now, Pid::from_raw(9)));
        assert_eq!((ahead.len(), ahead.due()), (0, Some(now + PAUSE)));
    }
}
