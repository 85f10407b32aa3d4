//! A daemon and DTUs for tests with real processes. Everything waits for events, with one deadline for all: a
//! test that would hang fails and says what it waited for.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use proto::frame::{Frame, FrameBuffer, Hello, Size};
use proto::{Nonce, SessionId};
use rustls::{ClientConnection, StreamOwned};
use sessiond::control::{Bytes, Description, Fingerprint, FromSession, SessionSpec, ToSession, Tools};
use sessiond::io::client::{Client, Event, Start};
use sessiond::template::{Command, Continuity, Service};
use terminal::Terminal;
use tokio::runtime::Runtime;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const SIZE: Size = Size { cols: 80, rows: 24 };

pub fn start(run_dir: &Path, keep: bool) -> Start {
    Start {
        program: env!("CARGO_BIN_EXE_sessiond").into(),
        arguments: Vec::new(),
        run_dir: run_dir.to_owned(),
        keep,
        open_files: None,
    }
}

pub fn service(script: &str) -> Service {
    Service::terminal(Command::Words(["/bin/sh", "-c", script].map(str::to_owned).to_vec()))
}

pub fn spec(id: u128, services: Vec<Service>) -> SessionSpec {
    SessionSpec {
        session: SessionId(id),
        token: "card.test".parse().unwrap(),
        host: "a".parse().unwrap(),
        // Root has to be named; whoever else runs the tests has sessions of its own account.
        account: sessiond::io::root::is_root().then(|| "root".to_owned()),
        named_by_registry: true,
        services,
        size: SIZE,
        continuity: Continuity::Restart,
        tools: Some(Tools {
            exe: env!("CARGO_BIN_EXE_sessiond").into(),
            names: vec!["datastore".into(), "sessiond".into()],
        }),
        meta: Bytes::default(),
    }
}

/// A daemon in the process of the test.
pub struct Daemon {
    runtime: Runtime,
    client: Client,
    seen: Vec<Event>,
    listener: TcpListener,
    pub dir: PathBuf,
}

impl Daemon {
    pub fn start(dir: &Path, keep: bool) -> Self {
        Self::start_with(&start(dir, keep))
    }

    pub fn start_with(start: &Start) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(Client::connect_or_start(start)).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self { runtime, client, seen: Vec::new(), listener, dir: start.run_dir.clone() }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The first event that `wanted` makes something of; those before it are kept for later.
    pub fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        if let Some((at, found)) = self.seen.iter().enumerate().find_map(|(at, e)| Some((at, wanted(e)?))) {
            self.seen.remove(at);
            return found;
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let next =
                self.runtime.block_on(async { tokio::time::timeout_at(deadline, self.client.next()).await });
            let Ok(Some(event)) = next else { panic!("waited for {what}, saw {:?}", self.seen) };
            match wanted(&event) {
                Some(found) => return found,
                None => self.seen.push(event),
            }
        }
    }

    pub fn said<T>(&mut self, what: &str, mut wanted: impl FnMut(&FromSession) -> Option<T>) -> T {
        self.wait(what, |event| match event {
            Event::Session { message, .. } => wanted(message),
            _ => None,
        })
    }

    pub fn ready(&mut self, id: u128) -> Description {
        self.wait("Ready", |event| match event {
            Event::Session { session, message: FromSession::Ready(what) } if session.0 == id => {
                Some((**what).clone())
            }
            Event::Session { message: FromSession::Ended(reason), .. } => panic!("{reason:?}"),
            Event::SpawnFailed { reason, .. } => panic!("{reason}"),
            _ => None,
        })
    }

    pub fn make(&mut self, id: u128, services: Vec<Service>) -> Description {
        self.client.spawn(spec(id, services)).unwrap();
        self.ready(id)
    }

    pub fn tell(&self, id: u128, message: ToSession) {
        self.client.tell(SessionId(id), message).unwrap();
    }

    pub fn attach(&self, id: u128, ticket: u128) {
        self.tell(
            id,
            ToSession::Attach { ticket: Nonce(ticket), serial: "desk1".parse().unwrap(), size: SIZE },
        );
    }

    /// A connection from a DTU that is handed to a session.
    pub fn connect(&self, id: u128) -> TcpStream {
        let dtu = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        dtu.set_read_timeout(Some(PATIENCE)).unwrap();
        dtu.set_nodelay(true).unwrap();
        let (accepted, _) = self.listener.accept().unwrap();
        self.client.hand_over(SessionId(id), accepted.into(), Vec::new()).unwrap();
        dtu
    }
}

/// A DTU's display of one service.
pub struct Dtu {
    tls: StreamOwned<ClientConnection, TcpStream>,
    buffer: FrameBuffer,
    pub screen: Terminal,
    pub stream: Nonce,
    pub have: u64,
    pub typed: u64,
    pub acked: u64,
    /// Output since the last repaint.
    pub output: Vec<u8>,
    pub repaints: usize,
    pub exit: Option<i32>,
    pub notices: Vec<String>,
    pub pongs: Vec<u64>,
    pub closed: bool,
}

/// What a DTU has of an earlier connection.
#[derive(Clone, Copy, Default)]
pub struct Has {
    pub stream: Option<Nonce>,
    pub have: u64,
}

impl Dtu {
    /// Opens the display of the service `terminal`.
    pub fn open(stream: TcpStream, fingerprint: Fingerprint, ticket: u128, has: Has) -> Self {
        let config =
            proto::io::tls::client_of_fingerprint(proto::io::tls::Fingerprint(fingerprint.0)).unwrap();
        let tls = ClientConnection::new(config, proto::io::tls::server_name()).unwrap();
        let mut dtu = Self {
            tls: StreamOwned::new(tls, stream),
            buffer: FrameBuffer::default(),
            screen: Terminal::new(SIZE),
            stream: Nonce(0),
            have: has.have,
            typed: 0,
            acked: 0,
            output: Vec::new(),
            repaints: 0,
            exit: None,
            notices: Vec::new(),
            pongs: Vec::new(),
            closed: false,
        };
        dtu.send(&Frame::Hello(Hello {
            ticket: Nonce(ticket),
            serial: "desk1".parse().unwrap(),
            service: "terminal".parse().unwrap(),
            run: Nonce(3),
            stream: has.stream.unwrap_or(Nonce(0)),
            have: has.have,
            size: SIZE,
        }));
        dtu
    }

    pub fn send(&mut self, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.emit(&mut bytes);
        self.tls.write_all(&bytes).unwrap();
    }

    pub fn type_text(&mut self, text: &str) {
        let frame = Frame::Input { seq: self.typed, bytes: text.as_bytes().to_vec() };
        self.typed += text.len() as u64;
        self.send(&frame);
    }

    /// Reads until `done`.
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let mut bytes = [0; 16 * 1024];
        while !done(self) {
            assert!(!self.closed, "waited for {what}, and the connection was closed: {}", self.seen());
            match self.tls.read(&mut bytes) {
                Ok(0) => self.closed = true,
                Ok(n) => self.take(&bytes[..n]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) =>
                {
                    self.closed = true;
                }
                Err(error) => panic!("waited for {what}: {error}: {}", self.seen()),
            }
        }
    }

    fn seen(&self) -> String {
        format!("{:?} {:?} {:?}", self.notices, self.exit, self.screen.lines())
    }

    fn take(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
        while let Some(frame) = self.buffer.next_frame().unwrap() {
            match frame {
                Frame::Welcome { stream, input_applied } => {
                    // What was typed before the welcome is on its way already.
                    (self.stream, self.acked) = (stream, input_applied);
                    self.typed = self.typed.max(input_applied);
                }
                Frame::Output { offset, bytes } => {
                    assert_eq!(offset, self.have, "output without gap or repetition");
                    self.have += bytes.len() as u64;
                    self.screen.feed(&bytes);
                    self.output.extend(bytes);
                }
                Frame::Repaint { offset, size, bytes } => {
                    self.have = offset;
                    self.screen = Terminal::new(size);
                    self.screen.feed(&bytes);
                    self.output.clear();
                    self.repaints += 1;
                }
                Frame::Ack { input, .. } => self.acked = input,
                Frame::Exit(status) => self.exit = Some(status),
                Frame::Notice(text) => self.notices.push(text),
                Frame::Pong(number) => self.pongs.push(number),
                other => panic!("{other:?} from a session"),
            }
        }
    }

    pub fn until_shown(&mut self, text: &str) {
        self.until(text, |dtu| dtu.screen.lines().iter().any(|line| line.contains(text)));
    }

    pub fn has(&self) -> Has {
        Has { stream: Some(self.stream), have: self.have }
    }
}

/// A named pipe through which the programs of a session talk to the test.
pub struct Pipe {
    pub path: PathBuf,
    lines: mpsc::Receiver<String>,
}

impl Pipe {
    /// A pipe the session writes and the test reads.
    pub fn from_session(dir: &Path, name: &str) -> Self {
        let path = dir.join(name);
        nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o622)).unwrap();
        std::process::Command::new("chmod").arg("622").arg(&path).status().unwrap();
        // Open for both, so that neither side ever waits for the other to open it.
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(file).lines() {
                if line.is_err() || sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { path, lines }
    }

    pub fn line(&self, what: &str) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("waited for {what}"))
    }

    /// What is said until then, if anything is.
    pub fn line_within(&self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    pub fn pid(&self, what: &str) -> Process {
        Process::of(self.line(what).trim().parse().unwrap())
    }
}

/// A named pipe that the test writes and the session reads.
pub fn pipe_to_session(dir: &Path, name: &str) -> (PathBuf, File) {
    let path = dir.join(name);
    nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    (path, file)
}

/// A process that the kernel tells the end of, whoever its parent is.
pub struct Process {
    pub pid: i32,
    handle: OwnedFd,
}

impl Process {
    pub fn of(pid: i32) -> Self {
        // SAFETY: takes two numbers and makes a new descriptor.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        assert!(fd >= 0, "there is no process {pid}");
        // SAFETY: it was made just now, and nothing else knows of it.
        Self { pid, handle: unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) } }
    }

    fn ended_within(&self, patience: Duration) -> bool {
        let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(&self.handle), PollFlags::POLLIN)];
        // A child that ends elsewhere in this process interrupts it.
        loop {
            match poll(&mut fds, PollTimeout::try_from(patience).unwrap()) {
                Err(nix::errno::Errno::EINTR) => {}
                polled => return polled.unwrap() > 0,
            }
        }
    }

    pub fn runs(&self) -> bool {
        !self.ended_within(Duration::ZERO)
    }

    #[track_caller]
    pub fn expect_end(&self, what: &str) {
        assert!(
            self.ended_within(PATIENCE),
            "{what}: process {} of {:?} runs on",
            self.pid,
            self.handle.as_raw_fd()
        );
    }
}

/// A daemon in a process of its own, to be killed: runs this test program again in another role.
pub struct OtherDaemon {
    pub child: std::process::Child,
    lines: BufReader<std::process::ChildStdout>,
}

pub const ROLE: &str = "HOTDESK_TEST_DAEMON";

impl OtherDaemon {
    /// One that makes a session of `script`, or takes up those it finds if there is none.
    pub fn start(dir: &Path, keep: bool, script: Option<&OsStr>) -> Self {
        Self::start_as(None, dir, keep, script, None)
    }

    /// The same as another account; it may ask for a session of each of `accounts` instead.
    pub fn start_as(
        uid: Option<u32>,
        dir: &Path,
        keep: bool,
        script: Option<&OsStr>,
        accounts: Option<&str>,
    ) -> Self {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, dir).env("KEEP", if keep { "1" } else { "0" });
        if let Some(script) = script {
            command.env("SCRIPT", script);
        }
        if let Some(uid) = uid {
            command.env("DAEMON_UID", uid.to_string());
        }
        if let Some(accounts) = accounts {
            command.env("ACCOUNTS", accounts);
        }
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// What it says next; it says what became of its sessions.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// Kills it as a machine without memory would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn outcome(said: &FromSession) -> Option<String> {
    match said {
        FromSession::Ready(what) => Some(format!("ready {}", what.pid)),
        FromSession::Ended(reason) => Some(format!("{reason:?}")),
        _ => None,
    }
}

/// Ends the spawner that a test may have left behind with sessions to keep.
pub struct Clean(pub PathBuf);

impl Drop for Clean {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let Ok(mut client) = Client::connect(&self.0).await else { return };
            let _ = client.end_all();
            while client.next().await.is_some_and(|event| !matches!(event, Event::SpawnerGone)) {}
        });
    }
}

/// What runs in the other role.
pub fn be_daemon(dir: &Path) {
    let keep = std::env::var("KEEP").unwrap() == "1";
    if let Ok(uid) = std::env::var("DAEMON_UID") {
        let uid = uid.parse().unwrap();
        nix::unistd::setgroups(&[]).unwrap();
        nix::unistd::setgid(nix::unistd::Gid::from_raw(uid)).unwrap();
        nix::unistd::setuid(nix::unistd::Uid::from_raw(uid)).unwrap();
    }
    let mut daemon = Daemon::start(dir, keep);
    if let Ok(accounts) = std::env::var("ACCOUNTS") {
        for (id, account) in (0..).zip(accounts.split(',')) {
            let account = Some(account.to_owned()).filter(|name| !name.is_empty());
            let wanted = SessionSpec { account, ..spec(id, vec![service("cat")]) };
            daemon.client.spawn(wanted).unwrap();
            println!("{}", daemon.said("an outcome", outcome));
        }
    } else if let Ok(script) = std::env::var("SCRIPT") {
        let made = daemon.make(1, vec![service(&script)]);
        println!("ready {}", made.pid);
    } else {
        println!("keeping {} kept {}", daemon.client.was_keeping(), daemon.client.kept());
    }
    // Until it is killed.
    loop {
        daemon.seen.clear();
        daemon.runtime.block_on(daemon.client.next());
    }
}
