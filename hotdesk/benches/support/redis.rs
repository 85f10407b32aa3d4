//! Redis beside us: a primary and a replica in memory alone, and clients that wait for the replica (`WAIT 1`).

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Outcome, PATIENCE, cannot};

/// Where Debian's package `redis-server` has it.
const PROGRAM: &str = "redis-server";
const PRIMARY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7390);
const REPLICA: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7391);
/// A replica that has not acknowledged by then fails the measurement.
const WAIT_MS: &str = "5000";

/// Both servers; they end when it is dropped.
pub(crate) struct Redis([Child; 2]);

impl Redis {
    /// Starts primary and replica, and waits until the one follows the other. `None` where Redis is not installed.
    pub(crate) fn start() -> Outcome<Option<Self>> {
        let Some(primary) = serve(PRIMARY, &[])? else { return Ok(None) };
        let of = [PRIMARY.ip().to_string(), PRIMARY.port().to_string()];
        let replica = serve(REPLICA, &["--replicaof", &of[0], &of[1]])?;
        let redis = Self([primary, replica.ok_or("redis-server is gone")?]);
        let end = Instant::now() + PATIENCE;
        let mut client = Client::open_until(end)?;
        while client.ask(&[&[b"SET", b"ready", b"1"], &[b"WAIT", b"1", b"100"]])?.last() != Some(&1) {
            if Instant::now() > end {
                return Err("the replica of redis does not follow".to_owned());
            }
        }
        Ok(Some(redis))
    }

    /// What it calls itself.
    pub(crate) fn version() -> Option<String> {
        let said = Command::new(PROGRAM).arg("--version").output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        said.split_whitespace().find_map(|word| word.strip_prefix("v=")).map(str::to_owned)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        for server in &mut self.0 {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn serve(addr: SocketAddrV4, more: &[&str]) -> Outcome<Option<Child>> {
    let (ip, port) = (addr.ip().to_string(), addr.port().to_string());
    let mut command = Command::new(PROGRAM);
    // Neither writes to a file, not even what the replica is filled with.
    let memory = ["--save", "", "--appendonly", "no", "--repl-diskless-load", "on-empty-db"];
    command.args(["--bind", &ip, "--port", &port]).args(memory).args(more);
    match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(child) => Ok(Some(child)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("start redis-server")(error)),
    }
}

/// A connection to the primary.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn open() -> Outcome<Self> {
        Self::open_until(Instant::now() + PATIENCE)
    }

    fn open_until(end: Instant) -> Outcome<Self> {
        loop {
            match TcpStream::connect_timeout(&PRIMARY.into(), PATIENCE) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(cannot("a socket"))?;
                    return Ok(Self(BufReader::new(stream)));
                }
                Err(error) if Instant::now() > end => return Err(cannot("connect to redis")(error)),
                // It is just starting, and nothing tells when it listens.
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Stores `value` and waits until the replica has it, in one round trip.
    pub(crate) fn set(&mut self, key: &str, value: &[u8]) -> Outcome<()> {
        self.write(&[b"SET", key.as_bytes(), value])
    }

    /// Stores `part` at `offset` of a value, likewise.
    pub(crate) fn set_range(&mut self, key: &str, offset: usize, part: &[u8]) -> Outcome<()> {
        self.write(&[b"SETRANGE", key.as_bytes(), offset.to_string().as_bytes(), part])
    }

    fn write(&mut self, command: &[&[u8]]) -> Outcome<()> {
        match self.ask(&[command, &[b"WAIT", b"1", WAIT_MS.as_bytes()]])?.last() {
            Some(1..) => Ok(()),
            _ => Err("the replica of redis does not acknowledge".to_owned()),
        }
    }

    /// Sends commands together. The integers among the answers; a status counts as 0.
    fn ask(&mut self, commands: &[&[&[u8]]]) -> Outcome<Vec<i64>> {
        let mut bytes = Vec::new();
        for command in commands {
            bytes.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
            for word in *command {
                bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        self.0.get_mut().write_all(&bytes).map_err(cannot("write to redis"))?;
        commands.iter().map(|_| self.answer()).collect()
    }

    fn answer(&mut self) -> Outcome<i64> {
        let mut line = String::new();
        self.0.read_line(&mut line).map_err(cannot("read from redis"))?;
        match (line.as_bytes().first(), line.get(1..).map(str::trim)) {
            (Some(b'+'), _) => Ok(0),
            (Some(b':'), Some(number)) => number.parse().map_err(cannot("an answer of redis")),
            _ => Err(format!("redis says {line:?}")),
        }
    }
}
