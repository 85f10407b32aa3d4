//! Being told by the kernel that an interface or an address came or went.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::unix::AsyncFd;

/// A subscription to changes of links and IPv4 addresses.
pub(crate) struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    /// Subscribes.
    ///
    /// # Errors
    /// What the kernel says; then interfaces are only noticed when they are looked at.
    pub(crate) fn subscribe() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups as u32))?;
        // SAFETY: the descriptor is owned by what is registered, and is its only one.
        Ok(Self(unsafe { AsyncFd::register(fd) }?))
    }

    /// Waits for a change. What changed is not read here: the kernel is asked for the present state anyway,
    /// and messages may be lost.
    pub(crate) async fn next(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut space = [0; 4096];
        loop {
            match recv(self.0.get_ref().as_raw_fd(), &mut space, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                // An overrun means that there were changes, too.
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}
