//! A small host for tests: speaks the real protocol on loopback by way of `proto`, with one echoing session.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::alp::{
    Access, AnchorNote, ConnInf, Display, Event, FromDtu, FromHost, Grant, InfoReq, RedirectInf, Standby,
};
use proto::beacon::{Beacon, INTERVAL};
use proto::chain::Chain;
use proto::discovery::{ServerQ, ServerR};
use proto::frame::{Frame, FrameBuffer};
use proto::io::{KeyDir, tls};
use proto::line::Splitter;
use proto::version::Version;
use proto::{BootId, DtuKey, HostName, Line, Nonce, SessionId};
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What the host does about a presented token.
#[derive(Clone, Debug)]
pub(crate) enum Policy {
    Grant,
    Deny(&'static str),
    Redirect(HostName, SocketAddrV4),
}

struct Shared {
    name: HostName,
    addr: SocketAddrV4,
    policy: Policy,
    standbys: Vec<Standby>,
    chain: Chain,
    tick: u64,
    asked: Vec<InfoReq>,
    /// The key that was proved on each control connection over TLS.
    proved: Vec<Option<DtuKey>>,
    output: Vec<u8>,
    run: Option<(Nonce, u64)>,
}

struct Inner {
    shared: Mutex<Shared>,
    written: Notify,
    frozen: watch::Sender<bool>,
    server: Arc<ServerConfig>,
    display: Arc<ServerConfig>,
    fp: [u8; 32],
}

/// A running host. Dropping it kills it.
pub(crate) struct FakeHost {
    inner: Arc<Inner>,
    tasks: JoinSet<()>,
}

/// Hosts of one group share keys; each test has ports of its own, since beacons reach all of loopback.
pub(crate) struct Group {
    pub(crate) keys: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Group {
    pub(crate) fn new(port: u16) -> Self {
        let keys = tempfile::tempdir().unwrap();
        KeyDir::generate(keys.path()).unwrap();
        Self { keys, port }
    }

    pub(crate) async fn host(&self, name: &str, last: u8) -> FakeHost {
        FakeHost::start(self, name, Ipv4Addr::new(127, 0, 210, last)).await
    }
}

impl FakeHost {
    async fn start(group: &Group, name: &str, ip: Ipv4Addr) -> Self {
        let addr = SocketAddrV4::new(ip, group.port);
        let keys = KeyDir::open(group.keys.path()).unwrap();
        let ((cert, key), fp) = tls::ephemeral().unwrap();
        let shared = Shared {
            name: name.parse().unwrap(),
            addr,
            policy: Policy::Grant,
            standbys: Vec::new(),
            chain: Chain::new(proto::io::random(), 10_000),
            tick: 0,
            asked: Vec::new(),
            proved: Vec::new(),
            output: format!("{name}$ ").into_bytes(),
            run: None,
        };
        let inner = Arc::new(Inner {
            shared: Mutex::new(shared),
            written: Notify::new(),
            frozen: watch::Sender::new(false),
            server: keys.server_tls_for_dtus(name).unwrap(),
            display: tls::server(vec![cert], key).unwrap(),
            fp: fp.0,
        });
        let mut tasks = JoinSet::new();
        let listener = TcpListener::bind(addr).await.unwrap();
        tasks.spawn(accept(listener, Arc::clone(&inner)));
        let air = broadcast_socket(group.port);
        tasks.spawn(answer_questions(air, Arc::clone(&inner)));
        let voice = UdpSocket::bind(SocketAddrV4::new(ip, 0)).await.unwrap();
        voice.set_broadcast(true).unwrap();
        tasks.spawn(speak(voice, group.port, Arc::clone(&inner)));
        Self { inner, tasks }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Shared) -> T) -> T {
        f(&mut self.inner.shared.lock().unwrap())
    }

    pub(crate) fn addr(&self) -> SocketAddrV4 {
        self.with(|s| s.addr)
    }

    pub(crate) fn standby(&self) -> Standby {
        self.with(|s| Standby { host: s.name.clone(), addr: s.addr })
    }

    pub(crate) fn knows(&self, others: &[&Self]) {
        let standbys = others.iter().map(|other| other.standby()).collect();
        self.with(|s| s.standbys = standbys);
    }

    pub(crate) fn set_policy(&self, policy: Policy) {
        self.with(|s| s.policy = policy);
    }

    pub(crate) fn asked(&self) -> Vec<InfoReq> {
        self.with(|s| s.asked.clone())
    }

    pub(crate) fn proved(&self) -> Vec<Option<DtuKey>> {
        self.with(|s| s.proved.clone())
    }

    /// The session writes this.
    pub(crate) fn print(&self, text: &str) {
        self.with(|s| s.output.extend(text.as_bytes()));
        self.inner.written.notify_waiters();
    }

    /// Its processes stop; the kernel still accepts for them.
    pub(crate) fn freeze(&self) {
        self.inner.frozen.send_replace(true);
    }

    /// As kill -9 does.
    pub(crate) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Inner {
    /// Returns at once, or never if the host is frozen.
    async fn runs(&self) {
        let mut frozen = self.frozen.subscribe();
        let _ = frozen.wait_for(|frozen| !frozen).await;
    }
}

fn broadcast_socket(port: u16) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), port).into()).unwrap();
    UdpSocket::from_std(socket.into()).unwrap()
}

async fn answer_questions(air: UdpSocket, inner: Arc<Inner>) {
    let mut bytes = [0; 2048];
    loop {
        let (len, from) = air.recv_from(&mut bytes).await.unwrap();
        inner.runs().await;
        let Ok(line) = Line::parse(&bytes[..len]) else { continue };
        if ServerQ::from_line(&line).is_ok() {
            let answer = {
                let s = inner.shared.lock().unwrap();
                let (ip, port) = (*s.addr.ip(), s.addr.port());
                ServerR { host: s.name.clone(), ip, port, load: 0, drain: false, plain: false }
            };
            let _ = air.send_to(answer.to_line().to_string().as_bytes(), from).await;
        }
    }
}

async fn speak(voice: UdpSocket, port: u16, inner: Arc<Inner>) {
    let mut tick = tokio::time::interval(INTERVAL);
    loop {
        tick.tick().await;
        inner.runs().await;
        let beacon = inner.shared.lock().unwrap().beacon();
        let to = SocketAddr::from((Ipv4Addr::new(127, 255, 255, 255), port));
        let _ = voice.send_to(beacon.to_line().to_string().as_bytes(), to).await;
    }
}

impl Shared {
    fn beacon(&mut self) -> Beacon {
        self.tick += 1;
        Beacon {
            host: self.name.clone(),
            ver: Version::CURRENT,
            boot: BootId(1),
            seq: self.tick,
            iface: "lo".parse().unwrap(),
            every: INTERVAL,
            load: 0,
            sessions: 0,
            drain: false,
            tick: self.tick,
            chain_value: self.chain.reveal(self.tick).unwrap(),
            digest: None,
        }
    }

    fn decide(&mut self, info: &InfoReq, fp: [u8; 32]) -> FromHost {
        let token_seq = info.token_seq.clone().unwrap();
        let refused = |notice: &str| ConnInf {
            token_seq: token_seq.clone(),
            access: Access::Denied,
            token: None,
            grant: None,
            notice: Some(notice.to_owned()),
        };
        match &self.policy {
            Policy::Deny(notice) => FromHost::ConnInf(Box::new(refused(notice))),
            Policy::Redirect(host, addr) => FromHost::RedirectInf(RedirectInf {
                addr: *addr,
                props: Some("ticket".into()),
                host: Some(host.clone()),
                token_seq: info.token_seq.clone(),
            }),
            Policy::Grant => {
                let chain_value = self.chain.reveal(self.tick).unwrap();
                let anchor = AnchorNote { boot: BootId(1), tick: self.tick, chain_value, every: INTERVAL };
                let display = Display {
                    addr: self.addr,
                    session: SessionId(u128::from(self.addr.ip().octets()[3])),
                    service: "terminal".parse().unwrap(),
                    ticket: Nonce(7),
                    fp,
                };
                let grant = Grant {
                    host: self.name.clone(),
                    standbys: self.standbys.clone(),
                    anchor,
                    cookie: None,
                    displays: vec![display],
                    displays_total: 1,
                };
                let access = Access::Allowed;
                FromHost::ConnInf(Box::new(ConnInf {
                    token_seq,
                    access,
                    token: None,
                    grant: Some(grant),
                    notice: None,
                }))
            }
        }
    }

    /// Takes in input once, and echoes it.
    fn apply(&mut self, seq: u64, bytes: &[u8]) -> u64 {
        let (_, applied) = self.run.as_mut().unwrap();
        let known = usize::try_from(applied.saturating_sub(seq)).unwrap().min(bytes.len());
        for byte in &bytes[known..] {
            self.output.extend(if *byte == b'\r' { b"\r\n".to_vec() } else { vec![*byte] });
        }
        *applied += (bytes.len() - known) as u64;
        *applied
    }
}

async fn accept(listener: TcpListener, inner: Arc<Inner>) {
    let mut tasks = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let inner = Arc::clone(&inner);
        tasks.spawn(async move {
            inner.runs().await;
            serve(stream, &inner).await;
        });
    }
}

async fn serve(mut stream: TcpStream, inner: &Inner) {
    let mut first = [0; 1];
    if stream.peek(&mut first).await.is_err() {
        return;
    }
    if first[0] == b'd' {
        let mut line = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            if byte == b'\n' {
                break;
            }
            line.push(byte);
        }
        let line = Line::parse(&line).unwrap();
        assert_eq!(line.command(), "display");
        assert!(line.need::<SessionId>("session").is_ok());
        if let Ok(stream) = TlsAcceptor::from(Arc::clone(&inner.display)).accept(stream).await {
            display(stream, inner).await;
        }
    } else if first[0] == 0x16 {
        if let Ok(stream) = TlsAcceptor::from(Arc::clone(&inner.server)).accept(stream).await {
            let key = tls::dtu::proved_by(stream.get_ref().1.peer_certificates());
            inner.shared.lock().unwrap().proved.push(key);
            control(stream, inner).await;
        }
    } else {
        control(stream, inner).await;
    }
}

async fn control(mut stream: impl AsyncRead + AsyncWrite + Unpin, inner: &Inner) {
    let mut lines = Splitter::new();
    let mut bytes = vec![0; 4096];
    while let Ok(len @ 1..) = stream.read(&mut bytes).await {
        inner.runs().await;
        let mut said = Vec::new();
        lines.push(&bytes[..len], |line| said.push(FromDtu::from_line(&line.unwrap()).unwrap()));
        for message in said {
            let answer = match message {
                FromDtu::InfoReq(info) => {
                    let mut shared = inner.shared.lock().unwrap();
                    shared.asked.push(info.clone());
                    (info.event == Event::Insert).then(|| shared.decide(&info, inner.fp))
                }
                FromDtu::KeepAliveReq(_) => Some(FromHost::KeepAliveCnf),
                _ => None,
            };
            if let Some(answer) = answer
                && stream.write_all(format!("{}\n", answer.to_line()).as_bytes()).await.is_err()
            {
                return;
            }
        }
        let _ = stream.flush().await;
    }
}

async fn display(stream: impl AsyncRead + AsyncWrite, inner: &Inner) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (frames_to, mut frames) = tokio::sync::mpsc::channel(16);
    let reading = async move {
        let mut buffer = FrameBuffer::default();
        let mut bytes = vec![0; 4096];
        while let Ok(len @ 1..) = reader.read(&mut bytes).await {
            buffer.push(&bytes[..len]);
            while let Some(frame) = buffer.next_frame().unwrap() {
                let _ = frames_to.send(frame).await;
            }
        }
    };
    let writing = async {
        let mut sent: Option<usize> = None;
        loop {
            let mut out = Vec::new();
            tokio::select! {
                frame = frames.recv() => match frame {
                    Some(frame) => answer_frame(frame, inner, &mut sent, &mut out),
                    None => return,
                },
                () = inner.written.notified() => {}
                // A notification may come between two waits.
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
            inner.runs().await;
            if let Some(from) = sent {
                let output = inner.shared.lock().unwrap().output.clone();
                if output.len() > from {
                    Frame::Output { offset: from as u64, bytes: output[from..].to_vec() }.emit(&mut out);
                    sent = Some(output.len());
                }
            }
            if !out.is_empty() && (writer.write_all(&out).await.is_err() || writer.flush().await.is_err()) {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}

fn answer_frame(frame: Frame, inner: &Inner, sent: &mut Option<usize>, out: &mut Vec<u8>) {
    let mut shared = inner.shared.lock().unwrap();
    let stream = Nonce(u128::from(shared.addr.ip().octets()[3]));
    match frame {
        Frame::Hello(hello) => {
            assert_eq!(hello.ticket, Nonce(7));
            let (_, applied) = *shared.run.get_or_insert((hello.run, 0));
            Frame::Welcome { input_applied: applied, stream }.emit(out);
            *sent = Some(if hello.stream == stream { usize::try_from(hello.have).unwrap() } else { 0 });
        }
        Frame::Input { seq, bytes } => {
            let input = shared.apply(seq, &bytes);
            Frame::Ack { output: 0, input }.emit(out);
        }
        Frame::Ping(number) => Frame::Pong(number).emit(out),
        _ => {}
    }
}
