use proto::ServiceName;

use super::*;
use crate::control::{Beginning, Exit, Fingerprint, Protection};
use crate::template::{Ack, Command, Promote, Protect, Service};

const NOW: Instant = Instant::from_micros(1_000_000);

fn sessions() -> Sessions {
    Sessions::new("a".parse().unwrap(), None)
}

fn new(id: u128) -> NewSession {
    NewSession {
        id: SessionId(id),
        token: "card.1".parse().unwrap(),
        owner: "ann".into(),
        epoch: Epoch { generation: 1, counter: 1 },
        claim: Claim::Held,
        guest: None,
        account: None,
        machine_account: None,
        name: "default".into(),
        restore: None,
        template: Template::default(),
        size: Size::default(),
    }
}

fn spec_of(out: &[SessionEffect]) -> SessionSpec {
    let SessionEffect::Spawn(spec) = &out[0] else { panic!("{out:?}") };
    (**spec).clone()
}

fn description(spec: SessionSpec) -> Box<Description> {
    Box::new(Description {
        spec,
        pid: 1,
        fingerprint: Fingerprint([5; 32]),
        services: vec![],
        attached: None,
    })
}

#[test]
fn a_session_is_shown_only_once_it_runs_and_forgets_the_desk_it_was_shown_at() {
    let (mut s, mut out) = (sessions(), Vec::new());
    let (desk1, desk2): (Serial, Serial) = ("d1".parse().unwrap(), "d2".parse().unwrap());
    assert!(s.make(NOW, new(1), &mut out));
    let spec = spec_of(&out);
    assert!(!s.attach(SessionId(1), Last(5), Nonce(1), &desk1, Size::default(), &mut out));
    s.on_said(NOW, SessionId(1), FromSession::Ready(description(spec)), &mut out);
    assert!(out.contains(&SessionEffect::Event(SessionEvent::Ready(SessionId(1)))));
    for desk in [&desk1, &desk2] {
        assert!(s.attach(SessionId(1), Last(6), Nonce(2), desk, Size::default(), &mut out));
    }
    assert_eq!(s.get(SessionId(1)).unwrap().shown, Some(desk2));
}

#[test]
fn what_an_earlier_daemon_knew_of_a_session_the_next_one_knows_too() {
    let (mut first, mut out) = (sessions(), Vec::new());
    let replication = Replication {
        ack: Ack::Batch { every: Duration::from_secs(7), versions: 5 },
        protect: Protect::Must,
        promote: Promote::Ping,
    };
    let template = Template { continuity: Continuity::Replicated, replication, ..Template::default() };
    first.make(NOW, NewSession { template, ..new(1) }, &mut out);
    let mut spec = spec_of(&out);
    first.on_said(NOW, SessionId(1), FromSession::Ready(description(spec.clone())), &mut out);
    out.clear();
    first.attach(SessionId(1), Last(77), Nonce(1), &"d".parse().unwrap(), Size::default(), &mut out);
    let meta = out.iter().find_map(|e| match e {
        SessionEffect::Tell(_, m) => match &**m {
            ToSession::SetMeta(meta) => Some(meta.clone()),
            _ => None,
        },
        _ => None,
    });
    spec.meta = meta.unwrap();
    let mut second = sessions();
    out.clear();
    second.on_spawned(NOW, SessionId(1), true, &mut out);
    assert_eq!(out, [SessionEffect::Tell(SessionId(1), Box::new(ToSession::Describe))]);
    second.on_said(NOW, SessionId(1), FromSession::Described(description(spec)), &mut out);
    let taken = second.of_token(&"card.1".parse().unwrap())[0];
    assert_eq!((taken.last, taken.claim, taken.owner.as_str()), (Last(77), Claim::Held, "ann"));
    assert!(taken.is_replicated());
    assert_eq!(taken.replication, replication);
}

#[test]
fn a_replicated_session_is_told_to_begin_as_soon_as_it_can_be_told_anything() {
    for continuity in [Continuity::Replicated, Continuity::Restart] {
        let (mut s, mut out) = (sessions(), Vec::new());
        let template = Template { continuity, ..Template::default() };
        s.make(NOW, NewSession { template, ..new(1) }, &mut out);
        out.clear();
        s.on_spawned(NOW, SessionId(1), false, &mut out);
        let begin = ToSession::Begin(Box::new(Beginning {
            epoch: Epoch { generation: 1, counter: 1 },
            lost: None,
            protection: Protection::Alone,
        }));
        let told = (continuity == Continuity::Replicated)
            .then(|| SessionEffect::Tell(SessionId(1), Box::new(begin)));
        assert_eq!(out, told.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_process_that_neither_starts_nor_ends_is_killed() {
    let (mut s, mut out) = (sessions(), Vec::new());
    s.make(NOW, new(1), &mut out);
    out.clear();
    let at = s.poll_at().unwrap();
    s.on_timeout(at, &mut out);
    assert_eq!(out[0], SessionEffect::Kill(SessionId(1)));
    assert!(s.is_empty());

    s.make(NOW, new(2), &mut out);
    assert!(s.end(NOW, SessionId(2), &mut out));
    out.clear();
    s.on_timeout(s.poll_at().unwrap(), &mut out);
    assert_eq!(out, [SessionEffect::Kill(SessionId(2))]);
    s.on_exited(NOW, SessionId(2), &mut out);
    assert!(s.is_empty());
}

#[test]
fn of_very_many_sessions_each_starts_at_its_turn_and_none_is_given_up_for_having_waited() {
    let (mut s, mut out) = (sessions(), Vec::new());
    let all = 2 * STARTING_MAX as u128 + 1;
    for id in 0..all {
        let token = format!("card.{id}").parse().unwrap();
        assert!(s.make(NOW, NewSession { token, ..new(id) }, &mut out));
    }
    let mut now = NOW;
    let mut started = 0;
    // Each takes nearly as long as one may.
    while started < all {
        let spawned: Vec<SessionSpec> = out
            .drain(..)
            .filter_map(|effect| if let SessionEffect::Spawn(spec) = effect { Some(*spec) } else { None })
            .collect();
        assert!((1..=STARTING_MAX).contains(&spawned.len()), "{} at once", spawned.len());
        now += START_WITHIN - Duration::from_secs(1);
        s.on_timeout(now, &mut out);
        assert!(out.is_empty(), "{out:?}");
        for spec in spawned {
            assert_eq!(spec.session, SessionId(started), "in the order in which they were asked for");
            started += 1;
            s.on_said(now, spec.session, FromSession::Ready(description(spec)), &mut out);
        }
    }
    assert!(s.iter().all(Session::is_running));
}

#[test]
fn a_session_that_is_ended_before_its_turn_never_starts() {
    let (mut s, mut out) = (sessions(), Vec::new());
    let last = STARTING_MAX as u128;
    for id in 0..=last {
        let token = format!("card.{id}").parse().unwrap();
        s.make(NOW, NewSession { token, ..new(id) }, &mut out);
    }
    out.clear();
    s.end(NOW, SessionId(last), &mut out);
    assert!(matches!(out[..], [SessionEffect::Event(SessionEvent::Ended { .. })]), "{out:?}");
    out.clear();
    s.on_exited(NOW, SessionId(0), &mut out);
    assert!(matches!(out[..], [SessionEffect::Event(SessionEvent::Ended { .. })]), "{out:?}");
}

#[test]
fn a_token_has_a_bounded_number_of_sessions_here() {
    let (mut s, mut out) = (sessions(), Vec::new());
    for id in 0..SESSIONS_PER_TOKEN_MAX as u128 {
        assert!(s.make(NOW, new(id), &mut out));
    }
    assert!(!s.make(NOW, new(99), &mut out));
}

#[test]
fn a_session_without_services_can_be_shown_at_once_and_needs_no_process() {
    let (mut s, mut out) = (sessions(), Vec::new());
    let nothing = Template { services: vec![], ..Template::default() };
    assert!(s.make(NOW, NewSession { template: nothing, ..new(1) }, &mut out));
    assert_eq!(out, [SessionEffect::Event(SessionEvent::Ready(SessionId(1)))]);
    out.clear();
    let desk: Serial = "d1".parse().unwrap();
    assert!(s.attach(SessionId(1), Last(5), Nonce(1), &desk, Size::default(), &mut out));
    s.set_claim(SessionId(1), Claim::Superseded, Epoch::default(), &mut out);
    s.detach(SessionId(1), &mut out);
    assert_eq!((out.as_slice(), s.poll_at()), (&[][..], None), "there is nobody to tell");
    assert!(s.end(NOW, SessionId(1), &mut out) && s.is_empty());
    assert!(matches!(out[..], [SessionEffect::Event(SessionEvent::Ended { .. })]), "{out:?}");
}

#[test]
fn what_comes_of_a_service_that_was_asked_for_is_told_once() {
    let (mut s, mut out) = (sessions(), Vec::new());
    s.make(NOW, new(1), &mut out);
    let spec = spec_of(&out);
    s.on_said(NOW, SessionId(1), FromSession::Ready(description(spec)), &mut out);
    let mail: ServiceName = "mail".parse().unwrap();
    let service = Service { name: mail.clone(), ..Service::terminal(Command::LoginShell) };
    assert!(s.start_service(SessionId(1), service.clone(), &mut out));
    let unsettled = |s: &Sessions| s.get(SessionId(1)).unwrap().is_unsettled(&mail);
    let settles = |s: &mut Sessions, said| {
        let mut out = Vec::new();
        s.on_said(NOW, SessionId(1), said, &mut out);
        out == [SessionEffect::Event(SessionEvent::ServiceSettled {
            session: SessionId(1),
            service: mail.clone(),
        })]
    };
    assert!(unsettled(&s));
    assert!(settles(&mut s, FromSession::ServiceStarted { service: mail.clone(), pid: 7 }) && !unsettled(&s));
    assert!(s.start_service(SessionId(1), service.clone(), &mut out));
    assert!(!unsettled(&s), "one that runs is left alone");
    assert!(s.stop_service(SessionId(1), &mail, &mut out) && unsettled(&s));
    assert!(settles(&mut s, FromSession::ServiceExited { service: mail.clone(), exit: Exit::Signal(1) }));
    assert!(s.stop_service(SessionId(1), &mail, &mut out));
    assert!(!unsettled(&s), "one that does not run has ended already");
    assert!(s.start_service(SessionId(1), service, &mut out) && unsettled(&s));
    assert!(settles(&mut s, FromSession::ServiceFailed { service: mail.clone(), reason: "no".into() }));
}

#[test]
fn a_session_that_could_not_be_started_is_told_from_one_that_is_over() {
    let failed = |act: &dyn Fn(&mut Sessions, SessionSpec, &mut Vec<SessionEffect>)| {
        let (mut s, mut out) = (sessions(), Vec::new());
        s.make(NOW, new(1), &mut out);
        let spec = spec_of(&out);
        out.clear();
        act(&mut s, spec, &mut out);
        let Some(SessionEffect::Event(SessionEvent::Ended { failed, .. })) = out.pop() else {
            panic!("{out:?}")
        };
        failed
    };
    let id = SessionId(1);
    let ended = FromSession::Ended;
    assert!(failed(&|s, _, out| s.on_said(NOW, id, ended(EndReason::CouldNotStart("no".into())), out)));
    assert!(failed(&|s, _, out| s.on_spawn_failed(NOW, id, "no".into(), out)));
    assert!(failed(&|s, _, out| s.on_exited(NOW, id, out)));
    assert!(failed(&|s, _, out| s.on_timeout(s.poll_at().unwrap(), out)));
    let ready = |s: &mut Sessions, spec| {
        s.on_said(NOW, id, FromSession::Ready(description(spec)), &mut Vec::new());
    };
    let finished = EndReason::Finished(Exit::Status(1));
    assert!(!failed(&|s, spec, out| {
        ready(s, spec);
        s.on_said(NOW, id, ended(finished.clone()), out);
    }));
    assert!(!failed(&|s, spec, out| {
        ready(s, spec);
        s.on_exited(NOW, id, out);
    }));
}

#[test]
fn the_registrys_account_goes_before_the_templates_and_that_before_the_machines() {
    let account = |registry: Option<&str>, template: Option<&str>, machine: Option<&str>| {
        let own = |name: Option<&str>| name.map(str::to_owned);
        let template = Template { account: own(template), ..Template::default() };
        let new = NewSession { account: own(registry), template, machine_account: own(machine), ..new(1) };
        let (mut s, mut out) = (sessions(), Vec::new());
        s.make(NOW, new, &mut out);
        let spec = spec_of(&out);
        (spec.account, spec.named_by_registry)
    };
    assert_eq!(account(Some("r"), Some("t"), Some("m")), (Some("r".into()), true));
    assert_eq!(account(None, Some("t"), Some("m")), (Some("t".into()), false));
    assert_eq!(account(None, None, Some("m")), (Some("m".into()), false));
    assert_eq!(account(None, None, None), (None, false));
}
