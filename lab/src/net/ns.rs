//! A host's own network and host name: two namespaces held open by descriptors.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use nix::sched::{CloneFlags, setns, unshare};

use super::rtnl;

/// The namespaces of one host. They live as long as this or a process in them.
#[derive(Debug)]
pub(super) struct Namespace {
    net: OwnedFd,
    uts: OwnedFd,
    inode: u64,
}

impl Namespace {
    /// Fresh namespaces, with the loopback interface up, IPv6 off and the given host name.
    pub(super) fn new(name: &str) -> io::Result<Self> {
        // A thread leaves its namespaces behind with no way back, so it gets a life of its own.
        std::thread::scope(|scope| {
            scope.spawn(|| Self::make(name)).join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
        })
    }

    fn make(name: &str) -> io::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS)?;
        nix::unistd::sethostname(name)?;
        // The system speaks IPv4 only; router solicitations would blur the frame counts. A kernel without
        // IPv6 has no such file.
        for which in ["all", "default"] {
            let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
        }
        rtnl::raise_loopback()?;
        let net = std::fs::File::open("/proc/thread-self/ns/net")?;
        let uts = std::fs::File::open("/proc/thread-self/ns/uts")?;
        let inode = net.metadata()?.ino();
        Ok(Self { net: net.into(), uts: uts.into(), inode })
    }

    /// Runs `task` on a thread of its own inside. Sockets that it makes stay inside wherever they are used.
    pub(super) fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| self.join().map(|()| task()));
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Moves the calling thread inside, for good. Allocates nothing, so it may be used between `fork` and
    /// `exec`.
    pub(super) fn join(&self) -> io::Result<()> {
        setns(&self.net, CloneFlags::CLONE_NEWNET)?;
        setns(&self.uts, CloneFlags::CLONE_NEWUTS)?;
        Ok(())
    }

    /// What `/proc/PID/ns/net` shows for the processes inside.
    pub(super) fn inode(&self) -> u64 {
        self.inode
    }

    /// The network namespace, for netlink requests that name it.
    pub(super) fn net(&self) -> BorrowedFd<'_> {
        self.net.as_fd()
    }

    /// Copies of the descriptors, for a process to be started.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { net: self.net.try_clone()?, uts: self.uts.try_clone()?, inode: self.inode })
    }
}
