//! A program on a machine of the lab that holds connections to hosts, says nothing on them, and opens again what is
//! closed: this test program itself, started with another first word.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::net::{SocketAddrV4, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use crate::scene::{Scene, Trouble};

const WORD: &str = "--hold-silent-connections";
/// How often is looked whether a connection was closed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Longest wait for a host that is not there.
const CONNECT_WITHIN: Duration = Duration::from_millis(200);

/// The program; killed when dropped.
pub(crate) struct Silent(Child);

impl Silent {
    /// Holds `count` connections from a machine to each host; returns when it has them.
    pub(crate) fn hold(scene: &Scene, machine: &str, count: usize) -> Result<Self, Trouble> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([WORD, &count.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        for host in scene.world.hosts() {
            let ip = scene.world.backend().address(host)?;
            command.arg(SocketAddrV4::new(ip, proto::PORT).to_string());
        }
        let mut child = scene.world.backend().spawn(machine, command)?;
        let output = child.stdout.take().ok_or("no output")?;
        let silent = Self(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() == "held" { Ok(silent) } else { Err(format!("the strangers said {line:?}").into()) }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs that program, if this is what the command line asks for.
pub(crate) fn run() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some(WORD) {
        return None;
    }
    let count: usize = args.next()?.parse().ok()?;
    let hosts: Vec<SocketAddrV4> = args.filter_map(|addr| addr.parse().ok()).collect();
    let mut held: Vec<(SocketAddrV4, Option<TcpStream>)> =
        hosts.iter().flat_map(|host| (0..count).map(|_| (*host, connect(*host)))).collect();
    println!("held");
    loop {
        for (host, stream) in &mut held {
            if stream.as_mut().is_none_or(is_closed) {
                *stream = connect(*host);
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn connect(host: SocketAddrV4) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&host.into(), CONNECT_WITHIN).ok()?;
    stream.set_nonblocking(true).ok()?;
    Some(stream)
}

fn is_closed(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0; 64]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}
