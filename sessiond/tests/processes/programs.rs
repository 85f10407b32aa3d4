//! What programs of a session have of it: permanent data, and where it is shown.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::SessionId;
use sessiond::control::{Bytes, FromSession, ServiceState, ToSession};

use crate::run_dir;
use crate::support::{self, Daemon, Dtu, Has, service};

pub fn data(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    daemon.make(1, vec![service("cat")]);
    let path = daemon.dir.join("s").join(SessionId(1).to_string()).join("data");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let mut program = UnixStream::connect(&path).unwrap();
    program.set_read_timeout(Some(support::PATIENCE)).unwrap();
    program.write_all(&[0, 0, 0, 5]).unwrap();
    program.write_all(b"get x").unwrap();
    let (client, request) = daemon.said("Data", |said| match said {
        FromSession::Data { client, request } => Some((*client, request.clone())),
        _ => None,
    });
    assert_eq!(request.0, b"get x");
    let long: Vec<u8> = (0..=250).cycle().take(400_000).collect();
    daemon.tell(1, ToSession::DataReply { client, reply: Bytes(long.clone()) });
    let mut answer = vec![0; 4 + long.len()];
    program.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..4], (long.len() as u32).to_be_bytes());
    assert!(answer[4..] == long);
    // Another daemon cannot answer what this one was asked.
    program.write_all(&[0, 0, 0, 1, b'?']).unwrap();
    daemon.said("Data", |said| matches!(said, FromSession::Data { .. }).then_some(()));
    daemon.tell(1, ToSession::Describe);
    assert_eq!(program.read(&mut [0]).unwrap(), 0);
}

/// `examples/counter.sh` goes on counting where it was when its service was killed.
pub fn state(dir: &Path) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/counter.sh");
    let script = dir.join("counter.sh");
    std::fs::copy(example, &script).unwrap();
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let made = daemon.make(1, vec![service(&format!("exec sh {}", script.display()))]);
    daemon.attach(1, 7);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 7, Has::default());
    dtu.until_shown("count 0");
    dtu.type_text("\n");
    dtu.until_shown("count 1");
    dtu.type_text("\n");
    dtu.until_shown("count 2");
    let ServiceState::Running { pid } = made.services[0].1 else { panic!("{made:?}") };
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    daemon.said("ServiceExited", |said| matches!(said, FromSession::ServiceExited { .. }).then_some(()));
    daemon.attach(1, 8);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 8, Has::default());
    dtu.until_shown("count 2");
    dtu.type_text("\n");
    dtu.until_shown("count 3");
}

/// `examples/catalogue.sh` shows five hits a page, goes on and back, and keeps the query and the page, not the hits.
pub fn catalogue(dir: &Path) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/catalogue.sh");
    let script = dir.join("catalogue.sh");
    std::fs::copy(example, &script).unwrap();
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let script =
        format!("sh {}; echo; sessiond state get interactive search --about; exec cat", script.display());
    let made = daemon.make(1, vec![service(&script)]);
    daemon.attach(1, 7);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 7, Has::default());
    let mut page = |typed: &str, page: u32, first: u32| {
        dtu.type_text(typed);
        dtu.until_shown(&format!("40 hits, page {page} of 8"));
        dtu.until_shown("n next, p previous");
        let hits = |line: &String| line.trim().strip_prefix("Router R-")?.get(..2)?.parse().ok();
        let hits: Vec<u32> = dtu.screen.lines().iter().filter_map(hits).collect();
        assert_eq!(hits, (first..first + 5).collect::<Vec<u32>>(), "five a page");
    };
    page("", 1, 1);
    page("n\n", 2, 6);
    page("n\n", 3, 11);
    page("p\n", 2, 6);
    dtu.type_text("12 ports\n");
    dtu.until_shown("12 ports: 13 hits, page 1 of 3");
    dtu.type_text("n\nq\n");
    dtu.until_shown("value kind=query size=5 page=1 bytes=8");
}

/// The commands of `sessiond state`, each a program of its own, as a shell uses them.
pub fn state_in_a_shell(dir: &Path) {
    let script = r#"
        export HOTDESK_OPERATION=$(sessiond state begin order)
        sessiond state put application a 10
        echo 20 | sessiond state put application b
        (unset HOTDESK_OPERATION; sessiond state get application a; echo "before: $?")
        sessiond state commit
        unset HOTDESK_OPERATION
        echo "after: $(sessiond state get application a) $(sessiond state get application b) $(sessiond state ls application | tr '\n' ' ')"
        sessiond state push search
        sessiond state put composite hits Router --kind query --size 5
        sessiond state mark composite
        sessiond state put composite hits Router --kind query --size 5 --page 1
        sessiond state back composite
        sessiond state status
        sessiond state pop
        sessiond state rm application a
        sessiond state rm application a; echo "gone: $?"
        sessiond state put aplication a 1; echo "misspelt: $?"
        HOTDESK_OPERATION= sessiond state pop; echo "no operation: $?"
        sessiond state watch | while read -r event; do echo "watched: $event"; done
    "#;
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let made = daemon.make(1, vec![service(script)]);
    daemon.attach(1, 7);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 7, Has::default());
    for shown in [
        "there is no a",
        "before: 1",
        "after: 10 20 a b",
        "depth=1 top=search compositeState=1/2",
        "operation=1 name=order status=committed",
        "there is no such key",
        "gone: 1",
        "interactive or application",
        "misspelt: 2",
        "unset it, or set it to",
        "no operation: 2",
        "watched: event is=connect dtu=desk1",
    ] {
        dtu.until_shown(shown);
    }
    daemon.tell(1, ToSession::Detach);
    drop(dtu);
    daemon.attach(1, 8);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 8, Has::default());
    dtu.until_shown("watched: event is=disconnect dtu=desk1");
}

pub fn events(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    daemon.make(1, vec![service("cat")]);
    let path = daemon.dir.join("s").join(SessionId(1).to_string()).join("events");
    let program = UnixStream::connect(&path).unwrap();
    program.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let mut lines = BufReader::new(program).lines();
    let mut line = || lines.next().unwrap().unwrap();
    assert_eq!(line(), "disconnect", "how things are");
    daemon.attach(1, 7);
    assert_eq!(line(), "connect dtu=desk1");
    daemon.tell(1, ToSession::Detach);
    assert_eq!(line(), "disconnect");
    daemon.tell(1, ToSession::End);
    assert_eq!(line(), "end");
}

pub fn crashes(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let made = daemon.make(1, vec![service("echo I am $$; exec cat")]);
    let ServiceState::Running { pid: first } = made.services[0].1 else { panic!("{made:?}") };
    kill(Pid::from_raw(i32::try_from(first).unwrap()), Signal::SIGKILL).unwrap();
    daemon.said("ServiceExited", |said| matches!(said, FromSession::ServiceExited { .. }).then_some(()));
    daemon.attach(1, 1);
    let second = daemon.said("ServiceStarted", |said| match said {
        FromSession::ServiceStarted { pid, .. } if *pid != first => Some(*pid),
        _ => None,
    });
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 1, Has::default());
    dtu.until_shown(&format!("I am {second}"));
}
