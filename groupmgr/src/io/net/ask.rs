//! Sockets connected to one peer each, from which questions are sent: when nobody listens there, the kernel's
//! refusal (ICMP) comes back to the asker within microseconds, where silence would cost 150 ms.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;

use proto::Instant;
use proto::line::LINE_MAX;
use proto::net::IfName;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::ends::Ends;
use super::heard::Heard;
use super::interfaces::Wire;
use super::socket;
use crate::host::Datagram;
use crate::io::clock;

/// Peers asked at a time; the one that was not asked for longest makes room.
const PEERS_MAX: usize = 1024;
/// A socket that was not used for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The sockets that questions go out from, each connected to one address.
pub(super) struct Asks {
    peers: HashMap<SocketAddrV4, Peer>,
    answers: mpsc::Sender<Heard>,
}

struct Peer {
    socket: Rc<UdpSocket>,
    /// The interface it is bound to.
    by: Option<IfName>,
    asked: Instant,
    _reader: Ends,
}

impl Asks {
    pub(super) fn new(answers: mpsc::Sender<Heard>) -> Self {
        Self { peers: HashMap::new(), answers }
    }

    /// Forgets all sockets: the interfaces they were made for changed.
    pub(super) fn clear(&mut self) {
        self.peers.clear();
    }

    /// Asks `to` from the interface `by`, or the one the routing table chooses among `wires`.
    pub(super) fn ask<'a>(
        &mut self,
        now: Instant,
        by: Option<&Wire>,
        wires: impl Iterator<Item = &'a Wire> + Clone,
        to: SocketAddrV4,
        bytes: &[u8],
    ) -> io::Result<()> {
        let by_name = by.map(|wire| &wire.interface.name);
        if self.peers.get(&to).is_none_or(|peer| peer.by.as_ref() != by_name) {
            self.make_room(now);
            let peer = self.open(now, by, wires, to)?;
            self.peers.insert(to, peer);
        }
        let Some(peer) = self.peers.get_mut(&to) else { return Ok(()) };
        peer.asked = now;
        let sent = send(&peer.socket, bytes);
        if sent.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
            // The socket may belong to an address or a route that is gone; the next question opens another.
            self.peers.remove(&to);
        }
        sent
    }

    fn open<'a>(
        &self,
        now: Instant,
        by: Option<&Wire>,
        wires: impl Iterator<Item = &'a Wire> + Clone,
        to: SocketAddrV4,
    ) -> io::Result<Peer> {
        let socket = socket::connected(by, to)?;
        let own = match socket.local_addr()? {
            SocketAddr::V4(own) => *own.ip(),
            SocketAddr::V6(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let routed = || wires.clone().find(|w| w.interface.ip == own).or_else(|| wires.clone().next());
        let heard_on = by.or_else(routed).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = Rc::new(UdpSocket::from_std(socket)?);
        let reader = read(socket.clone(), heard_on.interface.name.clone(), to, self.answers.clone());
        let by = by.map(|wire| wire.interface.name.clone());
        Ok(Peer { socket, by, asked: now, _reader: Ends::spawn(reader) })
    }

    fn make_room(&mut self, now: Instant) {
        if self.peers.len() >= PEERS_MAX {
            let oldest = self.peers.iter().min_by_key(|(_, peer)| peer.asked).map(|(to, _)| *to);
            oldest.map(|to| self.peers.remove(&to));
        }
        self.peers.retain(|_, peer| now.since(peer.asked) < IDLE_MAX);
    }
}

/// A refusal that waits on the socket is that of an earlier question and says nothing of this one. It is
/// cleared by being told, so the second try is sent; and if still nobody listens, it is refused in turn. Sent without
/// the runtime, which knows of a new socket only later that it can be written.
fn send(socket: &UdpSocket, bytes: &[u8]) -> io::Result<()> {
    let socket = SockRef::from(socket);
    match socket.send(bytes) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => socket.send(bytes).map(|_| ()),
        result => result.map(|_| ()),
    }
}

async fn read(socket: Rc<UdpSocket>, iface: IfName, from: SocketAddrV4, answers: mpsc::Sender<Heard>) {
    let mut space = vec![0; LINE_MAX + 1];
    loop {
        let heard = match socket.recv(&mut space).await {
            Ok(len) => {
                let datagram = Datagram { at: clock::now(), from, bytes: space[..len].to_vec() };
                Heard::Datagrams { iface: iface.clone(), datagrams: vec![datagram] }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Heard::Refused { addr: from },
            Err(error) => {
                tracing::debug!(%from, %error, "asking");
                tokio::task::yield_now().await;
                continue;
            }
        };
        if answers.send(heard).await.is_err() {
            return;
        }
    }
}
