//! A replicated session, and a host that keeps what it is sent.

use std::collections::BTreeMap;

use continuity::{Delta, Held};
use proto::HostName;
use proto::frame::{Frame, Hello};

use super::*;
use crate::control::tests::spec;
use crate::control::{Bytes, Exit, Fingerprint, SessionSpec, ToSession, Update};
use crate::session::ConnId;
use crate::template::{Continuity, Template};

const EPOCH: Epoch = Epoch { generation: 1, counter: 2 };
const CONN: ConnId = ConnId(1);

struct World {
    core: SessionCore,
    now: Instant,
    started: Vec<Service>,
    sent: Vec<(Part, Update)>,
    parts: Vec<Part>,
    held: BTreeMap<Part, Held>,
    whereabouts: Whereabouts,
    inputs: usize,
}

fn terminal() -> ServiceName {
    "terminal".parse().unwrap()
}

fn screen() -> Part {
    screen_of(&terminal())
}

impl World {
    /// One that has been told nothing yet.
    fn new() -> Self {
        let services = Template::default().services;
        let spec = SessionSpec { services, continuity: Continuity::Replicated, ..spec() };
        let mut world = Self {
            core: SessionCore::new(spec, 99, Nonce(1000)),
            now: Instant::from_micros(1_000_000),
            started: Vec::new(),
            sent: Vec::new(),
            parts: Vec::new(),
            held: BTreeMap::new(),
            whereabouts: Whereabouts::default(),
            inputs: 0,
        };
        world.act(|core, _, out| core.begin(out));
        world.act(|core, _, out| core.ready(Fingerprint([1; 32]), out));
        world
    }

    fn begun(protection: Protection) -> Self {
        let mut world = Self::new();
        world.begin(None, protection);
        world.look();
        world
    }

    fn begin(&mut self, lost: Option<HostName>, protection: Protection) {
        let beginning = Beginning { epoch: EPOCH, lost, protection };
        self.act(|core, now, out| core.begin_kept(now, &beginning, out));
    }

    fn act(&mut self, what: impl FnOnce(&mut SessionCore, Instant, &mut Vec<Effect>)) {
        let mut out = Vec::new();
        what(&mut self.core, self.now, &mut out);
        let mut at = 0;
        while let Some(effect) = out.get(at).cloned() {
            match effect {
                Effect::Start { service, .. } => {
                    self.core.started(&service.name, 100, &mut out);
                    self.started.push(*service);
                }
                Effect::Tell(FromSession::Committed { part, update }) => self.sent.push((part, update)),
                Effect::Tell(FromSession::Parts(parts)) => self.parts = parts,
                Effect::Input(_) => self.inputs += 1,
                _ => {}
            }
            at += 1;
        }
    }

    fn control(&mut self, message: ToSession) {
        self.act(|core, now, out| core.control(now, message, out));
    }

    /// What the process around it does at the end of each turn.
    fn look(&mut self) {
        let whereabouts = self.whereabouts.clone();
        self.act(|core, now, out| {
            core.digest(out);
            for name in core.screens_due(now) {
                core.screen_is(now, &name, whereabouts.clone(), out);
            }
        });
    }

    fn write(&mut self, text: &str) {
        self.core.output(&terminal(), text.as_bytes());
        self.look();
    }

    /// The first update that is under way arrives and is acknowledged; what is kept then.
    fn arrive(&mut self) -> Screen {
        let (part, update) = self.sent.remove(0);
        let held = self.held.entry(part.clone()).or_default();
        match update {
            Update::Whole(bytes) => held.take_whole(Encoded::open(&bytes.0).unwrap()).unwrap(),
            Update::Delta(bytes) => held.take_delta(&Delta::from_bytes(&bytes.0).unwrap()).unwrap(),
        }
        let encoded = held.encoded().unwrap().clone();
        self.control(ToSession::Protected { part, stamp: encoded.stamp() });
        self.look();
        Screen::of(&Object::decode(&encoded).unwrap()).unwrap()
    }

    fn open(&mut self) {
        let serial: proto::Serial = "080020000001".parse().unwrap();
        self.control(ToSession::Attach { ticket: Nonce(1), serial: serial.clone(), size: Size::default() });
        let hello = Hello {
            ticket: Nonce(1),
            serial,
            service: terminal(),
            run: Nonce(5),
            stream: Nonce(0),
            have: 0,
            size: Size::default(),
        };
        self.act(|core, now, out| core.hello(now, CONN, &hello, out));
    }

    /// What the DTU is sent: text of output and repaints, and notices in brackets.
    fn shown(&mut self) -> String {
        let mut bytes = Vec::new();
        self.act(|core, now, out| core.pull(now, CONN, 100_000, &mut bytes, out));
        let (mut rest, mut text) = (bytes.as_slice(), String::new());
        while let Some((frame, len)) = Frame::parse(rest).unwrap() {
            match frame {
                Frame::Output { bytes, .. } | Frame::Repaint { bytes, .. } => {
                    text.push_str(&String::from_utf8_lossy(&bytes));
                }
                Frame::Notice(notice) => text.push_str(&format!("[{notice}]")),
                _ => {}
            }
            rest = &rest[len..];
        }
        text
    }
}

#[test]
fn a_replicated_session_starts_nothing_before_it_is_told_to_begin() {
    let mut world = World::new();
    world.open();
    assert!(world.started.is_empty());
    world.begin(None, Protection::Alone);
    assert_eq!(world.started.len(), 1);
    world.begin(None, Protection::Alone);
    world.look();
    assert_eq!((world.started.len(), world.sent.len()), (1, 0));
}

#[test]
fn output_is_shown_when_the_secondary_has_it_and_what_is_written_meanwhile_leaves_as_one() {
    let mut world = World::begun(Protection::Each);
    assert_eq!(world.parts, [screen()]);
    world.arrive();
    world.open();
    world.shown();
    world.write("one ");
    world.write("two ");
    world.write("three ");
    assert_eq!((world.sent.len(), world.shown().as_str()), (1, ""));
    assert_eq!(world.arrive().output, b"one ");
    assert_eq!((world.sent.len(), world.shown().as_str()), (1, "one "));
    assert_eq!(world.arrive().output, b"one two three ");
    assert_eq!((world.sent.len(), world.shown().as_str()), (0, "two three "));
}

#[test]
fn at_rest_nothing_is_due_and_nothing_is_sent() {
    let mut world = World::begun(Protection::Each);
    world.write("$ ");
    while !world.sent.is_empty() {
        world.arrive();
    }
    // Once more somebody looks what runs in the foreground.
    let at = world.core.poll_at().unwrap();
    assert_eq!(at, world.now + LOOK_AFTER);
    world.now = at;
    world.look();
    assert!(world.sent.is_empty());
    assert_eq!(world.core.poll_at(), None);
}

#[test]
fn a_program_that_starts_in_silence_is_known_a_little_later() {
    let mut world = World::begun(Protection::Each);
    world.write("sleep 9\r\n");
    while !world.sent.is_empty() {
        world.arrive();
    }
    world.whereabouts.foreground = Some("sleep 9".into());
    world.now = world.core.poll_at().unwrap();
    world.look();
    assert_eq!(world.arrive().around.foreground.as_deref(), Some("sleep 9"));
}

#[test]
fn much_output_is_a_new_picture_and_no_longer_update() {
    let mut world = World::begun(Protection::Each);
    world.arrive();
    for _ in 0..40 {
        world.write(&"a line of some length\r\n".repeat(100));
    }
    let mut sizes = Vec::new();
    while let Some((_, Update::Whole(Bytes(update)) | Update::Delta(Bytes(update)))) = world.sent.first() {
        sizes.push(update.len());
        let screen = world.arrive();
        assert!(screen.output.len() <= OUTPUT_MAX);
    }
    assert!(sizes.len() <= 3 && sizes.iter().all(|len| *len < 16 * 1024), "{sizes:?}");
}

#[test]
fn a_session_without_a_secondary_goes_on_and_says_so_and_one_that_must_not_holds_and_says_why() {
    let mut world = World::begun(Protection::Each);
    world.open();
    world.arrive();
    world.shown();
    world.write("one ");
    world.control(ToSession::Protect { how: Protection::Alone, why: "host b is gone".into() });
    assert_eq!(world.shown(), "[unprotected: host b is gone]one ");
    world.write("two ");
    assert_eq!(world.shown(), "two ");
    world.control(ToSession::Protect { how: Protection::Held, why: "no host is left".into() });
    world.sent.clear();
    world.write("three ");
    assert_eq!((world.shown().as_str(), world.sent.len()), ("[held: no host is left]", 0));
    world.open();
    assert!(world.shown().contains("[held: no host is left]"), "whoever comes later is told");
    world.control(ToSession::Protect { how: Protection::Each, why: String::new() });
    world.look();
    world.held.clear();
    assert_eq!(world.shown(), "[protected again]");
    world.arrive();
    assert!(world.shown().contains("three "));
    world.control(ToSession::Protect { how: Protection::Alone, why: "host c is gone".into() });
    world.shown();
    world.control(ToSession::Protect { how: Protection::Filling, why: String::new() });
    assert_eq!(world.shown(), "", "a secondary that is being filled protects nothing yet");
}

#[test]
fn what_was_on_its_way_through_a_daemon_that_died_is_sent_again_through_the_next() {
    let mut world = World::begun(Protection::Each);
    world.open();
    while !world.sent.is_empty() {
        world.arrive();
    }
    world.shown();
    world.write("one ");
    world.sent.clear();
    world.control(ToSession::Describe);
    world.look();
    assert_eq!((world.sent.len(), world.shown().as_str()), (0, ""), "it goes on waiting");
    world.control(ToSession::Protect { how: Protection::Each, why: String::new() });
    world.look();
    world.held.clear();
    world.arrive();
    assert_eq!(world.shown(), "one ");
}

#[test]
fn a_session_that_ends_waits_for_nobody() {
    let mut world = World::begun(Protection::Each);
    world.open();
    while !world.sent.is_empty() {
        world.arrive();
    }
    world.shown();
    world.write("logout\r\n");
    assert_eq!(world.shown(), "");
    world.act(|core, now, out| core.exited(now, &terminal(), Exit::Status(0), out));
    assert_eq!(world.shown(), "logout\r\n");
}

#[test]
fn a_terminal_that_is_asked_something_answers_a_round_trip_later() {
    let mut world = World::begun(Protection::Each);
    world.arrive();
    world.write("\x1b[6n");
    assert_eq!(world.inputs, 1, "with the version that it is in");
    world.write("\x1b[6n");
    assert_eq!(world.inputs, 1);
    world.arrive();
    assert_eq!(world.inputs, 2);
}

#[test]
fn a_shell_comes_back_in_its_directory_below_its_old_screen() {
    let mut first = World::begun(Protection::Each);
    first.whereabouts = Whereabouts {
        directory: Some("/srv".into()),
        foreground: Some("vim notes".into()),
        environment: b"LANG=de_DE.UTF-8\0PATH=/evil\0".as_slice().into(),
    };
    first.write("ann@a:/srv$ vim notes\r\n");
    while !first.sent.is_empty() {
        first.arrive();
    }
    let kept = Object::decode(first.held[&screen()].encoded().unwrap()).unwrap();

    let mut second = World::new();
    let beginning = Beginning {
        epoch: Epoch { generation: 1, counter: 3 },
        lost: Some("a".parse().unwrap()),
        protection: Protection::Each,
    };
    second.core.returned(&beginning, &kept, None);
    second.act(|core, now, out| core.begin_kept(now, &beginning, out));
    second.look();
    let service = &second.started[0];
    assert_eq!(
        (service.cwd.as_deref(), service.env.get("LANG").map(String::as_str)),
        (Some("/srv"), Some("de_DE.UTF-8"))
    );
    assert_eq!(service.env.get("PATH"), None, "what is started with which variables is the template's");
    second.open();
    let shown = second.shown();
    assert!(shown.contains("vim notes") && shown.contains("Host a is gone"), "{shown:?}");
    assert_eq!(second.sent.len(), 1);
    second.arrive();
    let (before, after) = (kept.head.stamp, second.held[&screen()].stamp().unwrap());
    assert!(after > before && after.version > before.version, "{before} {after}");
    // The next run of the service begins where its template says.
    second.act(|core, now, out| core.exited(now, &terminal(), Exit::Signal(9), out));
    second.open();
    assert_eq!(second.started[1].cwd, None);
}

/// What is typed is with the service as soon as that takes it.
fn given(world: &mut World) -> String {
    let mut text = String::new();
    loop {
        let input = world.core.input(&terminal()).to_vec();
        if input.is_empty() {
            return text;
        }
        text.push_str(core::str::from_utf8(&input).unwrap());
        world.act(|core, now, _| core.input_taken(now, &terminal(), input.len()));
    }
}

fn types(world: &mut World, seq: u64, text: &str) {
    let bytes = text.as_bytes().to_vec();
    world.act(|core, now, out| core.frame(now, CONN, Frame::Input { seq, bytes }, out));
}

/// One that stands still, with what it was given until then.
fn stands_still(typed: &[&str]) -> (World, String) {
    let mut world = World::begun(Protection::Each);
    world.open();
    world.arrive();
    let (mut seq, mut text) = (0, String::new());
    for (n, typed) in typed.iter().enumerate() {
        if n == 1 {
            world.control(ToSession::Still(true));
        }
        types(&mut world, seq, typed);
        seq += typed.len() as u64;
        text.push_str(&given(&mut world));
        world.look();
    }
    while let Some(at) = world.core.settles_at() {
        world.now = world.now.max(at);
        world.act(|core, now, out| core.on_timeout(now, out));
    }
    while !world.sent.is_empty() {
        world.arrive();
    }
    (world, text)
}

#[test]
fn a_session_that_stands_still_gives_its_services_whole_lines_and_nothing_more() {
    let (mut world, given_before) = stands_still(&["ls\rec", "ho a\rmore\r"]);
    assert_eq!(given_before, "ls\recho a\r");
    world.write("$ ");
    let kept = world.arrive();
    assert_eq!((kept.is_still, kept.input.clone()), (true, vec![(Nonce(5), 10)]));
    // It goes on, here or elsewhere.
    world.control(ToSession::Still(false));
    assert_eq!((given(&mut world).as_str(), world.inputs > 0), ("more\r", true));
    world.write("$ ");
    assert!(!world.arrive().is_still);
    // A line that nobody finishes is cut.
    let (mut world, given_before) = stands_still(&["half", ""]);
    assert_eq!(given_before, "half");
    types(&mut world, 4, " a line\r");
    world.write("$ ");
    assert_eq!((given(&mut world).as_str(), world.arrive().is_still), ("", false));
}

#[test]
fn a_moved_session_takes_what_was_typed_beyond_a_whole_line_and_a_restored_one_drops_it() {
    let (mut world, _) = stands_still(&["ls\r", ""]);
    world.write("$ ");
    let kept = world.arrive();
    for (is_moved, is_still, input) in
        [(true, true, "more\r"), (true, false, ""), (false, true, ""), (false, false, "")]
    {
        let mut next = World::new();
        let screen = Screen { is_still, ..kept.clone() };
        let object = screen.to_object(next.core.spec.session, &terminal(), Stamp::default());
        if is_moved {
            next.control(ToSession::Moved);
        }
        let beginning =
            Beginning { epoch: EPOCH, lost: Some("b".parse().unwrap()), protection: Protection::Alone };
        next.core.returned(&beginning, &object, None);
        next.act(|core, now, out| core.begin_kept(now, &beginning, out));
        next.open();
        types(&mut next, 3, "more\r");
        assert_eq!(given(&mut next), input, "{is_moved} {is_still}");
    }
}

/// A daemon that is gone may have handed the session over: while its secondary takes versions it has not.
#[test]
fn a_session_that_another_daemon_takes_up_stands_still_until_its_secondary_takes_something() {
    let (mut world, _) = stands_still(&["ls\r", ""]);
    types(&mut world, 3, "more\r");
    world.control(ToSession::Describe);
    world.control(ToSession::Protect { how: Protection::Each, why: String::new() });
    world.look();
    assert_eq!(given(&mut world), "");
    world.arrive();
    assert_eq!(given(&mut world), "more\r");
}

#[test]
fn a_daemon_that_does_not_answer_is_said_to_be_the_reason_why_nothing_is_shown() {
    let mut world = World::begun(Protection::Each);
    world.arrive();
    world.open();
    world.shown();
    world.write("one");
    let at = world.now + DAEMON_WITHIN;
    assert!(world.core.poll_at().unwrap() <= at);
    world.now = at;
    world.act(|core, now, out| core.on_timeout(now, out));
    assert_eq!(world.shown(), "[held: the host's daemon does not answer]");
    world.act(|core, now, out| core.on_timeout(now, out));
    assert_eq!((world.shown().as_str(), world.core.word()), ("", Some(DAEMON_SILENT)), "once");
    world.arrive();
    assert_eq!((world.shown().as_str(), world.core.word()), ("[protected again]one", None));
    // One that gives the secondary up says that itself.
    world.write("two");
    world.control(ToSession::Protect { how: Protection::Alone, why: "b is gone".into() });
    world.now += DAEMON_WITHIN;
    world.act(|core, now, out| core.on_timeout(now, out));
    assert_eq!(world.shown(), "[unprotected: b is gone]two");
}
