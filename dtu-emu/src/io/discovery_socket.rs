//! What DTUs send and hear by UDP: serverQ and serverR, and beacons.
//!
//! One socket per interface hears the beacons for all DTUs of the process, and each is parsed once. Strangers
//! can send what they like here, so the cheapest check comes first and a full queue drops what comes: a
//! beacon that is not heard is followed by another one.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use proto::beacon::Beacon;
use proto::discovery::{ServerQ, ServerR};
use proto::{Line, Serial};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::netif::{Netif, interfaces};

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    Beacon { beacon: Beacon, from: Ipv4Addr },
    ServerR(ServerR),
}

/// Where and on which addresses to listen.
#[derive(Clone, Copy, Debug)]
pub(super) struct DiscoverySocketConfig {
    pub(super) bind: Option<Ipv4Addr>,
    pub(super) port: u16,
    pub(super) multicast: Option<Ipv4Addr>,
}

/// The radio, so to speak, of all DTUs of a process.
pub(super) struct DiscoverySocket {
    questions: mpsc::Sender<Serial>,
}

/// Interfaces are looked up this often: they come and go.
const RESCAN: Duration = Duration::from_secs(2);
/// One question is enough for all DTUs that ask within this time: whoever answers, answers all of them.
const ASK_PAUSE: Duration = Duration::from_millis(20);
/// After a batch of datagrams the reader rests, so that a flood costs a bounded share of a processor.
const REST: Duration = Duration::from_millis(2);
const BATCH: usize = 64;
const RECV_BUFFER: usize = 1 << 20;
/// The longest line, and a byte to notice a longer one.
const DATAGRAM_MAX: usize = proto::line::LINE_MAX + 1;

impl DiscoverySocket {
    /// Begins to listen; what is heard goes to `to`, or is dropped when that is full.
    pub(super) fn start(config: DiscoverySocketConfig, to: mpsc::Sender<Heard>) -> Self {
        let (questions, asked) = mpsc::channel(64);
        tokio::spawn(
            DiscoverySocketTask {
                config,
                to,
                sockets: BTreeMap::new(),
                readers: JoinSet::new(),
                said: Vec::new(),
            }
            .run(asked),
        );
        Self { questions }
    }

    /// Broadcasts a serverQ.
    pub(super) fn ask(&self, serial: &Serial) {
        // A full queue holds the same question already.
        let _ = self.questions.try_send(serial.clone());
    }
}

struct DiscoverySocketTask {
    config: DiscoverySocketConfig,
    to: mpsc::Sender<Heard>,
    /// By the interface, the socket that asks there; the ones that listen are in their readers.
    sockets: BTreeMap<Netif, (Arc<UdpSocket>, Vec<tokio::task::AbortHandle>)>,
    readers: JoinSet<()>,
    /// Troubles already told.
    said: Vec<String>,
}

impl DiscoverySocketTask {
    async fn run(mut self, mut asked: mpsc::Receiver<Serial>) {
        let mut rescan = tokio::time::interval(RESCAN);
        let mut last: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = rescan.tick() => self.rescan(),
                serial = asked.recv() => {
                    let Some(serial) = serial else { return };
                    if last.is_none_or(|at| at.elapsed() >= ASK_PAUSE) {
                        if self.sockets.is_empty() {
                            self.rescan();
                        }
                        self.broadcast(&serial).await;
                        last = Some(Instant::now());
                    }
                }
            }
            while self.readers.try_join_next().is_some() {}
        }
    }

    fn rescan(&mut self) {
        let now = interfaces(self.config.bind);
        self.sockets.retain(|netif, (_, readers)| {
            let stays = now.contains(netif);
            if !stays {
                readers.iter().for_each(tokio::task::AbortHandle::abort);
            }
            stays
        });
        if now.is_empty() {
            self.trouble(
                "no interface is up that can broadcast; hosts are found only by --server".to_owned(),
            );
        }
        for netif in now {
            if !self.sockets.contains_key(&netif) {
                match self.open(&netif) {
                    Ok(entry) => drop(self.sockets.insert(netif, entry)),
                    Err(error) => self.trouble(format!("{}: {error}; no host is found there", netif.name)),
                }
            }
        }
    }

    /// The socket that asks, and readers for what it and the beacons' sockets hear.
    fn open(&mut self, netif: &Netif) -> io::Result<(Arc<UdpSocket>, Vec<tokio::task::AbortHandle>)> {
        let asks = datagram(SocketAddrV4::new(netif.ip, 0), None)?;
        asks.set_broadcast(true)?;
        let asks = Arc::new(asks);
        let mut readers = vec![self.readers.spawn(read(Arc::clone(&asks), self.to.clone()))];
        for group in [Some(netif.bcast), self.config.multicast].into_iter().flatten() {
            let join = group.is_multicast().then_some(netif.ip);
            match datagram(SocketAddrV4::new(group, self.config.port), join) {
                Ok(socket) => readers.push(self.readers.spawn(read(Arc::new(socket), self.to.clone()))),
                // The DTU works without: it then probes its host instead.
                Err(error) => self.trouble(format!("no beacons can be heard on {group}: {error}")),
            }
        }
        Ok((asks, readers))
    }

    async fn broadcast(&mut self, serial: &Serial) {
        let mut troubles = Vec::new();
        for (netif, (socket, _)) in &self.sockets {
            let question = ServerQ { sn: serial.clone(), ip: netif.ip }.to_line().to_string();
            for group in [Some(netif.bcast), self.config.multicast].into_iter().flatten() {
                let to = SocketAddr::from((group, self.config.port));
                let sending = socket.send_to(question.as_bytes(), to);
                // A full buffer drops it; it is repeated anyway.
                if let Ok(Err(error)) = tokio::time::timeout(ASK_PAUSE, sending).await {
                    troubles.push(format!("serverQ to {group}: {error}"));
                }
            }
        }
        troubles.into_iter().for_each(|text| self.trouble(text));
    }

    fn trouble(&mut self, text: String) {
        if !self.said.contains(&text) && self.said.len() < 32 {
            tracing::warn!("{text}");
            self.said.push(text);
        }
    }
}

fn datagram(addr: SocketAddrV4, join: Option<Ipv4Addr>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    // All daemons and DTUs of a machine share the broadcast address.
    socket.set_reuse_address(addr.port() != 0)?;
    socket.set_recv_buffer_size(RECV_BUFFER)?;
    if let Some(ip) = join {
        socket.join_multicast_v4(addr.ip(), &ip)?;
    }
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

async fn read(socket: Arc<UdpSocket>, to: mpsc::Sender<Heard>) {
    let mut bytes = [0; DATAGRAM_MAX];
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        for _ in 0..BATCH {
            match socket.try_recv_from(&mut bytes) {
                Ok((len, SocketAddr::V4(from))) => {
                    if let Some(heard) = parse(&bytes[..len], *from.ip()) {
                        let _ = to.try_send(heard);
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP answer to a serverQ of ours; the socket is as good as before.
                Err(_) => {}
            }
        }
        tokio::time::sleep(REST).await;
    }
}

fn parse(bytes: &[u8], from: Ipv4Addr) -> Option<Heard> {
    if bytes.starts_with(b"beacon ") {
        let line = Line::parse(bytes).ok()?;
        Beacon::from_line(&line).ok().map(|beacon| Heard::Beacon { beacon, from })
    } else if bytes.starts_with(b"serverR ") {
        let line = Line::parse(bytes).ok()?;
        ServerR::from_line(&line).ok().map(Heard::ServerR)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Ipv4Addr = Ipv4Addr::LOCALHOST;

    #[test]
    fn only_beacons_and_answers_are_looked_at() {
        let answer = b"serverR host=a ip=7f000101 port=7009 load=0 drain=0";
        assert!(matches!(parse(answer, FROM), Some(Heard::ServerR(_))));
        for other in
            [&b"host=mud addr=81907f05"[..], b"tokenQ x=1", b"beacon host=a", b"beacon", b"", b"\xff"]
        {
            assert!(parse(other, FROM).is_none(), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_question_reaches_all_of_loopback_and_the_answer_comes_back() {
        let port = 27_009;
        let bind = Ipv4Addr::new(127, 0, 201, 1);
        let host = datagram(SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), port), None).unwrap();
        let (to, mut heard) = mpsc::channel(8);
        let socket =
            DiscoverySocket::start(DiscoverySocketConfig { bind: Some(bind), port, multicast: None }, to);
        socket.ask(&"0200000000aa".parse().unwrap());
        let mut bytes = [0; 200];
        let (len, from) = host.recv_from(&mut bytes).await.unwrap();
        let question = ServerQ::from_line(&Line::parse(&bytes[..len]).unwrap()).unwrap();
        assert_eq!((question.sn.as_str(), question.ip), ("0200000000aa", bind));
        host.send_to(b"serverR host=a ip=7f000101 port=7009 load=0 drain=0", from).await.unwrap();
        assert!(matches!(heard.recv().await, Some(Heard::ServerR(answer)) if answer.host.as_str() == "a"));
    }
}
