//! The network as one host sees it: its interfaces, the sockets on them, what comes in and what goes out.
//!
//! Per interface there is one socket on its own address, which sends everything and hears what is meant for this
//! host; one on the broadcast address, which hears what is meant for all; and the TCP listener. They are opened and
//! closed as interfaces come and go. An interface whose sockets cannot be opened is not announced.

mod ask;
mod ends;
mod flood;
mod heard;
pub mod interfaces;
mod netlink;
mod receive;
mod socket;
mod spare;

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::AsRawFd as _;
use std::rc::Rc;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use proto::Instant;
use proto::net::{IfName, Interface};
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use self::ask::Asks;
pub(crate) use self::ends::Ends;
pub(crate) use self::heard::Heard;
use self::interfaces::{BindError, Found, Wire};
pub(crate) use self::netlink::Changes;
use self::receive::{GATHER, Gathering, Reader, Shared, Space};
pub use self::socket::OpenError;
use self::spare::Spare;
use crate::io::clock;
use crate::io::counters::{Counters, Reason};

/// What of the network is the operator's choice.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// Addresses to serve; empty means every interface but loopback.
    pub bind: Vec<Ipv4Addr>,
    /// Announce to this group instead of broadcasting.
    pub multicast: Option<Ipv4Addr>,
    /// The port, UDP and TCP.
    pub port: u16,
}

/// Why the network could not be opened at start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The interfaces do not allow it.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A socket could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Takes over the listener of an interface; the listener is closed when what it returns is dropped.
pub(crate) type Listen = Box<dyn Fn(TcpListener, &Wire) -> Ends>;

/// The sockets of one interface.
struct OpenWire {
    wire: Wire,
    unicast: Rc<UdpSocket>,
    _reader: Ends,
    broadcast: Vec<Gathering>,
    _listener: Ends,
}

/// All sockets of a host. Lives on the thread of the host machine.
pub(crate) struct Net {
    options: NetOptions,
    links: Vec<OpenWire>,
    asks: Asks,
    shared: Shared,
    listen: Listen,
    /// What could not be opened, so that it is said once and not at every look.
    troubles: Vec<String>,
    spare: Spare,
    /// When what has gathered on broadcast sockets is to be taken.
    gather_at: Instant,
}

impl Net {
    /// A network with nothing open.
    pub(crate) fn new(
        options: NetOptions,
        heard: mpsc::Sender<Heard>,
        counters: Counters,
        listen: Listen,
    ) -> Self {
        let asks = Asks::new(heard.clone());
        let space = Rc::new(RefCell::new(Space::default()));
        let shared = Shared { heard, flood: Rc::default(), whereabouts: Rc::default(), counters, space };
        let (links, troubles, spare) = (Vec::new(), Vec::new(), Spare::new());
        Self { options, links, asks, shared, listen, troubles, spare, gather_at: clock::now() }
    }

    /// Opens everything; at start, when what cannot be opened is an error.
    pub(crate) fn open(&mut self) -> Result<Vec<Interface>, NetError> {
        let found = interfaces::list().unwrap_or_default();
        interfaces::check(&found, &self.options.bind)?;
        for wire in interfaces::choose(&found, &self.options.bind) {
            let link = self.open_link(wire)?;
            self.links.push(link);
        }
        Ok(self.interfaces())
    }

    /// Asks the kernel what is there now, opens what is new and closes what is gone. The second value says that
    /// something of an address that changed has still to be closed: it is to be looked at again in a moment.
    pub(crate) fn refresh(&mut self) -> (Vec<Interface>, bool) {
        self.spare.spend();
        // Nothing is closed on a guess: what the kernel cannot tell now it will tell at the next look.
        let again = interfaces::list().is_some_and(|found| self.use_what_is_there(&found));
        self.spare.keep();
        (self.interfaces(), again)
    }

    /// Whether something has still to be closed.
    fn use_what_is_there(&mut self, found: &[Found]) -> bool {
        let wires = interfaces::choose(found, &self.options.bind);
        let (kept, closed): (Vec<OpenWire>, _) =
            self.links.drain(..).partition(|link| wires.contains(&link.wire));
        self.links = kept;
        let closed: Vec<Ipv4Addr> = closed.iter().map(|link| link.wire.interface.ip).collect();
        let mut changed = !closed.is_empty();
        let mut again = false;
        let mut troubles = Vec::new();
        for wire in &wires {
            if self.links.iter().any(|link| link.wire == *wire) {
                continue;
            }
            // Tasks that read the old sockets of the address end when they are next run.
            if closed.contains(&wire.interface.ip) {
                again = true;
                continue;
            }
            match self.open_link(wire.clone()) {
                Ok(link) => {
                    self.links.push(link);
                    changed = true;
                }
                Err(error) => troubles.push(error.to_string()),
            }
        }
        self.tell(troubles);
        if changed {
            self.links.sort_by_key(|link| wires.iter().position(|wire| *wire == link.wire));
            self.asks.clear();
            match self.addresses() {
                _ if again => {}
                none if none.is_empty() => {
                    tracing::warn!("no interface is up with a carrier: this host is alone until one is");
                }
                addresses => {
                    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                    tracing::info!(addresses = addresses.join(" "), "interfaces changed");
                }
            }
        }
        again
    }

    /// Logs what could not be opened, once.
    fn tell(&mut self, troubles: Vec<String>) {
        for trouble in troubles.iter().filter(|text| !self.troubles.contains(text)) {
            tracing::error!("an interface is not used: {trouble}");
        }
        self.troubles = troubles;
    }

    fn interfaces(&self) -> Vec<Interface> {
        self.links.iter().map(|link| link.wire.interface.clone()).collect()
    }

    /// The addresses served.
    pub(crate) fn addresses(&self) -> Vec<SocketAddrV4> {
        self.links.iter().map(|l| SocketAddrV4::new(l.wire.interface.ip, self.options.port)).collect()
    }

    fn open_link(&self, wire: Wire) -> Result<OpenWire, OpenError> {
        let (own, port) = (wire.interface.ip, self.options.port);
        let reader = Reader { wire: wire.clone(), shared: self.shared.clone() };
        let unicast = UdpSocket::from_std(socket::unicast(&wire, port)?).map(Rc::new);
        let addr = SocketAddrV4::new(own, port);
        let unicast = unicast.map_err(|source| OpenError::Other { addr, proto: "UDP", source })?;
        let mut broadcast = Vec::new();
        // Once for each device: a DTU that does not know its netmask asks everybody, and groups know no subnets.
        let is_first = wire.interface.name.as_str() == wire.device;
        let everybody = (is_first && !own.is_loopback()).then_some(Ipv4Addr::BROADCAST);
        let group = self.options.multicast.filter(|_| is_first);
        for to in [Some(wire.interface.bcast), everybody, group].into_iter().flatten() {
            broadcast.push(Gathering::new(reader.clone(), socket::shared(&wire, to, port)?));
        }
        let listener = (self.listen)(socket::listener(&wire, port)?, &wire);
        let reader = Ends::spawn(reader.run(unicast.clone()));
        Ok(OpenWire { wire, unicast, _reader: reader, broadcast, _listener: listener })
    }

    /// When [`Self::gathered`] wants to be called at the latest.
    pub(crate) const fn gather_at(&self) -> Instant {
        self.gather_at
    }

    /// Takes what everybody was told since the last time, within bounds.
    pub(crate) fn gathered(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        let mut is_more = false;
        for socket in self.links.iter_mut().flat_map(|link| &mut link.broadcast) {
            is_more |= socket.take(&mut heard);
        }
        let now = clock::now();
        self.gather_at = if is_more { now } else { now + GATHER };
        heard
    }

    fn link(&self, iface: &IfName) -> Option<&OpenWire> {
        self.links.iter().find(|link| link.wire.interface.name == *iface)
    }

    /// Sends to everybody on an interface.
    pub(crate) fn broadcast(&self, iface: &IfName, bytes: &[u8]) {
        let Some(link) = self.link(iface) else { return };
        let to = self.options.multicast.unwrap_or(link.wire.interface.bcast);
        let to = SocketAddrV4::new(to, self.options.port);
        self.note(to, send_on(link, to, bytes));
    }

    /// Sends to one address from an interface's own socket.
    pub(crate) fn datagram(&self, iface: &IfName, to: SocketAddrV4, bytes: &[u8]) {
        let holds = |link: &&OpenWire| link.wire.interface.holds(*to.ip());
        let Some(link) = self.link(iface).or_else(|| self.links.iter().find(holds)) else { return };
        // What is sent to an address of this machine never leaves by the interface, nor does what is routed.
        let is_own = self.links.iter().any(|link| link.wire.interface.ip == *to.ip());
        let sent = if holds(&link) && !is_own {
            send_on(link, to, bytes)
        } else {
            SockRef::from(&*link.unicast).send_to(bytes, &to.into()).map(|_| ())
        };
        self.note(to, sent);
    }

    /// Sends to one address so that a refusal is reported.
    pub(crate) fn ask(&mut self, now: Instant, to: SocketAddrV4, bytes: &[u8]) {
        let wires = || self.links.iter().map(|link| &link.wire);
        let whereabouts = self.shared.whereabouts.borrow();
        let heard = whereabouts.of(*to.ip()).and_then(|name| wires().find(|w| w.interface.name == *name));
        let by = heard.or_else(|| wires().find(|w| w.interface.holds(*to.ip())));
        let name = by.map(|wire| wire.interface.name.clone());
        let mut sent = self.asks.ask(now, by, wires(), to, bytes);
        drop(whereabouts);
        if sent.as_ref().is_err_and(is_out_of_descriptors)
            && let Some(name) = name
        {
            // Without a socket of its own a refusal is not told; but whoever lives there answers.
            self.datagram(&name, to, bytes);
            sent = Ok(());
        }
        self.note(to, sent);
    }

    fn note(&self, to: SocketAddrV4, sent: io::Result<()>) {
        if let Err(error) = sent {
            self.shared.counters.count(Reason::NotSent);
            tracing::debug!(%to, %error, "not sent");
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Sends by this interface, whatever the routing table thinks: subnets on different wires may have the same
/// numbers.
fn send_on(link: &OpenWire, to: SocketAddrV4, bytes: &[u8]) -> io::Result<()> {
    let source = libc::in_addr { s_addr: u32::from_ne_bytes(link.wire.interface.ip.octets()) };
    let info = libc::in_pktinfo {
        ipi_ifindex: i32::try_from(link.wire.index).unwrap_or(0),
        ipi_spec_dst: source,
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let by = [ControlMessage::Ipv4PacketInfo(&info)];
    let (fd, to) = (link.unicast.as_raw_fd(), SockaddrIn::from(to));
    sendmsg(fd, &[IoSlice::new(bytes)], &by, MsgFlags::MSG_DONTWAIT, Some(&to))?;
    Ok(())
}
