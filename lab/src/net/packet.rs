//! The switch's end of a port: a packet socket on one end of a veth pair.
//!
//! TAP devices would do as well, but `/dev/net/tun` is closed to ordinary users on many machines and missing
//! in most containers, while a packet socket needs nothing but the namespace.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

/// Longest frame: an MTU of 1500, the header, and a VLAN tag that nobody should send.
pub(super) const FRAME_LEN_MAX: usize = 1_518;

/// Room for a burst of every host's announcements while the switch is not scheduled.
const BUFFER_BYTES: libc::c_int = 4 << 20;

/// A packet socket bound to one interface.
#[derive(Debug)]
pub(super) struct PacketPort(OwnedFd);

impl PacketPort {
    /// Opens the interface `name` of the calling thread's network namespace.
    pub(super) fn open(name: &str) -> io::Result<Self> {
        // Protocol 0 until it is bound, so that no frame of another interface gets in.
        let fd = raw_socket()?;
        let index = nix::net::if_::if_nametoindex(name)?;
        let index = libc::c_int::try_from(index).map_err(|_| Errno::EINVAL)?;
        set_option(&fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        set_option(&fd, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
        // Only root may go beyond the machine's limit; the others get what it is.
        let sizes = [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)];
        for (beyond, within) in sizes {
            set_option(&fd, libc::SOL_SOCKET, beyond, BUFFER_BYTES)
                .or_else(|_| set_option(&fd, libc::SOL_SOCKET, within, BUFFER_BYTES))?;
        }
        bind(&fd, index)?;
        Ok(Self(fd))
    }

    /// Takes the next frame, if there is one. `None` also when the interface is down.
    pub(super) fn receive<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        loop {
            match recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(len) => return Some(&buffer[..len]),
                // Says once that the interface went down; frames sent before that are behind it.
                Err(Errno::ENETDOWN | Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// Hands a frame to the kernel; says whether it took it.
    pub(super) fn send(&self, frame: &[u8]) -> bool {
        send(self.0.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT).is_ok()
    }
}

impl AsFd for PacketPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes the kernel finish the checksums of what is sent on `name`, an interface of the calling thread's
/// namespace. A veth end leaves that to its peer, but what a packet socket reads and sends on must be whole.
pub(super) fn finish_checksums(name: &str) -> io::Result<()> {
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    const SET_TX_CHECKSUMMING: u32 = 0x17;
    let mut value = Value { command: SET_TX_CHECKSUMMING, data: 0 };
    let fd = raw_socket()?;
    // SAFETY: an all-zero ifreq is valid; the name is shorter than its field, so a zero ends it; `value` is
    // what this ioctl expects behind the pointer and outlives the call.
    unsafe {
        let mut request: libc::ifreq = core::mem::zeroed();
        for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        Errno::result(libc::ioctl(fd.as_raw_fd(), SIOCETHTOOL, &request))?;
    }
    Ok(())
}

const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// Whether a packet socket can be had at all. Allocates nothing.
pub(super) fn try_open() -> Result<(), Errno> {
    raw_socket().map(drop)
}

fn raw_socket() -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: makes a new descriptor, which only the OwnedFd owns. (nix cannot ask for protocol 0 here.)
    unsafe { Errno::result(libc::socket(libc::AF_PACKET, kind, 0)).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

fn bind(fd: &OwnedFd, index: libc::c_int) -> Result<(), Errno> {
    // SAFETY: an all-zero sockaddr_ll is valid; the kernel copies it during the call.
    unsafe {
        let mut address: libc::sockaddr_ll = core::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index;
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        Errno::result(libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len)).map(drop)
    }
}

fn set_option(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> Result<(), Errno> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads one int during the call.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    Errno::result(done).map(drop)
}
