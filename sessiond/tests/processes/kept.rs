//! A session that another host keeps: what waits for that, and how it comes back.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use continuity::{Delta, Encoded, Held, Object};
use proto::frame::Frame;
use proto::{Epoch, Nonce, SessionId};
use sessiond::control::{
    Beginning, Bytes, Description, FromSession, Kind, Part, Protection, SessionSpec, ToSession, Update,
};
use sessiond::screen::Screen;
use sessiond::template::{Continuity, Service};

use crate::support::{Daemon, Dtu, Has, Pipe, service, spec};
use crate::{Rule, login_shell, run_dir};

pub const RULES: &[Rule] = &[
    ("what_a_program_commits_is_answered_when_another_host_keeps_it", true, commit_waits),
    ("output_is_shown_when_another_host_keeps_it_and_without_one_the_desk_is_told", true, output_waits),
    ("much_output_costs_round_trips_and_nothing_of_it_is_lost", true, bulk_waits),
    ("a_shell_returns_in_its_directory_below_its_old_screen_without_half_a_line", true, shell_returns),
    ("programs_are_told_that_they_were_restored_and_what_is_missing", true, program_returns),
    ("what_is_kept_of_another_session_is_not_restored", true, forged),
];

/// The copies of a session at another host.
#[derive(Default)]
pub struct Keeper {
    pub held: BTreeMap<Part, Held>,
}

pub fn part(kind: Kind) -> Part {
    Part { service: "terminal".parse().unwrap(), kind }
}

impl Keeper {
    /// Takes the next update; says of which part. It is not acknowledged.
    pub fn take(&mut self, daemon: &mut Daemon) -> Part {
        let (part, update) = daemon.said("Committed", |said| match said {
            FromSession::Committed { part, update } => Some((part.clone(), update.clone())),
            _ => None,
        });
        self.hear(&part, update);
        part
    }

    /// Takes an update.
    pub fn hear(&mut self, part: &Part, update: Update) {
        let held = self.held.entry(part.clone()).or_default();
        match update {
            Update::Whole(Bytes(bytes)) => held.take_whole(Encoded::open(&bytes).unwrap()).unwrap(),
            Update::Delta(Bytes(bytes)) => held.take_delta(&Delta::from_bytes(&bytes).unwrap()).unwrap(),
        }
    }

    pub fn acknowledge(&self, daemon: &Daemon, part: &Part) {
        let stamp = self.held[part].stamp().unwrap();
        daemon.tell(1, ToSession::Protected { part: part.clone(), stamp });
    }

    pub fn object(&self, part: &Part) -> Option<Object> {
        Some(Object::decode(self.held.get(part)?.encoded()?).unwrap())
    }

    /// Takes and acknowledges until what is kept of the terminal is as it should be.
    fn until(&mut self, daemon: &mut Daemon, is_kept: impl Fn(&Screen) -> bool) {
        loop {
            let part = self.take(daemon);
            self.acknowledge(daemon, &part);
            if self
                .object(&screen())
                .and_then(|object| Screen::of(&object))
                .is_some_and(|screen| is_kept(&screen))
            {
                return;
            }
        }
    }

    /// What a host that goes on with the session tells its process, before it begins.
    fn restore(&self, daemon: &Daemon) {
        for (part, held) in &self.held {
            let object = Bytes(held.encoded().unwrap().as_bytes().to_vec());
            daemon.tell(1, ToSession::Restore { part: part.clone(), object });
        }
    }
}

fn screen() -> Part {
    part(Kind::Screen)
}

fn shows(screen: &Screen, text: &str) -> bool {
    String::from_utf8_lossy(&screen.transcript()).contains(text)
}

pub fn begin(
    daemon: &mut Daemon,
    services: Vec<Service>,
    keeper: &Keeper,
    protection: Protection,
) -> Description {
    let kept = SessionSpec { continuity: Continuity::Replicated, ..spec(1, services) };
    begin_as(daemon, kept, keeper, protection)
}

/// The same with a session of any account.
pub fn begin_as(
    daemon: &mut Daemon,
    kept: SessionSpec,
    keeper: &Keeper,
    protection: Protection,
) -> Description {
    let lost = (!keeper.held.is_empty()).then(|| "a".parse().unwrap());
    let counter = if lost.is_some() { 2 } else { 1 };
    daemon.client().spawn(kept).unwrap();
    daemon
        .wait("Spawned", |event| matches!(event, sessiond::io::client::Event::Spawned { .. }).then_some(()));
    keeper.restore(daemon);
    let epoch = Epoch { generation: 1, counter };
    daemon.tell(1, ToSession::Begin(Box::new(Beginning { epoch, lost, protection })));
    daemon.ready(1)
}

fn commit_waits(dir: &Path) {
    let pipe = Pipe::from_session(dir, "done");
    let script = format!(
        "sessiond state put application a 1; echo stored > {0}; sessiond state status > {0}; exec cat",
        pipe.path.display()
    );
    let (mut daemon, mut keeper) = (Daemon::start(&run_dir(dir), false), Keeper::default());
    begin(&mut daemon, vec![service(&script)], &keeper, Protection::Each);
    let state = part(Kind::State);
    loop {
        let part = keeper.take(&mut daemon);
        if part == state {
            break;
        }
        keeper.acknowledge(&daemon, &part);
    }
    // A program that had been answered would have gone on by now.
    assert_eq!(pipe.line_within(Duration::from_millis(300)), None);
    keeper.acknowledge(&daemon, &state);
    assert_eq!(pipe.line("the answer"), "stored");
    // And it is known how long that took.
    let status = pipe.line("the status");
    let status = proto::Line::parse(status.as_bytes()).unwrap();
    let took: u64 = status.need("p50_us").unwrap();
    assert!(status.get("acknowledged") == Some("1") && (250_000..30_000_000).contains(&took), "{status}");
    let told = daemon.said("Acknowledged", |said| match said {
        FromSession::Acknowledged(times) => Some(*times),
        _ => None,
    });
    assert_eq!((told.count, told.p50_us), (1, took));
    let value = keeper.object(&state).unwrap();
    let value = value.get(&"application".parse().unwrap(), &"a".parse().unwrap()).unwrap().clone();
    assert_eq!(value.as_raw(), Some(b"1".as_slice()));
}

fn output_waits(dir: &Path) {
    let (mut daemon, mut keeper) = (Daemon::start(&run_dir(dir), false), Keeper::default());
    let made =
        begin(&mut daemon, vec![service("stty -echo; echo ready; exec cat")], &keeper, Protection::Each);
    keeper.until(&mut daemon, |screen| shows(screen, "ready"));
    daemon.attach(1, 7);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 7, Has::default());
    dtu.until_shown("ready");
    dtu.type_text("one\n");
    loop {
        let part = keeper.take(&mut daemon);
        if shows(&Screen::of(&keeper.object(&screen()).unwrap()).unwrap(), "one") {
            break;
        }
        keeper.acknowledge(&daemon, &part);
    }
    // The pong comes after whatever the session would have shown before.
    for ping in 1..=3 {
        dtu.send(&Frame::Ping(ping));
        dtu.until("a pong", |dtu| dtu.pongs.last() == Some(&ping));
    }
    assert!(!dtu.screen.lines().iter().any(|line| line.contains("one")), "{:?}", dtu.screen.lines());
    keeper.acknowledge(&daemon, &screen());
    dtu.until_shown("one");
    // And without a secondary it goes on and says so.
    dtu.type_text("two\n");
    daemon.tell(1, ToSession::Protect { how: Protection::Alone, why: "no host is left".into() });
    dtu.until_shown("two");
    assert_eq!(dtu.notices, ["unprotected: no host is left"]);
}

/// All that a busy service writes arrives, though its secondary is slow.
fn bulk_waits(dir: &Path) {
    let (mut daemon, mut keeper) = (Daemon::start(&run_dir(dir), false), Keeper::default());
    let script = "read x; seq 1 200000; echo last line; exec cat";
    let made = begin(&mut daemon, vec![service(script)], &keeper, Protection::Each);
    keeper.until(&mut daemon, |_| true);
    daemon.attach(1, 1);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 1, Has::default());
    dtu.type_text("\n");
    let mut updates = 0;
    let reader = std::thread::spawn(move || {
        dtu.until_shown("last line");
    });
    while !reader.is_finished() && updates < 10_000 {
        keeper.until(&mut daemon, |_| true);
        updates += 1;
        if shows(&Screen::of(&keeper.object(&screen()).unwrap()).unwrap(), "last line") {
            break;
        }
    }
    reader.join().unwrap();
    // 1.3 MB leave in pieces of what was written during a round trip, each as a picture.
    assert!(updates < 500, "{updates} round trips");
}

fn shell_returns(dir: &Path) {
    let (keeper, has, typed) = {
        let (mut daemon, mut keeper) = (Daemon::start(&run_dir(dir), false), Keeper::default());
        let made = begin(&mut daemon, vec![login_shell(dir)], &keeper, Protection::Each);
        std::fs::create_dir(dir.join("here")).unwrap();
        daemon.attach(1, 7);
        let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 7, Has::default());
        dtu.type_text(&format!("cd {}\n", dir.join("here").display()));
        dtu.type_text("echo before $((6*7)); exec 3<&0; sleep 1000\n");
        keeper.until(&mut daemon, |screen| {
            shows(screen, "before 42") && screen.around.foreground.as_deref() == Some("sleep 1000")
        });
        dtu.until_shown("before 42");
        // Nobody reads this, so half of it would reach whoever comes next.
        dtu.type_text("rm -rf pre");
        daemon.client().end_all().unwrap();
        (keeper, dtu.has(), dtu.typed)
    };
    let mut daemon = Daemon::start(&dir.join("run2"), false);
    let made = begin(&mut daemon, vec![login_shell(dir)], &keeper, Protection::Alone);
    daemon.attach(1, 8);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 8, has);
    dtu.until_shown("before 42");
    dtu.until_shown("Host a is gone, and sleep 1000 ended with it.");
    assert!(dtu.acked > typed, "it need not send again what nobody will apply");
    // It does all the same, and with what the user went on typing.
    dtu.send(&Frame::Input { seq: typed - 10, bytes: b"rm -rf precious; echo wiped $((1+1))\n".to_vec() });
    dtu.type_text("echo in ${PWD##*/} $((40+4))\n");
    dtu.until_shown("in here 44");
    assert!(!dtu.screen.lines().iter().any(|line| line.contains("wiped")), "{:?}", dtu.screen.lines());
    let old = dtu.screen.lines().iter().position(|line| line.contains("before 42"));
    let new = dtu.screen.lines().iter().position(|line| line.contains("in here 44"));
    assert!(old < new, "the old screen is above");
}

fn program_returns(dir: &Path) {
    let pipe = Pipe::from_session(dir, "done");
    let script = format!(
        "sessiond state put application count 5; sessiond state put global place {0}/gone --kind directory; \
         sessiond state put global home {0} --kind directory; \
         HOTDESK_OPERATION=$(sessiond state begin order); export HOTDESK_OPERATION; \
         sessiond state put application count 6; echo done > {1}; exec cat",
        dir.display(),
        pipe.path.display()
    );
    let keeper = {
        let (mut daemon, mut keeper) = (Daemon::start(&run_dir(dir), false), Keeper::default());
        begin(&mut daemon, vec![service(&script)], &keeper, Protection::Each);
        let has_begun = |keeper: &Keeper| {
            keeper.object(&part(Kind::State)).is_some_and(|object| object.head.operation.is_some())
        };
        while !has_begun(&keeper) {
            keeper.until(&mut daemon, |_| true);
        }
        pipe.line("the operation's changes");
        keeper
    };
    let stamp = keeper.held[&part(Kind::State)].stamp().unwrap();
    let script = "sessiond state get application count; sessiond state watch";
    let mut daemon = Daemon::start(&dir.join("run2"), false);
    let made = begin(&mut daemon, vec![service(script)], &keeper, Protection::Alone);
    daemon.attach(1, 8);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 8, Has::default());
    dtu.until_shown("event is=restore");
    let text = dtu.screen.lines().concat();
    let restored = format!("stamp={stamp} from=a missing=1 operation=1 name=order status=begun");
    assert!(text.contains(&restored), "{text}");
    dtu.until_shown("event is=missing depth=0 pool=global key=place why=gone");
    assert!(dtu.screen.lines().iter().any(|line| line == "5"), "nothing of what was not committed: {text}");
}

/// What does not belong to the session, or is no object, is passed over, and the session begins.
fn forged(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let mut keeper = Keeper::default();
    let other = Object::new(SessionId(99), "terminal".parse().unwrap());
    let other = Screen {
        size: crate::support::SIZE,
        command: String::new(),
        around: sessiond::screen::Whereabouts::default(),
        picture: b"SOMEBODY ELSE".as_slice().into(),
        output: Vec::new(),
        input: vec![(Nonce(3), 1)],
        is_still: false,
    }
    .to_object(other.head.session, &other.head.service, other.head.stamp);
    keeper.held.entry(screen()).or_default().take_whole(other.encode().unwrap()).unwrap();
    let mut garbage = other.encode().unwrap().as_bytes().to_vec();
    garbage.truncate(40);
    keeper.held.entry(part(Kind::State)).or_default().take_whole(Encoded::open(&garbage).unwrap()).unwrap();
    let made = begin(&mut daemon, vec![service("echo fresh; exec cat")], &keeper, Protection::Alone);
    daemon.attach(1, 8);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 8, Has::default());
    dtu.until_shown("fresh");
    assert!(!dtu.screen.lines().concat().contains("SOMEBODY"), "{:?}", dtu.screen.lines());
}
