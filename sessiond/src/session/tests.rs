//! The rules of a session process, in virtual time.

use proto::SessionId;

use super::*;
use crate::control::Bytes;
use crate::control::Refusal;
use crate::control::tests::spec;
use crate::template::Command;
use proto::frame::Hello;

struct World {
    core: SessionCore,
    now: Instant,
    effects: Vec<Effect>,
    next_pid: u32,
}

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn service(text: &str, required: bool) -> Service {
    Service { name: name(text), required, ..Service::terminal(Command::LoginShell) }
}

fn serial(n: u8) -> Serial {
    format!("0800200000{n:02x}").parse().unwrap()
}

fn hello(ticket: u128, desk: u8, text: &str) -> Hello {
    Hello {
        ticket: Nonce(ticket),
        serial: serial(desk),
        service: name(text),
        run: Nonce(5),
        stream: Nonce(0),
        have: 0,
        size: Size::default(),
    }
}

impl World {
    fn of(services: Vec<Service>) -> Self {
        let spec = SessionSpec { services, session: SessionId(1), ..spec() };
        let mut world = Self {
            core: SessionCore::new(spec, 99, Nonce(1000)),
            now: Instant::from_micros(1_000_000),
            effects: Vec::new(),
            next_pid: 100,
        };
        world.act(SessionCore::begin);
        world.act(|core, out| core.ready(Fingerprint([1; 32]), out));
        world
    }

    fn shell() -> Self {
        Self::of(vec![service("terminal", true)])
    }

    /// Does something to the core and starts what it wants started.
    fn act(&mut self, what: impl FnOnce(&mut SessionCore, &mut Vec<Effect>)) -> &mut Self {
        let mut out = Vec::new();
        what(&mut self.core, &mut out);
        let mut at = 0;
        while let Some(effect) = out.get(at).cloned() {
            if let Effect::Start { service, .. } = effect {
                self.next_pid += 1;
                self.core.started(&service.name, self.next_pid, &mut out);
            }
            at += 1;
        }
        self.effects = out;
        self
    }

    fn control(&mut self, message: ToSession) -> &mut Self {
        let now = self.now;
        self.act(|core, out| core.control(now, message, out))
    }

    fn attach(&mut self, ticket: u128, desk: u8) -> &mut Self {
        self.control(ToSession::Attach { ticket: Nonce(ticket), serial: serial(desk), size: Size::default() })
    }

    fn hello(&mut self, conn: u64, hello: &Hello) -> &mut Self {
        let now = self.now;
        self.act(|core, out| core.hello(now, ConnId(conn), hello, out))
    }

    fn exit(&mut self, text: &str, exit: Exit) -> &mut Self {
        let now = self.now;
        self.act(|core, out| core.exited(now, &name(text), exit, out))
    }

    fn later(&mut self, by: Duration) -> &mut Self {
        self.now += by;
        let now = self.now;
        self.act(|core, out| core.on_timeout(now, out))
    }

    fn starts(&self) -> Vec<&str> {
        let starts = self.effects.iter().filter_map(|effect| match effect {
            Effect::Start { service, .. } => Some(service.name.as_str()),
            _ => None,
        });
        starts.collect()
    }

    fn told(&self) -> Vec<&FromSession> {
        let told = self.effects.iter().filter_map(|effect| match effect {
            Effect::Tell(told) => Some(told),
            _ => None,
        });
        told.collect()
    }

    fn refused(&self) -> Option<Refusal> {
        self.told().iter().find_map(|told| match told {
            FromSession::DisplayRefused(refusal) => Some(*refusal),
            _ => None,
        })
    }

    fn gone(&self) -> Option<Gone> {
        self.told().iter().find_map(|told| match told {
            FromSession::DisplayGone { why, .. } => Some(*why),
            _ => None,
        })
    }

    fn screen(&mut self, text: &str) -> String {
        let slot = self.core.slots.get_mut(&name(text)).unwrap();
        slot.feed.lines().concat().trim_end().to_owned()
    }

    fn pull(&mut self, conn: u64) -> Vec<Frame> {
        let (mut bytes, now) = (Vec::new(), self.now);
        self.act(|core, out| core.pull(now, ConnId(conn), 1000, &mut bytes, out));
        let mut frames = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((frame, len)) = Frame::parse(rest).unwrap() {
            frames.push(frame);
            rest = &rest[len..];
        }
        frames
    }
}

#[test]
fn required_services_start_at_once_and_others_when_asked_for() {
    let mut world = World::of(vec![service("terminal", true), service("mail", false)]);
    let states = world.core.describe().services;
    assert_eq!(states[0], (name("mail"), ServiceState::Idle));
    assert!(matches!(states[1].1, ServiceState::Running { .. }));
    assert_eq!(world.control(ToSession::StartService(Box::new(service("mail", false)))).starts(), ["mail"]);
    assert!(world.control(ToSession::StartService(Box::new(service("mail", false)))).starts().is_empty());
}

#[test]
fn a_required_service_that_crashed_is_started_again_on_connect() {
    let mut world = World::shell();
    world.exit("terminal", Exit::Signal(11));
    assert!(!world.core.is_ending());
    assert_eq!(world.attach(1, 1).starts(), ["terminal"]);
    assert!(world.attach(2, 1).starts().is_empty(), "one that runs is left alone");
}

#[test]
fn a_session_whose_required_services_have_ended_by_themselves_ends() {
    let mut world = World::of(vec![service("a", true), service("b", true), service("c", false)]);
    world.exit("a", Exit::Status(0));
    assert!(!world.core.is_ending(), "b still runs");
    world.exit("b", Exit::Status(7));
    assert!(world.core.is_ending());
    assert!(world.effects.contains(&Effect::Hangup(None)));
    world.act(SessionCore::all_gone);
    assert_eq!(world.told(), [&FromSession::Ended(EndReason::Finished(Exit::Status(7)))]);
    assert_eq!(world.effects.last(), Some(&Effect::Quit { clean: true }));
}

#[test]
fn what_does_not_end_is_hung_up_then_asked_then_killed_and_what_cannot_be_killed_is_left_to_the_spawner() {
    let mut world = World::shell();
    world.control(ToSession::End);
    assert_eq!(world.effects.last(), Some(&Effect::Hangup(None)));
    assert_eq!(world.core.poll_at(), Some(world.now + HANGUP_GRACE));
    assert_eq!(world.later(HANGUP_GRACE).effects, [Effect::Terminate(None)]);
    assert_eq!(world.core.poll_at(), Some(world.now + TERMINATE_GRACE));
    assert_eq!(world.later(TERMINATE_GRACE).effects, [Effect::Kill(None)]);
    assert_eq!(world.later(KILL_WITHIN).effects.last(), Some(&Effect::Quit { clean: false }));
    assert_eq!(world.core.poll_at(), None);
}

#[test]
fn a_session_whose_programs_have_ended_waits_for_no_grace_time() {
    for pauses in [&[][..], &[HANGUP_GRACE], &[HANGUP_GRACE, TERMINATE_GRACE]] {
        let mut world = World::shell();
        world.control(ToSession::End);
        for pause in pauses {
            world.later(*pause);
        }
        world.act(SessionCore::all_gone);
        assert_eq!(world.effects.last(), Some(&Effect::Quit { clean: true }));
    }
}

#[test]
fn a_session_that_is_alone_ends() {
    let mut world = World::shell();
    let now = world.now;
    world.act(|core, out| core.alone(now, out));
    assert_eq!(world.effects, [Effect::Change(Change::End), Effect::Hangup(None)]);
    assert!(world.attach(1, 1).starts().is_empty(), "an ending session starts nothing");
}

#[test]
fn a_session_left_alone_closes_its_displays_before_anything_else() {
    let mut world = World::shell();
    world.attach(1, 1);
    let now = world.now;
    world.act(|core, out| core.hello(now, ConnId(7), &hello(1, 1, "terminal"), out));
    world.act(|core, out| core.alone(now, out));
    assert_eq!(world.effects.first(), Some(&Effect::Close(ConnId(7), Vec::new())));
    assert_eq!(world.effects.last(), Some(&Effect::Hangup(None)));
}

#[test]
fn a_stopped_service_is_hung_up_then_asked_then_killed_and_the_session_stays() {
    let mut world = World::shell();
    world.control(ToSession::StopService(name("terminal")));
    assert_eq!(world.effects, [Effect::Hangup(Some(name("terminal")))]);
    assert_eq!(world.later(HANGUP_GRACE).effects, [Effect::Terminate(Some(name("terminal")))]);
    assert_eq!(world.later(TERMINATE_GRACE).effects, [Effect::Kill(Some(name("terminal")))]);
    world.exit("terminal", Exit::Status(0));
    assert!(
        world.effects.contains(&Effect::Kill(Some(name("terminal")))),
        "what it left behind goes with it"
    );
    assert!(!world.core.is_ending(), "it did not end by itself");
    assert_eq!(world.core.poll_at(), None);
}

#[test]
fn a_ticket_opens_each_service_once_for_its_dtu_in_time() {
    let mut world = World::of(vec![
        service("terminal", true),
        service("mail", true),
        Service { display: Display::None, ..service("sync", true) },
    ]);
    assert_eq!(world.hello(1, &hello(7, 1, "terminal")).refused(), Some(Refusal::Detached));
    world.attach(7, 1);
    assert_eq!(world.hello(1, &hello(8, 1, "terminal")).refused(), Some(Refusal::WrongTicket));
    assert_eq!(world.hello(1, &hello(7, 2, "terminal")).refused(), Some(Refusal::WrongSerial));
    assert_eq!(world.hello(1, &hello(7, 1, "other")).refused(), Some(Refusal::NoSuchService));
    assert_eq!(world.hello(1, &hello(7, 1, "sync")).refused(), Some(Refusal::NoSuchService));
    assert_eq!(world.hello(1, &hello(7, 1, "terminal")).refused(), None);
    assert_eq!(world.hello(2, &hello(7, 1, "terminal")).refused(), Some(Refusal::UsedTicket));
    assert_eq!(world.hello(3, &hello(7, 1, "mail")).refused(), None);
    world.attach(9, 1).later(TICKET_LIFE);
    assert_eq!(world.hello(4, &hello(9, 1, "terminal")).refused(), Some(Refusal::OldTicket));
    assert!(world.core.is_open(ConnId(1)) && world.core.is_open(ConnId(3)));
}

#[test]
fn a_session_shown_at_another_desk_is_taken_from_the_first_at_once() {
    let mut world = World::shell();
    world.attach(1, 1).hello(1, &hello(1, 1, "terminal"));
    world.attach(2, 2);
    assert_eq!(world.gone(), Some(Gone::Detached));
    assert!(
        matches!(&world.effects[0], Effect::Close(ConnId(1), last) if last.len() == 1),
        "{:?}",
        world.effects
    );
    assert!(!world.core.is_open(ConnId(1)));
}

#[test]
fn the_same_desk_keeps_its_picture_until_it_has_it_again() {
    let mut world = World::shell();
    world.attach(1, 1).hello(1, &hello(1, 1, "terminal"));
    world.attach(2, 1);
    assert!(world.core.is_open(ConnId(1)));
    world.hello(2, &hello(2, 1, "terminal"));
    assert_eq!(world.gone(), Some(Gone::Replaced));
    assert!(!world.core.is_open(ConnId(1)) && world.core.is_open(ConnId(2)));
}

#[test]
fn a_detached_session_runs_on_unseen() {
    let mut world = World::shell();
    world.attach(1, 1).hello(1, &hello(1, 1, "terminal"));
    world.control(ToSession::Detach);
    assert_eq!(world.gone(), Some(Gone::Detached));
    assert!(matches!(world.core.describe().services[0].1, ServiceState::Running { .. }));
    assert_eq!(world.core.describe().attached, None);
    assert_eq!(world.hello(2, &hello(1, 1, "terminal")).refused(), Some(Refusal::Detached));
}

#[test]
fn a_dtu_is_shown_a_service_to_its_end() {
    let mut world = World::shell();
    world.attach(1, 1).hello(1, &hello(1, 1, "terminal"));
    world.core.output(&name("terminal"), b"bye");
    world.exit("terminal", Exit::Signal(9));
    let frames = world.pull(1);
    assert_eq!(frames.last(), Some(&Frame::Exit(137)));
    assert_eq!(world.gone(), Some(Gone::ServiceEnded));
    assert!(world.effects.contains(&Effect::Close(ConnId(1), Vec::new())));
}

#[test]
fn a_session_fails_once_with_the_reason_when_what_it_requires_cannot_be_started() {
    let services = vec![service("a", true), service("b", true)];
    let mut core = SessionCore::new(SessionSpec { services, ..spec() }, 99, Nonce(0));
    let mut out = Vec::new();
    core.begin(&mut out);
    core.started(&name("a"), 1, &mut out);
    core.failed(Instant::ZERO, &name("b"), "no such program".into(), &mut out);
    core.ready(Fingerprint([1; 32]), &mut out);
    assert!(!out.iter().any(|e| matches!(e, Effect::Tell(FromSession::Ready(_)))), "it cannot be attached");
    assert!(out.contains(&Effect::Hangup(None)), "what runs of it ends with it");
    out.clear();
    core.all_gone(&mut out);
    let reason = EndReason::CouldNotStart("no such program".into());
    assert_eq!(out, [Effect::Tell(FromSession::Ended(reason)), Effect::Quit { clean: true }]);
}

#[test]
fn a_session_whose_only_required_service_cannot_be_started_again_ends_with_the_reason() {
    let mut world = World::shell();
    world.exit("terminal", Exit::Signal(11));
    assert_eq!(world.attach(1, 1).starts(), ["terminal"]);
    let now = world.now;
    world.act(|core, out| core.failed(now, &name("terminal"), "gone".into(), out));
    world.act(SessionCore::all_gone);
    assert_eq!(world.told(), [&FromSession::Ended(EndReason::CouldNotStart("gone".into()))]);
}

#[test]
fn a_service_that_cannot_be_started_beside_one_that_runs_says_why_on_its_screen_until_it_can() {
    let mut world = World::of(vec![service("terminal", true), service("mail", true)]);
    let now = world.now;
    world.exit("mail", Exit::Signal(11));
    world.attach(1, 1);
    world.act(|core, out| core.failed(now, &name("mail"), "no such \x1bshell".into(), out));
    assert!(!world.core.is_ending());
    world.hello(1, &hello(1, 1, "mail"));
    assert_eq!(world.screen("mail"), "mail could not be started: no such shell");
    assert!(!world.pull(1).iter().any(|frame| matches!(frame, Frame::Exit(_))), "the line stays");
    // What is typed at it is taken, and reaches nobody.
    world.act(|core, out| core.frame(now, ConnId(1), Frame::Input { seq: 0, bytes: b"x".to_vec() }, out));
    assert_eq!((world.core.input(&name("mail")), world.effects.len()), (&b""[..], 0));
    world.later(Duration::from_millis(100));
    assert_eq!(world.pull(1), [Frame::Ack { output: 0, input: 1 }]);
    assert_eq!(world.attach(2, 1).starts(), ["mail"]);
    world.core.output(&name("mail"), b"hello");
    assert_eq!(world.screen("mail"), "hello");
}

#[test]
fn the_display_of_a_service_that_nobody_started_says_so_and_how_to_start_it() {
    let mut world = World::of(vec![service("terminal", true), service("mail", false)]);
    world.attach(1, 1).hello(1, &hello(1, 1, "mail"));
    let short = world.core.describe().spec.session.short();
    let wanted = format!("mail is not started. Start it with: groupmgr service start {short} mail");
    assert_eq!(world.screen("mail"), wanted);
    assert_eq!(world.control(ToSession::StartService(Box::new(service("mail", false)))).starts(), ["mail"]);
    assert_eq!(world.screen("mail"), "");
}

#[test]
fn a_dtu_that_breaks_the_rules_loses_its_connection_and_nothing_else() {
    let mut world = World::shell();
    world.attach(1, 1).hello(1, &hello(1, 1, "terminal"));
    let now = world.now;
    world.act(|core, out| core.frame(now, ConnId(1), Frame::Input { seq: 9, bytes: b"x".to_vec() }, out));
    assert_eq!(world.gone(), Some(Gone::Fault));
    assert!(!world.core.is_ending());
    world.act(|core, out| core.frame(now, ConnId(1), Frame::Ping(1), out));
    assert_eq!(world.effects, [], "a closed connection says nothing more");
}

#[test]
fn the_next_daemon_finds_what_the_last_one_left() {
    let mut world = World::shell();
    world.attach(1, 1);
    world.control(ToSession::SetMeta(Bytes(b"epoch=3".to_vec())));
    world.control(ToSession::Describe);
    assert_eq!(world.effects[0], Effect::ForgetData);
    let [FromSession::Described(description)] = world.told()[..] else { panic!("{:?}", world.effects) };
    assert_eq!(description.spec.meta.0, b"epoch=3");
    assert_eq!(description.attached, Some(serial(1)));
    assert_eq!((description.pid, description.fingerprint), (99, Fingerprint([1; 32])));
}

#[test]
fn another_size_reaches_the_service_before_the_dtu_has_connected() {
    let mut world = World::shell();
    let size = Size { cols: 132, rows: 43 };
    world.control(ToSession::Attach { ticket: Nonce(1), serial: serial(1), size });
    assert!(world.effects.contains(&Effect::Resize(name("terminal"), size)));
}

#[test]
fn a_session_has_a_bounded_number_of_services() {
    let mut world = World::shell();
    for n in 1..SERVICES_MAX {
        assert_eq!(
            world.control(ToSession::StartService(Box::new(service(&format!("s{n}"), false)))).starts().len(),
            1
        );
    }
    world.control(ToSession::StartService(Box::new(service("more", false))));
    assert!(matches!(world.told()[..], [FromSession::ServiceFailed { .. }]));
    assert_eq!(world.core.describe().services.len(), SERVICES_MAX);
}
