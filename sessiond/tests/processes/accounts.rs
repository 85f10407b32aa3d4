//! As whom sessions run, and what is said when they cannot.

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use nix::unistd::geteuid;
use sessiond::control::{EndReason, Exit, FromSession};
use sessiond::template::{Command, Service};

use crate::support::{Daemon, OtherDaemon, Pipe, Process, service, spec};
use crate::{expect_exit, run_dir};
pub fn account(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let pipe = Pipe::from_session(dir, "lines");
    let said = format!(
        "echo $(id -un) $(id -ur) $(id -G) $USER $(stat -c %U $HOTDESK_DATA $HOTDESK_STATE $(tty)) > {}",
        pipe.path.display()
    );
    let wanted =
        sessiond::control::SessionSpec { account: Some("nobody".into()), ..spec(1, vec![service(&said)]) };
    daemon.client().spawn(wanted).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let expected = format!("nobody {} {} nobody nobody nobody nobody", nobody.uid, nobody.gid);
    assert_eq!(pipe.line("the account"), expected);
    daemon.said("Ended", |said| matches!(said, FromSession::Ended(_)).then_some(()));
    expect_exit(&mut daemon, Exit::Status(0));
}

pub fn two_accounts(dir: &Path) {
    let mut spawner = std::process::Command::new(env!("CARGO_BIN_EXE_sessiond"))
        .args(["spawner", "--daemon-uid", "54321", "--run-dir"])
        .arg(run_dir(dir))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(spawner.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("54321"), "{said}");
    let accounts = Some("nobody,root,daemon,");
    let mut daemon = OtherDaemon::start_as(Some(54321), &run_dir(dir), false, None, accounts);
    let line = daemon.line();
    let pid = line.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("{line}"));
    let session = Process::of(pid.parse().unwrap());
    for reason in ["root (uid 0)", "daemon (uid", "every session needs an account"] {
        let line = daemon.line();
        assert!(line.contains("CouldNotStart") && line.contains(reason), "{line}");
    }
    daemon.kill();
    session.expect_end("a killed daemon's session");
    assert!(spawner.wait().unwrap().success());
}

pub fn no_account(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let mut refused = |id, name: &str| {
        let wanted =
            sessiond::control::SessionSpec { account: Some(name.into()), ..spec(id, vec![service("cat")]) };
        daemon.client().spawn(wanted).unwrap();
        daemon.said("Ended", |said| match said {
            FromSession::Ended(EndReason::CouldNotStart(reason)) => Some(reason.clone()),
            _ => None,
        })
    };
    assert!(refused(1, "no-such-user").contains("no account no-such-user"));
    if geteuid().is_root() {
        let account = Some("root".to_owned());
        let unnamed = sessiond::control::SessionSpec {
            account,
            named_by_registry: false,
            ..spec(3, vec![service("cat")])
        };
        daemon.client().spawn(unnamed).unwrap();
        let reason = daemon.said("Ended", |said| match said {
            FromSession::Ended(EndReason::CouldNotStart(reason)) => Some(reason.clone()),
            _ => None,
        });
        assert!(reason.contains("the very token"), "{reason}");
    } else {
        assert!(refused(2, "root").contains("does not run as root"));
    }
}

pub fn cannot_run(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let missing = Service::terminal(Command::Words(vec!["/no/such/program".into()]));
    daemon.client().spawn(spec(1, vec![missing])).unwrap();
    let reason = daemon.said("Ended", |said| match said {
        FromSession::Ended(EndReason::CouldNotStart(reason)) => Some(reason.clone()),
        FromSession::Ready(_) => panic!("it cannot be attached"),
        _ => None,
    });
    assert!(reason.contains("/no/such/program") && reason.contains("service terminal"), "{reason}");
    expect_exit(&mut daemon, Exit::Status(0));
}
