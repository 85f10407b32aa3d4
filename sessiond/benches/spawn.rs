//! How fast sessions with a shell are made, how fast a keystroke comes back from one, and how fast what a program commits
//! is on its way to the host that keeps it.
//!
//! `cargo bench -p sessiond --bench spawn [-- SESSIONS]`; prints a table. The shell is bash without start-up files where
//! there is one, so that what is measured is ours and the kernel's.

#![allow(
    missing_docs,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use continuity::{Delta, Encoded};
use proto::frame::{Frame, FrameBuffer, Hello, Size};
use proto::{Nonce, SessionId};
use rustls::{ClientConnection, StreamOwned};
use sessiond::control::{
    Beginning, Bytes, Description, FromSession, Kind, Protection, SessionSpec, ToSession, Update,
};
use sessiond::io::client::{Client, Event, Start};
use sessiond::io::spawner::AHEAD_MAX;
use sessiond::template::{Command, Continuity, Service};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::UnixStream;

/// Sessions made for each line of the table, unless the command line says otherwise.
const SESSIONS: u128 = 300;
/// And for the first line, which waits between them.
const ALONE: u128 = 50;
const KEYSTROKES: usize = 2000;
const COMMITS: usize = 2000;

fn main() {
    let count = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(SESSIONS);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("tokio");
    println!("{:34} {:>10} {:>9} {:>9} {:>9} {:>9}", "", "per second", "min ms", "median", "p99", "max");
    runtime.block_on(async {
        alone().await;
        one_after_the_other(count).await;
        all_at_once(count).await;
        keystrokes(Continuity::Restart).await;
        keystrokes(Continuity::Replicated).await;
        commits().await;
    });
}

fn shell() -> Service {
    let words = if std::path::Path::new("/bin/bash").exists() {
        &["/bin/bash", "--norc", "--noprofile", "-i"][..]
    } else {
        &["/bin/sh", "-i"]
    };
    Service::terminal(Command::Words(words.iter().map(|word| (*word).to_owned()).collect()))
}

fn spec(id: u128, service: Service) -> SessionSpec {
    SessionSpec {
        session: SessionId(id),
        token: "card.bench".parse().expect("a token"),
        host: "a".parse().expect("a host"),
        account: sessiond::io::root::is_root().then(|| "root".to_owned()),
        named_by_registry: true,
        services: vec![service],
        size: Size::default(),
        continuity: Continuity::Restart,
        tools: None,
        meta: Bytes::default(),
    }
}

async fn client() -> (tempfile::TempDir, Client) {
    let dir = tempfile::tempdir().expect("a directory");
    let start = Start {
        program: env!("CARGO_BIN_EXE_sessiond").into(),
        arguments: Vec::new(),
        run_dir: dir.path().join("run"),
        keep: false,
        open_files: None,
    };
    let client = Client::start(&start).await.expect("a spawner");
    (dir, client)
}

async fn ready(client: &mut Client) -> Box<Description> {
    loop {
        match client.next().await.expect("an event") {
            Event::Session { message: FromSession::Ready(what), .. } => return what,
            Event::SpawnFailed { reason, .. } => panic!("{reason}"),
            _ => {}
        }
    }
}

/// What a user waits for who comes alone: a process that was started ahead of need waits for the session.
async fn alone() {
    let (_dir, mut client) = client().await;
    let mut latencies = Vec::new();
    for id in 0..ALONE {
        while client.ahead() < u32::try_from(AHEAD_MAX).unwrap_or(u32::MAX) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let asked = Instant::now();
        client.spawn(spec(id, shell())).expect("room");
        ready(&mut client).await;
        latencies.push(asked.elapsed());
    }
    row("spawn to ready, who comes alone", None, &mut latencies);
    end(client).await;
}

/// Users who come one after the other without a pause.
async fn one_after_the_other(count: u128) {
    let (_dir, mut client) = client().await;
    let mut latencies = Vec::new();
    let begin = Instant::now();
    for id in 0..count {
        let asked = Instant::now();
        client.spawn(spec(id, shell())).expect("room");
        ready(&mut client).await;
        latencies.push(asked.elapsed());
    }
    row("spawn to ready, one by one", Some((count, begin.elapsed())), &mut latencies);
    end(client).await;
}

/// What happens when a host has died and all its users come at once.
async fn all_at_once(count: u128) {
    let (_dir, mut client) = client().await;
    let mut asked = BTreeMap::new();
    let mut latencies = Vec::new();
    let begin = Instant::now();
    let mut next = 0;
    while latencies.len() < usize::try_from(count).unwrap_or(usize::MAX) {
        while next < count && client.spawn(spec(next, shell())).is_ok() {
            asked.insert(next, Instant::now());
            next += 1;
        }
        let made = ready(&mut client).await;
        latencies.push(asked[&made.spec.session.0].elapsed());
    }
    row("spawn to ready, all at once", Some((count, begin.elapsed())), &mut latencies);
    end(client).await;
}

async fn end(mut client: Client) {
    client.end_all().expect("room");
    while !matches!(client.next().await, Some(Event::SpawnerGone) | None) {}
}

/// A session that a host keeps which acknowledges at once.
async fn kept(client: &mut Client, service: Service) -> Box<Description> {
    let spec = SessionSpec { continuity: Continuity::Replicated, ..spec(1, service) };
    client.spawn(spec).expect("room");
    while !matches!(client.next().await, Some(Event::Spawned { .. })) {}
    let epoch = proto::Epoch { generation: 1, counter: 1 };
    let beginning = Beginning { epoch, lost: None, protection: Protection::Each };
    client.tell(SessionId(1), ToSession::Begin(Box::new(beginning))).expect("room");
    ready(client).await
}

/// Acknowledges the next update; says of which kind of part.
async fn acknowledge(client: &mut Client) -> Kind {
    loop {
        let Some(Event::Session { message, .. }) = client.next().await else { continue };
        let FromSession::Committed { part, update } = message else { continue };
        let stamp = match &update {
            Update::Whole(object) => Encoded::open(&object.0).expect("an object").stamp(),
            Update::Delta(delta) => Delta::from_bytes(&delta.0).expect("a delta").result(),
        };
        let kind = part.kind;
        client.tell(SessionId(1), ToSession::Protected { part, stamp }).expect("room");
        return kind;
    }
}

/// From a key to what the terminal's driver echoes, through TLS and the session process; of a session that is kept, through
/// this process too, which says at once that it has the version.
async fn keystrokes(class: Continuity) {
    let (_dir, mut client) = client().await;
    let words = ["/bin/sh", "-c", "stty raw echo; exec tail -f /dev/null"].map(str::to_owned).to_vec();
    let service = Service::terminal(Command::Words(words));
    let made = if class == Continuity::Replicated {
        kept(&mut client, service).await
    } else {
        client.spawn(spec(1, service)).expect("room");
        ready(&mut client).await
    };
    let serial: proto::Serial = "bench".parse().expect("a serial");
    let attach = ToSession::Attach { ticket: Nonce(1), serial: serial.clone(), size: Size::default() };
    client.tell(SessionId(1), attach).expect("room");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    let (accepted, _) = listener.accept().expect("a connection");
    client.hand_over(SessionId(1), accepted.into(), Vec::new()).expect("room");
    let hello = Hello {
        ticket: Nonce(1),
        serial,
        service: "terminal".parse().expect("a service"),
        run: Nonce(1),
        stream: Nonce(0),
        have: 0,
        size: Size::default(),
    };
    let fingerprint = proto::io::tls::Fingerprint(made.fingerprint.0);
    let mut typing = tokio::task::spawn_blocking(move || type_keys(stream, fingerprint, hello));
    let mut latencies = loop {
        tokio::select! {
            latencies = &mut typing => break latencies.expect("no panic"),
            _ = acknowledge(&mut client) => {}
        }
    };
    let what =
        if class == Continuity::Replicated { "keystroke to echo, replicated" } else { "keystroke to echo" };
    row(what, None, &mut latencies);
    end(client).await;
}

/// From what a program says on its state socket, 512 bytes of it, to the update for the secondary; and to its answer, which
/// comes when that is acknowledged.
async fn commits() {
    let (dir, mut client) = client().await;
    let service = Service::terminal(Command::Words(vec!["/bin/cat".to_owned()]));
    kept(&mut client, service).await;
    // Its screen comes first: it has started.
    acknowledge(&mut client).await;
    let path = dir.path().join("run/s").join(SessionId(1).to_string()).join("state0");
    let mut program = BufStream::new(UnixStream::connect(path).await.expect("a state socket"));
    let (mut sent, mut answered) = (Vec::new(), Vec::new());
    for n in 0..COMMITS {
        let request = format!("put pool=application key=k bytes=512\n{n:0512}\n");
        let begin = Instant::now();
        program.write_all(request.as_bytes()).await.expect("a connection");
        program.flush().await.expect("a connection");
        while acknowledge(&mut client).await != Kind::State {}
        sent.push(begin.elapsed());
        program.read_line(&mut String::new()).await.expect("an answer");
        answered.push(begin.elapsed());
    }
    row("commit to its update", None, &mut sent);
    row("commit to its answer", None, &mut answered);
    end(client).await;
}

fn type_keys(stream: TcpStream, fingerprint: proto::io::tls::Fingerprint, hello: Hello) -> Vec<Duration> {
    let config = proto::io::tls::client_of_fingerprint(fingerprint).expect("rustls");
    let tls = ClientConnection::new(config, proto::io::tls::server_name()).expect("rustls");
    let mut tls = StreamOwned::new(tls, stream);
    let mut buffer = FrameBuffer::default();
    let send = |tls: &mut StreamOwned<_, _>, frame: &Frame| {
        let mut bytes = Vec::new();
        frame.emit(&mut bytes);
        tls.write_all(&bytes).expect("a connection");
    };
    let mut next_output = |tls: &mut StreamOwned<ClientConnection, TcpStream>| {
        let mut bytes = [0; 4096];
        loop {
            while let Some(frame) = buffer.next_frame().expect("frames") {
                if matches!(frame, Frame::Output { .. } | Frame::Repaint { .. }) {
                    return;
                }
            }
            let n = tls.read(&mut bytes).expect("a connection");
            buffer.push(&bytes[..n]);
        }
    };
    send(&mut tls, &Frame::Hello(hello));
    next_output(&mut tls);
    let mut latencies = Vec::new();
    for seq in 0..KEYSTROKES as u64 {
        let typed = Instant::now();
        send(&mut tls, &Frame::Input { seq, bytes: b"x".to_vec() });
        next_output(&mut tls);
        latencies.push(typed.elapsed());
    }
    latencies
}

fn row(what: &str, rate: Option<(u128, Duration)>, latencies: &mut [Duration]) {
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100].as_secs_f64() * 1e3;
    let rate = rate.map_or_else(String::new, |(count, took)| {
        format!("{:.0}", u32::try_from(count).unwrap_or(u32::MAX) as f64 / took.as_secs_f64())
    });
    println!("{what:34} {rate:>10} {:>9.3} {:>9.3} {:>9.3} {:>9.3}", at(0), at(50), at(99), at(100));
}
