//! How programs of a session are interrupted from the keyboard, and how they end with it.

use std::path::Path;

use sessiond::control::ToSession;
use sessiond::template::{Command, Service};

use crate::support::{Daemon, Dtu, Has, Pipe, Process, service};
use crate::{login_shell, run_dir};

pub fn keys(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let env = [("SHELL".to_owned(), "/bin/bash".to_owned())];
    let shell = login_shell(dir);
    let shell = Service { env: shell.env.into_iter().chain(env).collect(), ..shell };
    let made = daemon.make(1, vec![shell]);
    daemon.attach(1, 1);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 1, Has::default());
    // The status that bash tells of: 128 and the signal. What is typed is not what is waited for.
    for (key, status) in [("\x03", 130), ("\x1a", 148), ("\x1c", 131)] {
        dtu.type_text(&format!("clear; sh -c 'echo run\"\"s until {status}; exec tail -f /dev/null'\n"));
        dtu.until_shown(&format!("runs until {status}"));
        dtu.type_text(key);
        dtu.type_text("echo \"ended $?\"\n");
        dtu.until_shown(&format!("ended {status}"));
    }
}

pub fn asked_to_end(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let pipe = Pipe::from_session(dir, "lines");
    let path = pipe.path.display();
    // The background job is in a process group of its own, and stopped.
    let script = format!(
        "trap '' HUP; set -m; sh -c 'trap \"echo asked > {path}; exit\" TERM; echo $$ > {path}; kill -STOP $$; \
         while :; do sleep 1; done' & exec tail -f /dev/null"
    );
    daemon.make(1, vec![service(&script)]);
    let job: Process = pipe.pid("the job");
    daemon.tell(1, ToSession::End);
    assert_eq!(pipe.line("SIGTERM"), "asked");
    job.expect_end("the job");
}

pub fn has_vim() -> bool {
    ["/usr/bin/vim", "/usr/local/bin/vim"].iter().any(|path| Path::new(path).exists())
}

pub fn vim(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let file = dir.join("letter");
    let words = ["vim", "-u", "NONE", "-N", "-i", "NONE"].map(str::to_owned).into_iter();
    let words = words.chain([file.display().to_string()]).collect();
    let made = daemon.make(1, vec![Service::terminal(Command::Words(words))]);
    daemon.attach(1, 1);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 1, Has::default());
    dtu.until_shown("letter");
    dtu.type_text("iDear Ann, not yet saved");
    dtu.until_shown("not yet saved");
    daemon.tell(1, ToSession::End);
    dtu.until("the end", |dtu| dtu.closed);
    crate::expect_exit(&mut daemon, sessiond::control::Exit::Status(0));
    let swap = std::fs::read(dir.join(".letter.swp")).unwrap();
    assert!(swap.windows(13).any(|bytes| bytes == b"not yet saved"), "its swap file has the text");
    assert!(!file.exists());
}

pub fn no_broken_pipe(dir: &Path) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    let made = daemon.make(1, vec![service("exec tail -f /dev/null")]);
    let parent = crate::parent_of(i32::try_from(made.pid).unwrap());
    // SIGPIPE, the thirteenth, is ignored by both.
    for pid in [parent, i32::try_from(made.pid).unwrap()] {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
        assert!(u64::from_str_radix(ignored, 16).unwrap() & (1 << 12) != 0, "{pid}: {ignored}");
    }
}
