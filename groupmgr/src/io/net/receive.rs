//! Receiving datagrams: many with one call, and from broadcast sockets with a pause in between.
//!
//! Beacons come by the hundred a second, and waking up for one costs more than believing it. So they gather: a
//! broadcast socket is unknown to the reactor, which would wake its thread for each datagram, and is read every
//! [`GATHER`], and before anybody is judged. The kernel notes when each datagram came in, so that none counts as heard
//! later than it was. What is sent to this host alone is a question or an answer that somebody waits for and is read at
//! once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, recvmmsg};
use nix::sys::time::TimeSpec;
use proto::line::LINE_MAX;
use proto::net::IfName;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::flood::Flood;
use super::heard::Heard;
use super::interfaces::Wire;
use crate::host::Datagram;
use crate::io::clock;
use crate::io::counters::{Counters, Reason};

/// Datagrams taken with one call.
const BATCH: usize = 64;
/// Calls before others get a turn.
const ROUNDS_MAX: usize = 16;
/// How long datagrams gather on a broadcast socket: a DTU that asks all hosts waits so long for an answer.
pub(super) const GATHER: Duration = Duration::from_millis(25);
/// Calls for one of them before others get a turn.
const GATHER_ROUNDS_MAX: usize = 4;
/// The longest that a datagram is believed to have waited. More is a clock that was set, or a host that was not run.
const AGE_MAX: Duration = Duration::from_millis(50);
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
        // The kernel shortens this room to what it has used: every socket read into it has to tell the time.
        let headers = MultiHeaders::preallocate(BATCH, Some(cmsg_space!(TimeSpec)));
        Self { datagrams, headers }
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
                self.take_rounds(&socket).await?;
                tokio::task::yield_now().await;
            }
        };
        self.say_ended(read.await);
    }

    fn say_ended(&self, read: io::Result<Infallible>) {
        let Err(error) = read;
        tracing::info!(iface = %self.wire.interface.name, %error, "a socket ended");
    }

    /// Takes what is there, within bounds.
    async fn take_rounds(&self, socket: &UdpSocket) -> io::Result<()> {
        for _ in 0..ROUNDS_MAX {
            let mut datagrams = Vec::new();
            let receive = |space: &mut Space| socket.try_io(Interest::READABLE, || receive(socket, space));
            let taken = self.take_batch(receive, &mut datagrams)?;
            if let Some(heard) = self.heard(datagrams) {
                // A full queue leaves the rest in the kernel, which drops what does not fit.
                self.shared.heard.send(heard).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
            }
            if taken < BATCH {
                break;
            }
        }
        Ok(())
    }

    fn heard(&self, datagrams: Vec<Datagram>) -> Option<Heard> {
        let iface = || self.wire.interface.name.clone();
        (!datagrams.is_empty()).then(|| Heard::Datagrams { iface: iface(), datagrams })
    }

    /// Takes what is there, up to a batch. Returns how many datagrams that were; those of floods are left out. Our own
    /// broadcasts are not: that they come back is what a host shows of itself.
    fn take_batch(
        &self,
        receive: impl FnOnce(&mut Space) -> io::Result<Vec<Received>>,
        out: &mut Vec<Datagram>,
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
        let (now, wall, own) = (clock::now(), SystemTime::now(), self.wire.interface.ip);
        let mut dropped = 0;
        for (received, bytes) in received.iter().zip(space.datagrams.iter()) {
            let Some(from) = received.from.map(SocketAddrV4::from) else { continue };
            if !flood.admits(now, *from.ip()) {
                dropped += 1;
                continue;
            }
            if self.wire.has_twin && *from.ip() != own {
                whereabouts.note(*from.ip(), &self.wire.interface.name);
            }
            let bytes = bytes[..received.len.min(DATAGRAM_MAX)].to_vec();
            out.push(Datagram { at: now - age(wall, received.at), from, bytes });
        }
        self.shared.counters.count_many(Reason::Flood, dropped);
        Ok(received.len())
    }
}

/// A broadcast socket, on which datagrams gather.
pub(super) struct Gathering {
    reader: Reader,
    /// None when it has failed: its interface went away.
    socket: Option<std::net::UdpSocket>,
}

impl Gathering {
    pub(super) const fn new(reader: Reader, socket: std::net::UdpSocket) -> Self {
        Self { reader, socket: Some(socket) }
    }

    /// Takes what has gathered, within bounds. Returns whether there may be more.
    pub(super) fn take(&mut self, out: &mut Vec<Heard>) -> bool {
        let Some(socket) = &self.socket else { return false };
        let mut datagrams = Vec::new();
        let mut take = || {
            for _ in 0..GATHER_ROUNDS_MAX {
                if self.reader.take_batch(|space| receive(socket, space), &mut datagrams)? < BATCH {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let taken = take();
        out.extend(self.reader.heard(datagrams));
        taken.unwrap_or_else(|error| {
            self.reader.say_ended(Err(error));
            self.socket = None;
            false
        })
    }
}

/// A datagram whose bytes are in the [`Space`].
struct Received {
    from: Option<SockaddrIn>,
    len: usize,
    /// When it came in, by the wall clock.
    at: Option<TimeSpec>,
}

fn receive(socket: &impl AsRawFd, space: &mut Space) -> io::Result<Vec<Received>> {
    let mut slices = space.datagrams.each_mut().map(|datagram| [IoSliceMut::new(datagram)]);
    let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
    let received = recvmmsg(fd, &mut space.headers, &mut slices, flags, None)?;
    let at = |message: &RecvMsg<'_, '_, SockaddrIn>| {
        message.cmsgs().ok()?.find_map(|told| match told {
            ControlMessageOwned::ScmTimestampns(at) => Some(at),
            _ => None,
        })
    };
    Ok(received.map(|m| Received { from: m.address, len: m.bytes, at: at(&m) }).collect())
}

/// How long ago a datagram came in that came `at`, when the wall clock shows `wall`.
fn age(wall: SystemTime, at: Option<TimeSpec>) -> Duration {
    let age = at.and_then(|at| wall.duration_since(UNIX_EPOCH + Duration::from(at)).ok());
    age.unwrap_or_default().min(AGE_MAX)
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
