//! Switching DTUs on.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::Serial;
use proto::card::Card;
use proto::io::cli::{Failure, print};
use proto::io::tls::dtu::DtuIdentity;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::args::{BootArgs, FleetArgs, HostArgs};
use super::error::read_card;
use crate::dtu::{Config, DtuEvent, Fault, Shows, Timing};
use crate::io::control::{ControlSocket, default_dir, open_port, serve};
use crate::io::fleet::{self, FleetOptions, FleetTokens};
use crate::io::{Clock, NewDtu, Options, Record, Shell, Told, Trust, foreground, netif, own_key, serial};

/// Serials derived from this machine that are tried, at most.
const DERIVED_MAX: usize = 256;

/// Said to whoever does not say which hosts to believe.
const NO_TRUST: &str = "how should hosts be verified? Give --ca FILE (the group's ca.pem), --fingerprint HEX, or set \
                        HOTDESK_CA; --plain trusts anybody";

pub(super) async fn run(args: BootArgs) -> Result<(), Failure> {
    let options = options(&args.hosts)?;
    let card = args.card.as_deref().map(read_card).transpose()?;
    // Read from a file a moment ago, and printed by ourselves.
    let card: Option<Card> = card.and_then(|card| card.parse().ok());
    if args.headless {
        proto::io::log::to_stderr();
    }
    let dir = args.control.clone().unwrap_or_else(default_dir);
    let (socket, serial) = open_socket(&dir, args.serial.clone())?;
    // Who trusts anybody proves nothing to anybody.
    let secret = match &options.trust {
        Trust::Tls(_) => Some(own_key::of_dtu(args.hosts.state.as_deref(), &serial)?),
        Trust::Plain => None,
    };
    let identity = secret.map(|secret| DtuIdentity::new(&secret)).transpose().map_err(Failure::machine)?;
    let mut config = Config::new(serial, proto::io::random());
    config.servers = resolve(&args.hosts).await?;
    config.port = args.hosts.port;
    config.timing = timing(&args.hosts);
    config.size = if args.headless { args.size } else { foreground::terminal_size().unwrap_or(args.size) };

    let (tell, told) = mpsc::unbounded_channel();
    let (shell, handle) = Shell::new(options, Clock::start(), tell);
    let shell = tokio::spawn(shell.run());
    let gone = || Failure::machine("the DTU stopped by itself");
    let desk = NewDtu { config, bind: args.hosts.bind, screen: true, card, identity };
    let desk = handle.add(desk).await.ok_or_else(gone)?;
    let serving = tokio::spawn(serve(socket, handle.clone(), desk));
    let done = if args.headless {
        headless(told, args.json).await
    } else {
        tokio::spawn(drain(told));
        foreground::run(open_port(handle.clone(), desk)).await
    };
    // The socket's file goes first, then the connections: politely, but not for ever.
    serving.abort();
    let _ = serving.await;
    drop(handle);
    let _ = tokio::time::timeout(Duration::from_millis(500), shell).await;
    done
}

async fn drain(mut told: mpsc::UnboundedReceiver<Told>) {
    while told.recv().await.is_some() {}
}

/// Prints events until a signal ends it.
async fn headless(mut told: mpsc::UnboundedReceiver<Told>, json: bool) -> Result<(), Failure> {
    let mut ends = signal(SignalKind::terminate())?;
    let mut warned = false;
    loop {
        tokio::select! {
            told = told.recv() => {
                let Some(told) = told else { return Ok(()) };
                if let DtuEvent::HostFailed { host, fault: Fault::Tls(what) } = &told.event
                    && !core::mem::replace(&mut warned, true)
                {
                    eprintln!("dtu-emu: host {host} is not trusted ({what}); is --ca the ca.pem of its group?");
                }
                let record = Record::new(&told);
                let line = if json { record.to_json() } else { record.to_text() };
                // A desk goes on when nobody reads what becomes of it.
                drop(print(line + "\n"));
            }
            _ = ends.recv() => return Ok(()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

fn open_socket(dir: &Path, serial: Option<Serial>) -> Result<(ControlSocket, Serial), Failure> {
    if let Some(serial) = serial {
        return Ok((ControlSocket::open(dir, &serial)?, serial));
    }
    let mut last = None;
    for n in 0..DERIVED_MAX {
        let serial = serial::of_machine(n);
        match ControlSocket::open(dir, &serial) {
            Ok(socket) => return Ok((socket, serial)),
            // Another desk of this machine has it.
            Err(error) if error.kind() == ErrorKind::AddrInUse => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.unwrap_or_else(|| ErrorKind::AddrInUse.into()).into())
}

fn options(hosts: &HostArgs) -> Result<Options, Failure> {
    let ca = hosts.ca.clone().or_else(|| std::env::var_os("HOTDESK_CA").map(PathBuf::from));
    let trust = match (hosts.plain, hosts.fingerprint, ca) {
        (true, ..) => Trust::Plain,
        (_, Some(fingerprint), _) => Trust::of_fingerprint(fingerprint)?,
        (_, _, Some(ca)) => Trust::of_ca(&ca)?,
        _ => return Err(Failure::usage(NO_TRUST)),
    };
    if let Some(bind) = hosts.bind
        && netif::interfaces(Some(bind)).is_empty()
    {
        return Err(Failure::usage(format!(
            "{bind} is not an address of this machine; see `ip address`, and give one of its own with --bind"
        )));
    }
    Ok(Options { trust, bind: hosts.bind, port: hosts.port, multicast: hosts.multicast, workers: None })
}

fn timing(hosts: &HostArgs) -> Timing {
    Timing { answer: Duration::from_millis(hosts.patience), ..Timing::default() }
}

async fn resolve(hosts: &HostArgs) -> Result<Vec<SocketAddrV4>, Failure> {
    let mut found = Vec::new();
    for name in &hosts.servers {
        let wrong = |what: String| {
            let remedy = "give an IPv4 address or a name that has one";
            Failure::usage(format!("--server {name}: {what}; {remedy}"))
        };
        let has_port = name.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let full = if has_port { name.clone() } else { format!("{name}:{}", hosts.port) };
        let addrs = tokio::net::lookup_host(&full).await.map_err(|error| wrong(error.to_string()))?;
        let v4 = addrs.filter_map(|addr| match addr {
            SocketAddr::V4(addr) => Some(addr),
            SocketAddr::V6(_) => None,
        });
        let before = found.len();
        found.extend(v4);
        if found.len() == before {
            return Err(wrong("it has no IPv4 address".to_owned()));
        }
    }
    found.dedup();
    Ok(found)
}

pub(super) async fn fleet(args: FleetArgs, workers: Handle) -> Result<(), Failure> {
    proto::io::log::to_stderr();
    let options = Options { workers: Some(workers), ..options(&args.hosts)? };
    let shows = if args.without_display { Shows::Nothing } else { Shows::Display };
    let keys = match &options.trust {
        Trust::Tls(_) => Some(own_key::of_fleet(args.hosts.state.as_deref())?),
        Trust::Plain => None,
    };
    let fleet = FleetOptions {
        keys,
        count: args.count as usize,
        first: args.first as usize,
        rate: args.rate,
        tokens: if args.cards { FleetTokens::Cards } else { FleetTokens::Pseudo },
        shows,
        servers: resolve(&args.hosts).await?,
        timing: timing(&args.hosts),
        seconds: args.seconds.map(|s| Duration::from_secs_f64(s.clamp(0.0, 1e6))),
        until_attached: args.until_attached,
        json: args.json,
        spread: args.hosts.bind.filter(Ipv4Addr::is_loopback),
    };
    fleet::raise_descriptors(fleet.descriptors()).map_err(Failure::machine)?;
    let report = fleet::run(options, fleet, |line| drop(print(format!("{line}\n")))).await;
    print(if args.json { report.to_json() } else { report.to_text() } + "\n")?;
    if report.attached == report.count {
        Ok(())
    } else {
        Err(Failure::no(format!("{} of {} DTUs are attached", report.attached, report.count)))
    }
}
