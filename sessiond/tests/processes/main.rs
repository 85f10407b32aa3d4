//! Sessions as real processes on real terminals: what reaches a DTU, what survives whom, and what is left behind.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "all of it is a test, though without the usual harness: one role of this program is a daemon to be killed"
)]

mod accounts;
mod ahead;
mod calls;
mod effects;
mod endings;
mod kept;
mod login;
mod programs;
mod support;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use proto::SessionId;
use proto::frame::{Frame, INPUT_WINDOW};
use sessiond::control::{Bytes, EndReason, Exit, FromSession, Gone, Refusal, ServiceState, ToSession};
use sessiond::io::client::{Client, Event, StartError};
use sessiond::template::{Command, Service};
use support::{Daemon, Dtu, Has, OtherDaemon, Pipe, Process, pipe_to_session, service, spec};

/// Its name, whether it can be tested here, and its test.
type Rule = (&'static str, bool, fn(&Path));

fn main() -> ExitCode {
    if let Some(dir) = std::env::var_os(support::ROLE) {
        support::be_daemon(Path::new(&dir));
    }
    if let Some(dir) = std::env::var_os(login::ROLE) {
        login::compare(Path::new(&dir));
        return ExitCode::SUCCESS;
    }
    let root = geteuid().is_root();
    let tests: &[Rule] = &[
        ("a_shells_output_reaches_a_dtu_and_what_is_typed_reaches_the_shell", true, shell),
        ("a_dtu_that_comes_back_is_sent_what_it_missed_and_one_with_nothing_is_repainted", true, comes_back),
        ("a_ticket_opens_a_display_once", true, ticket),
        ("a_card_moved_to_another_desk_takes_its_session_along", true, moves),
        ("input_sent_again_after_a_lost_connection_is_applied_once", true, applied_once),
        ("a_ping_is_answered_though_the_service_does_not_read", true, stuck),
        ("a_dtu_that_does_not_read_is_repainted_and_holds_up_nobody", true, slow),
        ("a_shell_that_exits_ends_its_session_and_its_dtu_is_told", true, exits),
        ("a_service_that_was_killed_is_started_again_on_connect", true, programs::crashes),
        ("a_session_ended_leaves_no_process_behind", true, ended),
        ("a_killed_daemon_leaves_no_process_behind", true, daemon_killed),
        ("a_killed_daemon_that_keeps_its_sessions_loses_none", true, daemon_killed_keeping),
        ("what_a_killed_session_process_started_is_ended_by_the_spawner", true, session_killed),
        ("a_session_that_has_neither_daemon_nor_spawner_ends", true, alone),
        ("a_second_daemon_is_turned_away_while_the_first_lives", true, second_daemon),
        ("a_program_of_a_session_reaches_the_data_store_through_the_daemon", true, programs::data),
        ("a_program_of_a_session_is_told_where_it_is_shown", true, programs::events),
        ("a_counter_goes_on_where_it_was_when_its_service_was_killed", true, programs::state),
        ("a_catalogue_shows_five_hits_a_page_and_keeps_only_where_it_is", true, programs::catalogue),
        ("what_a_shell_changes_in_one_operation_is_all_or_nothing", true, programs::state_in_a_shell),
        ("services_of_a_session_call_each_other_within_bounds", true, calls::call),
        ("services_start_and_stop_one_by_one", true, one_by_one),
        ("a_hundred_sessions_are_made_at_once", true, hundred),
        (
            "a_session_begins_in_a_process_that_was_started_ahead_and_holds_nothing",
            true,
            ahead::become_sessions,
        ),
        ("processes_started_ahead_end_with_their_spawner_and_dead_ones_are_passed_over", true, ahead::end),
        ("a_session_runs_wholly_as_its_account", root, accounts::account),
        ("references_are_looked_up_with_the_rights_of_the_sessions_user", root, effects::references),
        ("a_daemon_that_is_not_root_gets_sessions_of_ordinary_users_only", root, accounts::two_accounts),
        ("an_account_that_cannot_be_had_is_refused_with_the_reason", true, accounts::no_account),
        ("a_session_whose_command_cannot_be_run_fails_once_with_the_reason", true, accounts::cannot_run),
        ("a_program_in_a_session_is_where_it_would_be_after_a_login", login::is_possible(), login::compared),
        ("a_spawner_outlives_those_it_writes_to", true, endings::no_broken_pipe),
        ("typed_keys_interrupt_stop_and_quit_the_job_in_the_foreground", true, endings::keys),
        ("who_ignores_a_hangup_is_asked_to_end_before_it_is_killed", true, endings::asked_to_end),
        ("an_editor_saves_what_was_typed_when_its_session_ends", endings::has_vim(), endings::vim),
    ];
    let trial = |(name, possible, test): &Rule| {
        let test = *test;
        let run = move || {
            let dir = tempfile::Builder::new().prefix("s").tempdir()?;
            // A session of another account must reach its own directory.
            std::process::Command::new("chmod").arg("755").arg(dir.path()).status()?;
            let _clean = support::Clean(run_dir(dir.path()));
            test(dir.path());
            Ok(())
        };
        Trial::test(*name, run).with_ignored_flag(!possible)
    };
    let tests =
        tests.iter().chain(kept::RULES).chain(effects::RULES).chain(&login::shells()).map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn run_dir(dir: &Path) -> std::path::PathBuf {
    dir.join("run")
}

/// The shell of whoever runs the test, without what it does at every start.
fn login_shell(dir: &Path) -> Service {
    let env = [("HOME".to_owned(), dir.display().to_string())].into();
    Service { env, ..Service::terminal(Command::LoginShell) }
}

fn shell(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let made = daemon.make(1, vec![login_shell(dir)]);
    daemon.attach(1, 7);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 7, Has::default());
    dtu.type_text("echo it is $((6*7)) $HOTDESK_TOKEN $HOTDESK_HOST\n");
    dtu.until_shown("it is 42 card.test a");
    dtu.type_text("command -v datastore | sed s,.*/s/,,\n");
    dtu.until_shown("00000001/bin/datastore");
    dtu.type_text("echo $HOTDESK_SERVICE at ${HOTDESK_STATE#*/s/}\n");
    dtu.until_shown("terminal at 00000000000000000000000000000001/state0");
    dtu.type_text("test $HOTDESK_SOCKET = $HOTDESK_DATA && echo ${HOTDESK_DATA#*/s/}\n");
    dtu.until_shown("00000000000000000000000000000001/data");
    dtu.type_text("stty size; tty\n");
    dtu.until_shown("24 80");
    dtu.until_shown("/dev/pts/");
    let size = proto::frame::Size { cols: 100, rows: 30 };
    dtu.send(&Frame::Resize(size));
    dtu.type_text("stty size\n");
    dtu.until_shown("30 100");
}

fn comes_back(dir: &Path) {
    let (path, mut pipe) = pipe_to_session(dir, "text");
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let script = format!("stty -opost; while :; do cat {}; done", path.display());
    let made = daemon.make(1, vec![service(&script)]);
    daemon.attach(1, 1);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 1, Has::default());
    pipe.write_all(b"one ").unwrap();
    dtu.until_shown("one");
    let (has, repaints) = (dtu.has(), dtu.repaints);
    drop(dtu);
    daemon.said("DisplayGone", |said| matches!(said, FromSession::DisplayGone { .. }).then_some(()));
    pipe.write_all(b"two ").unwrap();

    daemon.attach(1, 2);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 2, has);
    pipe.write_all(b"three").unwrap();
    dtu.until("the rest", |dtu| dtu.output.ends_with(b"three"));
    assert_eq!((dtu.output.as_slice(), dtu.repaints), (b"two three".as_slice(), 0));
    assert_eq!(repaints, 1);

    daemon.attach(1, 3);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 3, Has::default());
    dtu.until("a repaint", |dtu| dtu.repaints == 1);
    assert_eq!((dtu.screen.lines()[0].as_str(), dtu.have), ("one two three", 13));
}

fn ticket(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let made = daemon.make(1, vec![service("cat")]);
    let refused = |daemon: &mut Daemon| {
        daemon.said("DisplayRefused", |said| match said {
            FromSession::DisplayRefused(refusal) => Some(*refusal),
            _ => None,
        })
    };
    let mut early = Dtu::open(daemon.connect(1), made.fingerprint, 5, Has::default());
    early.until("the end", |dtu| dtu.closed);
    assert_eq!(refused(&mut daemon), Refusal::Detached);
    daemon.attach(1, 5);
    let mut first = Dtu::open(daemon.connect(1), made.fingerprint, 5, Has::default());
    first.until("a repaint", |dtu| dtu.repaints == 1);
    for (ticket, refusal) in [(5, Refusal::UsedTicket), (6, Refusal::WrongTicket)] {
        let mut thief = Dtu::open(daemon.connect(1), made.fingerprint, ticket, Has::default());
        thief.until("the end", |dtu| dtu.closed);
        assert_eq!((refused(&mut daemon), thief.repaints), (refusal, 0));
    }
    let mut stranger = daemon.connect(1);
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = stranger.read_to_end(&mut Vec::new());
    assert_eq!(refused(&mut daemon), Refusal::Tls);
    first.type_text("still here\n");
    first.until_shown("still here");
}

fn moves(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let made = daemon.make(1, vec![service("stty -echo; echo shell $$; while read x; do echo got $x; done")]);
    daemon.attach(1, 1);
    let mut first = Dtu::open(daemon.connect(1), made.fingerprint, 1, Has::default());
    first.until_shown("shell ");
    daemon.tell(1, ToSession::Detach);
    first.until("the end", |dtu| dtu.closed);
    let gone = daemon.said("DisplayGone", |said| match said {
        FromSession::DisplayGone { why, .. } => Some(*why),
        _ => None,
    });
    assert_eq!(gone, Gone::Detached);
    daemon.attach(1, 2);
    let mut second = Dtu::open(daemon.connect(1), made.fingerprint, 2, Has::default());
    second.until("a repaint", |dtu| dtu.repaints == 1);
    assert_eq!(second.screen.lines(), first.screen.lines());
    second.type_text("word\n");
    second.until_shown("got word");
}

fn applied_once(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let made = daemon.make(1, vec![service("stty -echo; while read x; do echo got $x; done")]);
    daemon.attach(1, 1);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 1, Has::default());
    dtu.until("the welcome", |dtu| dtu.stream.0 != 0);
    dtu.type_text("one\n");
    dtu.until_shown("got one");
    dtu.until("the acknowledgement", |dtu| dtu.acked == 4);
    let has = dtu.has();
    drop(dtu);
    daemon.attach(1, 2);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 2, has);
    dtu.until("the welcome", |dtu| dtu.stream.0 != 0);
    assert_eq!(dtu.acked, 4);
    dtu.send(&Frame::Input { seq: 0, bytes: b"one\ntwo\n".to_vec() });
    dtu.send(&Frame::Input { seq: 0, bytes: b"one\ntwo\nend\n".to_vec() });
    dtu.until_shown("got end");
    assert_eq!(dtu.output, b"got two\r\ngot end\r\n");
    dtu.send(&Frame::Input { seq: 99, bytes: b"gap".to_vec() });
    dtu.until("the end", |dtu| dtu.closed);
    assert!(dtu.notices[0].contains("99"), "{:?}", dtu.notices);
}

fn stuck(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    // Raw, so that the terminal keeps what nobody reads instead of dropping it.
    let made = daemon.make(1, vec![service("stty raw -echo; echo deaf; exec tail -f /dev/null")]);
    daemon.attach(1, 1);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 1, Has::default());
    dtu.until_shown("deaf");
    let piece = "x".repeat(INPUT_WINDOW / 16);
    let mut ping = 0;
    // Until the terminal takes no more, and then a whole window on top, which is what a DTU may send.
    loop {
        let room = INPUT_WINDOW - usize::try_from(dtu.typed - dtu.acked).unwrap();
        if room == 0 {
            break;
        }
        dtu.type_text(&piece[..room.min(piece.len())]);
        ping += 1;
        dtu.send(&Frame::Ping(ping));
        dtu.until("a pong", |dtu| dtu.pongs.last() == Some(&ping));
    }
    assert!(dtu.acked < dtu.typed);
    dtu.type_text("y");
    dtu.until("the end", |dtu| dtu.closed);
    daemon.attach(1, 2);
    let mut again = Dtu::open(daemon.connect(1), made.fingerprint, 2, Has::default());
    again.until("a repaint", |dtu| dtu.repaints == 1);
}

fn slow(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let done = Pipe::from_session(dir, "done");
    let script =
        format!("read x; seq 1 2000000; echo last line; echo done > {}; exec cat", done.path.display());
    let made = daemon.make(1, vec![service(&script)]);
    daemon.attach(1, 1);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 1, Has::default());
    dtu.until("the welcome", |dtu| dtu.repaints == 1);
    dtu.type_text("\n");
    // It writes all it has to though the DTU does not read any of it.
    done.line("the service to have written everything");
    dtu.until_shown("last line");
    assert!(dtu.repaints > 1, "sent everything instead");
    assert!(dtu.output.len() < 8_000_000);
}

fn exits(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let made = daemon.make(1, vec![service("read x; echo bye; exit 3")]);
    let process = Process::of(i32::try_from(made.pid).unwrap());
    daemon.attach(1, 1);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 1, Has::default());
    dtu.type_text("\n");
    dtu.until("the exit", |dtu| dtu.exit == Some(3));
    assert!(dtu.screen.lines().iter().any(|line| line == "bye"));
    drop(dtu);
    let reason = daemon.said("Ended", |said| match said {
        FromSession::Ended(reason) => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason, EndReason::Finished(Exit::Status(3)));
    expect_exit(&mut daemon, Exit::Status(0));
    process.expect_end("the session process");
    assert_eq!(std::fs::read_dir(daemon.dir.join("s")).unwrap().count(), 0);
}

fn expect_exit(daemon: &mut Daemon, expected: Exit) {
    let exit = daemon.wait("Exited", |event| match event {
        Event::Exited { exit, .. } => Some(*exit),
        _ => None,
    });
    assert_eq!(exit, expected);
}

/// Starts processes of every kind that is hard to get rid of, each of which tells its number.
fn tenacious(pipe: &Path) -> String {
    let leaf = pipe.with_extension("sh");
    let text = format!("trap '' HUP TERM INT\necho $$ > {}\nexec tail -f /dev/null\n", pipe.display());
    std::fs::write(&leaf, text).unwrap();
    let leaf = leaf.display();
    format!("sh {leaf} & (setsid sh {leaf} &); (setsid sh -c '(setsid sh {leaf} &)' &); exec sh {leaf}")
}

fn all_of(pipe: &Pipe) -> Vec<Process> {
    ["a service", "its child", "a daemonised one", "a twice forked one"].map(|what| pipe.pid(what)).into()
}

fn ended(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let pipe = Pipe::from_session(dir, "pids");
    daemon.make(1, vec![service(&tenacious(&pipe.path))]);
    let processes = all_of(&pipe);
    daemon.tell(1, ToSession::End);
    expect_exit(&mut daemon, Exit::Status(0));
    for process in &processes {
        assert!(!process.runs(), "the session said that all is gone");
    }
}

fn daemon_killed(dir: &Path) {
    let pipe = Pipe::from_session(dir, "pids");
    let mut daemon = OtherDaemon::start(&run_dir(dir), false, Some(tenacious(&pipe.path).as_ref()));
    let line = daemon.line();
    let session = Process::of(line.trim().strip_prefix("ready ").unwrap().parse().unwrap());
    let spawner = Process::of(parent_of(session.pid));
    let processes = all_of(&pipe);
    daemon.kill();
    for process in processes.iter().chain([&session, &spawner]) {
        process.expect_end("a killed daemon's");
    }
    assert!(!run_dir(dir).join("s").exists() && !run_dir(dir).join("spawner").exists());
}

fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

fn daemon_killed_keeping(dir: &Path) {
    let (path, mut pipe) = pipe_to_session(dir, "text");
    let script = format!(
        "secret=$(head -c4 /dev/urandom | od -An -tx4); echo I am $$ $secret; cat {} - ",
        path.display()
    );
    // The variable is the shell's own; only the same shell can know it.
    let script = format!("{script}; read x; echo still $$ $secret");
    let mut first = OtherDaemon::start(&run_dir(dir), true, Some(script.as_ref()));
    let line = first.line();
    let pid: i32 = line.trim().strip_prefix("ready ").unwrap().parse().unwrap();
    let session = Process::of(pid);
    first.kill();
    assert!(session.runs());
    // While there is no daemon its programs run on.
    pipe.write_all(b"unseen\r\n").unwrap();

    let mut second = Daemon::start(&run_dir(dir), true);
    assert_eq!((second.client().was_keeping(), second.client().kept()), (true, 1));
    let kept = second.wait("a kept session", |event| match event {
        Event::Spawned { session, kept: true } => Some(*session),
        _ => None,
    });
    assert_eq!(kept, SessionId(1));
    second.tell(1, ToSession::SetMeta(Bytes(b"note".to_vec())));
    second.tell(1, ToSession::Describe);
    let described = second.said("Described", |said| match said {
        FromSession::Described(what) => Some((**what).clone()),
        _ => None,
    });
    assert_eq!(
        (described.pid, described.spec.meta.0.as_slice()),
        (session.pid.unsigned_abs(), b"note".as_slice())
    );
    assert_eq!(described.spec.token.as_str(), "card.test");
    second.attach(1, 1);
    let mut dtu = Dtu::open(second.connect(1), described.fingerprint, 1, Has::default());
    dtu.until_shown("unseen");
    let told = dtu.screen.lines()[0].clone();
    let service = told.split_ascii_whitespace().nth(2).unwrap().parse().unwrap();
    let service = Process::of(service);

    // A daemon that does not keep takes it up as well, and then it ends with that one.
    drop(dtu);
    drop(second);
    let mut third = OtherDaemon::start(&run_dir(dir), false, None);
    assert_eq!(third.line(), "keeping true kept 1\n");
    assert!(service.runs() && session.runs());
    third.kill();
    service.expect_end("the service");
    session.expect_end("the session");
}

fn session_killed(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let pipe = Pipe::from_session(dir, "pids");
    let made = daemon.make(1, vec![service(&tenacious(&pipe.path))]);
    let other = daemon.make(2, vec![service("exec tail -f /dev/null")]);
    let processes = all_of(&pipe);
    kill(Pid::from_raw(i32::try_from(made.pid).unwrap()), Signal::SIGKILL).unwrap();
    expect_exit(&mut daemon, Exit::Signal(9));
    for process in &processes {
        assert!(!process.runs(), "the spawner said that all is gone");
    }
    assert!(
        Process::of(i32::try_from(other.pid).unwrap()).runs(),
        "other sessions have nothing to do with it"
    );
    daemon.client().kill(SessionId(2)).unwrap();
    expect_exit(&mut daemon, Exit::Signal(9));
}

fn alone(dir: &Path) {
    let pipe = Pipe::from_session(dir, "pids");
    let mut daemon = OtherDaemon::start(&run_dir(dir), true, Some(tenacious(&pipe.path).as_ref()));
    let line = daemon.line();
    let session = Process::of(line.trim().strip_prefix("ready ").unwrap().parse().unwrap());
    let processes = all_of(&pipe);
    let spawner = Process::of(parent_of(session.pid));
    kill(Pid::from_raw(spawner.pid), Signal::SIGKILL).unwrap();
    spawner.expect_end("the spawner");
    assert!(session.runs(), "the daemon still has it");
    daemon.kill();
    for process in processes.iter().chain([&session]) {
        process.expect_end("a session that is alone");
    }
}

fn second_daemon(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    daemon.make(1, vec![service("cat")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(Client::connect(&run_dir(dir))).unwrap_err();
    assert!(matches!(error, StartError::Busy), "{error}");
    daemon.attach(1, 1);
    daemon.tell(1, ToSession::Describe);
    daemon.said("Described", |said| matches!(said, FromSession::Described(_)).then_some(()));
}

fn one_by_one(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let pipe = Pipe::from_session(dir, "pids");
    daemon.make(1, vec![service("cat")]);
    let stubborn =
        Service { name: "mail".parse().unwrap(), required: false, ..service(&tenacious(&pipe.path)) };
    daemon.tell(1, ToSession::StartService(Box::new(stubborn)));
    let processes = all_of(&pipe);
    daemon.tell(1, ToSession::StopService("mail".parse().unwrap()));
    let exit = daemon.said("ServiceExited", |said| match said {
        FromSession::ServiceExited { service, exit } if service.as_str() == "mail" => Some(*exit),
        _ => None,
    });
    assert_eq!(exit, Exit::Signal(9), "it does not end when asked");
    for process in &processes {
        process.expect_end("a stopped service's");
    }
    daemon.tell(1, ToSession::Describe);
    let described = daemon.said("Described", |said| match said {
        FromSession::Described(what) => Some((**what).clone()),
        _ => None,
    });
    assert!(matches!(described.services[1].1, ServiceState::Running { .. }), "{:?}", described.services);
}

fn hundred(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    for id in 0..100 {
        daemon.client().spawn(spec(id, vec![login_shell(dir)])).unwrap();
    }
    let made: Vec<_> = (0..100).map(|id| daemon.ready(id)).collect();
    for (id, made) in (0..).zip(&made).step_by(33) {
        daemon.attach(id, 1);
        let mut dtu = Dtu::open(daemon.connect(id), made.fingerprint, 1, Has::default());
        dtu.type_text("echo session ${HOTDESK_SESSION#00000000000000000000000000}\n");
        dtu.until_shown(&format!("session {id:06x}"));
    }
    daemon.client().end_all().unwrap();
    daemon.wait("SpawnerGone", |event| matches!(event, Event::SpawnerGone).then_some(()));
    assert!(!run_dir(dir).join("s").exists());
}
