//! Whatever is put into a message comes out of it, and no bytes make a reader panic.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must stop")]

use std::net::Ipv4Addr;

use proptest::prelude::*;
use proto::alp::{FromDtu, FromHost};
use proto::beacon::Beacon;
use proto::chain::ChainValue;
use proto::digest::{DigestPart, DigestVersion, PARTS_ASKED_MAX, PARTS_MAX, ShortTag, TAGS_MAX};
use proto::discovery::{ServerQ, ServerR};
use proto::host_message::{HostMessage, Load, Vitals};
use proto::keys::{GroupKey, KeyRing, Purpose};
use proto::line::Line;
use proto::net::Interface;
use proto::peer::{
    COMING_PER_MESSAGE_MAX, LoadNote, PeerBody, PeerMessage, SESSIONS_PER_TOKEN_MAX, SHOWN_PER_MESSAGE_MAX,
    SessionNote,
};
use proto::ticket::Ticket;
use proto::time::Duration;
use proto::version::Version;
use proto::{BootId, Epoch, GrantId, KeyId, Last, MachineId, Nonce, SessionId, StoreId, TokenTag};

fn ring() -> KeyRing {
    KeyRing::new(GroupKey::new(b"0123456789abcdef").unwrap(), Vec::new())
}

prop_compose! {
    fn interface()(name in "[a-z][a-z0-9.@:]{0,14}", ip: u32, mask: u32, bcast: u32) -> Interface {
        Interface {
            name: name.parse().unwrap(),
            ip: Ipv4Addr::from_bits(ip),
            mask: Ipv4Addr::from_bits(mask),
            bcast: Ipv4Addr::from_bits(bcast),
        }
    }
}

prop_compose! {
    fn vitals()(
        boot: u64, seq: u64, port: u16, run_queue: u32, mem_mib: u32, sessions: u32, machine: u64,
        store_id: Option<u128>,
        drain: bool, keep: bool, lacks: u16, up_ms: Option<u64>, rack in "[!-<>-\\[\\]-~]{1,40}", iface in "[a-z][a-z0-9]{0,14}",
    ) -> Vitals {
        Vitals {
            ver: Version::CURRENT,
            boot: BootId(boot),
            seq,
            iface: iface.parse().unwrap(),
            port,
            load: Load { run_queue, mem_mib, sessions },
            machine: MachineId(machine),
            rack: rack.parse().unwrap(),
            site: "-".parse().unwrap(),
            drain,
            keep,
            plain: keep != drain,
            store: "10.0.0.1:7010".parse().unwrap(),
            store_id: store_id.map(StoreId),
            lacks: proto::lack::Lack::ALL.into_iter().filter(|lack| lacks & (1 << *lack as u16) != 0).collect(),
            up_ms,
        }
    }
}

prop_compose! {
    fn host_message()(
        host in "[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}", addr: u32, time: u64, numifs: u16, flags: u32, cpus: u16,
        clock: u32, interfaces in proptest::collection::vec(interface(), 0..8), vitals in proptest::option::of(vitals()),
    ) -> HostMessage {
        HostMessage {
            host: host.parse().unwrap(),
            addr: Ipv4Addr::from_bits(addr),
            time, numifs, flags, cpus, clock, interfaces, vitals,
        }
    }
}

prop_compose! {
    fn version()(generation: u32, count in 0..=TAGS_MAX as u32) -> DigestVersion {
        DigestVersion { generation, count }
    }
}

prop_compose! {
    fn digest_part()(
        version in version().prop_filter("empty", |version| version.count > 0), which: u16, tagged: u32, first: u32,
    ) -> DigestPart {
        let number = which % u16::try_from(version.parts()).unwrap();
        let tags = (0..version.len_of(number) as u32).map(|n| ShortTag(first.wrapping_mul(n + 1)));
        DigestPart { tagged: KeyId(tagged), version, number, tags: tags.collect() }
    }
}

prop_compose! {
    fn beacon()(
        host in "[a-z]{1,63}", boot: u64, seq: u64, every in 1_u64..=10_000, load: u32, sessions: u32, drain: bool,
        tick: u64, link: [u8; 16], digest in proptest::option::of(version()),
    ) -> Beacon {
        Beacon {
            host: host.parse().unwrap(),
            ver: Version::CURRENT,
            boot: BootId(boot),
            seq,
            iface: "eth0".parse().unwrap(),
            every: Duration::from_millis(every),
            load, sessions, drain, tick,
            chain_value: ChainValue::from_bytes(link),
            digest,
        }
    }
}

fn note() -> impl Strategy<Value = SessionNote> {
    (any::<u128>(), any::<u32>(), any::<u32>(), any::<u64>()).prop_map(
        |(session, generation, counter, last)| SessionNote {
            session: SessionId(session),
            epoch: Epoch { generation, counter },
            last: Last(last),
        },
    )
}

fn load_note() -> impl Strategy<Value = LoadNote> {
    (any::<u32>(), any::<u32>(), any::<u32>(), any::<bool>(), any::<Option<bool>>()).prop_map(
        |(run_queue, mem_mib, sessions, drain, plain)| LoadNote {
            load: Load { run_queue, mem_mib, sessions },
            drain,
            plain,
        },
    )
}

fn peer_body() -> impl Strategy<Value = PeerBody> {
    prop_oneof![
        digest_part().prop_map(PeerBody::Digest),
        (any::<u64>(), proptest::collection::vec(0..PARTS_MAX as u16, 1..=PARTS_ASKED_MAX))
            .prop_map(|(to, parts)| PeerBody::DigestQ { to: BootId(to), parts }),
        (any::<u64>(), any::<u128>()).prop_map(|(to, n)| PeerBody::HostQ { to: BootId(to), nonce: Nonce(n) }),
        (any::<u64>(), any::<u128>()).prop_map(|(to, n)| PeerBody::HostR { to: BootId(to), nonce: Nonce(n) }),
        (any::<u64>(), any::<u128>(), any::<u32>(), any::<u128>()).prop_map(|(seq, n, kid, tag)| {
            PeerBody::TokenQ { seq, nonce: Nonce(n), tagged: KeyId(kid), token: TokenTag(tag) }
        }),
        (
            any::<u64>(),
            any::<u128>(),
            any::<u128>(),
            proptest::option::of(load_note()),
            proptest::collection::vec(note(), 0..=SESSIONS_PER_TOKEN_MAX),
            any::<bool>()
        )
            .prop_map(|(seq, n, grant, load, sessions, keeps)| PeerBody::TokenR {
                seq,
                nonce: Nonce(n),
                grant: GrantId(grant),
                load,
                sessions,
                keeps
            }),
        proptest::collection::vec(any::<u128>(), 1..=COMING_PER_MESSAGE_MAX)
            .prop_map(|grants| PeerBody::Coming { grants: grants.into_iter().map(GrantId).collect() }),
        (any::<u32>(), proptest::collection::vec((any::<u128>(), any::<u64>()), 0..=SHOWN_PER_MESSAGE_MAX))
            .prop_map(|(kid, tokens)| PeerBody::Shown {
                tagged: KeyId(kid),
                tokens: tokens.into_iter().map(|(tag, last)| (TokenTag(tag), Last(last))).collect(),
            }),
        Just(PeerBody::Goodbye),
    ]
}

proptest! {
    #[test]
    fn a_host_message_comes_through_sealed_or_not(message in host_message()) {
        let line = message.to_line();
        prop_assert_eq!(HostMessage::from_line(&line.to_string().parse().unwrap()).unwrap(), message.clone());
        let opened = ring().open(Purpose::HostMessage, &ring().seal(Purpose::HostMessage, &line));
        if line.to_string().len() <= proto::line::LINE_MAX {
            prop_assert_eq!(HostMessage::from_line(opened.unwrap().get()).unwrap(), message);
        }
    }

    #[test]
    fn a_beacon_comes_through(beacon in beacon()) {
        let bytes = ring().seal(Purpose::Beacon, &beacon.to_line());
        let line = ring().open(Purpose::Beacon, &bytes).unwrap();
        prop_assert_eq!(Beacon::from_line(line.get()).unwrap(), beacon);
    }

    #[test]
    fn what_hosts_say_comes_through_and_fits_a_datagram(body in peer_body(), boot: u64) {
        let message = PeerMessage { host: "h".repeat(63).parse().unwrap(), boot: BootId(boot), body };
        let bytes = ring().seal(Purpose::Peer, &message.to_line());
        prop_assert!(bytes.len() <= proto::host_message::DATAGRAM_MAX, "{} bytes", bytes.len());
        let line = ring().open(Purpose::Peer, &bytes).unwrap();
        prop_assert_eq!(PeerMessage::from_line(line.get()).unwrap(), message);
    }

    #[test]
    fn no_line_makes_a_reader_panic(
        command in "(host|beacon|hostQ|tokenQ|tokenR|coming|shown|serverQ|serverR|infoReq|connInf|redirectInf|keepAliveInf|connRsp|discInf|controlSmartCard|infoSmartCard)?",
        pairs in proptest::collection::vec((
            "(host|addr|time|numifs|interface|ip|mask|bcast|ver|boot|seq|if|every|n|session|epoch|last|token|tagged|tokenSeq|access|anchor|server|display|service|ticket|fp|event|type|id|size|startRes|authipa|authport|head|sn)",
            "([0-9a-f]{0,40}|[ -~]{0,20})",
        ), 0..20),
    ) {
        let mut line = Line::new(&command);
        for (key, value) in pairs {
            line.push(&key, value);
        }
        let _ = HostMessage::from_line(&line);
        let _ = Beacon::from_line(&line);
        let _ = PeerMessage::from_line(&line);
        let _ = ServerQ::from_line(&line);
        let _ = ServerR::from_line(&line);
        let _ = FromDtu::from_line(&line);
        let _ = FromHost::from_line(&line);
    }

    #[test]
    fn no_datagram_makes_a_key_ring_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[ -~]{0,200}") {
        let _ = ring().open(Purpose::Peer, &bytes);
        let _ = ring().open(Purpose::Peer, text.as_bytes());
        let _ = text.parse::<Ticket>();
    }
}
