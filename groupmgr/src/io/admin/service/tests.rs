//! Two hosts' desks over real TLS on loopback, with no host machine behind them: each answers all commands alike.

use std::sync::atomic::{AtomicUsize, Ordering};

use datastore::io::Memory;
use proto::keys::GroupKey;
use proto::link::Frame;
use proto::{Epoch, SessionId};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::super::peer::PeerError;
use super::super::trust::{self, Asked, Binding};
use super::super::wire::{REQUEST_MAX, read_json, read_line};
use super::*;
use crate::keep::Message;

/// What every command is answered with, and many times that where DTUs are asked for.
const TEXT: &str = "a long answer ";

struct Group {
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
}

struct Member {
    admin: Arc<AdminService>,
    counters: Counters,
    addr: SocketAddrV4,
    /// What came for its host machine.
    heard: mpsc::UnboundedReceiver<Input>,
    /// Connections that came.
    taken: Arc<AtomicUsize>,
}

fn ring(secret: &[u8; 16]) -> KeyRing {
    KeyRing::new(GroupKey::new(secret).unwrap(), Vec::new())
}

const OURS: &[u8; 16] = b"0123456789abcdef";

impl Group {
    fn new() -> Self {
        let ((cert, key), fingerprint) = proto::io::tls::ephemeral().unwrap();
        let server = proto::io::tls::server(vec![cert], key).unwrap();
        Self { server, client: proto::io::tls::client_of_fingerprint(fingerprint).unwrap() }
    }

    fn admin(
        &self,
        name: &str,
        secret: &[u8; 16],
        counters: &Counters,
    ) -> (Arc<AdminService>, mpsc::UnboundedReceiver<Input>) {
        let (inbox, mut events) = Inbox::new();
        let (hears, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    Event::Admin { answer, command } => {
                        let many = if matches!(command, Command::Dtus) { 100_000 } else { 1 };
                        drop(answer.send(Reply::Refused(TEXT.repeat(many))));
                    }
                    Event::Input(input) => drop(hears.send(input)),
                    _ => {}
                }
            }
        });
        let (store, facts) = (Arc::new(Memory::default()), Box::new(|_| panic!("nobody asks for facts")));
        let client = Arc::clone(&self.client);
        let (name, ring) = (name.parse().unwrap(), ring(secret));
        (AdminService::new(name, ring, client, inbox, store, counters.clone(), facts), heard)
    }

    /// A host that is listening.
    async fn member(&self, name: &str, secret: &[u8; 16]) -> Member {
        let (counters, taken) = (Counters::default(), Arc::new(AtomicUsize::new(0)));
        let (admin, heard) = self.admin(name, secret, &counters);
        let (listener, addr) = listen().await;
        let (tls, serving, count) =
            (TlsAcceptor::from(Arc::clone(&self.server)), Arc::clone(&admin), Arc::clone(&taken));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::AcqRel);
                let (tls, admin) = (tls.clone(), Arc::clone(&serving));
                tokio::spawn(async move {
                    let mut stream = tls.accept(stream).await.unwrap();
                    // Nothing comes behind a greeting before it is answered.
                    let greeting = first_line(&mut stream).await;
                    admin.serve_peer(stream, &greeting, addr).await;
                });
            }
        });
        Member { admin, counters, addr, heard, taken }
    }

    /// The stream of an asker by hand, on which the greetings are done; with or without a link on it.
    async fn greet(&self, to: &Member, wanted: &str, link: bool) -> impl peer::Both + use<> {
        let tcp = TcpStream::connect(to.addr).await.unwrap();
        let tls = TlsConnector::from(Arc::clone(&self.client));
        let stream = tls.connect(proto::io::tls::server_name(), tcp).await.unwrap();
        let binding = binding_of(stream.get_ref().1);
        let mut stream = BufReader::new(stream);
        let (own, ring) = ("old".parse().unwrap(), ring(OURS));
        say(&mut stream, &trust::greeting(&own, &ring, proto::Nonce(1))).await;
        let answer = first_line(&mut stream).await;
        let last = trust::confirm(&answer, &own, &wanted.parse().unwrap(), &ring, proto::Nonce(1), &binding);
        let last = last.unwrap();
        say(&mut stream, &if link { last.with("links", 1) } else { last }).await;
        stream
    }
}

async fn listen() -> (TcpListener, SocketAddrV4) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let std::net::SocketAddr::V4(addr) = listener.local_addr().unwrap() else { panic!("IPv4") };
    (listener, addr)
}

fn binding_of<T>(tls: &rustls::ConnectionCommon<T>) -> Binding {
    let exported = tls.export_keying_material([0; 32], b"EXPORTER-hotdesk administration", None);
    Binding(proto::hex::encode(&exported.unwrap()))
}

async fn say(stream: &mut (impl tokio::io::AsyncWrite + Unpin), line: &Line) {
    stream.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

async fn first_line(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Line {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while stream.read_exact(&mut byte).await.is_ok() && byte != [b'\n'] {
        text.push(byte[0]);
    }
    Line::parse(&text).unwrap()
}

impl Member {
    async fn ask(&self, name: &str, addrs: &[SocketAddrV4], command: Command) -> Result<Answer, PeerError> {
        let (name, ask) = (name.parse().unwrap(), Ask::Host(command));
        let admin: Arc<AdminService> = Arc::clone(&self.admin);
        self.admin.links.ask(admin, &self.admin.asker, (&name, addrs), &ask, "me").await
    }

    /// Carries what its machine says to another host.
    async fn carries(&self, to: &str, addrs: &[SocketAddrV4]) -> mpsc::Sender<Box<Message>> {
        let (says, outgoing) = mpsc::channel(64);
        let admin: Arc<AdminService> = Arc::clone(&self.admin);
        let to = to.parse().unwrap();
        assert!(self.admin.links.carry(admin, &self.admin.asker, (&to, addrs), outgoing).await);
        says
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

fn text_of(answer: Result<Answer, PeerError>) -> String {
    match answer {
        Ok(Answer::Host(Reply::Refused(text))) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_hosts_ask_each_other_over_one_link() {
    let group = Group::new();
    let (a, b) = (group.member("a", OURS).await, group.member("b", OURS).await);
    let to_b = [b.addr];
    let (one, long, three) = tokio::join!(
        a.ask("b", &to_b, Command::Status),
        a.ask("b", &to_b, Command::Dtus),
        a.ask("b", &to_b, Command::Status),
    );
    assert_eq!((text_of(one).as_str(), text_of(three).as_str()), (TEXT, TEXT));
    assert_eq!(text_of(long), TEXT.repeat(100_000));
    // It needs no address: there is a link.
    assert_eq!(text_of(b.ask("a", &[], Command::Status).await), TEXT);
    assert_eq!((a.taken(), b.taken()), (0, 1));
}

#[tokio::test]
async fn a_host_that_takes_its_leave_is_asked_over_a_new_link() {
    let group = Group::new();
    let (a, b) = (group.member("a", OURS).await, group.member("b", OURS).await);
    for connections in 1..4 {
        assert_eq!(text_of(a.ask("b", &[b.addr], Command::Status).await), TEXT);
        assert_eq!(b.taken(), connections);
        while !b.admin.take_leave() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_host_of_the_version_before_is_asked_over_a_connection_for_each_question() {
    let group = Group::new();
    let a = group.member("a", OURS).await;
    let (listener, addr) = listen().await;
    let tls = TlsAcceptor::from(Arc::clone(&group.server));
    let old = tokio::spawn(async move {
        for _ in 0..2 {
            let stream = tls.accept(listener.accept().await.unwrap().0).await.unwrap();
            let (binding, ring) = (binding_of(stream.get_ref().1), ring(OURS));
            let mut stream = BufReader::new(stream);
            let greeting = first_line(&mut stream).await;
            let own = "old".parse().unwrap();
            let (asked, answer) = Asked::answer(&greeting, &own, &ring, proto::Nonce(2), binding).unwrap();
            say(&mut stream, &answer).await;
            let last = first_line(&mut stream).await;
            assert_eq!(last.get("by"), Some("me"));
            asked.judge(&ring, &last).unwrap();
            let ask: Ask = read_json(&mut stream, REQUEST_MAX).await.unwrap().unwrap();
            assert!(matches!(ask, Ask::Host(Command::Status)));
            write_json(&mut stream, &Answer::Done).await.unwrap();
            assert_eq!(read_line(&mut stream, 9).await.unwrap(), None, "one question a connection");
        }
    });
    for _ in 0..2 {
        let answer = a.ask("old", &[addr], Command::Status).await;
        assert!(matches!(answer, Ok(Answer::Done)), "{answer:?}");
    }
    old.await.unwrap();
}

#[tokio::test]
async fn a_host_of_the_version_before_is_answered_by_the_line() {
    let group = Group::new();
    let b = group.member("b", OURS).await;
    let mut stream = group.greet(&b, "b", false).await;
    for _ in 0..2 {
        write_json(&mut stream, &Ask::Host(Command::Status)).await.unwrap();
        let answer: Answer = read_json(&mut stream, REQUEST_MAX).await.unwrap().unwrap();
        assert_eq!(text_of(Ok(answer)), TEXT);
    }
}

#[tokio::test]
async fn a_stranger_gets_no_link_and_is_counted() {
    let group = Group::new();
    let (a, b) = (group.member("a", b"somebody elses k").await, group.member("b", OURS).await);
    let refused = a.ask("b", &[b.addr], Command::Status).await;
    assert!(matches!(refused, Err(PeerError::Distrust { .. })), "{refused:?}");
    assert!(b.admin.links.is_empty());
    while b.counters.get(Reason::Peer) == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_host_that_breaks_the_rules_of_a_link_loses_it_and_is_counted() {
    let group = Group::new();
    let b = group.member("b", OURS).await;
    let channel = proto::link::ChannelId(1);
    for (n, frames) in [
        vec![Frame::Data { channel, bytes: vec![1] }],
        vec![Frame::Other { kind: 99, payload: vec![0; proto::link::PAYLOAD_MAX + 1] }],
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = group.greet(&b, "b", true).await;
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.emit(&mut bytes));
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        drop(stream.fill_buf().await.map(<[u8]>::len));
        assert_eq!(b.counters.get(Reason::Link), n as u64 + 1);
    }
    // What is no question is refused, and the link goes on: another purpose, and no question.
    let mut stream = group.greet(&b, "b", true).await;
    let mut bytes = Vec::new();
    let numbered = |n| proto::link::ChannelId(n);
    for frame in [
        Frame::Open { channel: numbered(1), purpose: "else".into() },
        Frame::Open { channel: numbered(3), purpose: "ask".into() },
        Frame::Data { channel: numbered(3), bytes: b"{".to_vec() },
        Frame::End { channel: numbered(3) },
    ] {
        frame.emit(&mut bytes);
    }
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut got = [0; 18];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(got, [5, 0, 0, 0, 4, 0, 0, 0, 1, 5, 0, 0, 0, 4, 0, 0, 0, 3]);
    assert_eq!(b.counters.get(Reason::Admin), 2);
}

/// What one host says to another of the copies of a session: a word that only says which one it is.
fn word(n: u32) -> Message {
    Message::Drop { session: SessionId(n.into()), epoch: Epoch { generation: 1, counter: n } }
}

#[tokio::test]
async fn what_host_machines_say_comes_in_order_over_one_link_while_operators_ask() {
    let group = Group::new();
    let (mut a, mut b) = (group.member("a", OURS).await, group.member("b", OURS).await);
    // An answer says that both ends know the link.
    assert_eq!(text_of(a.ask("b", &[b.addr], Command::Status).await), TEXT);
    let (to_b, to_a) = (a.carries("b", &[]).await, b.carries("a", &[]).await);
    let say = async |says: mpsc::Sender<Box<Message>>| {
        for n in 0..5_000 {
            says.send(Box::new(word(n))).await.unwrap();
        }
        says
    };
    let hear = async |heard: &mut mpsc::UnboundedReceiver<Input>, from: &str| {
        for n in 0..5_000 {
            match heard.recv().await {
                Some(Input::Peer { host, message }) => {
                    assert_eq!((host.as_str(), *message), (from, word(n)));
                }
                other => panic!("{other:?}"),
            }
        }
    };
    let Member { admin, heard, .. } = &mut a;
    let wanted = "b".parse().unwrap();
    let ask = Ask::Host(Command::Dtus);
    let asking = admin.links.ask(Arc::clone(admin) as _, &admin.asker, (&wanted, &[]), &ask, "me");
    let (kept, _, (), (), answer) =
        tokio::join!(say(to_b), say(to_a), hear(&mut b.heard, "a"), hear(heard, "b"), asking);
    assert_eq!(text_of(answer), TEXT.repeat(100_000));
    assert_eq!((a.taken(), b.taken()), (0, 1));
    // b's daemon ends: what a has said a moment ago may not have come.
    kept.send(Box::new(word(7))).await.unwrap();
    assert!(matches!(b.heard.recv().await, Some(Input::Peer { .. })));
    while !b.admin.take_leave() {
        tokio::task::yield_now().await;
    }
    let lost = a.heard.recv().await;
    assert!(matches!(&lost, Some(Input::PeerLost { host }) if host.as_str() == "b"), "{lost:?}");
    assert!(kept.is_closed());
}

#[tokio::test]
async fn a_host_that_says_nothing_readable_of_copies_is_not_listened_to_and_counted() {
    let group = Group::new();
    let mut b = group.member("b", OURS).await;
    let mut stream = group.greet(&b, "b", true).await;
    let numbered = |n| proto::link::ChannelId(n);
    let mut bytes = Vec::new();
    for frame in [
        Frame::Open { channel: numbered(1), purpose: "keep".into() },
        Frame::Data { channel: numbered(1), bytes: vec![7, 0, 0, 0, 1, 9] },
        Frame::Open { channel: numbered(3), purpose: "keep".into() },
        Frame::Open { channel: numbered(5), purpose: "keep".into() },
    ] {
        frame.emit(&mut bytes);
    }
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut got = [0; 18];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(got, [5, 0, 0, 0, 4, 0, 0, 0, 1, 5, 0, 0, 0, 4, 0, 0, 0, 5]);
    assert_eq!(b.counters.get(Reason::Admin), 2);
    assert!(b.heard.try_recv().is_err());
}
