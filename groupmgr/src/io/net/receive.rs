//! Receiving datagrams: many with one call, and from broadcast sockets with a pause in between.
//!
//! Beacons of a large group come by the thousand a second and are no more urgent than a few milliseconds, so
//! they are let gather: the cost of waking up is paid for several at once. The reactor wakes its thread for every
//! datagram that comes in on a socket it knows, whether somebody waits for it or not; so it knows a broadcast socket only
//! while nothing comes. What is sent to this host alone is a question or an answer that somebody waits for and
//! is read at once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};
use proto::line::LINE_MAX;
use proto::net::IfName;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::flood::Flood;
use super::heard::Heard;
use super::interfaces::Wire;
use crate::io::clock;
use crate::io::counters::{Counters, Reason};

/// Datagrams taken with one call.
const BATCH: usize = 64;
/// Calls before others get a turn.
const ROUNDS_MAX: usize = 16;
/// How long datagrams gather on a broadcast socket.
const PAUSE: Duration = Duration::from_millis(4);
/// One byte more than any message has, so that one that is too long is seen to be.
const DATAGRAM_MAX: usize = LINE_MAX + 1;

/// What all readers of a host share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) heard: mpsc::Sender<Heard>,
    pub(super) flood: Rc<RefCell<Flood>>,
    pub(super) whereabouts: Rc<RefCell<Whereabouts>>,
    pub(super) counters: Counters,
    pub(super) space: Rc<RefCell<Space>>,
}

/// Room for one batch. There is one for all sockets, as they are read one after another.
pub(super) struct Space {
    datagrams: Box<[[u8; DATAGRAM_MAX]; BATCH]>,
    headers: MultiHeaders<SockaddrIn>,
}

impl Default for Space {
    fn default() -> Self {
        let datagrams = vec![[0; DATAGRAM_MAX]; BATCH].into_boxed_slice();
        let Ok(datagrams) = datagrams.try_into() else { unreachable!("there are exactly so many") };
        Self { datagrams, headers: MultiHeaders::preallocate(BATCH, None) }
    }
}

/// What is read from the sockets of one interface.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) wire: Wire,
    pub(super) shared: Shared,
}

impl Reader {
    /// Reads a socket of which somebody waits for every datagram, until it fails: its interface went away.
    pub(super) async fn run(self, socket: Rc<UdpSocket>) {
        let read = async {
            loop {
                socket.readable().await?;
                let receive =
                    |space: &mut Space| socket.try_io(Interest::READABLE, || receive(&*socket, space));
                self.take_rounds(receive).await?;
                tokio::task::yield_now().await;
            }
        };
        self.say_ended(read.await);
    }

    /// Reads a socket whose datagrams may gather, until it fails.
    pub(super) async fn run_gathering(self, mut socket: std::net::UdpSocket) {
        let read = async {
            loop {
                let known = UdpSocket::from_std(socket)?;
                known.readable().await?;
                socket = known.into_std()?;
                while !self.take_rounds(|space| receive(&socket, space)).await? {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        self.say_ended(read.await);
    }

    fn say_ended(&self, read: io::Result<Infallible>) {
        let Err(error) = read;
        tracing::info!(iface = %self.wire.interface.name, %error, "a socket ended");
    }

    /// Takes what is there, within bounds. Returns whether there was nothing.
    async fn take_rounds(&self, receive: impl Fn(&mut Space) -> io::Result<Vec<From>>) -> io::Result<bool> {
        for round in 0..ROUNDS_MAX {
            let mut datagrams = Vec::new();
            let taken = self.take_batch(&receive, &mut datagrams)?;
            if !datagrams.is_empty() {
                // A full queue leaves the rest in the kernel, which drops what does not fit.
                let heard = Heard::Datagrams { iface: self.wire.interface.name.clone(), datagrams };
                self.shared.heard.send(heard).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
            }
            if taken < BATCH {
                return Ok(round == 0 && taken == 0);
            }
        }
        Ok(false)
    }

    /// Takes what is there, up to a batch. Returns how many datagrams that were; those of floods are left out. Our own
    /// broadcasts are not: that they come back is what a host shows of itself.
    fn take_batch(
        &self,
        receive: impl Fn(&mut Space) -> io::Result<Vec<From>>,
        out: &mut Vec<(SocketAddrV4, Vec<u8>)>,
    ) -> io::Result<usize> {
        let mut space = self.shared.space.borrow_mut();
        let received = match receive(&mut space) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.raw_os_error().is_some_and(is_of_the_past) => return Ok(BATCH),
            Err(error) => return Err(error),
        };
        let mut flood = self.shared.flood.borrow_mut();
        let mut whereabouts = self.shared.whereabouts.borrow_mut();
        let (now, own) = (clock::now(), self.wire.interface.ip);
        let mut dropped = 0;
        for ((from, len), bytes) in received.iter().zip(space.datagrams.iter()) {
            let Some(from) = from.map(SocketAddrV4::from) else { continue };
            if !flood.admits(now, *from.ip()) {
                dropped += 1;
                continue;
            }
            if self.wire.has_twin && *from.ip() != own {
                whereabouts.note(*from.ip(), &self.wire.interface.name);
            }
            out.push((from, bytes[..(*len).min(DATAGRAM_MAX)].to_vec()));
        }
        self.shared.counters.count_many(Reason::Flood, dropped);
        Ok(received.len())
    }
}

/// Where a datagram is from, and how long it is.
type From = (Option<SockaddrIn>, usize);

fn receive(socket: &impl AsRawFd, space: &mut Space) -> io::Result<Vec<From>> {
    let mut slices = space.datagrams.each_mut().map(|datagram| [IoSliceMut::new(datagram)]);
    let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
    let received = recvmmsg(fd, &mut space.headers, &mut slices, flags, None)?;
    Ok(received.map(|m| (m.address, m.bytes)).collect())
}

/// Errors that tell what became of an earlier datagram sent from the socket; what came in is still there.
fn is_of_the_past(errno: i32) -> bool {
    matches!(
        errno,
        libc::EINTR | libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN
    )
}

/// On which of several wires with equal subnets an address was last heard: the routing table does not know.
#[derive(Debug, Default)]
pub(super) struct Whereabouts(HashMap<Ipv4Addr, IfName>);

impl Whereabouts {
    /// Addresses remembered. Forged ones push out others, which costs a question that goes the wrong way.
    const LEN_MAX: usize = 4096;

    fn note(&mut self, address: Ipv4Addr, iface: &IfName) {
        if self.0.get(&address) == Some(iface) {
            return;
        }
        if self.0.len() >= Self::LEN_MAX {
            self.0.clear();
        }
        self.0.insert(address, iface.clone());
    }

    pub(super) fn of(&self, address: Ipv4Addr) -> Option<&IfName> {
        self.0.get(&address)
    }
}
