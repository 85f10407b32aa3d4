//! The server against strangers, floods, nonsense and its own end; clients against a server that hangs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Place, ServerProcess, key, value};
use datastore::client::Patience;
use datastore::io::{
    Counters, Ended, Memory, Pending, Remote, Server, SledStore, Store, Target, Watch, serve_stream,
};
use datastore::message::RequestId;
use datastore::wire::{Call, FRAME_MAX, FrameBuffer, FromStore, encode};
use datastore::{Answer, Prefix, Refusal, Request, Response, StoreError, WatchEvent};
use nix::sys::signal::Signal;
use proto::io::tls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// A server within the test, over a store in memory.
struct Running {
    place: Place,
    addr: SocketAddr,
    counters: Arc<Counters>,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let place = Place::new();
        let store = Arc::new(Memory::default());
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), &place.keys, store).await.unwrap();
        let (addr, counters) = (server.local_addr().unwrap(), server.counters());
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(server.run(async { drop(stopped.await) }));
        Self { place, addr, counters, stop, ended }
    }

    fn count(&self, name: &str) -> u64 {
        self.counters.list().into_iter().find(|(n, _)| n == name).unwrap().1
    }

    /// Waits until a counter has reached `wanted`. Counting has no event of its own.
    async fn counted(&self, name: &str, wanted: u64) {
        let give_up = Instant::now() + Duration::from_secs(10);
        while self.count(name) < wanted {
            assert!(Instant::now() < give_up, "{name} is {} and should be {wanted}", self.count(name));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The server works for who belongs here.
    async fn serves_its_group(&self) {
        let remote = self.place.remote(self.addr);
        remote.put(&key("a"), value("1")).await.unwrap();
        assert_eq!(remote.get(&key("a")).await, Ok(Some(value("1"))));
    }
}

/// Reads until the other side closes.
async fn until_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    drop(tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.unwrap());
}

async fn tls_to(server: &Running) -> tokio_rustls::client::TlsStream<TcpStream> {
    let tcp = TcpStream::connect(server.addr).await.unwrap();
    let connector = TlsConnector::from(server.place.keys.client_tls().unwrap());
    connector.connect(tls::server_name(), tcp).await.unwrap()
}

#[tokio::test]
async fn a_host_of_another_group_is_not_trusted_and_says_so_at_once() {
    let server = Running::start().await;
    let strangers = Place::new();
    let remote = strangers.remote(server.addr);
    let error = remote.get(&key("a")).await.unwrap_err();
    assert!(matches!(&error, StoreError::NotTrusted { why, .. } if why.contains("certificate")), "{error}");
    server.counted("refused_tls", 1).await;
    drop(remote);
    server.serves_its_group().await;
}

#[tokio::test]
async fn who_has_the_certificate_and_not_the_key_is_refused_and_counted() {
    let server = Running::start().await;
    let other = Place::new();
    let target = Target::Tcp {
        addr: server.addr,
        tls: server.place.keys.client_tls().unwrap(),
        ring: Arc::new(other.keys.ring.clone()),
    };
    let remote = Remote::connect(target, Patience::default());
    let error = remote.put(&key("a"), value("1")).await.unwrap_err();
    assert!(matches!(&error, StoreError::NotTrusted { why, .. } if why.contains("no group key")), "{error}");
    assert!(!error.may_have_happened());

    // One that claims to hold a key of the group.
    let mut stream = tls_to(&server).await;
    let kid = server.place.keys.ring.signing();
    let forged = datastore::handshake::Proof {
        version: datastore::handshake::VERSION,
        kid,
        nonce: proto::Nonce(1),
        proof: "00".repeat(20),
    };
    let mut bytes = Vec::new();
    encode(&forged, &mut bytes).unwrap();
    stream.write_all(&bytes).await.unwrap();
    until_closed(&mut stream).await;
    server.counted("refused_proof", 1).await;
    server.serves_its_group().await;
}

/// Less than a stalled handshake may take.
const AT_ONCE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn plain_text_and_nonsense_within_tls_are_refused_and_counted() {
    let server = Running::start().await;
    let mut plain = TcpStream::connect(server.addr).await.unwrap();
    plain.write_all(b"infoReq sn=080020abcdef\n").await.unwrap();
    until_closed(&mut plain).await;
    server.counted("refused_tls", 1).await;

    for nonsense in [&[0xff, 0xff, 0xff, 0xff][..], &[0, 0, 0, 4, 9, 9, 9, 9]] {
        let mut stream = tls_to(&server).await;
        stream.write_all(nonsense).await.unwrap();
        until_closed(&mut stream).await;
    }
    server.counted("refused_broke_off", 2).await;
    server.serves_its_group().await;
}

/// As many connections as may say nothing, and more.
#[tokio::test]
async fn who_says_nothing_delays_nobody_and_loses_its_place() {
    let server = Running::start().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(server.addr).await.unwrap());
    }
    let began = Instant::now();
    server.serves_its_group().await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    server.counted("refused_evicted", 44).await;
    server.counted("refused_late", 200).await;
}

/// As many handshakes as are done at once, and more, of one address that ends none of them.
#[tokio::test]
async fn stalled_handshakes_of_one_address_keep_no_other_address_waiting() {
    let server = Running::start().await;
    let mut stalled = Vec::new();
    for _ in 0..64 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(server.addr).await.unwrap();
        stream.write_all(&[0x16, 3, 1, 2, 0]).await.unwrap();
        stalled.push(stream);
    }
    let began = Instant::now();
    server.serves_its_group().await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    server.counted("refused_evicted", 1).await;
}

#[tokio::test]
async fn a_trusted_peer_that_sends_nonsense_is_cut_off_and_the_others_are_not() {
    let (mut peer, served) = tokio::io::duplex(64 * 1024);
    let (_go, stop) = watch::channel(false);
    let serving = tokio::spawn(serve_stream(served, Arc::new(Memory::default()), None, stop));
    let too_long = u32::try_from(FRAME_MAX + 1).unwrap().to_be_bytes();
    peer.write_all(&too_long).await.unwrap();
    until_closed(&mut peer).await;
    assert_eq!(serving.await.unwrap(), Ended::Malformed);
}

/// Speaks frames by hand, as a session's relay does.
struct ByHand {
    stream: tokio::io::DuplexStream,
    buffer: FrameBuffer,
}

impl ByHand {
    async fn send(&mut self, id: u64, request: Request) {
        let mut bytes = Vec::new();
        encode(&Call { id: RequestId(id), request }, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn receive(&mut self) -> FromStore {
        loop {
            if let Some(message) = self.buffer.next_message().unwrap() {
                return message;
            }
            let mut chunk = [0; 4096];
            let len = self.stream.read(&mut chunk).await.unwrap();
            assert!(len > 0, "the server closed the connection");
            self.buffer.push(&chunk[..len]);
        }
    }
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_told_that_it_missed_something() {
    let store = Arc::new(Memory::default());
    let (stream, served) = tokio::io::duplex(4096);
    let (_go, stop) = watch::channel(false);
    tokio::spawn(serve_stream(served, Arc::clone(&store) as Arc<dyn Store>, None, stop));
    let mut peer = ByHand { stream, buffer: FrameBuffer::default() };
    peer.send(1, Request::Watch { prefix: Prefix::default() }).await;
    assert!(
        matches!(peer.receive().await, FromStore::Reply { response, .. } if response.answer == Answer::Watching)
    );
    for n in 0..5000 {
        store.put(&key("k"), value(&n.to_string())).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut lagged = 0;
    loop {
        match peer.receive().await {
            FromStore::Event { event: WatchEvent::Lagged, .. } => lagged += 1,
            FromStore::Event { event: WatchEvent::Changed(event), .. } => {
                if event.change.value == Some(value("4999")) {
                    break;
                }
            }
            FromStore::Reply { .. } => panic!("nothing was asked"),
        }
    }
    assert!(lagged > 0, "5000 events fitted 4 KiB");
}

#[tokio::test]
async fn a_session_may_not_ask_what_the_server_has_counted_and_watches_are_bounded() {
    let (stream, served) = tokio::io::duplex(64 * 1024);
    let (_go, stop) = watch::channel(false);
    tokio::spawn(serve_stream(served, Arc::new(Memory::default()), None, stop));
    let mut peer = ByHand { stream, buffer: FrameBuffer::default() };
    peer.send(1, Request::Status).await;
    let refused = |message, wanted: Refusal| {
        let FromStore::Reply { response, .. } = message else { panic!() };
        assert_eq!(response.answer, Answer::Failed(wanted.into()));
    };
    refused(peer.receive().await, Refusal::NotHere);
    for n in 0..64 {
        peer.send(10 + n, Request::Watch { prefix: Prefix::default() }).await;
        peer.receive().await;
    }
    peer.send(100, Request::Watch { prefix: Prefix::default() }).await;
    refused(peer.receive().await, Refusal::TooManyWatches);
    peer.send(101, Request::Unwatch { watch: RequestId(10) }).await;
    peer.receive().await;
    peer.send(102, Request::Watch { prefix: Prefix::default() }).await;
    assert!(
        matches!(peer.receive().await, FromStore::Reply { response, .. } if response.answer == Answer::Watching)
    );
}

/// A store whose writes wait until the test lets them.
struct Slow {
    store: Memory,
    asked: Semaphore,
    let_go: Semaphore,
}

impl Store for Slow {
    fn call(&self, request: Request) -> Pending<'_, Response> {
        Box::pin(async move {
            self.asked.add_permits(1);
            self.let_go.acquire().await.unwrap().forget();
            self.store.call(request).await
        })
    }

    fn watch(&self, prefix: Prefix) -> Pending<'_, Watch> {
        self.store.watch(prefix)
    }
}

#[tokio::test]
async fn a_server_that_stops_answers_what_is_under_way_and_reads_no_more() {
    let slow =
        Arc::new(Slow { store: Memory::default(), asked: Semaphore::new(0), let_go: Semaphore::new(0) });
    let (stream, served) = tokio::io::duplex(4096);
    let (go, stop) = watch::channel(false);
    let serving = tokio::spawn(serve_stream(served, Arc::clone(&slow) as Arc<dyn Store>, None, stop));
    let mut peer = ByHand { stream, buffer: FrameBuffer::default() };
    peer.send(1, Request::Put { key: key("a"), value: value("1") }).await;
    slow.asked.acquire().await.unwrap().forget();
    go.send(true).unwrap();
    tokio::task::yield_now().await;
    peer.send(2, Request::Put { key: key("a"), value: value("2") }).await;
    slow.let_go.add_permits(2);
    assert!(
        matches!(peer.receive().await, FromStore::Reply { id: RequestId(1), response } if response.answer == Answer::Stored)
    );
    until_closed(&mut peer.stream).await;
    assert_eq!(serving.await.unwrap(), Ended::Stopped);
    assert_eq!(slow.store.get(&key("a")).await, Ok(Some(value("1"))));
}

#[tokio::test]
async fn a_server_that_stops_lets_its_port_go() {
    let server = Running::start().await;
    server.serves_its_group().await;
    server.stop.send(()).unwrap();
    server.ended.await.unwrap();
    std::net::TcpListener::bind(server.addr).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_noticed_and_its_return_is_too() {
    let place = Place::new();
    let server = ServerProcess::start(&place, &place.path("data"));
    let remote = place.remote_with(server.addr, Patience::default());
    let mut watch = remote.watch(Prefix::default()).await.unwrap();
    remote.put(&key("a"), value("1")).await.unwrap();
    assert!(matches!(watch.next().await, Some(WatchEvent::Changed(_))));

    server.freeze();
    let start = Instant::now();
    let error = remote.put(&key("a"), value("2")).await.unwrap_err();
    assert!(matches!(error, StoreError::OutcomeUnknown { .. }), "{error}");
    // Long before the write's own patience ends; it is 0.65 s on a machine with time to spare.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let error = remote.get(&key("a")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");

    server.signal(Signal::SIGCONT);
    let mut link = remote.link();
    tokio::time::timeout(Duration::from_secs(10), link.wait_for(|link| link.up)).await.unwrap().unwrap();
    remote.put(&key("a"), value("3")).await.unwrap();
    // Before anything newer: something may have been missed.
    assert_eq!(watch.next().await, Some(WatchEvent::Lagged));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_while_the_server_restarts_waits_for_it_and_succeeds() {
    let place = Place::new();
    let data = place.path("data");
    let mut server = ServerProcess::start(&place, &data);
    let addr = server.addr;
    let remote = place.remote(addr);
    remote.put(&key("a"), value("1")).await.unwrap();
    server.signal(Signal::SIGTERM);
    let code = tokio::task::block_in_place(|| server.child.wait()).unwrap();
    assert!(code.success(), "{code}");

    let mut link = remote.link();
    link.wait_for(|link| !link.up).await.unwrap();
    let put = remote.put(&key("a"), value("2"));
    let restart = async {
        let store = Arc::new(SledStore::open(&data).unwrap());
        Server::bind(addr, &place.keys, store).await.unwrap()
    };
    let (put, ()) = tokio::join!(put, async {
        let server = restart.await;
        drop(tokio::spawn(server.run(std::future::pending())));
    });
    put.unwrap();
    assert_eq!(remote.get(&key("a")).await, Ok(Some(value("2"))));
}

/// A store may have two addresses, and another store may take over an address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_tells_its_id_in_the_greeting_and_keeps_it_through_a_restart() {
    let place = Place::new();
    let told = async |data: &str| {
        let mut server = ServerProcess::start(&place, &place.path(data));
        let remote = place.remote(server.addr);
        assert_eq!(remote.id(), None);
        let link = *remote.link().wait_for(|link| link.up).await.unwrap();
        assert_eq!(remote.id(), link.store);
        server.signal(Signal::SIGTERM);
        let code = tokio::task::block_in_place(|| server.child.wait()).unwrap();
        assert!(code.success(), "{code}");
        link.store.expect("an id in the greeting")
    };
    let (first, again, other) = (told("one").await, told("one").await, told("two").await);
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_eq!(SledStore::open(&place.path("one")).unwrap().id(), Some(first));
}
