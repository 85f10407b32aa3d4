//! The bytes of every text message, as they go over the wire: a change here is a change of the protocol.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must stop")]

use std::net::Ipv4Addr;

use proto::alp::{
    Access, AnchorNote, BusyReason, Cause, ConnInf, DiscCause, Display, Event, FromDtu, FromHost, Grant,
    InfoReq, KeepAliveReq, Presented, ProtocolFault, RedirectInf, State, Terminal,
};
use proto::beacon::Beacon;
use proto::chain::ChainValue;
use proto::digest::{DigestPart, DigestVersion, ShortTag};
use proto::discovery::{ServerQ, ServerR};
use proto::frame::Size;
use proto::host_message::{HostMessage, Load, Vitals};
use proto::keys::{GroupKey, KeyRing, Purpose};
use proto::lack::{Lack, Lacks};
use proto::net::Interface;
use proto::peer::{COMING_PER_MESSAGE_MAX, LoadNote, PeerBody, PeerMessage, SessionNote};
use proto::ticket::{Ticket, TicketClaims};
use proto::time::Duration;
use proto::version::Version;
use proto::{BootId, Epoch, GrantId, KeyId, Last, Line, MachineId, Nonce, SessionId, StoreId, TokenTag};

fn ring() -> KeyRing {
    KeyRing::new(GroupKey::new(b"0123456789abcdef").unwrap(), Vec::new())
}

fn host_message() -> HostMessage {
    HostMessage {
        host: "mud".parse().unwrap(),
        addr: Ipv4Addr::new(129, 144, 127, 5),
        time: 950_739_941,
        numifs: 1,
        flags: 4,
        cpus: 2,
        clock: 248,
        interfaces: vec![Interface {
            name: "hme0".parse().unwrap(),
            ip: Ipv4Addr::new(129, 144, 127, 5),
            mask: Ipv4Addr::new(255, 255, 255, 0),
            bcast: Ipv4Addr::new(129, 144, 127, 255),
        }],
        vitals: Some(Vitals {
            ver: Version::CURRENT,
            boot: BootId(0x1f),
            seq: 7,
            iface: "hme0".parse().unwrap(),
            port: 7009,
            load: Load { run_queue: 35, mem_mib: 512, sessions: 3 },
            machine: MachineId(0xabc),
            rack: "r1".parse().unwrap(),
            site: "-".parse().unwrap(),
            drain: false,
            keep: true,
            plain: false,
            store: "10.0.0.9:7010".parse().unwrap(),
            store_id: None,
            lacks: Lacks::none(),
            up_ms: None,
        }),
    }
}

fn beacon() -> Beacon {
    Beacon {
        host: "mud".parse().unwrap(),
        ver: Version::CURRENT,
        boot: BootId(0x1f),
        seq: 12,
        iface: "hme0".parse().unwrap(),
        every: Duration::from_millis(100),
        load: 35,
        sessions: 3,
        drain: true,
        tick: 12,
        chain_value: ChainValue::from_bytes([0xab; 16]),
        digest: Some(DigestVersion { generation: 3, count: 129 }),
    }
}

#[test]
fn a_host_message_has_the_seeds_fields_first_then_ours_then_the_signature() {
    let bytes = ring().seal(Purpose::HostMessage, &host_message().to_line());
    assert_eq!(
        String::from_utf8(bytes.clone()).unwrap(),
        "host=mud addr=81907f05 time=950739941 numifs=1 flags=4 cpus=2 clock=248 interface=hme0 ip=81907f05 \
         mask=ffffff00 bcast=81907fff ver=2 boot=000000000000001f seq=7 if=hme0 port=7009 load=35 mem=512 sessions=3 \
         machine=0000000000000abc rack=r1 site=- drain=0 keep=1 store=10.0.0.9:7010 kid=4b44a974 \
         sig=e1bfa498015917b4605114ae1746e3da34068ddc"
    );
    let line = ring().open(Purpose::HostMessage, &bytes).unwrap().into_inner();
    assert_eq!(HostMessage::from_line(&line).unwrap(), host_message());
}

/// Older hosts ignore the key.
#[test]
fn a_host_message_names_the_data_store_once_it_is_known() {
    let mut message = host_message();
    message.vitals.as_mut().unwrap().store_id = Some(StoreId(0xab));
    let line = message.to_line();
    let told = "store=10.0.0.9:7010 storeid=000000000000000000000000000000ab";
    assert!(line.to_string().ends_with(told), "{line}");
    assert_eq!(HostMessage::from_line(&line).unwrap(), message);
}

/// Older hosts ignore the key.
#[test]
fn a_host_message_says_that_its_host_takes_plain_terminals() {
    let mut message = host_message();
    message.vitals.as_mut().unwrap().plain = true;
    let line = message.to_line();
    assert!(line.to_string().ends_with("store=10.0.0.9:7010 plain=1"), "{line}");
    assert_eq!(HostMessage::from_line(&line).unwrap(), message);
}

#[test]
fn what_a_host_lacks_and_how_long_it_runs_come_last_and_are_not_missed_in_an_older_message() {
    let mut lacking = host_message();
    if let Some(vitals) = &mut lacking.vitals {
        vitals.lacks = [Lack::Memory, Lack::Spawner].into_iter().collect();
        vitals.up_ms = Some(1_500);
    }
    let text = lacking.to_line().to_string();
    assert!(text.ends_with(" store=10.0.0.9:7010 lacks=spawner,memory up=1500"), "{text}");
    assert_eq!(HostMessage::from_line(&lacking.to_line()).unwrap(), lacking);
}

#[test]
fn a_beacon_is_a_short_signed_line() {
    let bytes = ring().seal(Purpose::Beacon, &beacon().to_line());
    assert_eq!(
        String::from_utf8(bytes.clone()).unwrap(),
        "beacon host=mud ver=2 boot=000000000000001f seq=12 if=hme0 every=100 load=35 sessions=3 drain=1 tick=12 \
         link=abababababababababababababababab dig=3.129 kid=4b44a974 sig=df92b5da98ba8f5f368100509b8bcfd4c24b2824"
    );
    let line = ring().open(Purpose::Beacon, &bytes).unwrap().into_inner();
    assert_eq!(Beacon::from_line(&line).unwrap(), beacon());
}

#[test]
fn what_hosts_say_to_each_other() {
    let note = SessionNote {
        session: SessionId(5),
        epoch: Epoch { generation: 1, counter: 2 },
        last: Last(1_700_000_000_123),
    };
    let all = [
        (
            PeerBody::HostQ { to: BootId(2), nonce: Nonce(3) },
            "hostQ host=a boot=0000000000000001 to=0000000000000002 nonce=00000000000000000000000000000003",
        ),
        (
            PeerBody::HostR { to: BootId(2), nonce: Nonce(3) },
            "hostR host=a boot=0000000000000001 to=0000000000000002 nonce=00000000000000000000000000000003",
        ),
        (
            PeerBody::TokenQ { seq: 4, nonce: Nonce(3), tagged: KeyId(0x4b44_a974), token: TokenTag(9) },
            "tokenQ host=a boot=0000000000000001 seq=4 nonce=00000000000000000000000000000003 tagged=4b44a974 \
             token=00000000000000000000000000000009",
        ),
        (
            token_r(None, vec![note], false),
            "tokenR host=a boot=0000000000000001 seq=4 nonce=00000000000000000000000000000003 \
             grant=00000000000000000000000000000008 n=1 session=00000000000000000000000000000005 epoch=1.2 \
             last=1700000000123",
        ),
        (
            PeerBody::Shown { tagged: KeyId(1), tokens: vec![(TokenTag(9), Last(7))] },
            "shown host=a boot=0000000000000001 tagged=00000001 n=1 token=00000000000000000000000000000009 last=7",
        ),
        (
            PeerBody::Digest(DigestPart {
                tagged: KeyId(1),
                version: DigestVersion { generation: 3, count: 130 },
                number: 1,
                tags: vec![ShortTag(0xbeef), ShortTag(u32::MAX)],
            }),
            "digest host=a boot=0000000000000001 tagged=00000001 dig=3.130 part=1 tags=0000beefffffffff",
        ),
        (
            PeerBody::DigestQ { to: BootId(2), parts: vec![0, 7] },
            "digestQ host=a boot=0000000000000001 to=0000000000000002 part=0 part=7",
        ),
        (PeerBody::Goodbye, "goodbye host=a boot=0000000000000001"),
    ];
    are_said_as(all);
}

fn token_r(load: Option<LoadNote>, sessions: Vec<SessionNote>, keeps: bool) -> PeerBody {
    PeerBody::TokenR { seq: 4, nonce: Nonce(3), grant: GrantId(8), load, sessions, keeps }
}

#[test]
fn what_hosts_say_of_new_sessions() {
    are_said_as([
        (
            token_r(
                Some(LoadNote {
                    load: Load { run_queue: 150, mem_mib: 900, sessions: 7 },
                    drain: true,
                    plain: Some(false),
                }),
                Vec::new(),
                true,
            ),
            "tokenR host=a boot=0000000000000001 seq=4 nonce=00000000000000000000000000000003 \
             grant=00000000000000000000000000000008 n=0 keeps=1 load=150 mem=900 sessions=7 drain=1 plain=0",
        ),
        (
            PeerBody::Coming { grants: vec![GrantId(8), GrantId(9)] },
            "coming host=a boot=0000000000000001 grant=00000000000000000000000000000008 \
             grant=00000000000000000000000000000009",
        ),
    ]);
}

#[test]
fn a_message_that_tells_of_no_desk_or_of_too_many_is_refused() {
    let coming = |n: usize| {
        let grants = " grant=00000000000000000000000000000008".repeat(n);
        PeerMessage::from_line(&format!("coming host=a boot=0000000000000001{grants}").parse().unwrap())
    };
    assert!(coming(0).is_err() && coming(COMING_PER_MESSAGE_MAX + 1).is_err());
    assert!(coming(COMING_PER_MESSAGE_MAX).is_ok());
}

fn are_said_as(all: impl IntoIterator<Item = (PeerBody, &'static str)>) {
    for (body, golden) in all {
        let message = PeerMessage { host: "a".parse().unwrap(), boot: BootId(1), body };
        assert_eq!(message.to_line().to_string(), golden);
        assert_eq!(PeerMessage::from_line(&golden.parse().unwrap()).unwrap(), message);
    }
}

#[test]
fn a_part_of_a_digest_fits_a_datagram_and_holds_as_many_tags_as_its_version_says() {
    let version = DigestVersion { generation: u32::MAX, count: 65_536 };
    let tags = vec![ShortTag(u32::MAX); 128];
    let part = DigestPart { tagged: KeyId(u32::MAX), version, number: 511, tags };
    let host = "h".repeat(63).parse().unwrap();
    let message = PeerMessage { host, boot: BootId(u64::MAX), body: PeerBody::Digest(part) };
    assert!(ring().seal(Purpose::Peer, &message.to_line()).len() <= proto::host_message::DATAGRAM_MAX);
    let text = message.to_line().to_string();
    for bad in [
        text.replace("part=511", "part=512"),
        text.replace("65536", "65535"),
        text.replace("tags=f", "tags=x"),
        "digestQ host=a boot=0000000000000001 to=0000000000000002".to_owned(),
        "digestQ host=a boot=0000000000000001 to=0000000000000002 part=512".to_owned(),
        format!("digestQ host=a boot=0000000000000001 to=0000000000000002{}", " part=1".repeat(65)),
    ] {
        assert_ne!(bad, text);
        let line: Line = bad.parse().unwrap();
        assert!(PeerMessage::from_line(&line).is_err(), "{bad}");
    }
}

#[test]
fn discovery() {
    let q = ServerQ { sn: "080020abcdef".parse().unwrap(), ip: Ipv4Addr::new(192, 0, 2, 10) };
    assert_eq!(q.to_line().to_string(), "serverQ sn=080020abcdef ip=c000020a");
    assert_eq!(ServerQ::from_line(&q.to_line()).unwrap(), q);
    let r = ServerR {
        host: "a".parse().unwrap(),
        ip: Ipv4Addr::new(192, 0, 2, 1),
        port: 7009,
        load: 12,
        drain: false,
        plain: false,
    };
    assert_eq!(r.to_line().to_string(), "serverR host=a ip=c0000201 port=7009 load=12 drain=0");
    assert_eq!(ServerR::from_line(&r.to_line()).unwrap(), r);
    let r = ServerR { plain: true, ..r };
    assert_eq!(r.to_line().to_string(), "serverR host=a ip=c0000201 port=7009 load=12 drain=0 plain=1");
    assert_eq!(ServerR::from_line(&r.to_line()).unwrap(), r);
}

fn terminal() -> Terminal {
    Terminal {
        fw: Some("GUI4.2".into()),
        hw: Some("SunRayP8".into()),
        sn: Some("080020abcdef".parse().unwrap()),
        namespace: Some("IEEE802".into()),
        pn: Some(32_770),
        state: Some(State::Disconnected),
    }
}

const TERMINAL: &str =
    "_=1 fw=GUI4.2 hw=SunRayP8 sn=080020abcdef namespace=IEEE802 pn=32770 state=disconnected";

fn info_req() -> InfoReq {
    InfoReq {
        event: Event::Insert,
        presented: Presented { kind: "pseudo".into(), id: "080020abcdef".into() },
        cause: Some(Cause::Insert),
        token_seq: Some(1.into()),
        start_res: Some(proto::frame::Pixels { width: 1280, height: 1024 }),
        real_ip: Some(Ipv4Addr::new(192, 0, 2, 10)),
        redirect_props: None,
        atr: None,
        size: Some(Size { cols: 80, rows: 24 }),
        avoid: Some("b".parse().unwrap()),
    }
}

#[test]
fn what_a_dtu_says() {
    let all = [
        (
            FromDtu::InfoReq(info_req()),
            "infoReq event=insert type=pseudo id=080020abcdef cause=insert tokenSeq=1 startRes=1280x1024 \
             realIP=c000020a size=80x24 avoid=b",
        ),
        (FromDtu::ConnRsp { access: Access::Allowed }, "connRsp access=allowed"),
        (FromDtu::DiscRsp, "discRsp"),
        (
            FromDtu::DiscReq { cause: Some(DiscCause::KeepAliveExpiry) },
            "discReq cause=keepAliveExpiry type=unknown",
        ),
        (
            FromDtu::KeepAliveReq(KeepAliveReq {
                byte_count: Some(9),
                idle_time: Some(0),
                ..KeepAliveReq::default()
            }),
            "keepAliveReq byteCount=9 idleTime=0",
        ),
        (FromDtu::KeepAliveRsp, "keepAliveRsp"),
        (
            FromDtu::InfoSmartCard {
                tag: "t".into(),
                success: true,
                data: "beef".into(),
                status: "9000".into(),
            },
            "infoSmartCard tag=t apdu_result=1 rec_data=beef rec_len=2 status=9000",
        ),
        (
            FromDtu::ProtocolErrorReq { cause: Some(ProtocolFault::Redirect) },
            "protocolErrorReq cause=redirectError",
        ),
    ];
    for (message, golden) in all {
        let line = message.to_line(&terminal());
        assert_eq!(line.to_string(), format!("{golden} {TERMINAL}"));
        assert_eq!(FromDtu::from_line(&line).unwrap(), message);
        let mut merged = Terminal::default();
        merged.merge(&line);
        assert_eq!(merged, terminal());
    }
}

#[test]
fn the_protocol_sheets_example_of_an_info_req_is_read() {
    let line: Line =
        "infoReq _=1 event=insert type=pseudo id=080020abcdef namespace=IEEE802 fw=GUI4.2 hw=SunRayP8 \
                      sn=080020abcdef pn=32770 state=disconnected cause=insert initState=1 \
                      startRes=1280x1024:1280x1024 tokenSeq=1 realIP=C000020A MTU=1500"
            .parse()
            .unwrap();
    let FromDtu::InfoReq(info) = FromDtu::from_line(&line).unwrap() else { panic!() };
    assert_eq!(info, InfoReq { size: None, avoid: None, ..info_req() });
}

#[test]
fn an_odd_number_in_a_field_that_only_informs_fails_nothing() {
    let line: Line =
        "infoReq event=insert type=card id=7 tokenSeq=x startRes=big realIP=zz pn=99999 cause=why"
            .parse()
            .unwrap();
    let FromDtu::InfoReq(info) = FromDtu::from_line(&line).unwrap() else { panic!() };
    // A foreign terminal's number is its own affair, and is given back as it came.
    assert_eq!(info.token_seq.map(|seq| seq.to_string()).as_deref(), Some("x"));
    assert_eq!((info.start_res, info.real_ip, info.cause), (None, None, None));
    assert!(
        FromDtu::from_line(&"infoReq event=insert type=card".parse().unwrap()).is_err(),
        "no id means nothing"
    );
    assert!(matches!(FromDtu::from_line(&"newThing a=1".parse().unwrap()).unwrap(), FromDtu::Other(_)));
}

fn redirect() -> RedirectInf {
    RedirectInf {
        addr: "192.0.2.11:7009".parse().unwrap(),
        props: Some("x.y".into()),
        host: Some("b".parse().unwrap()),
        token_seq: Some(3.into()),
    }
}

#[test]
fn what_a_host_says_that_takes_no_connection() {
    for (reason, text) in
        [(BusyReason::Address, "busyInf reason=address"), (BusyReason::Host, "busyInf reason=host")]
    {
        let said = FromHost::BusyInf { reason: Some(reason) };
        assert_eq!(said.to_line().to_string(), text);
        assert_eq!(FromHost::from_line(&Line::parse(text.as_bytes()).unwrap()), Ok(said));
    }
    let later = Line::parse(b"busyInf reason=moon").unwrap();
    assert_eq!(FromHost::from_line(&later), Ok(FromHost::BusyInf { reason: None }));
}

fn granted() -> FromHost {
    let anchor = AnchorNote {
        boot: BootId(1),
        tick: 42,
        chain_value: ChainValue::from_bytes([0xab; 16]),
        every: Duration::from_millis(100),
    };
    let display = Display {
        addr: "192.0.2.1:7009".parse().unwrap(),
        session: SessionId(5),
        service: "terminal".parse().unwrap(),
        ticket: Nonce(6),
        fp: [0xcd; 32],
    };
    let (standbys, displays) = (vec!["b@192.0.2.2:7009".parse().unwrap()], vec![display]);
    let cookie = "1.7/42:a:b".parse().ok();
    let grant = Grant { host: "a".parse().unwrap(), standbys, anchor, cookie, displays, displays_total: 1 };
    FromHost::ConnInf(Box::new(ConnInf {
        token_seq: 1.into(),
        access: Access::Allowed,
        token: Some("card.1".parse().unwrap()),
        grant: Some(grant),
        notice: None,
    }))
}

#[test]
fn what_a_host_says() {
    let (fp, standby) = ("cd".repeat(32), "b@192.0.2.2:7009".parse().unwrap());
    let all = [
        (
            granted(),
            format!(
                "connInf tokenSeq=1 access=allowed module=StartSession.m3 token=card.1 useReal=true encUpType=none \
                 encDownType=none host=a anchor=0000000000000001:42:abababababababababababababababab:100 \
                 cookie=1.7/42:a:b server=b@192.0.2.2:7009 display=192.0.2.1:7009 session=00000000000000000000000000000005 \
                 service=terminal ticket=00000000000000000000000000000006 fp={fp}"
            ),
        ),
        (
            FromHost::DiscInf { token_seq: Some(1.into()), cause: Some("shownElsewhere".into()) },
            "discInf access=denied tokenSeq=1 cause=shownElsewhere".into(),
        ),
        (FromHost::KeepAliveCnf, "keepAliveCnf".into()),
        (
            FromHost::KeepAliveInf { anchor: None, standbys: vec![standby], cookie: "1.7/43:a".parse().ok() },
            "keepAliveInf cookie=1.7/43:a server=b@192.0.2.2:7009".into(),
        ),
        (
            FromHost::RedirectInf(redirect()),
            "redirectInf authipa=c000020b authport=7009 redirectProps=x.y host=b tokenSeq=3".into(),
        ),
        (
            FromHost::ControlSmartCard {
                tag: "t".into(),
                head: "00880000".into(),
                tdata: "ff".into(),
                rlen: 32,
            },
            "controlSmartCard tag=t command=apduInf head=00880000 tdata=ff rlen=32".into(),
        ),
        (FromHost::Notice("please wait".into()), "notice text=please\\ wait".into()),
    ];
    for (message, golden) in all {
        assert_eq!(message.to_line().to_string(), golden);
        assert_eq!(FromHost::from_line(&golden.parse().unwrap()).unwrap(), message);
    }
}

#[test]
fn what_alone_suffices_for_a_real_terminal_is_read() {
    let line: Line = "connInf tokenSeq=1 module=StartSession.m3 access=allowed".parse().unwrap();
    let FromHost::ConnInf(conn) = FromHost::from_line(&line).unwrap() else { panic!() };
    assert_eq!((conn.access, conn.grant), (Access::Allowed, None));
    let line: Line = "redirectInf authipa=C000020B authport=7009".parse().unwrap();
    let FromHost::RedirectInf(redirect) = FromHost::from_line(&line).unwrap() else { panic!() };
    assert_eq!((redirect.addr.to_string(), redirect.props), ("192.0.2.11:7009".into(), None));
    assert_eq!(redirect.token_seq, None);
}

#[test]
fn a_ticket() {
    let claims = TicketClaims {
        grant: GrantId(8),
        token: "card.1".parse().unwrap(),
        session: None,
        serial: "080020abcdef".parse().unwrap(),
        target: "b".parse().unwrap(),
        boot: BootId(2),
    };
    let ticket = Ticket::issue(&ring(), &claims).unwrap().to_string();
    assert_eq!(&ticket[..44], "4b44a974.00000000000000000000000000000008.-.");
    assert_eq!(ticket.len(), 84);
}
