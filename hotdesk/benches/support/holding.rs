//! A program that holds connections to hosts and says nothing on them, or begins a TLS handshake on each and no more.
//! What is closed it opens again. It is this program itself, started anew, so that its work is not the measurement's.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use lab::world::World;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::{Outcome, cannot, wait_for};

/// The first word of its command line.
const WORD: &str = "--hold-connections";
/// Where the connections come from: this address and those after it.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 99, 0, 1);
/// Pause before a connection to a host that is not there is tried again.
const REFUSED: Duration = Duration::from_millis(500);
/// The beginning of a TLS handshake: 512 more bytes are to follow, and never do.
const HELLO: [u8; 6] = [0x16, 3, 1, 2, 0, 1];

/// The connections. Closed when dropped.
pub(crate) struct Holding(Option<Child>);

impl Holding {
    /// Opens `count` connections from `addresses` addresses to every host, and returns when all hosts have them.
    pub(crate) fn start(world: &World, count: usize, addresses: usize, begins: bool) -> Outcome<Self> {
        if count == 0 {
            return Ok(Self(None));
        }
        let mut command = Command::new(std::env::current_exe().map_err(cannot("this program"))?);
        command.args([WORD, &count.to_string(), &addresses.to_string(), &begins.to_string()]);
        let mut to = Vec::new();
        for host in world.hosts() {
            to.push(world.backend().address(host).map_err(cannot("a host's address"))?);
        }
        command.args(to.iter().map(ToString::to_string));
        command.stdin(Stdio::null());
        let holding = Self(Some(command.spawn().map_err(cannot("start the strangers"))?));
        let wanted = count * to.len();
        wait_for(
            || Ok((established() >= wanted).then_some(())),
            || format!("{wanted} connections of strangers"),
        )?;
        Ok(holding)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Connections that strangers have now, by the kernel's table.
fn established() -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let is_theirs = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        // 127.99 in the kernel's order of bytes, and the state of an established connection.
        let local = words.next().unwrap_or_default();
        local.get(4..8) == Some("637F") && words.nth(1) == Some("01")
    };
    table.lines().filter(is_theirs).count()
}

/// Runs that program, if this is what the command line asks for.
pub(crate) fn run() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some(WORD) {
        return None;
    }
    let (count, addresses) = (args.next()?.parse::<u32>().ok()?, args.next()?.parse::<u32>().ok()?);
    let begins = args.next()? == "true";
    let hosts: Vec<Ipv4Addr> = args.filter_map(|ip| ip.parse().ok()).collect();
    // In earnest they are on other machines: what they compute must not be missing here.
    // SAFETY: the call takes no pointers.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        for n in 0..count {
            let from = Ipv4Addr::from_bits(FIRST.to_bits() + n % addresses);
            for host in &hosts {
                tokio::spawn(hold(from, SocketAddrV4::new(*host, proto::PORT), begins));
            }
        }
        std::future::pending::<()>().await;
    });
    Some(ExitCode::SUCCESS)
}

async fn hold(from: Ipv4Addr, to: SocketAddrV4, begins: bool) {
    loop {
        let held = async {
            let socket = TcpSocket::new_v4()?;
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(SocketAddrV4::new(from, 0).into())?;
            let mut stream = socket.connect(to.into()).await?;
            if begins {
                stream.write_all(&HELLO).await?;
            }
            // Until the host closes it.
            drop(stream.read_to_end(&mut Vec::new()).await);
            std::io::Result::Ok(())
        };
        if held.await.is_err() {
            tokio::time::sleep(REFUSED).await;
        }
    }
}
