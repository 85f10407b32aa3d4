//! How many host messages and beacons one core can read and believe in a second, as the daemon does it: the
//! signature is checked over the datagram, and only then is it read. Beside it the bare HMAC of the same
//! bytes, which no implementation can be faster than.
#![allow(
    clippy::disallowed_types,
    clippy::expect_used,
    reason = "a benchmark reads the clock and may end early"
)]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use proto::beacon::{self, Beacon};
use proto::chain::Chain;
use proto::host_message::{HostMessage, Load, Vitals};
use proto::keys::{GroupKey, KeyRing, Purpose};
use proto::net::Interface;
use proto::version::Version;
use proto::{BootId, MachineId};
use sha1::Sha1;

/// How long each line of the table is measured.
const MEASURE: Duration = Duration::from_secs(1);

fn main() {
    let key = GroupKey::new(&[7; 32]).expect("a key of 256 bits");
    let ring = KeyRing::new(key, vec![GroupKey::new(&[8; 32]).expect("a key of 256 bits")]);
    println!("{:<32} {:>6} {:>12} {:>12} {:>7}", "one core", "bytes", "per second", "bare HMAC", "ratio");
    let beacon = ring.seal(Purpose::Beacon, &sample_beacon().to_line());
    report("beacon", &beacon, || {
        let line = ring.open(Purpose::Beacon, black_box(&beacon)).expect("signed by the ring");
        line.try_map(|line| Beacon::from_line(&line)).expect("a beacon").get().seq
    });
    for interfaces in [1, 2, 8] {
        let message = ring.seal(Purpose::HostMessage, &sample_message(interfaces).to_line());
        report(&format!("host message, {interfaces} interfaces"), &message, || {
            let line = ring.open(Purpose::HostMessage, black_box(&message)).expect("signed by the ring");
            line.try_map(|line| HostMessage::from_line(&line)).expect("a host message").get().time
        });
    }
    let stranger = KeyRing::new(GroupKey::new(&[9; 32]).expect("a key of 256 bits"), Vec::new());
    let foreign = stranger.seal(Purpose::Beacon, &sample_beacon().to_line());
    report("beacon of a stranger, refused", &foreign, || {
        u64::from(ring.open(Purpose::Beacon, black_box(&foreign)).is_err())
    });
}

fn report(what: &str, bytes: &[u8], read: impl FnMut() -> u64) {
    let rate = rate(read);
    let mac = <Hmac<Sha1> as hmac::KeyInit>::new_from_slice(&[7; 32]).expect("any length will do");
    let bare = self::rate(|| {
        let tag = mac.clone().chain_update(black_box(bytes)).finalize().into_bytes();
        u64::from(tag[0])
    });
    println!("{what:<32} {:>6} {rate:>12.0} {bare:>12.0} {:>6.1}%", bytes.len(), 100.0 * rate / bare);
}

/// Calls in a second of the processor's time, after a tenth of that to warm up.
fn rate(mut call: impl FnMut() -> u64) -> f64 {
    let mut run = |time: Duration| {
        let (began, mut calls) = (processor_time(), 0_u32);
        loop {
            for _ in 0..1000 {
                black_box(call());
            }
            calls += 1000;
            let spent = processor_time().saturating_sub(began);
            if spent >= time {
                return f64::from(calls) / spent.as_secs_f64();
            }
        }
    };
    run(MEASURE / 10);
    run(MEASURE)
}

/// What this thread has had of a processor, whatever else the machine does.
fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("the kernel keeps accounts");
    let micros = |time: TimeVal| Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0));
    micros(usage.user_time()) + micros(usage.system_time())
}

fn sample_beacon() -> Beacon {
    let mut chain = Chain::new([3; 16], 1000);
    Beacon {
        host: "server-17".parse().expect("a name"),
        ver: Version::CURRENT,
        boot: BootId(0x1234_5678_9abc_def0),
        seq: 123_456,
        iface: "enp3s0".parse().expect("a name"),
        every: beacon::INTERVAL,
        load: 125,
        sessions: 42,
        drain: false,
        tick: 500,
        chain_value: chain.reveal(500).expect("a chain of 1000 links"),
        digest: None,
    }
}

fn sample_message(interfaces: u8) -> HostMessage {
    let interface = |n: u8| Interface {
        name: format!("enp{n}s0").parse().expect("a name"),
        ip: Ipv4Addr::new(10, 0, n, 17),
        mask: Ipv4Addr::new(255, 255, 255, 0),
        bcast: Ipv4Addr::new(10, 0, n, 255),
    };
    HostMessage {
        host: "server-17".parse().expect("a name"),
        addr: Ipv4Addr::new(10, 0, 0, 17),
        time: 1_700_000_000,
        numifs: u16::from(interfaces),
        flags: 0,
        cpus: 16,
        clock: 2600,
        interfaces: (0..interfaces).map(interface).collect(),
        vitals: Some(Vitals {
            ver: Version::CURRENT,
            boot: BootId(0x1234_5678_9abc_def0),
            seq: 77,
            iface: "enp0s0".parse().expect("a name"),
            port: proto::PORT,
            load: Load { run_queue: 125, mem_mib: 64_000, sessions: 42 },
            machine: MachineId(99),
            rack: "r4".parse().expect("a label"),
            site: "north".parse().expect("a label"),
            drain: false,
            keep: false,
            plain: false,
            store: "10.9.0.1:7010".parse().expect("a label"),
            store_id: Some(proto::StoreId(7)),
            lacks: proto::lack::Lacks::none(),
            up_ms: None,
        }),
    }
}
