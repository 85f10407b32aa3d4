//! Links, addresses and routes, by asking the kernel over netlink.
//!
//! One request, one answer, on a blocking socket: a lab sets up a few dozen links once, so nothing is gained
//! by awaiting. A socket speaks for the network namespace it was made in, from whichever thread it is used.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use ipnet::Ipv4Net;
use nix::errno::Errno;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rtnetlink::{AddressMessageBuilder, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

const ANSWER_LEN_MAX: usize = 16 * 1024;
const MAKE: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// A netlink socket of one network namespace.
pub(super) struct Rtnl {
    socket: Socket,
    sequence: u32,
}

/// One end of a veth pair.
pub(super) struct VethEnd<'a> {
    /// The interface's name.
    pub(super) name: &'a str,
    /// Its address on the wire.
    pub(super) mac: [u8; 6],
}

impl Rtnl {
    /// A socket of the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Makes a veth pair with one end here and the other in the namespace `there`.
    pub(super) fn add_veth(
        &mut self,
        here: &VethEnd<'_>,
        there: &VethEnd<'_>,
        namespace: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let peer = LinkUnspec::new_with_name(there.name)
            .address(there.mac.to_vec())
            .setns_by_fd(namespace.as_raw_fd())
            .build();
        let link = LinkMessageBuilder::<LinkVeth>::new(here.name, there.name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .address(here.mac.to_vec())
            .build();
        self.ask(RouteNetlinkMessage::NewLink(link), MAKE).map(drop)
    }

    /// Raises an interface or takes it down; its peer loses the carrier with it.
    pub(super) fn set_up(&mut self, name: &str, up: bool) -> io::Result<()> {
        let link = LinkUnspec::new_with_name(name);
        let link = if up { link.up() } else { link.down() };
        self.ask(RouteNetlinkMessage::SetLink(link.build()), 0).map(drop)
    }

    /// Gives an interface an address, with the subnet's broadcast address.
    pub(super) fn add_address(&mut self, name: &str, address: Ipv4Net) -> io::Result<()> {
        let message = AddressMessageBuilder::<Ipv4Addr>::new()
            .index(self.link(name)?.header.index)
            .address(address.addr(), address.prefix_len())
            .build();
        self.ask(RouteNetlinkMessage::NewAddress(message), MAKE).map(drop)
    }

    /// Takes an address off an interface.
    pub(super) fn remove_address(&mut self, name: &str, address: Ipv4Net) -> io::Result<()> {
        let message = AddressMessageBuilder::<Ipv4Addr>::new()
            .index(self.link(name)?.header.index)
            .address(address.addr(), address.prefix_len())
            .build();
        self.ask(RouteNetlinkMessage::DelAddress(message), 0).map(drop)
    }

    /// Sends what is meant for `destination` to the router `via`.
    pub(super) fn add_route(&mut self, destination: Ipv4Net, via: Ipv4Addr) -> io::Result<()> {
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(destination.network(), destination.prefix_len())
            .gateway(via)
            .build();
        self.ask(RouteNetlinkMessage::NewRoute(message), MAKE).map(drop)
    }

    /// Whether an interface has a carrier.
    pub(super) fn has_carrier(&mut self, name: &str) -> io::Result<bool> {
        let link = self.link(name)?;
        Ok(link.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::Carrier(1))))
    }

    fn link(&mut self, name: &str) -> io::Result<LinkMessage> {
        let query = LinkUnspec::new_with_name(name).build();
        match self.ask(RouteNetlinkMessage::GetLink(query), 0)? {
            Some(RouteNetlinkMessage::NewLink(link)) => Ok(link),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("no word about the link {name}"))),
        }
    }

    /// Sends a request and reads until its acknowledgement; hands back what came before it.
    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence += 1;
        let request = encode(message, flags, self.sequence);
        self.socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;
        let mut answer = None;
        let mut buffer = Vec::with_capacity(ANSWER_LEN_MAX);
        loop {
            buffer.clear();
            self.socket.recv_from(&mut buffer, 0)?;
            let mut rest = &buffer[..];
            while !rest.is_empty() {
                let got = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                // Messages are padded to four bytes.
                let len = (got.header.length as usize).next_multiple_of(4).clamp(4, rest.len());
                rest = &rest[len..];
                if got.header.sequence_number != self.sequence {
                    continue;
                }
                match got.payload {
                    NetlinkPayload::Error(e) => {
                        return if e.code.is_none() { Ok(answer) } else { Err(e.to_io()) };
                    }
                    NetlinkPayload::InnerMessage(inner) => answer = Some(inner),
                    _ => {}
                }
            }
        }
    }
}

fn encode(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    request.header.sequence_number = sequence;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes
}

/// The request for a veth pair, encoded ahead so that the child that tries it need not allocate.
pub(super) fn probe_request() -> Vec<u8> {
    let link = LinkMessageBuilder::<LinkVeth>::new("probe0", "probe1").build();
    encode(RouteNetlinkMessage::NewLink(link), MAKE, 1)
}

/// Sends an encoded request in the caller's namespace and reads its acknowledgement. Allocates nothing.
pub(super) fn try_request(request: &[u8]) -> Result<(), Errno> {
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    // Unconnected netlink sockets speak to the kernel.
    send(socket.as_raw_fd(), request, MsgFlags::empty())?;
    let mut answer = [0_u8; 512];
    let got = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // Header of 16 bytes, then the error number, zero for an acknowledgement.
    let code =
        answer[..got].get(16..20).and_then(|b| b.try_into().ok()).map_or(-libc::EIO, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(Errno::from_raw(-code)) }
}

/// Raises the loopback interface of the caller's namespace. Allocates nothing.
pub(super) fn raise_loopback() -> Result<(), Errno> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: an all-zero ifreq is valid; the calls read and write it only during the call.
    unsafe {
        let mut request: libc::ifreq = core::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        Errno::result(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request)).map(drop)
    }
}
