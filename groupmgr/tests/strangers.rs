//! Daemons and clients that hold, stall, pipeline and come by the thousand: what one address does costs that address.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Daemon, Site, read_to_end};
use proto::io::tls::dtu::{DtuIdentity, DtuSecret};
use socket2::{Domain, Socket, Type};

/// Far more than a busy machine needs, and less than a connection that says nothing is kept for.
const AT_ONCE: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(60);

fn connect(from: Ipv4Addr, to: &str) -> TcpStream {
    let open = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddrV4::new(from, 0).into())?;
        let to: SocketAddrV4 = format!("{to}:7009").parse().expect("an address");
        socket.connect_timeout(&to.into(), LONG)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(LONG))?;
        std::io::Result::Ok(stream)
    };
    open().expect("it listens")
}

/// A connection of the session protocol that is served.
fn served(from: Ipv4Addr, to: &str) -> TcpStream {
    let mut stream = connect(from, to);
    stream.write_all(b"keepAliveReq\n").expect("it is connected");
    let mut answer = [0; 13];
    stream.read_exact(&mut answer).expect("it answers");
    assert_eq!(&answer, b"keepAliveCnf\n");
    stream
}

/// Connects until it is served: that others have gone is noticed a moment later.
fn until_served(from: Ipv4Addr, to: &str) {
    let until = Instant::now() + LONG;
    loop {
        let mut stream = connect(from, to);
        stream.write_all(b"keepAliveReq\n").expect("it is connected");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("it answers");
        if line == "keepAliveCnf\n" {
            return;
        }
        assert!(Instant::now() < until, "{line:?}");
    }
}

fn start(site: &Site, name: &str, bind: &str, more: &[&str]) -> Daemon {
    let mut command = site.command("keys", name, bind);
    command.arg("--plain").args(more);
    Daemon::start(command)
}

fn refused(site: &Site, host: &str, reason: &str) -> u64 {
    let status = site.ask_json(host, &["status", "--on", "local"]);
    status["hosts"][0]["refused"][reason].as_u64().unwrap_or(0)
}

#[test]
fn a_connection_too_many_of_an_address_is_told_why_and_logged_once_a_second() {
    let site = Site::new();
    let a = start(&site, "a", "127.12.1.1", &["--per-address", "3"]);
    let (many, other) = (Ipv4Addr::new(127, 12, 1, 8), Ipv4Addr::new(127, 12, 1, 9));
    let held: Vec<_> = (0..3).map(|_| served(many, "127.12.1.1")).collect();
    let began = Instant::now();
    for _ in 0..50 {
        let mut stream = connect(many, "127.12.1.1");
        // As a DTU does: its TLS hello is on its way before it can have read anything.
        drop(stream.write_all(&[0x16; 500]));
        assert_eq!(read_to_end(&mut stream), "busyInf reason=address\n");
    }
    let seconds = began.elapsed().as_secs();
    assert_eq!(refused(&site, "a", "too_many_of_one_address"), 50);
    a.wait_for(&["connections are refused", "127.12.1.8", "address"]);
    drop(served(other, "127.12.1.1"));
    drop(held);
    until_served(many, "127.12.1.1");
    let lines = a.end().iter().filter(|line| line.contains("connections are refused")).count() as u64;
    assert!(lines <= seconds + 3, "{lines} lines in {seconds} seconds");
}

#[test]
fn a_client_that_sends_many_requests_at_once_and_reads_gets_as_many_answers() {
    let site = Site::new();
    let _a = start(&site, "a", "127.12.2.1", &[]);
    for requests in [66, 200] {
        let mut stream = connect(Ipv4Addr::new(127, 12, 2, 9), "127.12.2.1");
        stream.write_all("keepAliveReq\n".repeat(requests).as_bytes()).expect("it is connected");
        let answers = BufReader::new(&stream).lines().map_while(Result::ok).take(requests).count();
        assert_eq!(answers, requests);
    }
}

/// One address that begins every handshake there may be and ends none.
#[test]
fn stalled_handshakes_of_one_address_keep_no_other_address_waiting() {
    let site = Site::new();
    let _a = start(&site, "a", "127.12.3.1", &[]);
    let stalled: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = connect(Ipv4Addr::new(127, 12, 3, 8), "127.12.3.1");
            stream.write_all(&[0x16, 3, 1, 2, 0]).expect("it is connected");
            stream
        })
        .collect();
    let began = Instant::now();
    for _ in 0..5 {
        let output = tls_client(&site, Ipv4Addr::new(127, 12, 3, 9), "127.12.3.1");
        assert!(output.contains("keepAliveCnf"), "{output:?}");
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert!(refused(&site, "a", "handshake_crowded_out") >= 1);
    drop(stalled);
}

#[test]
fn silent_connections_of_one_address_are_evicted_for_newcomers_of_any() {
    let site = Site::new();
    // So few descriptors that the silent fill their pool at once.
    let _a = limited(&site, "a", "127.12.4.1", 160);
    let silent: Vec<_> = (0..200).map(|_| connect(Ipv4Addr::new(127, 12, 4, 8), "127.12.4.1")).collect();
    let began = Instant::now();
    for n in 9..14 {
        drop(served(Ipv4Addr::new(127, 12, 4, n), "127.12.4.1"));
    }
    drop(served(Ipv4Addr::new(127, 12, 4, 8), "127.12.4.1"));
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert!(refused(&site, "a", "silent_evicted") >= 1);
    drop(silent);
}

#[test]
fn a_host_out_of_descriptors_refuses_the_newest_and_goes_on_listening_and_announcing() {
    let site = Site::new();
    let b = start(&site, "b", "127.12.6.1", &[]);
    let a = limited(&site, "a", "127.12.5.1", 64);
    b.wait_for(&["host up", "host=a"]);
    let from = Ipv4Addr::new(127, 12, 5, 9);
    let mut held = Vec::new();
    let told = loop {
        let mut stream = connect(from, "127.12.5.1");
        stream.write_all(b"keepAliveReq\n").expect("it is connected");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("it answers");
        if line != "keepAliveCnf\n" {
            break line;
        }
        held.push(stream);
        assert!(held.len() < 64, "there must be an end");
    };
    assert!(told == "busyInf reason=host\n" || told == "busyInf reason=address\n", "{told:?}");
    // For longer than interfaces are looked at again, and than others take to miss a host.
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        for stream in held.iter_mut().take(4) {
            stream.write_all(b"keepAliveReq\n").expect("it is connected");
            let mut answer = [0; 13];
            stream.read_exact(&mut answer).expect("it is still served");
        }
        assert_eq!(site.standing("b", "a").as_deref(), Some("up"));
        // A client may say fifty lines a second for long.
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(held);
    until_served(from, "127.12.5.1");
    let log = a.end();
    assert!(!log.iter().any(|line| line.contains("no interface is up")), "{log:#?}");
}

#[test]
fn a_dtu_that_does_not_prove_the_key_it_shows_is_refused_and_counted_and_one_without_is_served() {
    let site = Site::new();
    let _a = start(&site, "a", "127.12.7.1", &[]);
    let identity = |byte| DtuIdentity::new(&DtuSecret::new([byte; 32])).expect("a key");
    let shown = |byte| {
        let resolver = identity(byte).prove(&trust(&site)).client_auth_cert_resolver.clone();
        let ed25519 = [rustls::SignatureScheme::ED25519];
        resolver.resolve(&[], &ed25519).expect("a certificate")
    };
    let (one, two) = (shown(1), shown(2));
    let junk = rustls::pki_types::CertificateDer::from(b"not a certificate".to_vec());
    let with = |chain: Vec<_>| {
        let shown = rustls::sign::CertifiedKey::new(chain, two.key.clone());
        let mut client = (*trust(&site)).clone();
        client.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(shown));
        Arc::new(client)
    };
    let (from, to) = (Ipv4Addr::new(127, 12, 7, 9), "127.12.7.1");
    let chains = [
        one.cert.clone(),
        vec![junk],
        [two.cert.clone(), one.cert.clone()].concat(),
        vec![two.cert[0].clone(); 300],
    ];
    for (n, chain) in (1..).zip(chains) {
        let answer = tls_lines(with(chain), from, to);
        assert!(answer.is_err(), "{answer:?}");
        assert_eq!(refused(&site, "a", "dtu_key_refused"), n);
    }
    for client in [identity(1).prove(&trust(&site)), with(two.cert.clone()), trust(&site)] {
        assert_eq!(tls_lines(client, from, to).expect("it is served"), "keepAliveCnf\n");
    }
}

/// A daemon that may open few files.
fn limited(site: &Site, name: &str, bind: &str, files: u32) -> Daemon {
    let command = site.command("keys", name, bind);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args()).arg("--plain");
    shell.stdin(std::process::Stdio::null()).env("HOTDESK_LOG", "info").env_remove("XDG_RUNTIME_DIR");
    Daemon::start(shell)
}

/// What a client over TLS is answered to one keepAliveReq.
fn tls_client(site: &Site, from: Ipv4Addr, to: &str) -> String {
    tls_lines(trust(site), from, to).expect("it answers")
}

fn tls_lines(client: Arc<rustls::ClientConfig>, from: Ipv4Addr, to: &str) -> std::io::Result<String> {
    let connection =
        rustls::ClientConnection::new(client, proto::io::tls::server_name()).expect("a configuration");
    let mut stream = rustls::StreamOwned::new(connection, connect(from, to));
    stream.write_all(b"keepAliveReq\n")?;
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line)?;
    Ok(line)
}

fn trust(site: &Site) -> Arc<rustls::ClientConfig> {
    proto::io::tls::client_of_ca(&ca(site)).expect("a CA")
}

fn ca(site: &Site) -> rustls::pki_types::CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::CertificateDer::from_pem_file(site.path("keys/ca.pem")).expect("a CA")
}
