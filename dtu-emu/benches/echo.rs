//! How long a keystroke takes to come back from a session: `cargo bench -p dtu-emu --bench echo`.
//!
//! A daemon on a loopback address, a session on it with its display channel (TLS), and in it `cat`, whose terminal
//! echoes, or bash, which reads the key and draws it itself. One key at a time; measured from writing it to
//! reading it. Beside it ssh to a private sshd on 127.0.0.1, with a terminal, doing the same. Either client is the
//! program that a user runs, in a terminal that this program holds: `dtu-emu boot` here, `ssh` there; so a key
//! passes as many processes here as there. Last, the same key without a terminal on this side: a DTU inside this
//! program.
//!
//! ssh hides by default when keys are pressed, by holding them up to 20 ms (since OpenSSH 9.5); that is switched off.
//! Without an sshd (`apt-get install openssh-server`, or `--sshd PROGRAM`) only ours is measured.
//! `-- --rounds N` asks for N keys of each kind.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and waits"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use dtu_emu::dtu::Config;
use dtu_emu::io::{Clock, NewDtu, Options, Shell, Trust};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use proto::card::Card;
use tempfile::TempDir;
use tokio::sync::mpsc;

type Outcome<T> = Result<T, String>;

/// Keys of each kind, unless the command line says otherwise.
const ROUNDS: usize = 1000;
/// Keys typed before measuring.
const WARM_UP: usize = 20;
/// After so many keys the line is erased: it must not reach the edge of the screen.
const LINE_LEN: usize = 40;
/// The key that erases a line, at a terminal and in bash.
const ERASE: u8 = 0x15;
/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// When a terminal has shown nothing for so long, all is shown that was going to be.
const QUIET: Duration = Duration::from_millis(50);
/// The host's address: on loopback, and no other program's.
const HOST: &str = "127.77.1.1";
const PROMPT: &str = "hotdesk-echo> ";

fn main() -> ExitCode {
    match Arguments::read().and_then(|arguments| arguments.map_or(Ok(()), |a| measure(&a))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("echo: {why}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    rounds: usize,
    sshd: PathBuf,
}

impl Arguments {
    /// `None` when this is no measurement but a test run over all targets.
    fn read() -> Outcome<Option<Self>> {
        let usage = "cargo bench -p dtu-emu --bench echo -- [--rounds N] [--sshd PROGRAM]";
        let mut read = Self { rounds: ROUNDS, sshd: "/usr/sbin/sshd".into() };
        let (mut args, mut is_bench) = (std::env::args().skip(1), false);
        while let Some(arg) = args.next() {
            match (arg.as_str(), &mut read) {
                // From cargo itself.
                ("--bench", _) => is_bench = true,
                ("--rounds", read) => {
                    let rounds = args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                    read.rounds = rounds.ok_or(format!("--rounds wants a number: {usage}"))?;
                }
                ("--sshd", read) => {
                    read.sshd = args.next().ok_or(format!("--sshd wants a path: {usage}"))?.into();
                }
                (other, _) => return Err(format!("{other:?} means nothing here: {usage}")),
            }
        }
        Ok(is_bench.then_some(read))
    }
}

fn measure(arguments: &Arguments) -> Outcome<()> {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load average {} at the start", load.split(' ').next().unwrap_or("?"));
    println!("building groupmgr, which takes minutes the first time ...");
    let host = Host::start()?;
    let sshd = Sshd::start(&arguments.sshd)?;
    if sshd.is_none() {
        println!("no {}: only ours is measured (apt-get install openssh-server)", arguments.sshd.display());
    }
    println!(
        "{:<34} {:>5} {:>9} {:>9} {:>9} {:>9}",
        "keystroke to echo", "n", "min ms", "median", "p99", "max"
    );
    for program in [Program::Cat, Program::Bash] {
        let ours = host.terminal(program)?.type_keys(arguments.rounds)?;
        ours.print(&format!("{}: dtu-emu in a terminal", program.word()));
        if let Some(sshd) = &sshd {
            let theirs = sshd.terminal(program)?.type_keys(arguments.rounds)?;
            theirs.print(&format!("{}: ssh in a terminal", program.word()));
            let [median, late] = [50, 99].map(|share| ours.at(share) / theirs.at(share));
            println!("{}: ours / ssh: median {median:.2}, p99 {late:.2}", program.word());
        }
        let bare = host.without_a_terminal(program, arguments.rounds)?;
        bare.print(&format!("{}: a DTU without a terminal", program.word()));
    }
    Ok(())
}

/// What runs in the session and echoes the keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    /// The terminal does, on behalf of a program that only waits for lines.
    Cat,
    /// The program itself does.
    Bash,
}

impl Program {
    const fn word(self) -> &'static str {
        match self {
            Self::Cat => "cat",
            Self::Bash => "bash",
        }
    }

    /// The command that the other side runs; it prints [`PROMPT`] when it is ready.
    fn words(self) -> [String; 3] {
        let script = match self {
            Self::Cat => format!("printf '%s' '{PROMPT}'; exec cat"),
            Self::Bash => format!("PS1='{PROMPT}' exec bash --norc --noprofile -i"),
        };
        ["/bin/sh".to_owned(), "-c".to_owned(), script]
    }
}

/// Times of one kind.
struct Figures(Vec<Duration>);

impl Figures {
    fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// In milliseconds, the time that `share` of 100 are not above (nearest rank).
    fn at(&self, share: usize) -> f64 {
        let rank = (self.0.len() * share).div_ceil(100).max(1);
        self.0.get(rank - 1).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }

    fn print(&self, what: &str) {
        let [min, median, p99, max] = [0, 50, 99, 100].map(|share| self.at(share));
        println!("{what:<34} {:>5} {min:>9.3} {median:>9.3} {p99:>9.3} {max:>9.3}", self.0.len());
    }
}

/// The letters that are typed, in turn: no two neighbours alike.
fn key(n: usize) -> u8 {
    b'a' + u8::try_from(n % 26).unwrap_or(0)
}

/// A child that is killed by its id when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself is only waited for.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A program in a terminal of ours.
struct Terminal {
    master: std::fs::File,
    _client: Running,
}

impl Terminal {
    /// Starts a program in a terminal and waits for [`PROMPT`].
    fn start(mut command: Command) -> Outcome<Self> {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).map_err(|e| format!("a terminal: {e}"))?;
        let end = |fd: &OwnedFd| fd.try_clone().map(Stdio::from).map_err(|e| format!("a terminal: {e}"));
        command.stdin(end(&pty.slave)?).stdout(end(&pty.slave)?).stderr(end(&pty.slave)?);
        let client = Running(command.spawn().map_err(|e| format!("{command:?}: {e}"))?);
        let mut terminal = Self { master: pty.master.into(), _client: client };
        terminal.read_until(PROMPT.trim_end().as_bytes())?;
        terminal.drain()?;
        Ok(terminal)
    }

    fn type_keys(&mut self, rounds: usize) -> Outcome<Figures> {
        let mut times = Vec::new();
        for n in 0..WARM_UP + rounds {
            let (key, typed) = (key(n), Instant::now());
            self.write(key)?;
            self.read_until(&[key])?;
            if n >= WARM_UP {
                times.push(typed.elapsed());
            }
            if n % LINE_LEN == LINE_LEN - 1 {
                self.write(ERASE)?;
                self.drain()?;
            }
        }
        Ok(Figures::new(times))
    }

    fn write(&mut self, key: u8) -> Outcome<()> {
        self.master.write_all(&[key]).map_err(|e| format!("type: {e}"))
    }

    /// Reads until `wanted` is among what came. An echoed key is a letter, and no control sequence comes with it.
    fn read_until(&mut self, wanted: &[u8]) -> Outcome<()> {
        let mut shown = Vec::new();
        while !shown.windows(wanted.len()).any(|text| text == wanted) {
            if !self.is_readable(PATIENCE)? {
                let (wanted, shown) = (String::from_utf8_lossy(wanted), String::from_utf8_lossy(&shown));
                return Err(format!("waited {PATIENCE:?} for {wanted:?}, and there was only {shown:?}"));
            }
            let mut bytes = [0; 4096];
            let len = self.master.read(&mut bytes).map_err(|e| {
                format!(
                    "the terminal's program has ended ({e}); it said {:?}",
                    String::from_utf8_lossy(&shown)
                )
            })?;
            shown.extend_from_slice(&bytes[..len]);
        }
        Ok(())
    }

    /// Reads what comes until nothing does.
    fn drain(&mut self) -> Outcome<()> {
        let mut bytes = [0; 4096];
        while self.is_readable(QUIET)? {
            self.master.read(&mut bytes).map_err(|e| format!("read a terminal: {e}"))?;
        }
        Ok(())
    }

    fn is_readable(&self, patience: Duration) -> Outcome<bool> {
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, timeout).map(|ready| ready > 0).map_err(|e| format!("wait for a terminal: {e}"))
    }
}

/// A host with a data store of its own.
struct Host {
    // First, so that it ends before its files go.
    _daemon: Running,
    dir: TempDir,
    groupmgr: PathBuf,
}

impl Host {
    fn start() -> Outcome<Self> {
        let groupmgr = build_groupmgr()?;
        // Short, since sockets live below it.
        let dir = tempfile::Builder::new()
            .prefix("hde")
            .tempdir_in("/tmp")
            .map_err(|e| format!("a directory: {e}"))?;
        run(Command::new(&groupmgr).arg("keygen").arg(dir.path().join("keys")))?;
        let mut command = Command::new(&groupmgr);
        command.args(["run", "--name", "echo", "--bind", HOST]);
        for (option, name) in [("--keys", "keys"), ("--run-dir", "run"), ("--state-dir", "state")] {
            command.arg(option).arg(dir.path().join(name));
        }
        if nix::unistd::geteuid().is_root() {
            // Its sessions must not be root's, and must reach what is theirs.
            command.args(["--account", "nobody"]);
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
            std::fs::set_permissions(dir.path(), open).map_err(|e| format!("a directory: {e}"))?;
        }
        command.env("HOTDESK_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut daemon = Running(command.spawn().map_err(|e| format!("{}: {e}", groupmgr.display()))?);
        let mut ready = String::new();
        let output = daemon.0.stdout.take().ok_or("a daemon without output")?;
        BufReader::new(output).read_line(&mut ready).map_err(|e| format!("the daemon: {e}"))?;
        if !ready.starts_with("ready ") {
            return Err("the daemon did not get ready; it says why above".to_owned());
        }
        Ok(Self { _daemon: daemon, dir, groupmgr })
    }

    /// Has sessions that are made from now on run `program`.
    fn put_template(&self, program: Program) -> Outcome<()> {
        let words = serde_json::to_string(&program.words()).map_err(|e| e.to_string())?;
        let file = self.dir.path().join("template.toml");
        std::fs::write(&file, format!("[[service]]\nname = \"terminal\"\ncommand = {words}\n"))
            .map_err(|e| format!("a template: {e}"))?;
        let mut command = Command::new(&self.groupmgr);
        command
            .args(["template", "put", "default"])
            .arg(file)
            .arg("--run-dir")
            .arg(self.dir.path().join("run"));
        run(&mut command)
    }

    /// The line of a card that nobody had before.
    fn card(&self, program: Program, way: &str) -> String {
        format!("card type=card id=echo-{}-{way}", program.word())
    }

    /// `dtu-emu boot` in a terminal.
    fn terminal(&self, program: Program) -> Outcome<Terminal> {
        self.put_template(program)?;
        let card = self.dir.path().join("card");
        std::fs::write(&card, self.card(program, "terminal")).map_err(|e| format!("a card: {e}"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_dtu-emu"));
        command.args(["boot", "--server", HOST, "--bind", HOST, "--card"]).arg(card);
        command.arg("--ca").arg(self.dir.path().join("keys/ca.pem"));
        command.arg("--control").arg(self.dir.path().join("dtu"));
        command.arg("--state").arg(self.dir.path().join("state")).env("TERM", "xterm-256color");
        Terminal::start(command)
    }

    /// A DTU within this program, its screen read as it is drawn.
    fn without_a_terminal(&self, program: Program, rounds: usize) -> Outcome<Figures> {
        self.put_template(program)?;
        let card: Card = self.card(program, "bare").parse().map_err(|e| format!("a card: {e}"))?;
        let trust = Trust::of_ca(&self.dir.path().join("keys/ca.pem")).map_err(|e| e.to_string())?;
        let bind = HOST.parse().ok();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|e| format!("a runtime: {e}"))?.block_on(async {
            let (tell, _told) = mpsc::unbounded_channel();
            let options = Options { trust, bind, port: proto::PORT, multicast: None, workers: None };
            let (shell, handle) = Shell::new(options, Clock::start(), tell);
            tokio::spawn(shell.run());
            let serial = "0200000000ec".parse().map_err(|e| format!("a serial: {e}"))?;
            let mut config = Config::new(serial, proto::io::random());
            config.servers =
                bind.map(|ip| std::net::SocketAddrV4::new(ip, proto::PORT)).into_iter().collect();
            let desk = handle
                .add(NewDtu { config, bind, screen: true, card: None, identity: None })
                .await
                .ok_or("the DTU has stopped")?;
            let (_, mut view) = handle.view(desk).await.ok_or("the DTU has stopped")?;
            handle.insert(desk, card).await;
            let mut shown = async |wanted: &[u8]| {
                let mut bytes = Vec::new();
                while !bytes.windows(wanted.len()).any(|text| text == wanted) {
                    match tokio::time::timeout(PATIENCE, view.recv()).await {
                        Ok(Ok(more)) => bytes.extend_from_slice(&more),
                        other => return Err(format!("waited for {wanted:?}, and there was {other:?}")),
                    }
                }
                Ok(())
            };
            shown(PROMPT.trim_end().as_bytes()).await?;
            let mut times = Vec::new();
            for n in 0..WARM_UP + rounds {
                let (key, typed) = (key(n), Instant::now());
                handle.type_keys(desk, vec![key]).await;
                shown(&[key]).await?;
                if n >= WARM_UP {
                    times.push(typed.elapsed());
                }
                if n % LINE_LEN == LINE_LEN - 1 {
                    handle.type_keys(desk, vec![ERASE]).await;
                    // What the erasing draws holds no letter; that of the next line's first key comes after it.
                    tokio::time::sleep(QUIET).await;
                }
            }
            Ok(Figures::new(times))
        })
    }
}

/// An sshd of our own, for one client with one key.
struct Sshd {
    _daemon: Running,
    dir: TempDir,
    port: u16,
    user: String,
}

impl Sshd {
    /// `None` when there is no such program.
    fn start(program: &Path) -> Outcome<Option<Self>> {
        if !program.exists() {
            return Ok(None);
        }
        let dir = tempfile::tempdir().map_err(|e| format!("a directory: {e}"))?;
        let file = |name: &str| dir.path().join(name);
        for name in ["host", "client"] {
            let mut keygen = Command::new("ssh-keygen");
            run(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file(name)))?;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| format!("a port: {e}"))?;
        let port = listener.local_addr().map_err(|e| format!("a port: {e}"))?.port();
        drop(listener);
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nUseDNS no\nPrintMotd no\n\
             PrintLastLog no\n",
            file("host").display(),
            file("client.pub").display(),
        );
        std::fs::write(file("config"), config).map_err(|e| format!("a configuration: {e}"))?;
        if nix::unistd::geteuid().is_root() {
            // Where sshd confines itself; the package's own start makes it.
            std::fs::create_dir_all("/run/sshd").map_err(|e| format!("/run/sshd: {e}"))?;
        }
        let log = std::fs::File::create(file("log")).map_err(|e| format!("a log: {e}"))?;
        let mut command = Command::new(program);
        command
            .args(["-D", "-e", "-f"])
            .arg(file("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut daemon = Running(command.spawn().map_err(|e| format!("{}: {e}", program.display()))?);
        let give_up_at = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = daemon.0.try_wait().is_ok_and(|ended| ended.is_some());
            if ended || Instant::now() > give_up_at {
                let said = std::fs::read_to_string(file("log")).unwrap_or_default();
                return Err(format!("{} does not listen: {}", program.display(), said.trim()));
            }
            // Nothing else tells that it listens.
            std::thread::sleep(Duration::from_millis(5));
        }
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        let user = user.ok_or("this user has no name")?.name;
        Ok(Some(Self { _daemon: daemon, dir, port, user }))
    }

    /// `ssh` in a terminal.
    fn terminal(&self, program: Program) -> Outcome<Terminal> {
        let [shell, flag, script] = program.words();
        let mut command = Command::new("ssh");
        command
            .args(["-F", "none", "-tt", "-p", &self.port.to_string(), "-i"])
            .arg(self.dir.path().join("client"));
        for option in [
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "LogLevel=ERROR",
            "IgnoreUnknown=ObscureKeystrokeTiming",
            "ObscureKeystrokeTiming=no",
            "UserKnownHostsFile=/dev/null",
        ] {
            command.args(["-o", option]);
        }
        command.arg(format!("{}@127.0.0.1", self.user)).arg(format!("{shell} {flag} \"{script}\""));
        Terminal::start(command)
    }
}

/// The program of a host is another crate's; cargo says where it is when it has built it.
fn build_groupmgr() -> Outcome<PathBuf> {
    let ours = Path::new(env!("CARGO_BIN_EXE_dtu-emu"));
    let release = ours.parent().ok_or("a program without a directory")?;
    let target = release.parent().ok_or("a program without a target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--release", "-p", "groupmgr", "--bin", "groupmgr", "--target-dir"]);
    run(command.arg(target).current_dir(env!("CARGO_MANIFEST_DIR")))?;
    Ok(release.join("groupmgr"))
}

fn run(command: &mut Command) -> Outcome<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
