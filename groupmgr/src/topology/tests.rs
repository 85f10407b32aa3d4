use std::net::SocketAddrV4;

use proto::MachineId;
use proto::WallTime;
use proto::chain::ChainValue;
use proto::host_message::{Load, Vitals};
use proto::keys::{GroupKey, KeyRing, Purpose};
use proto::line::Line;
use proto::net::Interface;
use proto::version::Version;

use super::*;
use crate::announce::Identity;

const MUD: &str = "host=mud addr=81907f05 time=950739941 numifs=2 flags=4 cpus=2 clock=248 \
                   interface=hme0 ip=81907f05 mask=ffffff00 bcast=81907fff \
                   interface=ge0 ip=c0a88003 mask=ffffff00 bcast=c0a880ff";

fn ring() -> KeyRing {
    KeyRing::new(GroupKey::new(&[1; 32]).unwrap(), Vec::new())
}

fn eth0() -> IfName {
    "eth0".parse().unwrap()
}

fn from() -> SocketAddrV4 {
    "10.0.0.2:7009".parse().unwrap()
}

fn at(now: Instant, iface: &IfName) -> Arrival<'_> {
    Arrival { now, wall: WallTime::from_secs(950_739_941), iface, from: from() }
}

fn secs(n: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(n)
}

fn ms(n: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(n)
}

fn message(host: &str, boot: u64, seq: u64) -> Verified<HostMessage> {
    let interface = Interface {
        name: eth0(),
        ip: [10, 0, 0, 2].into(),
        mask: [255, 255, 255, 0].into(),
        bcast: [10, 0, 0, 255].into(),
    };
    let message = HostMessage {
        host: host.parse().unwrap(),
        addr: interface.ip,
        time: 950_739_941,
        numifs: 1,
        flags: 0,
        cpus: 2,
        clock: 2_000,
        interfaces: vec![interface],
        vitals: Some(Vitals {
            ver: Version::CURRENT,
            boot: BootId(boot),
            seq,
            iface: eth0(),
            port: 7009,
            load: Load::default(),
            machine: MachineId(1),
            rack: "-".parse().unwrap(),
            site: "-".parse().unwrap(),
            drain: false,
            keep: false,
            plain: false,
            store: "-".parse().unwrap(),
            store_id: None,
            lacks: proto::lack::Lacks::none(),
            up_ms: None,
        }),
    };
    let bytes = ring().seal(Purpose::HostMessage, &message.to_line());
    let line = ring().open(Purpose::HostMessage, &bytes).unwrap();
    line.try_map(|line| HostMessage::from_line(&line)).unwrap()
}

fn identity() -> Identity {
    Identity { chain_len: 256, ..Identity::new("a".parse().unwrap(), BootId(1), MachineId(1)) }
}

fn beacon(host: &str, boot: u64, seq: u64) -> Verified<Beacon> {
    beacon_every(proto::beacon::INTERVAL, host, boot, seq)
}

fn beacon_every(every: Duration, host: &str, boot: u64, seq: u64) -> Verified<Beacon> {
    let beacon = Beacon {
        host: host.parse().unwrap(),
        ver: Version::CURRENT,
        boot: BootId(boot),
        seq,
        iface: eth0(),
        every,
        load: 10,
        sessions: 0,
        drain: false,
        tick: seq,
        chain_value: ChainValue::from_bytes([0; 16]),
        digest: None,
    };
    let bytes = ring().seal(Purpose::Beacon, &beacon.to_line());
    ring().open(Purpose::Beacon, &bytes).unwrap().try_map(|line| Beacon::from_line(&line)).unwrap()
}

struct Table {
    table: Topology,
    entropy: SecretRng,
}

impl Table {
    fn new() -> Self {
        Self { table: Topology::new("a".parse().unwrap(), BootId(0xa)), entropy: SecretRng::new([7; 32]) }
    }

    fn say(&mut self, now: Instant, m: &Verified<HostMessage>) -> Result<(), Ignored> {
        let iface = eth0();
        self.table.on_message(at(now, &iface), m, &mut self.entropy)
    }

    fn beacon(&mut self, now: Instant, b: &Verified<Beacon>) -> Result<(), Ignored> {
        let iface = eth0();
        self.table.on_beacon(at(now, &iface), b, &mut self.entropy)
    }

    /// The proofs asked for by `now`.
    fn asked(&mut self, now: Instant) -> Vec<ProofWanted> {
        let mut out = Vec::new();
        self.table.on_timeout(now, &mut out);
        out
    }

    fn prove(&mut self, now: Instant, host: &str, boot: u64) {
        let wanted = self.asked(now);
        let iface = eth0();
        let nonce = wanted.iter().find(|w| w.to == BootId(boot)).expect("was asked for proof").nonce;
        self.table
            .on_proof(at(now, &iface), &host.parse().unwrap(), BootId(boot), nonce, &mut self.entropy)
            .unwrap();
    }

    /// A table that knows host b in its run 1.
    fn with_b() -> Self {
        let mut t = Self::new();
        assert_eq!(t.say(Instant::ZERO, &message("b", 1, 1)), Err(Ignored::Unproven));
        t.prove(Instant::ZERO, "b", 1);
        t.table.take_changes();
        t
    }

    fn standing(&self, host: &str) -> Option<Standing> {
        self.table.row(&host.parse().unwrap()).map(Row::standing)
    }
}

#[test]
fn the_mud_message_of_the_seed_parses_prints_back_and_shows_as_the_seeds_table_shows_it() {
    let line: Line = MUD.parse().unwrap();
    let mud = HostMessage::from_line(&line).unwrap();
    assert_eq!(mud.to_line().to_string(), MUD);
    assert_eq!((mud.cpus, mud.clock, mud.flags, mud.vitals.as_ref()), (2, 248, 4, None));

    let mut strangers = Strangers::new();
    strangers.hear(secs(10), WallTime::from_secs(950_739_902), mud);
    let mut t = Table::new();
    t.table.strangers = strangers;
    let mut entropy = SecretRng::new([0; 32]);
    let own = crate::announce::Announcer::new(Instant::ZERO, identity(), &mut entropy);
    let view = t.table.view(secs(11), &own);
    assert_eq!(
        view[1].seed_form(),
        "Host mud lastseen 1 timeoff 39 addr 81907f05 numifs 2\n\
         interface hme0 ip 81907f05 mask ffffff00 bcast 81907fff lastpkt -1\n\
         interface ge0 ip c0a88003 mask ffffff00 bcast c0a880ff lastpkt -1\n"
    );
}

#[test]
fn a_host_is_up_only_after_it_has_answered_a_nonce() {
    let mut t = Table::new();
    assert_eq!(t.say(Instant::ZERO, &message("b", 1, 1)), Err(Ignored::Unproven));
    assert_eq!(t.standing("b"), None);
    let iface = eth0();
    let b = "b".parse().unwrap();
    assert_eq!(
        t.table.on_proof(at(Instant::ZERO, &iface), &b, BootId(1), Nonce(0), &mut SecretRng::new([3; 32])),
        Err(Ignored::Unasked)
    );
}

#[test]
fn what_a_host_said_before_its_proof_is_in_its_row_afterwards() {
    let t = Table::with_b();
    let row = t.table.row(&"b".parse().unwrap()).unwrap();
    assert_eq!((row.standing(), row.interfaces().len(), row.facts().port), (Standing::Up, 1, 7009));
}

#[test]
fn an_answer_to_another_question_changes_nothing_and_the_answer_to_ours_still_counts() {
    let mut t = Table::new();
    let _ = t.say(Instant::ZERO, &message("b", 1, 1));
    let nonce = t.asked(Instant::ZERO)[0].nonce;
    let iface = eth0();
    let b = "b".parse().unwrap();
    let wrong = t.table.on_proof(at(ms(1), &iface), &b, BootId(1), Nonce(3), &mut SecretRng::new([3; 32]));
    assert_eq!(wrong, Err(Ignored::Unasked));
    // What comes with the answer is no reason to ask before it is time: else late answers and new questions bring
    // forth each other without end.
    let _ = t.say(ms(1), &message("b", 1, 2));
    assert_eq!(t.asked(ms(1)), []);
    t.table.on_proof(at(ms(2), &iface), &b, BootId(1), nonce, &mut t.entropy).unwrap();
    assert_eq!(t.standing("b"), Some(Standing::Up));
}

#[test]
fn a_recording_of_an_earlier_run_does_not_revive_the_dead() {
    let mut t = Table::with_b();
    let b: HostName = "b".parse().unwrap();
    let _ = t.say(secs(1), &message("b", 2, 1));
    t.prove(secs(1), "b", 2);
    t.beacon(ms(1_200), &beacon("b", 2, 1)).unwrap();
    t.asked(ms(1_301));
    assert!(t.table.take_changes().contains(&Change::Restarted(b.clone())));
    let mut asked = 0;
    for n in 0..10_000 {
        let now = ms(1_310 + n);
        t.beacon(now, &beacon("b", 2, n + 2)).unwrap();
        assert_eq!(t.say(now, &message("b", 1, 99 + n)), Err(Ignored::Unproven));
        asked += t.asked(now).len();
    }
    assert!((8..=40).contains(&asked), "{asked} questions in ten seconds");
    assert!(t.table.is_present(&b, BootId(2)) && !t.table.is_present(&b, BootId(1)));
    // Nor does it keep a third run from proving itself.
    assert_eq!(t.say(secs(13), &message("b", 3, 1)), Err(Ignored::Unproven));
    t.prove(secs(13), "b", 3);
    assert!(t.table.is_present(&b, BootId(3)));
    assert!(!t.table.take_changes().iter().any(|change| matches!(change, Change::Two(_))));
}

/// Asks for the proofs that are due and has these runs of b answer.
fn answer(t: &mut Table, now: Instant, boots: &[u64]) {
    let (iface, b) = (eth0(), "b".parse().unwrap());
    for ProofWanted { to, nonce, .. } in t.asked(now) {
        if boots.contains(&to.0) {
            t.table.on_proof(at(now, &iface), &b, to, nonce, &mut t.entropy).unwrap();
        }
    }
}

#[test]
fn a_new_run_is_a_restart_when_the_old_one_is_silent_has_said_goodbye_or_is_refused() {
    let b: HostName = "b".parse().unwrap();
    let restarted = [Change::Restarted(b.clone()), Change::Up(b.clone())];
    for how in ["silent", "goodbye", "refused"] {
        let mut t = Table::with_b();
        t.beacon(secs(1), &beacon("b", 1, 1)).unwrap();
        let _ = t.say(ms(1_050), &message("b", 2, 1));
        answer(&mut t, ms(1_050), &[2]);
        answer(&mut t, ms(1_051), &[2]);
        assert!(t.table.is_present(&b, BootId(1)) && t.table.is_present(&b, BootId(2)), "{how}");
        assert_eq!((t.table.row(&b).unwrap().boot(), t.table.is_in_doubt(&b)), (BootId(1), true), "{how}");
        t.table.take_changes();
        match how {
            "silent" => answer(&mut t, ms(1_301), &[2]),
            "goodbye" => t.table.on_goodbye(&b, BootId(1)).unwrap(),
            _ => t.table.on_refused(from()),
        }
        let changes = t.table.take_changes();
        assert_eq!(changes[changes.len() - 2..], restarted, "{how}: {changes:?}");
        assert_eq!((t.table.row(&b).unwrap().boot(), t.table.is_in_doubt(&b)), (BootId(2), false), "{how}");
    }
}

#[test]
fn two_runs_that_both_prove_themselves_are_two_hosts_and_the_row_stays_with_the_first() {
    let mut t = Table::with_b();
    let b: HostName = "b".parse().unwrap();
    for n in 1..=20 {
        let now = secs(1) + Duration::from_millis(50 * n);
        t.beacon(now, &beacon("b", 1, n)).unwrap();
        let _ = t.say(now, &message("b", 2, n));
        answer(&mut t, now, &[1, 2]);
    }
    let two = t.table.take_changes().into_iter().filter(|change| matches!(change, Change::Two(_))).count();
    assert_eq!((two, t.table.doubles().count(), t.table.row(&b).unwrap().boot()), (1, 1, BootId(1)));
    // A third one is no news, and the first one's goodbye gives its place to the second.
    t.table.on_goodbye(&b, BootId(1)).unwrap();
    assert_eq!((t.table.doubles().count(), t.table.row(&b).unwrap().boot()), (0, BootId(2)));
}

#[test]
fn a_recording_of_the_old_run_beside_the_new_one_does_not_make_two() {
    let mut t = Table::with_b();
    for n in 1..=200 {
        let now = secs(1) + Duration::from_millis(10 * n);
        // Beacons of the old run that nobody else has heard, though it is dead.
        let _ = t.beacon(now, &beacon("b", 1, n));
        let _ = t.say(now, &message("b", 2, n));
        answer(&mut t, now, &[2]);
    }
    assert!(!t.table.take_changes().iter().any(|change| matches!(change, Change::Two(_))));
}

#[test]
fn a_host_hears_of_another_one_of_its_own_name_only_when_that_proves_itself() {
    let mut t = Table::new();
    let (iface, own) = (eth0(), "a".parse().unwrap());
    assert_eq!(t.say(secs(1), &message("a", 0xa, 1)), Err(Ignored::Own));
    assert_eq!(t.say(secs(1), &message("a", 7, 1)), Err(Ignored::Unproven));
    let nonce = t.asked(secs(1))[0].nonce;
    assert!(t.table.take_changes().is_empty() && t.table.is_own_name_in_doubt());
    t.table.on_proof(at(secs(1), &iface), &own, BootId(7), nonce, &mut t.entropy).unwrap();
    assert!(matches!(t.table.take_changes()[..], [Change::Two(_)]));
    assert!(t.table.namesake(secs(1), Duration::from_secs(1)).is_some());
    t.asked(secs(4));
    assert_eq!(t.table.take_changes(), [Change::OneAgain("a".parse().unwrap())]);
}

#[test]
fn a_host_whose_clock_went_back_is_known_by_its_boot_not_by_its_time() {
    let mut t = Table::with_b();
    let _ = t.say(secs(1), &message("b", 9, 1));
    t.prove(secs(1), "b", 9);
    t.asked(ms(1_301));
    assert!(t.table.is_present(&"b".parse().unwrap(), BootId(9)));
    assert!(!t.table.is_present(&"b".parse().unwrap(), BootId(1)));
}

#[test]
fn a_lower_or_equal_sequence_number_on_the_same_interface_changes_nothing() {
    let mut t = Table::with_b();
    t.beacon(ms(100), &beacon("b", 1, 5)).unwrap();
    assert_eq!(t.beacon(ms(900), &beacon("b", 1, 5)), Err(Ignored::Stale));
    assert_eq!(t.beacon(ms(900), &beacon("b", 1, 4)), Err(Ignored::Stale));
    assert_eq!(t.say(ms(900), &message("b", 1, 1)), Err(Ignored::Stale));
    t.asked(ms(900));
    assert_eq!(t.standing("b"), Some(Standing::Silent), "stale words are no sign of life");
}

#[test]
fn three_missed_beacons_make_a_host_silent_and_sixty_seconds_take_it_down() {
    let mut t = Table::with_b();
    t.beacon(ms(100), &beacon("b", 1, 1)).unwrap();
    t.asked(ms(250));
    assert_eq!(t.standing("b"), Some(Standing::Up));
    let due = t.table.poll_at().unwrap();
    assert!(due <= ms(251), "{due}");
    t.asked(due);
    assert_eq!(t.standing("b"), Some(Standing::Silent));
    t.asked(secs(60));
    assert_eq!(t.standing("b"), Some(Standing::Silent));
    t.asked(secs(61));
    assert_eq!(t.standing("b"), Some(Standing::Down));
    assert_eq!(t.table.group_size(), 1);
}

#[test]
fn a_silent_host_that_is_heard_again_in_the_same_run_is_up_again_when_it_has_proved_that_it_lives() {
    for (silent, heard) in [(5, 6), (70, 80)] {
        let mut t = Table::with_b();
        t.asked(secs(5));
        t.asked(secs(silent));
        assert!(t.standing("b") > Some(Standing::Up));
        assert_eq!(t.beacon(secs(heard), &beacon("b", 1, 9)), Err(Ignored::Unproven));
        assert!(t.standing("b") > Some(Standing::Up), "it may be a recording of what we missed");
        t.table.take_changes();
        t.prove(secs(heard), "b", 1);
        assert_eq!(t.standing("b"), Some(Standing::Up));
        assert_eq!(t.table.take_changes(), [Change::Up("b".parse().unwrap())]);
        t.beacon(secs(heard), &beacon("b", 1, 10)).unwrap();
    }
}

/// In a large group beacons are further apart than a host is waited for that has not said so yet.
#[test]
fn a_host_is_waited_for_by_the_interval_that_it_told_before_its_proof() {
    let every = Duration::from_millis(400);
    let mut silent = Table::with_b();
    silent.asked(secs(5));
    let mut new = Table::new();
    let _ = new.say(secs(6), &message("b", 1, 2));
    for mut t in [silent, new] {
        assert_eq!(t.beacon(secs(6), &beacon_every(every, "b", 1, 9)), Err(Ignored::Unproven));
        t.prove(secs(6), "b", 1);
        t.asked(ms(7_199));
        assert_eq!(t.standing("b"), Some(Standing::Up));
        t.asked(ms(7_201));
        assert_eq!(t.standing("b"), Some(Standing::Silent));
    }
    // Of whom no beacon was heard yet, by our own.
    let mut unheard = Table::new();
    unheard.table.set_every(every);
    let _ = unheard.say(secs(6), &message("b", 1, 2));
    unheard.prove(secs(6), "b", 1);
    unheard.asked(ms(7_199));
    assert_eq!(unheard.standing("b"), Some(Standing::Up));
}

#[test]
fn a_recording_of_a_dead_host_is_asked_a_bounded_number_of_times_and_keeps_no_other_run_out() {
    let mut t = Table::with_b();
    t.asked(secs(5));
    let (mut asked, mut seq) = (0, 1);
    for n in 0..10_000 {
        seq += 1;
        let now = secs(6) + Duration::from_millis(n);
        let _ = t.beacon(now, &beacon("b", 1, seq));
        asked += t.asked(now).len();
    }
    assert!((8..=40).contains(&asked), "{asked} questions in ten seconds");
    assert_ne!(t.standing("b"), Some(Standing::Up));
    assert_eq!(t.say(secs(16), &message("b", 2, 1)), Err(Ignored::Unproven));
    let wanted = t.asked(secs(16));
    let _ = t.beacon(secs(16), &beacon("b", 1, seq + 1));
    let nonce = wanted.iter().find(|w| w.to == BootId(2)).unwrap().nonce;
    t.table.on_proof(at(secs(16), &eth0()), &"b".parse().unwrap(), BootId(2), nonce, &mut t.entropy).unwrap();
    assert!(t.table.is_present(&"b".parse().unwrap(), BootId(2)));
}

#[test]
fn a_slow_host_does_not_accuse_healthy_ones() {
    let mut t = Table::with_b();
    t.beacon(ms(100), &beacon("b", 1, 1)).unwrap();
    t.table.was_away(Duration::from_secs(5));
    t.asked(ms(5_100));
    assert_eq!(t.standing("b"), Some(Standing::Up));
    t.asked(ms(5_500));
    assert_eq!(t.standing("b"), Some(Standing::Silent), "after it has listened again it judges");
}

#[test]
fn a_goodbye_ends_the_run_for_good() {
    let mut t = Table::with_b();
    let b = "b".parse().unwrap();
    assert_eq!(t.table.on_goodbye(&b, BootId(2)), Err(Ignored::Ended), "of another run");
    t.table.on_goodbye(&b, BootId(1)).unwrap();
    assert_eq!(t.standing("b"), Some(Standing::Left));
    assert_eq!(t.beacon(ms(200), &beacon("b", 1, 50)), Err(Ignored::Ended));
}

#[test]
fn a_strangers_message_never_touches_the_trusted_row_of_the_same_name() {
    let mut t = Table::with_b();
    let before = t.table.row(&"b".parse().unwrap()).unwrap().facts().clone();
    let mut forged = message("b", 66, 1).into_inner();
    forged.addr = [9, 9, 9, 9].into();
    t.table.strangers.hear(ms(10), WallTime::default(), forged);
    let row = t.table.row(&"b".parse().unwrap()).unwrap();
    assert_eq!((row.facts(), row.boot()), (&before, BootId(1)));
    assert_eq!(t.table.group_size(), 2, "strangers do not count");
}

#[test]
fn a_stranger_that_falls_silent_is_forgotten_and_one_that_was_given_the_key_at_once() {
    let m: HostMessage = HostMessage::from_line(&MUD.parse::<Line>().unwrap()).unwrap();
    let mut strangers = Strangers::new();
    strangers.hear(secs(10), WallTime::default(), m.clone());
    strangers.forget_known(&m.host, std::net::Ipv4Addr::new(9, 9, 9, 9));
    assert_eq!(strangers.iter().count(), 1, "another host of that name keeps its own");
    strangers.forget_old(secs(70));
    assert_eq!(strangers.iter().count(), 1);
    strangers.forget_old(secs(75));
    assert_eq!(strangers.iter().count(), 0);
    strangers.hear(secs(80), WallTime::default(), m.clone());
    strangers.forget_known(&m.host, m.addr);
    assert_eq!(strangers.iter().count(), 0);
}

#[test]
fn strangers_are_bounded_and_the_oldest_goes() {
    let mut strangers = Strangers::new();
    for n in 0..=STRANGERS_MAX {
        let mut m = message("x", 1, 1).into_inner();
        m.host = format!("s{n:03}").parse().unwrap();
        strangers.hear(Instant::from_micros(n as u64), WallTime::default(), m);
    }
    let names: Vec<_> = strangers.iter().map(|s| s.message.host.to_string()).collect();
    assert_eq!(names.len(), STRANGERS_MAX);
    assert!(!names.contains(&"s000".to_string()) && names.contains(&format!("s{STRANGERS_MAX:03}")));
}

#[test]
fn a_recording_is_asked_for_proof_a_bounded_number_of_times() {
    let mut t = Table::new();
    let _ = t.say(Instant::ZERO, &message("b", 1, 1));
    let mut asked = 0;
    while let Some(due) = t.table.poll_at() {
        asked += t.asked(due).len();
    }
    assert_eq!(asked, 8);
    assert_eq!(t.standing("b"), None);
}

#[test]
fn interfaces_of_one_sequence_number_are_gathered_over_several_datagrams() {
    let mut t = Table::with_b();
    let whole = message("b", 1, 2).into_inner();
    let part = |names: &[&str]| {
        let mut m = whole.clone();
        m.numifs = 3;
        m.interfaces = names
            .iter()
            .map(|name| Interface { name: name.parse().unwrap(), ..whole.interfaces[0].clone() })
            .collect();
        let bytes = ring().seal(Purpose::HostMessage, &m.to_line());
        let line = ring().open(Purpose::HostMessage, &bytes).unwrap();
        line.try_map(|line| HostMessage::from_line(&line)).unwrap()
    };
    t.say(ms(1), &part(&["eth0", "eth1"])).unwrap();
    t.say(ms(1), &part(&["eth2"])).unwrap();
    assert_eq!(t.table.row(&"b".parse().unwrap()).unwrap().interfaces().len(), 3);
    assert_eq!(t.say(ms(2), &part(&["eth2"])), Err(Ignored::Stale));
}

#[test]
fn hosts_of_a_distant_version_are_not_listened_to() {
    let mut t = Table::new();
    let mut m = message("b", 1, 1).into_inner();
    if let Some(vitals) = &mut m.vitals {
        vitals.ver = Version(Version::CURRENT.0 + 2);
    }
    let bytes = ring().seal(Purpose::HostMessage, &m.to_line());
    let line = ring().open(Purpose::HostMessage, &bytes).unwrap();
    let m = line.try_map(|line| HostMessage::from_line(&line)).unwrap();
    assert_eq!(t.say(Instant::ZERO, &m), Err(Ignored::Version));
}

#[test]
fn an_interface_that_is_not_heard_any_more_is_told_while_its_host_is_up() {
    let mut t = Table::with_b();
    let mut message = message("b", 1, 2).into_inner();
    message.interfaces.push(Interface { name: "eth1".parse().unwrap(), ..message.interfaces[0].clone() });
    message.numifs = 2;
    let bytes = ring().seal(Purpose::HostMessage, &message.to_line());
    let line = ring().open(Purpose::HostMessage, &bytes).unwrap();
    t.say(ms(1), &line.try_map(|line| HostMessage::from_line(&line)).unwrap()).unwrap();
    for n in 0..=610 {
        t.beacon(ms(100 * n + 1), &beacon("b", 1, n + 2)).unwrap();
        t.asked(ms(100 * n + 1));
    }
    let (host, iface) = ("b".parse().unwrap(), "eth1".parse().unwrap());
    let changes = t.table.take_changes();
    assert_eq!(
        changes,
        [Change::Changed("b".parse().unwrap()), Change::Interface { host, iface, down: true }]
    );
}

#[test]
fn a_host_that_was_gone_for_a_day_leaves_the_table_by_itself() {
    let day = FORGOTTEN_AFTER.as_secs();
    for says_goodbye in [false, true] {
        let mut t = Table::with_b();
        if says_goodbye {
            t.table.on_goodbye(&"b".parse().unwrap(), BootId(1)).unwrap();
        }
        t.asked(secs(1));
        t.asked(secs(61));
        assert!(t.table.poll_at().is_some_and(|at| at > secs(day - 1)), "nothing is due before");
        t.asked(secs(day - 1));
        assert!(t.standing("b").is_some(), "an operator sees for a day that it is missing");
        t.asked(secs(day + 1));
        assert_eq!(t.standing("b"), None);
        assert_eq!(t.table.take_changes().last(), Some(&Change::Forgotten("b".parse().unwrap())));
    }
}

#[test]
fn the_own_row_shows_when_its_own_messages_were_heard_back_and_not_those_of_another_run() {
    let mut entropy = SecretRng::new([0; 32]);
    let mut own = crate::announce::Announcer::new(Instant::ZERO, identity(), &mut entropy);
    own.set_interfaces(Instant::ZERO, message("a", 1, 1).get().interfaces.clone());
    let mut t = Table::new();
    let seen = |t: &Table, own: &crate::announce::Announcer| {
        let row = t.table.view(secs(9), own).remove(0);
        (row.lastseen, row.beacon_age_ms, row.interfaces[0].audible)
    };
    assert_eq!(seen(&t, &own), (-1, -1, Some(Audible::Down)), "nothing came back yet");
    let _ = t.say(secs(5), &message("a", 2, 1));
    assert_eq!(seen(&t, &own).0, -1, "another run's message is not our own");
    assert_eq!(t.say(secs(5), &message("a", 0xa, 1)), Err(Ignored::Own));
    assert_eq!(t.beacon(secs(9), &beacon("a", 0xa, 1)), Err(Ignored::Own));
    assert_eq!(seen(&t, &own), (4, 0, Some(Audible::Up)));
}
