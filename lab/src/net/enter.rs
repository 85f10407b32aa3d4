//! Putting a program into namespaces of its own, while it has only one thread.
//!
//! Owns the three ways a lab can stand: with its own networks and its own process ids, with its own networks
//! only, or on the machine as it is; and for each the promise that no process outlives the lab, however it
//! ends. It needs no privilege where the kernel lets anybody make a user namespace, and touches nothing of
//! the machine: as root, too, the networks are fresh ones.
//!
//! ```text
//!  outer ── waits, passes signals on, ends with the lab's exit code
//!    └─ init ── process 1 of the new process ids: reaps; when it ends, the kernel kills all the others
//!         └─ the lab ── returns from enter() and goes on
//! ```
//!
//! Without process ids of their own there is no init; then the outer process adopts what the lab leaves
//! behind and kills it.
//!
//! Everything here runs between `fork` and `exec` too (the tests of this crate enter that way), so it
//! allocates nothing.

use core::fmt;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{ForkResult, Gid, Uid, fork};

use super::outer::{Handshake, stand_by};
use super::rtnl;

/// How much of its own a lab can have here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Networks, mounts and process ids.
    Full,
    /// Networks and mounts. Process ids are the machine's, usually because parts of `/proc` are masked
    /// (as container engines do), which forbids mounting another one.
    Networks,
}

/// What could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Fork,
    OneThread,
    Unshare,
    Map,
    PrivateMounts,
    Loopback,
    MountProc,
    Veth,
    PacketSocket,
}

impl Step {
    const ALL: [Self; 9] = [
        Self::Fork,
        Self::OneThread,
        Self::Unshare,
        Self::Map,
        Self::PrivateMounts,
        Self::Loopback,
        Self::MountProc,
        Self::Veth,
        Self::PacketSocket,
    ];

    fn what(self) -> &'static str {
        match self {
            Self::Fork => "no process can be made",
            Self::OneThread => "the program has more than one thread already",
            Self::Unshare => "the kernel lets us make no user and network namespace",
            Self::Map => "the user namespace takes no map of user ids",
            Self::PrivateMounts => "mounts cannot be made private",
            Self::Loopback => "the loopback interface cannot be set up",
            Self::MountProc => "no other /proc can be mounted",
            Self::Veth => "the kernel makes no veth pair",
            Self::PacketSocket => "the kernel opens no packet socket",
        }
    }
}

/// Why there can be no networks of our own here, in one line. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why {
    pub(super) step: Step,
    pub(super) errno: Errno,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.step.what(), self.errno)
    }
}

impl std::error::Error for Why {}

/// Turns an error number into "this step failed with it".
pub(super) fn at(step: Step) -> impl Fn(Errno) -> Why {
    move |errno| Why { step, errno }
}

/// Whether [`enter`] would work here, and how well, found out by trying it in a child process.
///
/// # Errors
/// What the kernel refuses.
pub fn available() -> Result<Isolation, Why> {
    match probe(Isolation::Full) {
        Ok(()) => Ok(Isolation::Full),
        Err(Why { step: Step::MountProc | Step::Unshare, .. }) => {
            probe(Isolation::Networks).map(|()| Isolation::Networks)
        }
        Err(why) => Err(why),
    }
}

/// Moves the program into fresh namespaces. Returns in a child (or grandchild) process; the caller's own
/// process stays behind as the outer one and never returns.
///
/// Must be called while there is one thread only, best as the first thing in `main`.
///
/// # Errors
/// What the kernel refuses; then the program may be in a half-made namespace and should end. Use
/// [`available`] first to know.
pub fn enter(isolation: Isolation) -> Result<(), Why> {
    one_thread()?;
    isolate(isolation)?;
    fork_off(isolation == Isolation::Networks)?;
    if isolation == Isolation::Full {
        mount_proc()?;
        fork_off(false)?;
    }
    Ok(())
}

/// Only the promise that nothing outlives the lab, without a namespace: for the fallback to loopback.
///
/// # Errors
/// When no process can be made.
pub fn guard() -> Result<(), Why> {
    one_thread()?;
    fork_off(true)
}

/// Goes on in a child; the calling process waits for it and ends with it.
fn fork_off(adopts_orphans: bool) -> Result<(), Why> {
    let at_fork = at(Step::Fork);
    let handshake = Handshake::new().map_err(&at_fork)?;
    // SAFETY: the program has one thread (checked by the callers, or it is the child of a fork), so the
    // child may go on as it likes.
    match unsafe { fork() }.map_err(&at_fork)? {
        ForkResult::Parent { child } => stand_by(child, handshake, adopts_orphans),
        ForkResult::Child => handshake.tie_to_parent().map_err(&at_fork),
    }
}

fn one_thread() -> Result<(), Why> {
    // The link count of a process's task directory is its threads plus two.
    let stat = nix::sys::stat::stat("/proc/self/task").map_err(at(Step::OneThread))?;
    if stat.st_nlink == 3 { Ok(()) } else { Err(at(Step::OneThread)(Errno::EBUSY)) }
}

/// Leaves the machine's namespaces. New process ids begin with the next child.
fn isolate(isolation: Isolation) -> Result<(), Why> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
    if isolation == Isolation::Full {
        flags |= CloneFlags::CLONE_NEWPID;
    }
    if uid.is_root() {
        // Not in a user namespace: it would have no other account, and sessions must not run as root.
        unshare(flags).map_err(at(Step::Unshare))?;
    } else {
        unshare(flags | CloneFlags::CLONE_NEWUSER).map_err(at(Step::Unshare))?;
        map_ids(uid, gid).map_err(at(Step::Map))?;
    }
    let all = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, all, None::<&str>).map_err(at(Step::PrivateMounts))?;
    rtnl::raise_loopback().map_err(at(Step::Loopback))
}

/// Makes the caller root of its user namespace. Groups must be given up first: the kernel demands it of
/// whoever has no privilege outside.
fn map_ids(uid: Uid, gid: Gid) -> Result<(), Errno> {
    write_file("/proc/self/setgroups", format_args!("deny"))?;
    write_file("/proc/self/uid_map", format_args!("0 {uid} 1"))?;
    write_file("/proc/self/gid_map", format_args!("0 {gid} 1"))
}

fn write_file(path: &str, text: fmt::Arguments<'_>) -> Result<(), Errno> {
    let mut buffer = [0_u8; 64];
    let mut rest = &mut buffer[..];
    rest.write_fmt(text).map_err(|_| Errno::EINVAL)?;
    let unused = rest.len();
    let file = nix::fcntl::open(
        path,
        nix::fcntl::OFlag::O_WRONLY | nix::fcntl::OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )?;
    nix::unistd::write(&file, &buffer[..buffer.len() - unused]).map(drop)
}

/// Mounts a `/proc` that shows the process ids of the caller's namespace.
fn mount_proc() -> Result<(), Why> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).map_err(at(Step::MountProc))
}

/// Tries everything a lab needs, in a child that then ends.
fn probe(isolation: Isolation) -> Result<(), Why> {
    let at_fork = at(Step::Fork);
    let request = rtnl::probe_request();
    let (from_child, to_parent) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(&at_fork)?;
    // SAFETY: the child makes only system calls, allocates nothing and leaves by _exit, as it must when the
    // program has other threads.
    match unsafe { fork() }.map_err(&at_fork)? {
        ForkResult::Child => {
            let result = try_all(isolation, &request);
            report(&to_parent, result);
            // SAFETY: ends this process without running anything of the parent's.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(to_parent);
            let mut answer = [0_u8; 5];
            let got = nix::unistd::read(&from_child, &mut answer).map_err(&at_fork)?;
            // It ends right after its report. Somebody else may have reaped it: no matter.
            let _ = nix::sys::wait::waitpid(child, None);
            if got == answer.len() { read_report(answer) } else { Err(at_fork(Errno::ECHILD)) }
        }
    }
}

fn try_all(isolation: Isolation, request: &[u8]) -> Result<(), Why> {
    isolate(isolation)?;
    rtnl::try_request(request).map_err(at(Step::Veth))?;
    super::packet::try_open().map_err(at(Step::PacketSocket))?;
    if isolation == Isolation::Networks {
        return Ok(());
    }
    // The new process ids begin with a child, and only it may mount their /proc.
    // SAFETY: as in probe().
    match unsafe { fork() }.map_err(at(Step::Fork))? {
        ForkResult::Child => {
            let code = i32::from(mount_proc().is_err());
            // SAFETY: as in probe().
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => match nix::sys::wait::waitpid(child, None) {
            Ok(nix::sys::wait::WaitStatus::Exited(_, 0)) => Ok(()),
            _ => Err(at(Step::MountProc)(Errno::EPERM)),
        },
    }
}

/// One byte for the step (0: none failed), four for the error number.
fn report(to: &OwnedFd, result: Result<(), Why>) {
    let mut bytes = [0_u8; 5];
    if let Err(Why { step, errno }) = result {
        bytes[0] = 1 + step as u8;
        bytes[1..].copy_from_slice(&(errno as i32).to_ne_bytes());
    }
    // SAFETY: the buffer is ours and as long as said. The parent takes silence for failure.
    let _ = unsafe { libc::write(to.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
}

fn read_report([step, errno @ ..]: [u8; 5]) -> Result<(), Why> {
    match Step::ALL.get(usize::from(step).wrapping_sub(1)) {
        None => Ok(()),
        Some(&step) => Err(Why { step, errno: Errno::from_raw(i32::from_ne_bytes(errno)) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_survives_its_report() {
        for (i, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, i, "ALL is in order of declaration");
            let why = Why { step, errno: Errno::EPERM };
            let mut bytes = [0; 5];
            bytes[0] = 1 + step as u8;
            bytes[1..].copy_from_slice(&(Errno::EPERM as i32).to_ne_bytes());
            assert_eq!(read_report(bytes), Err(why));
            assert!(!why.to_string().contains('\n'));
        }
        assert_eq!(read_report([0; 5]), Ok(()));
    }
}
