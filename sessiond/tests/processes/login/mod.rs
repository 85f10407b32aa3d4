//! A program in a session is where it would be after a login: compared with a real one, whose every difference is
//! explained here.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use sessiond::control::SessionSpec;
use sessiond::template::{Command as Runs, Service};

use crate::support::{Daemon, Dtu, Has, PATIENCE, start};
use crate::{Rule, run_dir};

/// Says that this program is to compare, in the namespace that was made for it.
pub const ROLE: &str = "HOTDESK_TEST_LOGIN";

/// The account of both.
const NAME: &str = "hotdesk-test";
const UID: u32 = 54_322;
const GROUP: u32 = 54_323;

/// What the shell tells of itself, one `section key value` a line.
const PROBE: &str = include_str!("probe.sh");

/// What may differ: the section, the beginning of the key, and why.
const EXPLAINED: &[(&str, &str, &str)] = &[
    ("status", "Pid", "another process"),
    ("status", "PPid", "another process"),
    ("status", "Tgid", "another process"),
    ("status", "Ngid", "another process"),
    ("status", "NSpid", "another process"),
    ("status", "NStgid", "another process"),
    ("status", "NSpgid", "another process"),
    ("status", "NSsid", "another process"),
    ("status", "Vm", "how much memory it has used so far"),
    ("status", "Rss", "how much memory it has used so far"),
    ("status", "voluntary_ctxt_switches", "how often it has waited so far"),
    ("status", "nonvoluntary_ctxt_switches", "how often it has waited so far"),
    ("status", "SigQ", "signals queued for all processes of the account at this moment"),
    ("status", "Mems_allowed", "a list of the machine's memory that the kernel may shorten"),
    (
        "ids",
        "leads_its_session",
        "login stays and waits for its shell; a session's process does so from outside",
    ),
    (
        "ids",
        "terminal_mode",
        "login sets it; here it is that of the machine's /dev/pts, which only root can change",
    ),
    ("ids", "other_files", "modules of PAM leave files open; that a session has none is asserted"),
    ("env", "HOTDESK_", "by which a program finds its session"),
    ("env", "PATH", "the directory of the session's commands comes first"),
    ("env", "TERM", "login has that of the terminal it was started on; a display understands xterm-256color"),
    ("env", "LANG", "C.UTF-8 where the machine has no locale, since a display shows nothing but UTF-8"),
    ("env", "MOTD_SHOWN", "login's own: a session shows no message of the day"),
    ("env", "HUSHLOGIN", "login's own: whether it told of mail and the last login, which a session does not"),
    ("env", "XDG_", "systemd-logind is told of logins by PAM, and of sessions by nobody"),
    ("env", "DBUS_SESSION_BUS_ADDRESS", "systemd-logind is told of logins by PAM, and of sessions by nobody"),
    ("stty", "iutf8", "the terminal is told that its text is UTF-8, as sshd does for a client that says so"),
    ("stty", "rows", "each has the size of its own screen"),
    ("stty", "columns", "each has the size of its own screen"),
    ("shell", "argument", "--posix, which rc.sh undoes (see io::session::login)"),
];

/// Whether there is a login to compare with, and root to ask for it.
pub fn is_possible() -> bool {
    let has = |program: &str| ["/bin", "/usr/bin"].iter().any(|dir| Path::new(dir).join(program).exists());
    let namespace = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "mount", "--bind", "/etc/passwd", "/etc/passwd"]);
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    nix::unistd::geteuid().is_root()
        && ["login", "unshare", "mount", "bash", "stty"].into_iter().all(has)
        && namespace()
}

/// Runs this program again with an account of its own, in a mount namespace where the machine's files know of it.
pub fn compared(dir: &Path) {
    let home = dir.join("home");
    std::fs::create_dir(&home).unwrap();
    chown(&home, Some(UID), Some(GROUP)).unwrap();
    let passwd = format!("{NAME}:x:{UID}:{GROUP}:a test:{}:/bin/bash\n", home.display());
    let group = format!("{NAME}:x:{GROUP}:\nhotdesk-more:x:{}:{NAME}\n", GROUP + 1);
    let shadow = format!("{NAME}:*:19000:0:99999:7:::\n");
    let mut script = String::new();
    for (name, line) in [("passwd", passwd), ("group", group), ("shadow", shadow)] {
        let text = std::fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
        std::fs::write(dir.join(name), text + &line).unwrap();
        script += &format!("mount --bind {0}/{name} /etc/{name} && ", dir.display());
    }
    if !std::fs::read_to_string("/etc/profile").is_ok_and(|text| text.contains("PATH=")) {
        std::fs::write(dir.join("profile"), "PATH=/usr/bin:/bin\nexport PATH\n").unwrap();
        script += &format!("mount --bind {}/profile /etc/profile && ", dir.display());
    }
    script += "exec \"$0\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).arg(std::env::current_exe().unwrap()).env(ROLE, dir);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What runs in the other role.
pub fn compare(dir: &Path) {
    let probe = dir.join("probe.sh");
    std::fs::write(&probe, PROBE).unwrap();
    let (session, login) = (dir.join("home/session"), dir.join("home/login"));
    in_session(dir, &format!(". {} {}\n", probe.display(), session.display()), &session);
    in_login(&format!(". {} {}\n", probe.display(), login.display()), &login);
    let (session, login) = (read(&session), read(&login));
    assert!(session.len() > 100 && session.contains_key("shell shopt login_shell"), "{session:?}");
    let keys: std::collections::BTreeSet<_> = session.keys().chain(login.keys()).collect();
    let explained = |key: &str| {
        EXPLAINED.iter().any(|(section, begins, _)| key.starts_with(&format!("{section} {begins}")))
    };
    let differ = keys.into_iter().filter(|key| session.get(*key) != login.get(*key) && !explained(key));
    let differ: Vec<String> = differ
        .map(|key| format!("{key}: {:?} after a login {:?}", session.get(key), login.get(key)))
        .collect();
    assert!(differ.is_empty(), "in a session\n  {}", differ.join("\n  "));
    assert_eq!(session["ids other_files"], "", "nothing of the daemon's is open");
    assert_eq!(session["ids leads_its_session"], "yes");
    let path = |of: &BTreeMap<String, String>| of["env PATH"].clone();
    let (own, rest) = path(&session).split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(own.ends_with("/bin") && rest == path(&login), "{own} {rest}");
}

fn read(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap();
    // Without two signals that are the C library's own: who is started by its posix_spawn ignores them.
    let without_own = |set: u64| format!("{:x}", set & !(0b11 << 31));
    let entry = |line: &str| {
        let (key, value) = line.split_once('=')?;
        let value = value.trim().to_owned();
        let signals = if key.ends_with(" SigIgn") { u64::from_str_radix(&value, 16).ok() } else { None };
        Some((key.to_owned(), signals.map_or(value, without_own)))
    };
    text.lines().filter_map(entry).collect()
}

/// The daemon's own dispositions, mask and limits must not show: it is started with bad ones.
fn in_session(dir: &Path, line: &str, result: &Path) {
    let mut daemon = Daemon::start_with(&hostile(dir));
    let shell = Service::terminal(Runs::LoginShell);
    daemon.client().spawn(SessionSpec { account: Some(NAME.into()), ..crate::spec(1, vec![shell]) }).unwrap();
    let made = daemon.ready(1);
    daemon.attach(1, 1);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 1, Has::default());
    dtu.type_text(line);
    // The probe's own last word.
    dtu.until_shown("probed.");
    assert!(result.exists());
}

/// A spawner that was started with signals ignored, as by `nohup` or a careless supervisor.
fn hostile(dir: &Path) -> sessiond::io::client::Start {
    let mut start = start(&run_dir(dir), false);
    let script = "trap '' HUP INT QUIT TERM TSTP TTIN TTOU USR1 PIPE; umask 077; exec \"$0\" \"$@\"";
    start.arguments = vec!["-c".into(), script.into(), start.program.clone().into()];
    start.program = "/bin/sh".into();
    start
}

fn in_login(line: &str, result: &Path) {
    let ends = nix::pty::openpty(None, None).unwrap();
    for end in [&ends.master, &ends.slave] {
        nix::fcntl::fcntl(end, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).unwrap();
    }
    let slave = || Stdio::from(ends.slave.try_clone().unwrap());
    let mut command = Command::new("login");
    command.args(["-f", NAME]).env_clear().env("TERM", "xterm").current_dir("/");
    command.stdin(slave()).stdout(slave()).stderr(slave());
    let take_terminal = || {
        nix::unistd::setsid()?;
        // SAFETY: descriptor 0 is the terminal, and the request takes no memory.
        unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
        Ok(())
    };
    // SAFETY: it makes system calls only.
    let mut child = unsafe { command.pre_exec(take_terminal) }.spawn().unwrap();
    drop(ends.slave);
    let mut master = std::fs::File::from(ends.master);
    master.write_all(line.as_bytes()).unwrap();
    let mut said = Vec::new();
    let until = Instant::now() + PATIENCE;
    while !said.windows(7).any(|bytes| bytes == b"probed.") {
        assert!(Instant::now() < until, "{}", String::from_utf8_lossy(&said));
        let mut fds =
            [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&master), nix::poll::PollFlags::POLLIN)];
        // Interrupted by the end of another child it is called again.
        if nix::poll::poll(&mut fds, 1000_u16).unwrap_or(0) == 0 {
            continue;
        }
        let mut piece = [0; 4096];
        let read =
            master.read(&mut piece).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&said)));
        said.extend_from_slice(&piece[..read]);
    }
    assert!(result.exists());
    drop(master);
    child.wait().unwrap();
}

/// The shells that the table in `io::session::login` names, each with what shows that it is a login shell which has read
/// its profile.
const SHELLS: [(&str, &str, &str); 8] = [
    (
        "bash",
        "shopt -q login_shell && echo a login $read_profile $HISTFILE $ENV. $(set -o | grep posix)",
        "yes HOME/.bash_history . posix",
    ),
    ("sh", PROFILE_READ, "yes"),
    ("dash", PROFILE_READ, "yes"),
    ("busybox", PROFILE_READ, "yes"),
    ("ksh", PROFILE_READ, "yes"),
    ("mksh", PROFILE_READ, "yes"),
    (
        "zsh",
        "[[ -o login ]] && echo a login $read_profile ${ZDOTDIR-none} $read_rc $precmd_functions.",
        "yes none rc .",
    ),
    ("fish", "status is-login; and echo a login $read_rc", "rc"),
];
const PROFILE_READ: &str = "echo a login $read_profile";

macro_rules! rules_of_shells {
    ($($shell:literal)*) => {
        [$((
            concat!("a_login_shell_that_is_", $shell, "_finds_the_sessions_commands_whatever_its_profile_does"),
            find($shell).is_some(),
            (|dir| tools_are_found(dir, $shell)) as fn(&Path),
        )),*]
    };
}

/// A rule for each of them; ignored where this machine has no such shell.
pub fn shells() -> [Rule; 8] {
    rules_of_shells!("bash" "sh" "dash" "busybox" "ksh" "mksh" "zsh" "fish")
}

fn find(shell: &str) -> Option<PathBuf> {
    let places = ["/bin", "/usr/bin", "/usr/local/bin"];
    places.iter().map(|dir| Path::new(dir).join(shell)).find(|path| path.exists())
}

fn tools_are_found(dir: &Path, shell: &str) {
    let mut daemon = Daemon::start(&run_dir(dir), false);
    // As Debian's /etc/profile does, should this machine's not.
    for name in [".profile", ".bash_profile", ".zprofile"] {
        std::fs::write(dir.join(name), "PATH=/usr/bin:/bin\nexport PATH\nread_profile=yes\n").unwrap();
    }
    std::fs::write(dir.join(".zshrc"), "PATH=/usr/bin:/bin\nread_rc=rc\n").unwrap();
    std::fs::create_dir_all(dir.join(".config/fish")).unwrap();
    std::fs::write(dir.join(".config/fish/config.fish"), "set -gx PATH /usr/bin /bin\nset read_rc rc\n")
        .unwrap();
    let (_, command, wanted) = SHELLS.into_iter().find(|(name, ..)| *name == shell).unwrap();
    let shell = as_ash(dir, find(shell).unwrap());
    let env = [("HOME", dir.display()), ("SHELL", shell.display())];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_string())).into();
    let made = daemon.make(1, vec![Service { env, ..Service::terminal(Runs::LoginShell) }]);
    daemon.attach(1, 1);
    let mut dtu = Dtu::open(daemon.connect(1), made.fingerprint, 1, Has::default());
    for tool in ["datastore", "sessiond"] {
        dtu.type_text(&format!("command -v {tool} | sed 's,.*/s/,it has ,'\n"));
        dtu.until_shown(&format!("it has {:032x}/bin/{tool}", 1));
    }
    dtu.type_text(&format!("{command}\n"));
    dtu.until_shown(&format!("a login {}", wanted.replace("HOME", &dir.display().to_string())));
}

/// BusyBox is a shell by the name of `ash`.
fn as_ash(dir: &Path, shell: PathBuf) -> PathBuf {
    if !shell.ends_with("busybox") {
        return shell;
    }
    let ash = dir.join("ash");
    std::os::unix::fs::symlink(shell, &ash).unwrap();
    ash
}
