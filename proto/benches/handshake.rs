//! What a TLS handshake costs each end, in memory on one core: without a key of the DTU, and with the kinds of keys that a
//! DTU may have. `cargo bench -p proto --bench handshake`.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a benchmark reads the clock and may end early"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::DtuKey;
use proto::io::tls::dtu::{self, DtuIdentity, DtuSecret};
use proto::io::tls::{client_of_ca, ephemeral, server_name};
use proto::io::{KeyDir, random};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

/// Handshakes of each kind in one round, and rounds: the kinds take turns.
const HANDSHAKES: u32 = 400;
const ROUNDS: usize = 9;

fn main() {
    // With `cargo test` only whether it runs.
    let (handshakes, rounds) =
        if std::env::args().any(|arg| arg == "--bench") { (HANDSHAKES, ROUNDS) } else { (2, 1) };
    let dir = std::env::temp_dir().join(format!("hotdesk-handshake-{}", std::process::id()));
    let keys = KeyDir::generate(&dir).expect("a key directory");
    let plain = keys.server_tls("a").expect("a server");
    let asking = keys.server_tls_for_dtus("a").expect("a server");
    let client = client_of_ca(&keys.ca).expect("a client");
    drop(std::fs::remove_dir_all(&dir));
    let ours = DtuIdentity::new(&DtuSecret::new(random())).expect("a key");
    let ((cert, key), _) = ephemeral().expect("a key");
    let p256 = DtuIdentity::of_cert(vec![cert], key).expect("a key");
    let kinds = [
        ("the host does not ask", &plain, Arc::clone(&client), false),
        ("it asks, the DTU has none", &asking, Arc::clone(&client), false),
        ("an Ed25519 key", &asking, ours.prove(&client), true),
        ("a P-256 key", &asking, p256.prove(&client), true),
    ];
    let mut times = vec![Vec::new(); kinds.len()];
    for _ in 0..rounds {
        for ((_, server, client, proves), times) in kinds.iter().zip(&mut times) {
            let (mut at_host, mut at_dtu) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..handshakes {
                let learned = shake_hands(client, server, &mut at_dtu, &mut at_host);
                assert_eq!(learned.is_some(), *proves);
            }
            times.push((at_host / handshakes, at_dtu / handshakes));
        }
    }
    println!("{:<28} {:>12} {:>12}", "µs, median of the rounds", "host", "DTU");
    for ((name, ..), times) in kinds.iter().zip(&times) {
        let median = |of: fn(&(Duration, Duration)) -> Duration| {
            let mut sorted: Vec<Duration> = times.iter().map(of).collect();
            sorted.sort();
            sorted[sorted.len() / 2].as_secs_f64() * 1e6
        };
        println!("{name:<28} {:>12.1} {:>12.1}", median(|t| t.0), median(|t| t.1));
    }
    let begun = Instant::now();
    for _ in 0..handshakes {
        DtuIdentity::new(&DtuSecret::new(random())).expect("a key");
    }
    println!(
        "{:<28} {:>12} {:>12.1}",
        "to make an Ed25519 identity",
        "",
        micros(begun.elapsed() / handshakes)
    );
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// One handshake, with the time that each end spends in it.
fn shake_hands(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    at_dtu: &mut Duration,
    at_host: &mut Duration,
) -> Option<DtuKey> {
    let begun = Instant::now();
    let mut c = ClientConnection::new(Arc::clone(client), server_name()).expect("a client");
    let mut wire = Vec::new();
    while c.wants_write() {
        c.write_tls(&mut wire).expect("memory");
    }
    *at_dtu += begun.elapsed();
    let begun = Instant::now();
    let mut s = ServerConnection::new(Arc::clone(server)).expect("a server");
    s.read_tls(&mut wire.as_slice()).expect("memory");
    s.process_new_packets().expect("a handshake");
    wire.clear();
    while s.wants_write() {
        s.write_tls(&mut wire).expect("memory");
    }
    *at_host += begun.elapsed();
    let begun = Instant::now();
    let mut rest = wire.as_slice();
    while !rest.is_empty() {
        c.read_tls(&mut rest).expect("memory");
        c.process_new_packets().expect("a handshake");
    }
    wire.clear();
    while c.wants_write() {
        c.write_tls(&mut wire).expect("memory");
    }
    *at_dtu += begun.elapsed();
    let begun = Instant::now();
    let mut rest = wire.as_slice();
    while !rest.is_empty() {
        s.read_tls(&mut rest).expect("memory");
        s.process_new_packets().expect("a handshake");
    }
    let learned = dtu::proved_by(s.peer_certificates());
    *at_host += begun.elapsed();
    assert!(!s.is_handshaking() && !c.is_handshaking());
    learned
}
