//! The processes that stand around a lab and see to it that nothing outlives it.
//!
//! They run after a `fork` and never `exec`: they allocate nothing while the lab lives, hold no file but the standard three, and
//! leave by `_exit`.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::procs;

/// Two pipes and the signal mask to go back to.
///
/// A child asks the kernel to be killed with its parent. The parent may have died just before: so the child
/// says that it has asked, and goes on only once the parent has answered.
pub(super) struct Handshake {
    asked: (OwnedFd, OwnedFd),
    answer: (OwnedFd, OwnedFd),
    mask: SigSet,
}

impl Handshake {
    /// To be made before the fork. Holds back the signals that the parent is going to wait for.
    pub(super) fn new() -> Result<Self, Errno> {
        let close = nix::fcntl::OFlag::O_CLOEXEC;
        let mut mask = SigSet::empty();
        let asked = nix::unistd::pipe2(close)?;
        let answer = nix::unistd::pipe2(close)?;
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&watched()), Some(&mut mask))?;
        Ok(Self { asked, answer, mask })
    }

    /// In the child: ties its life to the parent's.
    pub(super) fn tie_to_parent(self) -> Result<(), Errno> {
        let Self { asked: (_, asked), answer: (answer, other_end), mask } = self;
        drop(other_end);
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        nix::unistd::write(&asked, &[1])?;
        if nix::unistd::read(&answer, &mut [0])? == 0 {
            return Err(Errno::ESRCH);
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)
    }

    fn answer(self) {
        let Self { asked: (asked, other_end), answer: (_, answer), .. } = self;
        drop(other_end);
        // A child that died before it asked shows in the wait that follows.
        let _ = nix::unistd::read(&asked, &mut [0]);
        let _ = nix::unistd::write(&answer, &[1]);
    }
}

/// The signals that the standing processes take note of.
fn watched() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT].into_iter().collect()
}

/// Waits until `child` has ended, reaping whatever else ends, and ends the same way. Signals that somebody
/// sends are passed on to the child; those of the terminal have reached it already.
pub(super) fn stand_by(child: Pid, handshake: Handshake, adopts_orphans: bool) -> ! {
    if adopts_orphans {
        // Refused by no kernel that has namespaces.
        let _ = prctl::set_child_subreaper(true);
    }
    handshake.answer();
    close_all_files();
    loop {
        match reap(child) {
            Some(code) => {
                if adopts_orphans {
                    kill_descendants();
                }
                // SAFETY: ends the process; there is nothing to flush, since it never printed.
                unsafe { libc::_exit(code) }
            }
            None => wait_for_signal(child),
        }
    }
}

/// Reaps all that has ended; says with which code `child` did, in the shell's notation.
fn reap(child: Pid) -> Option<i32> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => return Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) => return None,
            Err(Errno::ECHILD) => return Some(125),
            _ => {}
        }
    }
}

fn wait_for_signal(child: Pid) {
    let set = watched();
    // SAFETY: a zeroed siginfo_t is valid, and both pointers are to live values.
    let (signal, sent_by_process) = unsafe {
        let mut info: libc::siginfo_t = core::mem::zeroed();
        let signal = libc::sigwaitinfo(set.as_ref(), &mut info);
        (signal, info.si_code <= 0)
    };
    if let Ok(signal) = Signal::try_from(signal)
        && signal != Signal::SIGCHLD
        && sent_by_process
    {
        // The child may have ended; the next round sees it.
        let _ = kill(child, signal);
    }
}

/// Kills every process that descends from this one, the ones it has adopted and those that appear meanwhile.
fn kill_descendants() {
    let me = nix::unistd::getpid();
    loop {
        // A killed child's children become ours, and turn up in the next round.
        for process in procs::all().filter(|process| process.parent == me) {
            let _ = kill(process.pid, Signal::SIGKILL);
        }
        match waitpid(None, None) {
            Err(Errno::EINTR) | Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// Closes everything but the standard three: a pipe that this process held open would never report its end.
fn close_all_files() {
    // SAFETY: whatever used these descriptors belongs to the child now; nothing here does.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) != 0 {
            for fd in 3..1024 {
                libc::close(fd);
            }
        }
    }
}
