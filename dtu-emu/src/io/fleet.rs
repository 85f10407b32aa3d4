//! Many DTUs in one process, and what became of them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use proto::card::Card;
use proto::io::tls::dtu::{DtuIdentity, DtuSecret};
use proto::{Instant, Serial};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::record::millis;
use super::serial::of_fleet;
use super::{Clock, NewDtu, Options, Record, Shell, ShellHandle, Told};
use crate::dtu::{Config, DtuEvent, Shows, Timing};

/// What the DTUs of a fleet present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetTokens {
    /// Each a card of its own.
    Cards,
    /// None a card.
    Pseudo,
}

/// A fleet to be.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// How many desks.
    pub count: usize,
    /// The number of the first.
    pub first: usize,
    /// How many are switched on in a second.
    pub rate: u32,
    /// What they present.
    pub tokens: FleetTokens,
    /// Whether they open displays.
    pub shows: Shows,
    /// Hosts to try first: each DTU begins with another one, as where a network tells its DTUs of them in turn.
    pub servers: Vec<SocketAddrV4>,
    /// How patient they are.
    pub timing: Timing,
    /// End after this time.
    pub seconds: Option<Duration>,
    /// End as soon as all are attached.
    pub until_attached: bool,
    /// Print events as JSON.
    pub json: bool,
    /// From what their keys are derived, so that a fleet has the same ones every time; without it they have none.
    pub keys: Option<DtuSecret>,
    /// On loopback, the address of the first; each has one of its own, since hosts bound what comes from one.
    pub spread: Option<Ipv4Addr>,
}

impl FleetOptions {
    /// Descriptors it takes: a connection or two for each DTU, and some for everything else.
    #[must_use]
    pub const fn descriptors(&self) -> u64 {
        let each = match self.shows {
            Shows::Display => 2,
            Shows::Nothing => 1,
        };
        self.count as u64 * each + 64
    }

    fn config(&self, n: usize, port: u16) -> Config {
        let mut config = Config::new(of_fleet(self.first + n), proto::io::random());
        config.servers.clone_from(&self.servers);
        if !self.servers.is_empty() {
            config.servers.rotate_left(n % self.servers.len());
        }
        config.port = port;
        config.shows = self.shows;
        config.timing = self.timing;
        config
    }

    fn identity(&self, serial: &Serial) -> Option<DtuIdentity> {
        let secret = self.keys.as_ref()?.derived(serial);
        DtuIdentity::new(&secret)
            .inspect_err(|error| tracing::warn!(%serial, error, "this DTU has no key"))
            .ok()
    }

    fn address(&self, n: usize) -> Option<Ipv4Addr> {
        // The last address of 127/8 is everybody's.
        let wrapped =
            |base: Ipv4Addr| base.to_bits().wrapping_add(u32::try_from(n).unwrap_or(0)).min(0x7fff_fffe);
        self.spread.map(|base| Ipv4Addr::from_bits(wrapped(base)))
    }
}

/// Lets this process open `wanted` descriptors, or says why it cannot.
///
/// # Errors
/// A sentence that names the remedy.
pub fn raise_descriptors(wanted: u64) -> Result<(), String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| error.to_string())?;
    if wanted > hard {
        return Err(format!(
            "this fleet needs {wanted} descriptors and this process may open {hard}; raise the hard limit \
             (ulimit -Hn), start fewer with --count, or halve the need with --without-display"
        ));
    }
    if wanted > soft {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Smallest, middle and largest of some times, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// How many there were.
    pub n: usize,
    /// The smallest, in milliseconds.
    pub min: f64,
    /// Half are at most this.
    pub median: f64,
    /// Ninety-nine of a hundred are at most this.
    pub p99: f64,
    /// The largest, in milliseconds.
    pub max: f64,
}

impl Spread {
    /// The spread of these times.
    #[must_use]
    pub fn of(times: &[f64]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        // The smallest value that at least this part of them does not exceed.
        let at = |part: usize| sorted.get((n * part).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0.0);
        Self { n, min: at(0), median: at(50), p99: at(99), max: at(100) }
    }

    fn to_json(&self) -> Value {
        let Self { n, min, median, p99, max } = self;
        json!({"n": n, "min_ms": min, "median_ms": median, "p99_ms": p99, "max_ms": max})
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.n == 0 {
            return f.write_str("none");
        }
        let Self { n, min, median, p99, max } = self;
        write!(f, "{n} (ms: min {min:.1}, median {median:.1}, p99 {p99:.1}, max {max:.1})")
    }
}

/// What became of a fleet.
#[derive(Clone, Debug, Default)]
pub struct FleetReport {
    /// How many there are.
    pub count: usize,
    /// How many are attached now.
    pub attached: usize,
    /// How many at which host.
    pub hosts: BTreeMap<String, usize>,
    /// From switching on to the first attach.
    pub first_attach: Spread,
    /// Gaps of those that failed over.
    pub gaps: Spread,
    /// Gaps of those that stayed at their host.
    pub restored: Spread,
    /// Hosts given up, counted for each DTU.
    pub lost: usize,
    /// Refusals, counted by what the hosts said.
    pub denied: BTreeMap<String, usize>,
    /// Lines for whoever sits before the screens: what they wait for.
    pub notices: usize,
}

impl FleetReport {
    /// The report as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        json!({
            "event": "result", "ok": self.attached == self.count, "count": self.count,
            "attached": self.attached, "hosts": self.hosts, "first_attach": self.first_attach.to_json(),
            "gaps": self.gaps.to_json(), "restored": self.restored.to_json(), "lost": self.lost,
            "denied": self.denied, "notices": self.notices,
        })
        .to_string()
    }

    /// The report for a person.
    #[must_use]
    pub fn to_text(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(|(host, n)| format!("{host}={n}")).collect();
        let mut text = format!(
            "attached      {} of {}\nat            {}\nfirst attach  {}\nfailed over   {}\n\
             restored      {}\nlost          {}\nnotices       {}",
            self.attached,
            self.count,
            hosts.join(" "),
            self.first_attach,
            self.gaps,
            self.restored,
            self.lost,
            self.notices,
        );
        for (notice, n) in &self.denied {
            text.push_str(&format!("\ndenied        {n} times: {notice}"));
        }
        text
    }
}

/// What is known of the fleet so far.
#[derive(Default)]
struct Tally {
    booted: Vec<Instant>,
    at: Vec<Option<String>>,
    attached: usize,
    first_attach: Vec<f64>,
    gaps: Vec<f64>,
    restored: Vec<f64>,
    lost: usize,
    denied: BTreeMap<String, usize>,
    notices: usize,
}

impl Tally {
    fn put(&mut self, desk: usize, host: Option<String>) {
        self.attached = self.attached + usize::from(host.is_some()) - usize::from(self.at[desk].is_some());
        self.at[desk] = host;
    }

    /// Takes in an event; true when it is worth printing.
    fn take(&mut self, told: &Told) -> bool {
        let desk = told.desk.0;
        if desk >= self.at.len() {
            self.at.resize(desk + 1, None);
            self.booted.resize(desk + 1, Instant::ZERO);
        }
        let name = |host: &crate::dtu::HostRef| {
            host.name.as_ref().map_or_else(|| host.addr.to_string(), ToString::to_string)
        };
        match &told.event {
            DtuEvent::Booted => self.booted[desk] = told.at,
            DtuEvent::Attached { host, .. } => {
                if self.booted[desk] != Instant::ZERO {
                    self.first_attach.push(millis(told.at.since(self.booted[desk])));
                    self.booted[desk] = Instant::ZERO;
                }
                self.put(desk, Some(name(host)));
            }
            DtuEvent::Lost { .. } => {
                self.lost += 1;
                self.put(desk, None);
                return true;
            }
            DtuEvent::Denied { notice, .. } => {
                let notice = notice.as_deref().unwrap_or("no reason given");
                if self.denied.len() < REASONS_MAX || self.denied.contains_key(notice) {
                    *self.denied.entry(notice.to_owned()).or_default() += 1;
                }
                self.put(desk, None);
                return true;
            }
            DtuEvent::Detached { .. } => {
                self.put(desk, None);
                return true;
            }
            DtuEvent::FailedOver { gap, .. } => {
                self.gaps.push(millis(gap.screen));
                return true;
            }
            DtuEvent::Restored { gap, .. } => {
                self.restored.push(millis(gap.screen));
                return true;
            }
            DtuEvent::Notice { .. } => self.notices += 1,
            _ => {}
        }
        false
    }

    fn report(&self, count: usize) -> FleetReport {
        let mut hosts = BTreeMap::new();
        for host in self.at.iter().flatten() {
            *hosts.entry(host.clone()).or_default() += 1;
        }
        FleetReport {
            count,
            attached: self.attached,
            hosts,
            first_attach: Spread::of(&self.first_attach),
            gaps: Spread::of(&self.gaps),
            restored: Spread::of(&self.restored),
            lost: self.lost,
            denied: self.denied.clone(),
            notices: self.notices,
        }
    }
}

/// Different refusals counted, at most: hosts choose their words.
const REASONS_MAX: usize = 32;
/// How often the state of the fleet is printed.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// DTUs are switched on in batches of this much time.
const BATCH_TIME: Duration = Duration::from_millis(10);

/// Runs a fleet to its end. `print` gets a line a second, and with `json` one for every loss and every gap.
pub async fn run(options: Options, fleet: FleetOptions, mut print: impl FnMut(String)) -> FleetReport {
    let (tell, mut told) = mpsc::unbounded_channel();
    let clock = Clock::start();
    let port = options.port;
    let (shell, handle) = Shell::new(options, clock, tell);
    let shell = tokio::spawn(shell.run());
    let starter = tokio::spawn(start(handle.clone(), fleet.clone(), port));
    let mut tally = Tally::default();
    let mut status = tokio::time::interval(STATUS_EVERY);
    status.tick().await;
    let end = async {
        match fleet.seconds {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return tally.report(fleet.count) };
    loop {
        tokio::select! {
            biased;
            () = &mut end => break,
            _ = terminated.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
            _ = status.tick() => print(status_line(&tally, &fleet, clock.now())),
            event = told.recv() => {
                let Some(event) = event else { break };
                let before = tally.attached;
                if tally.take(&event) && fleet.json {
                    print(Record::new(&event).to_json());
                }
                if tally.attached == fleet.count && before < fleet.count {
                    print(status_line(&tally, &fleet, clock.now()));
                }
                if fleet.until_attached && tally.attached == fleet.count {
                    break;
                }
            }
        }
    }
    let report = tally.report(fleet.count);
    starter.abort();
    drop(handle);
    let _ = starter.await;
    let _ = tokio::time::timeout(Duration::from_secs(2), shell).await;
    report
}

fn status_line(tally: &Tally, fleet: &FleetOptions, now: Instant) -> String {
    let report = tally.report(fleet.count);
    if fleet.json {
        return json!({
            "t_ms": millis(now.since(Instant::ZERO)).round(), "event": "fleet", "attached": report.attached,
            "count": report.count, "hosts": report.hosts, "failed_over": report.gaps.n, "lost": report.lost,
        })
        .to_string();
    }
    let hosts: Vec<_> = report.hosts.iter().map(|(host, n)| format!("{host}={n}")).collect();
    format!(
        "{:>7.1}s  attached {} of {}  {}  failed over {}  lost {}",
        now.since(Instant::ZERO).as_secs_f64(),
        report.attached,
        report.count,
        hosts.join(" "),
        report.gaps,
        report.lost,
    )
}

async fn start(handle: ShellHandle, fleet: FleetOptions, port: u16) {
    let mut tick = tokio::time::interval(BATCH_TIME);
    let mut due = 0.0;
    let mut n = 0;
    while n < fleet.count {
        tick.tick().await;
        due += f64::from(fleet.rate) * BATCH_TIME.as_secs_f64();
        while n < fleet.count && due >= 1.0 {
            due -= 1.0;
            let config = fleet.config(n, port);
            let identity = fleet.identity(&config.serial);
            let card = match fleet.tokens {
                FleetTokens::Cards => {
                    format!("card type=card id=fleet{}", fleet.first + n).parse::<Card>().ok()
                }
                FleetTokens::Pseudo => None,
            };
            let desk = NewDtu { config, bind: fleet.address(n), screen: false, card, identity };
            if handle.add(desk).await.is_none() {
                return;
            }
            n += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_values_that_occurred() {
        assert_eq!(Spread::of(&[]), Spread::default());
        let times: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let spread = Spread::of(&times);
        assert_eq!((spread.n, spread.min, spread.median), (200, 1.0, 100.0));
        assert_eq!((spread.p99, spread.max), (198.0, 200.0));
        assert_eq!(Spread::of(&[7.0]), Spread { n: 1, min: 7.0, median: 7.0, p99: 7.0, max: 7.0 });
    }

    #[test]
    fn a_fleet_that_needs_more_descriptors_than_allowed_is_refused_with_the_remedy() {
        let text = raise_descriptors(u64::MAX).unwrap_err();
        assert!(text.contains("--without-display") && text.contains("ulimit"), "{text}");
    }
}
