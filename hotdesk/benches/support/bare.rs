//! A program that hears what all hosts broadcast, one datagram at a time, and does nothing with it: what hearing costs
//! anybody.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::unistd::{Pid, gettid};
use socket2::{Domain, Socket, Type};

use super::{Outcome, cannot};

/// Where hosts broadcast to on loopback.
const EVERYBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), proto::PORT);

/// The receiver, a thread that ends with this program.
pub(crate) struct BareReceiver {
    thread: Pid,
    heard: Arc<AtomicU64>,
}

impl BareReceiver {
    pub(crate) fn start() -> Outcome<Self> {
        let open = || {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&EVERYBODY.into())?;
            std::io::Result::Ok(std::net::UdpSocket::from(socket))
        };
        let socket = open().map_err(cannot("listen to beacons"))?;
        let heard = Arc::new(AtomicU64::new(0));
        let (tell, told) = channel();
        let counts = Arc::clone(&heard);
        std::thread::spawn(move || {
            let _ = tell.send(gettid());
            let mut space = [0; 4096];
            while socket.recv(&mut space).is_ok() {
                counts.fetch_add(1, Ordering::Relaxed);
            }
        });
        let thread = told.recv().map_err(cannot("start a thread"))?;
        Ok(Self { thread, heard })
    }

    /// How many datagrams it has heard, and how long it has had a processor for it.
    pub(crate) fn so_far(&self) -> Outcome<(u64, Duration)> {
        let path = format!("/proc/self/task/{}/schedstat", self.thread);
        let times = fs::read_to_string(path).map_err(cannot("read a thread's account"))?;
        let nanos =
            times.split(' ').next().and_then(|n| n.parse().ok()).ok_or("an account without a time")?;
        Ok((self.heard.load(Ordering::Relaxed), Duration::from_nanos(nanos)))
    }
}
