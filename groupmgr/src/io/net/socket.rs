//! Opening the sockets of one interface, and saying in one line why one cannot be opened.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::interfaces::Wire;

/// Asked for as receive buffer: a storm of tokenQ must not be lost while the host thread waits for a processor.
/// The kernel gives what it allows (`net.core.rmem_max`).
const RECV_BUFFER: usize = 4 << 20;

/// Connections the kernel completes for us before we take them: a failed host's DTUs come at once.
const BACKLOG: i32 = 4096;

/// The lowest descriptor of the sockets of port 7009, where the process may open twice as many files.
const DESCRIPTORS_FROM: u64 = 16 << 10;

/// Why a socket of port 7009 could not be opened. Nothing else was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody has the port.
    #[error("{proto} port {} on {} is taken by another program; stop it (ss -{flag}lpn sport = :{}), or choose another address with --bind", addr.port(), addr.ip(), addr.port(), proto = proto.0, flag = proto.1)]
    Taken {
        /// What is taken.
        addr: SocketAddrV4,
        /// Its protocol, and the letter by which `ss` lists it.
        proto: (&'static str, char),
    },
    /// The kernel does not allow it.
    #[error("no permission to open {proto} port {} on {}: {source}; run as root or allow it", addr.port(), addr.ip())]
    Permission {
        /// What was to be opened.
        addr: SocketAddrV4,
        /// `UDP` or `TCP`, for the message.
        proto: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused for another reason.
    #[error("{proto} port {} on {}: {source}; see that the interface is up and has the address", addr.port(), addr.ip())]
    Other {
        /// What was to be opened.
        addr: SocketAddrV4,
        /// `UDP` or `TCP`, for the message.
        proto: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    fn new(proto: (&'static str, char), addr: SocketAddrV4, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::Taken { addr, proto },
            io::ErrorKind::PermissionDenied => Self::Permission { addr, proto: proto.0, source },
            _ => Self::Other { addr, proto: proto.0, source },
        }
    }
}

const UDP: (&str, char) = ("UDP", 'u');
const TCP: (&str, char) = ("TCP", 't');

/// The socket that sends everything, and receives what is sent to the interface's own address. Not shared: a
/// second daemon on the address is an error that must be seen.
pub(super) fn unicast(wire: &Wire, port: u16) -> Result<UdpSocket, OpenError> {
    let addr = SocketAddrV4::new(wire.interface.ip, port);
    let open = || -> io::Result<UdpSocket> {
        let socket = datagram_socket()?;
        socket.set_broadcast(true)?;
        bind_device(&socket, wire, wire.has_twin)?;
        socket.bind(&addr.into())?;
        Ok(above_connections(socket).into())
    };
    open().map_err(|source| OpenError::new(UDP, addr, source))
}

/// A socket that receives what is broadcast, or sent to a multicast group, on this interface and no other. All
/// daemons and DTUs of a machine share the address.
pub(super) fn shared(wire: &Wire, to: Ipv4Addr, port: u16) -> Result<UdpSocket, OpenError> {
    let addr = SocketAddrV4::new(to, port);
    let open = || -> io::Result<UdpSocket> {
        let socket = datagram_socket()?;
        socket.set_reuse_address(true)?;
        bind_device(&socket, wire, true)?;
        if to.is_multicast() {
            let index = InterfaceIndexOrAddress::Index(wire.index);
            socket.join_multicast_v4_n(&to, &index)?;
        }
        socket.bind(&addr.into())?;
        Ok(socket.into())
    };
    open().map_err(|source| OpenError::new(UDP, addr, source))
}

/// A socket that speaks to one address only, so that a refusal comes back to it. It has a port of its own.
pub(super) fn connected(wire: Option<&Wire>, to: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = datagram_socket()?;
    if let Some(wire) = wire {
        bind_device(&socket, wire, wire.has_twin)?;
        socket.bind(&SocketAddr::from((wire.interface.ip, 0)).into())?;
    }
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// The listener of an interface's address. A daemon that was just restarted may have connections of its
/// predecessor in the kernel; they do not keep it from listening.
pub(super) fn listener(wire: &Wire, port: u16) -> Result<TcpListener, OpenError> {
    let addr = SocketAddrV4::new(wire.interface.ip, port);
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        bind_device(&socket, wire, wire.has_twin)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(above_connections(socket).into())
    };
    open().map_err(|source| OpenError::new(TCP, addr, source))
}

fn datagram_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(RECV_BUFFER)?;
    setsockopt(&socket, ReceiveTimestampns, &true)?;
    Ok(socket)
}

/// Moves a socket to a descriptor above those of connections; where there is none it stays.
///
/// Linux ends what a killed process had open from the highest descriptor down, and takes some 20 µs for each TCP
/// connection. Only when the sockets of port 7009 are ended, too, is refused what other hosts and DTUs ask there, and whoever asks
/// knows at once that this daemon is dead. New descriptors are the lowest that are free.
fn above_connections(socket: Socket) -> Socket {
    let files_max = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let from = i32::try_from(DESCRIPTORS_FROM.min(files_max / 2)).unwrap_or(0);
    rustix::io::fcntl_dupfd_cloexec(socket.as_fd(), from).map_or(socket, Socket::from)
}

/// Old kernels let only root bind to a device. Without it, interfaces work as long as their subnets differ.
fn bind_device(socket: &Socket, wire: &Wire, wanted: bool) -> io::Result<()> {
    if !wanted {
        return Ok(());
    }
    match socket.bind_device(Some(wire.device.as_bytes())) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(
                device = wire.device,
                "the kernel lets only root bind a socket to an interface: equal subnets on separate wires cannot be told apart"
            );
            Ok(())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;
    use crate::io::net::interfaces;

    #[test]
    fn what_others_ask_of_a_killed_host_is_refused_before_its_connections_have_ended() {
        let found = interfaces::list().unwrap();
        let wire = interfaces::choose(&found, &[Ipv4Addr::LOCALHOST]).pop().unwrap();
        let (asked, listener) = (unicast(&wire, 0).unwrap(), super::listener(&wire, 0).unwrap());
        let taken = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(asked.as_raw_fd() > taken.as_raw_fd() && listener.as_raw_fd() > taken.as_raw_fd());
    }
}
