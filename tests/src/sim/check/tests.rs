//! Every checker can fail: each is fed a history in which its rule is broken, and one like it in which it is not.

use dtu_emu::dtu::{DtuEvent, Fault, HostRef, Loss};
use groupmgr::host::Note;
use groupmgr::links;
use groupmgr::topology::Change;
use proto::time::Duration;
use proto::{BootId, HostName, Instant, SessionId, Token};

use super::*;
use crate::world::{DeskId, DeskPlan, End, Fate, QuestionId, Shown, World};

const ONE: SessionId = SessionId(1);
const TWO: SessionId = SessionId(2);

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn ann() -> Token {
    "card.ann".parse().unwrap()
}

/// Three desks of any world: only their names count here.
fn desks() -> [DeskId; 3] {
    let mut w = World::new(1);
    let lan = w.add_lan("lan", "10.0.0.0", 16);
    [0, 1, 2].map(|n| w.add_desk(DeskPlan::named(&format!("d{n}"), lan).off()))
}

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000 + ms * 1_000)
}

/// Two hosts that are up from the start.
fn start() -> Vec<(u64, Observation)> {
    ["a", "b"].map(|name| (0, Observation::Host { host: host(name), fate: Fate::Starts(BootId(1)) })).to_vec()
}

/// What the checkers say of such a history, at its end or earlier.
fn verdict(history: Vec<(u64, Observation)>) -> Result<(), String> {
    let mut checks = Checks::new();
    let mut all = start();
    all.extend(history);
    for (ms, observation) in all {
        checks.see(&[(at(ms), observation)])?;
        checks.pass(at(ms))?;
    }
    Ok(())
}

#[track_caller]
fn broken(rule: &str, history: Vec<(u64, Observation)>) {
    let said = verdict(history).expect_err("the rule is broken");
    assert!(said.contains(rule), "{said}");
}

fn presents(desk: DeskId, conn: u64, ticket: Option<&str>) -> Observation {
    let ticket = ticket.map(str::to_owned);
    let redirected = ticket.is_some();
    Observation::Presents { desk, conn, host: host("a"), token: "card.ann".into(), ticket, redirected }
}

fn grants(desk: DeskId, conn: u64) -> Observation {
    Observation::Grants { host: host("a"), conn, desk, token: "card.ann".into(), session: Some(ONE) }
}

fn card(desk: DeskId, genuine: bool) -> Observation {
    Observation::Card { desk, token: Some(ann()), genuine }
}

fn shows(desk: DeskId, on: Option<&str>) -> Observation {
    let shows = on.map(|name| Shown { token: ann(), session: ONE, host: host(name) });
    Observation::Screen { desk, shows }
}

#[test]
fn a_grant_to_whoever_presented_nothing_is_seen() {
    let [d, ..] = desks();
    broken("without authentication", vec![(1, grants(d, 1))]);
    verdict(vec![(1, presents(d, 1, None)), (2, grants(d, 1))]).unwrap();
}

#[test]
fn a_grant_of_a_keyed_token_without_its_secret_is_seen() {
    let [d, ..] = desks();
    let keyed = Observation::Registered { token: ann(), disabled: false };
    let history = |genuine| {
        vec![(0, keyed.clone()), (1, card(d, genuine)), (2, presents(d, 1, None)), (3, grants(d, 1))]
    };
    broken("without authentication", history(false));
    verdict(history(true)).unwrap();
}

#[test]
fn a_grant_of_a_disabled_token_is_seen() {
    let [d, ..] = desks();
    let disabled = Observation::Registered { token: ann(), disabled: true };
    let history = vec![(0, disabled), (1, card(d, true)), (2, presents(d, 1, None)), (3, grants(d, 1))];
    broken("without authentication", history);
}

#[test]
fn a_token_that_stays_on_two_desks_is_seen_and_one_that_is_announced_in_time_is_none() {
    let [d, e, _] = desks();
    let both = [(5_000, shows(d, Some("a"))), (5_100, shows(e, Some("b")))];
    let then = |ms, observation| both.iter().cloned().chain([(ms, observation)]).collect::<Vec<_>>();
    broken("one desk at a time", then(5_800, Observation::StoreWell(true)));
    verdict(then(5_600, shows(d, None))).unwrap();
    // Hosts that do not hear each other are not told.
    let apart = [(4_900, Observation::HostWell { host: host("b"), well: false })];
    verdict(apart.into_iter().chain(then(5_800, Observation::StoreWell(true))).collect()).unwrap();
}

#[test]
fn a_session_that_ends_by_nobodys_doing_is_seen() {
    let [d, ..] = desks();
    let history = |end| {
        let begins = Observation::Begins { host: host("a"), session: ONE, token: ann() };
        vec![
            (1, begins),
            (2, shows(d, Some("a"))),
            (3, Observation::Gone { host: host("a"), session: ONE, end }),
        ]
    };
    broken("lost only with its host", history(End::Ended));
    verdict(history(End::Killed)).unwrap();
    // Another host has it, as its record says.
    let mut moved = history(End::Ended);
    let note = Note::MovedAway { token: ann(), session: ONE };
    moved.insert(moved.len() - 1, (3, Observation::Logs { host: host("a"), note }));
    verdict(moved).unwrap();
}

#[test]
fn a_second_session_of_a_token_is_seen() {
    let begins = |name: &str, session| Observation::Begins { host: host(name), session, token: ann() };
    let claim = |session| {
        let claim = groupmgr::host::ClaimRecord {
            session,
            host: host("b"),
            boot: BootId(1),
            epoch: proto::Epoch::default(),
            is_replicated: false,
        };
        Observation::Claimed { token: "card.ann".into(), claim: Some(claim) }
    };
    let made = |session, claimed| {
        let note = Note::Made { token: ann(), session, claimed };
        Observation::Logs { host: host("b"), note }
    };
    let rule = "no two claimed sessions";
    broken(rule, vec![(1, begins("a", ONE)), (20_000, claim(TWO)), (20_001, made(TWO, true))]);
    broken(rule, vec![(20_000, made(TWO, true))]);
    broken(rule, vec![(1, begins("a", ONE)), (20_001, made(TWO, false))]);
    let [d, ..] = desks();
    let ill = Observation::DeskWell { desk: d, well: false };
    verdict(vec![
        (1, begins("a", ONE)),
        (2, ill),
        (20_000, presents(d, 1, None)),
        (20_001, made(TWO, false)),
    ])
    .unwrap();
    let gone = Observation::Gone { host: host("a"), session: ONE, end: End::Killed };
    verdict(vec![(1, begins("a", ONE)), (2, gone), (20_000, claim(TWO)), (20_001, made(TWO, true))]).unwrap();
}

#[test]
fn a_second_session_beside_one_that_is_kept_for_the_next_daemon_is_seen() {
    let begins = Observation::Begins { host: host("a"), session: ONE, token: ann() };
    let made = |ms: u64| {
        let claim = groupmgr::host::ClaimRecord {
            session: TWO,
            host: host("b"),
            boot: BootId(1),
            epoch: proto::Epoch::default(),
            is_replicated: false,
        };
        let note = Note::Made { token: ann(), session: TWO, claimed: true };
        let claimed = Observation::Claimed { token: "card.ann".into(), claim: Some(claim) };
        [(ms, claimed), (ms + 1, Observation::Logs { host: host("b"), note })]
    };
    let fate = |fate| Observation::Host { host: host("a"), fate };
    let history = |back: u64, then: u64| {
        let restart = [(40_000, fate(Fate::Dies)), (40_000 + back, fate(Fate::Starts(BootId(2))))];
        core::iter::once((1, begins.clone())).chain(restart).chain(made(then)).collect::<Vec<_>>()
    };
    let rule = "no two claimed sessions";
    broken(rule, history(500, 40_600));
    verdict(history(9_500, 49_600)).unwrap();
    // Its ways are not sound either: nobody can ask it.
    let cut = (39_000, Observation::WaysWell { host: host("a"), well: false });
    let mut with_cut = history(500, 40_600);
    with_cut.insert(1, cut);
    verdict(with_cut).unwrap();
}

#[test]
fn two_homes_of_one_epoch_and_a_restore_of_what_is_stale_are_seen() {
    let told = |name: &str, counter| {
        let epoch = proto::Epoch { generation: 1, counter };
        Observation::Epoch { host: host(name), session: ONE, epoch }
    };
    let rule = "no two homes of a session act in one epoch";
    verdict(vec![(1, told("a", 1)), (2, told("b", 2)), (3, told("a", 1))]).unwrap();
    broken(rule, vec![(1, told("a", 2)), (2, told("b", 2))]);
    let part = || sessiond::control::Part {
        service: "terminal".parse().unwrap(),
        kind: sessiond::control::Kind::State,
    };
    let safe = Observation::Safe { session: ONE, part: part(), stamp: [3; 16] };
    let restores = |n| Observation::Restores { host: host("b"), session: ONE, part: part(), stamp: [n; 16] };
    verdict(vec![(1, safe.clone()), (2, restores(3)), (3, restores(4))]).unwrap();
    broken(rule, vec![(1, safe.clone()), (2, restores(2))]);
    verdict(vec![(1, safe), (2, Observation::Restored), (3, restores(2))]).unwrap();
}

#[test]
fn an_epoch_that_falls_is_seen() {
    let epoch = |counter| proto::Epoch { generation: 1, counter };
    let claimed = |session, counter| {
        let claim = groupmgr::host::ClaimRecord {
            session,
            host: host("a"),
            boot: BootId(1),
            epoch: epoch(counter),
            is_replicated: false,
        };
        Observation::Claimed { token: "card.ann".into(), claim: Some(claim) }
    };
    let told = |counter| Observation::Epoch { host: host("a"), session: ONE, epoch: epoch(counter) };
    let rule = "never falls";
    broken(rule, vec![(1, claimed(ONE, 2)), (2, claimed(ONE, 1))]);
    broken(rule, vec![(1, told(2)), (2, told(1))]);
    verdict(vec![(1, claimed(ONE, 2)), (2, told(1)), (3, claimed(TWO, 1)), (4, claimed(ONE, 3))]).unwrap();
}

#[test]
fn a_redirect_that_is_sent_on_is_seen() {
    let [d, ..] = desks();
    let sends = |name: &str, conn, ticket: &str| {
        let to = "10.0.0.9:7009".parse().unwrap();
        Observation::SendsOn { host: host(name), conn, desk: d, to, ticket: Some(ticket.into()) }
    };
    let first = [(30_000, presents(d, 1, None)), (30_001, sends("a", 1, "t1"))];
    let with = |ticket| [(30_002, presents(d, 2, ticket)), (30_003, sends("b", 2, "t2"))];
    broken("at most once", first.iter().cloned().chain(with(Some("t1"))).collect());
    verdict(first.iter().cloned().chain(with(None)).collect()).unwrap();
    let of_bob = |observation: Observation| match observation {
        Observation::Presents { desk, conn, host, ticket, redirected, .. } => {
            Observation::Presents { desk, conn, host, token: "card.bob".into(), ticket, redirected }
        }
        other => other,
    };
    let another_card = with(Some("t1")).map(|(at, observation)| (at, of_bob(observation)));
    verdict(first.iter().cloned().chain(another_card).collect()).unwrap();
    let [comes, sent_on] = with(Some("t1"));
    let served = [comes, (30_002, grants(d, 2)), sent_on];
    verdict(first.iter().cloned().chain(served).collect()).unwrap();
}

#[test]
fn a_host_that_is_given_up_without_a_reason_is_seen() {
    let [d, ..] = desks();
    let gone = HostRef { name: Some(host("a")), addr: "10.0.0.1:7009".parse().unwrap() };
    let lost = |why| Observation::Says { desk: d, event: DtuEvent::Lost { host: gone.clone(), why } };
    broken("faulted", vec![(30_000, lost(Loss::Silent))]);
    let ill = Observation::HostWell { host: host("a"), well: false };
    verdict(vec![(29_000, ill.clone()), (30_000, lost(Loss::Closed(Fault::Closed)))]).unwrap();
    broken("faulted", vec![(29_000, ill.clone()), (30_000, lost(Loss::Protocol))]);
    // One that starts again on ways that are not sound.
    let starts = Observation::Host { host: host("a"), fate: Fate::Starts(BootId(2)) };
    verdict(vec![(1_000, ill), (2_000, starts), (30_000, lost(Loss::Silent))]).unwrap();
}

#[test]
fn what_a_host_believes_and_is_not_so_is_seen() {
    let believes = |change| Observation::Logs { host: host("a"), note: Note::Host(change) };
    let rule = "no stranger's word";
    broken(rule, vec![(5_000, believes(Change::Up(host("evil"))))]);
    broken(rule, vec![(5_000, believes(Change::Left(host("b"))))]);
    broken(rule, vec![(5_000, believes(Change::Restarted(host("b"))))]);
    let dies = Observation::Host { host: host("b"), fate: Fate::Dies };
    broken(rule, vec![(5_000, dies), (9_000, believes(Change::Up(host("b"))))]);
    verdict(vec![(5_000, believes(Change::Up(host("b"))))]).unwrap();
}

#[test]
fn a_session_that_is_taken_off_a_desk_and_shown_nowhere_else_is_seen() {
    let [d, e, _] = desks();
    let by = HostRef { name: Some(host("a")), addr: "10.0.0.1:7009".parse().unwrap() };
    let cause = Some("shownElsewhere".to_owned());
    let taken = Observation::Says { desk: d, event: DtuEvent::Detached { host: by, cause } };
    let granted = [(10_000, presents(d, 1, None)), (10_001, grants(d, 1))];
    let then = |more: Vec<(u64, Observation)>| granted.iter().cloned().chain(more).collect::<Vec<_>>();
    broken("no stranger's word", then(vec![(10_500, taken.clone())]));
    let moved = vec![(10_100, presents(e, 2, None)), (10_101, grants(e, 2)), (10_500, taken.clone())];
    verdict(then(moved)).unwrap();
    // One that was cut off may have believed for a while that it was shown at its own desk.
    let cut_off = |ms, well| (ms, Observation::HostWell { host: host("a"), well });
    verdict(then(vec![cut_off(10_100, false), cut_off(10_200, true), (10_500, taken)])).unwrap();
}

#[test]
fn a_table_beyond_its_bound_is_seen() {
    let size = |len| Observation::Size { host: host("a"), table: "grants", len, max: 10 };
    broken("bounded", vec![(1, size(11))]);
    verdict(vec![(1, size(10))]).unwrap();
}

/// One desk that shows the claimed session of its token.
fn at_rest() -> Rest {
    let shown = Shown { token: ann(), session: ONE, host: host("a") };
    let desk = RestDesk {
        name: "d".into(),
        token: "card.ann".into(),
        is_due: true,
        shows: Some(shown),
        state: String::new(),
    };
    Rest {
        desks: vec![desk],
        running: vec![(host("a"), ONE, "card.ann".into())],
        listed: [((host("a"), ONE), true)].into(),
        claims: [("card.ann".into(), Some((host("a"), ONE)))].into(),
        stored: vec![("card.ann".into(), host("a"), ONE)],
        records: [(ONE, host("a"))].into(),
        copies: [((host("b"), ONE), false)].into(),
        kept: ["card.bob".to_owned()].into(),
    }
}

#[track_caller]
fn complains(of: &str, change: impl FnOnce(&mut Rest)) {
    let mut rest = at_rest();
    assert_eq!(rest.complaint(), None);
    change(&mut rest);
    let said = rest.complaint().unwrap_or_default();
    assert!(said.contains(of), "{said:?}");
}

#[test]
fn a_group_that_is_not_at_rest_is_complained_of() {
    complains("shown nowhere", |rest| rest.desks[0].shows = None);
    complains("shown at d and e", |rest| {
        let twin = RestDesk { name: "e".into(), ..rest.desks[0].clone() };
        rest.desks.push(twin);
    });
    complains("does not run there", |rest| rest.running.clear());
    complains("runs unlisted", |rest| rest.running.push((host("b"), TWO, "card.bob".into())));
    complains("whose host does not hold it", |rest| {
        rest.listed.insert((host("a"), ONE), false);
    });
    complains("points nowhere", |rest| {
        rest.claims.insert("card.ann".into(), Some((host("b"), TWO)));
    });
    complains("has no claim", |rest| rest.claims.clear());
    complains("its record is None", |rest| rest.records.clear());
    complains("which does not run it", |rest| drop(rest.records.insert(TWO, host("b"))));
    complains("which is over", |rest| rest.copies.extend([((host("b"), TWO), true)]));
    complains("2 claims for 1 sessions", |rest| rest.stored.push(("card.bob".into(), host("b"), TWO)));
}

#[test]
fn sessions_that_lie_unevenly_are_complained_of() {
    assert!(uneven(&[29, 11, 20]).is_some());
    assert!(uneven(&[28, 12, 20]).is_none());
    assert!(uneven(&[5, 0, 0]).is_none());
    assert!(uneven(&[6, 0, 0]).is_some(), "even six sessions could have been shared");
    assert!(uneven(&[6, 2, 2, 1, 0]).is_none());
    assert!(uneven(&[7, 2, 1, 1, 0]).is_some());
}

#[test]
fn a_card_that_is_sent_to_a_host_without_a_spawner_is_noticed() {
    let rule = "nobody is sent to a host that can make no session";
    let [d, ..] = desks();
    let gone = |gone| Observation::Spawner { host: host("a"), gone };
    let well = ["a", "b"].map(|name| (0, Observation::HostWell { host: host(name), well: true })).to_vec();
    let sent = |at: u64, before: Vec<(u64, Observation)>| {
        let mut history = well.clone();
        history.extend(before);
        let to = "10.0.0.1:7009".parse().unwrap();
        let ticket = Some("ticket".to_owned());
        history.push((at - 5, Observation::SendsOn { host: host("b"), conn: 1, desk: d, to, ticket }));
        history.push((at, presents(d, 1, Some("ticket"))));
        history
    };
    broken(rule, sent(9_000, vec![(5_000, gone(true))]));
    verdict(sent(5_500, vec![(5_000, gone(true))])).unwrap();
    verdict(sent(9_000, vec![(5_000, gone(true)), (8_000, gone(false))])).unwrap();
    let has_one = Observation::Begins { host: host("a"), session: ONE, token: ann() };
    verdict(sent(9_000, vec![(4_000, has_one), (5_000, gone(true))])).unwrap();
}

#[test]
fn a_question_over_a_link_that_has_no_end_or_two_or_no_reason_is_noticed() {
    let rule = "a question over a link ends once and in time";
    let question = QuestionId(1);
    let asks = (1_000, Observation::AsksOver { question, from: host("a"), to: host("b") });
    let answered = |ms, loss| (ms, Observation::Answered { question, loss });
    let later = |ms| (ms, Observation::StoreWell(true));
    let ill = |ms, well| (ms, Observation::HostWell { host: host("b"), well });
    verdict(vec![asks.clone(), answered(1_050, None), later(90_000)]).unwrap();
    broken(rule, vec![asks.clone(), later(9_000)]);
    broken(rule, vec![asks.clone(), answered(1_050, None), answered(1_060, None)]);
    verdict(vec![ill(900, false), asks.clone(), later(9_000), ill(9_001, true), later(14_000)]).unwrap();
    broken(rule, vec![ill(900, false), asks.clone(), later(42_000)]);
    // A link is lost when something has happened to either host, and never because one of them breaks its rules.
    verdict(vec![ill(900, false), asks.clone(), answered(4_100, Some(links::Loss::Silence))]).unwrap();
    let asks_late = (90_000, asks.1.clone());
    broken(rule, vec![asks_late, answered(90_500, Some(links::Loss::Silence))]);
    broken(
        rule,
        vec![ill(900, false), asks.clone(), answered(4_100, Some(links::Loss::Fault(links::Fault::Overrun)))],
    );
    // Who asked is gone.
    verdict(vec![asks, (2_000, Observation::Host { host: host("a"), fate: Fate::Dies }), later(90_000)])
        .unwrap();
}

#[test]
fn a_link_that_nobody_needs_and_that_speaks_or_stays_is_noticed() {
    let rests = |ms, secs| (ms, Observation::LinkRests { host: host("a"), time: Duration::from_secs(secs) });
    broken("a link that nobody has needed", vec![rests(90_000, 17)]);
    verdict(vec![rests(90_000, 14)]).unwrap();
    let cut_off = (89_000, Observation::HostWell { host: host("a"), well: false });
    verdict(vec![cut_off, rests(90_000, 17)]).unwrap();
    broken("speaks on a link", vec![(5_000, Observation::RestingLinkSpeaks { host: host("a") })]);
}

#[test]
fn a_flip_that_shows_nothing_is_noticed() {
    let rule = "a flip shows the other display";
    let [d, ..] = desks();
    let flips = (9_000, Observation::Flips { desk: d });
    let later = (10_100, Observation::StoreWell(true));
    let seen = (1_000, shows(d, Some("a")));
    broken(rule, vec![seen.clone(), flips.clone(), later.clone()]);
    verdict(vec![seen.clone(), flips.clone(), (9_900, Observation::Flipped { desk: d }), later.clone()])
        .unwrap();
    let asleep = (8_000, Observation::DeskWell { desk: d, well: false });
    verdict(vec![seen.clone(), asleep, flips.clone(), later.clone()]).unwrap();
    let elsewhere = (9_500, shows(d, Some("b")));
    verdict(vec![seen, flips, elsewhere, later]).unwrap();
}
