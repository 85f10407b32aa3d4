//! One run, from its options to its digest.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use proto::time::Duration;
use proto::{BootId, Instant, SessionId};
use sessiond::manager::Claim;

use super::check::{Checks, Rest, RestDesk, uneven};
use super::flips::Flips;
use super::intruder::Intruder;
use super::lost_beacons::LostBeacons;
use super::operators::Operators;
use super::options::{Faults, Options};
use super::people::People;
use super::restarts::Restarts;
use super::stage;
use super::trouble::{Island, Trouble};
use crate::world::{Observation, TestRng, World, ms, secs};

/// Steps that one input may cause in a host: a large group and a storm cause a hundred thousand, a circle any number.
const STEPS_MAX: usize = 1_000_000;

/// Everybody must be attached so long after the last desk was switched on.
const SETTLE: Duration = secs(15);
/// The group must have come to rest so long after all was repaired. A session may be held for the next daemon of its
/// host for 10 s, a store's errand runs for a second, a desk that was refused waits for up to 10 s to ask again.
const REPAIR: Duration = secs(40);
/// And stays so.
const REST: Duration = secs(5);
/// Two hosts of one name must be known to be two so long after they can hear each other.
const NOTICED_WITHIN: Duration = secs(1);
/// Between two looks at what was seen.
const SLICE: Duration = ms(20);
/// Between two looks at all there is.
const LOOK_AROUND: Duration = secs(5);

/// A rule was broken: which and how, and what led to it.
#[derive(Debug)]
pub struct Broken {
    /// Which and how.
    pub what: String,
    /// What happened before.
    pub story: String,
}

/// What a run that kept all rules can say of itself.
#[derive(Debug)]
pub struct Summary {
    /// Of everything that happened.
    pub digest: u64,
    /// How long the run lasted, in simulated time.
    pub time: Duration,
    /// How many hosts took part.
    pub hosts: usize,
    /// Events that the world carried out.
    pub events: u64,
    /// Faults that were put in.
    pub faults: u64,
    /// How often a host's beacons were lost for a moment.
    pub beacons_lost: u64,
    /// What the stranger said.
    pub forgeries: u64,
    /// How long it took from the repair to rest.
    pub repaired: Duration,
    /// How often each rule was put to the test.
    pub evaluated: Vec<(&'static str, u64)>,
    /// How often each edge of the hosts' diagrams was taken.
    pub edges: BTreeMap<String, u64>,
}

/// Told of a run's progress: the simulated time, and what is going on.
pub type Progress<'a> = &'a mut dyn FnMut(Instant, &str);

/// Does a run.
///
/// # Errors
/// A rule was broken.
pub fn run(options: &Options, progress: Progress<'_>) -> Result<Summary, Broken> {
    let (w, people, islands) = stage::build(options);
    let mut run = Run::new(options, w, people, islands);
    match run.play(progress) {
        Ok(repaired) => Ok(run.summary(repaired)),
        Err(what) => Err(Broken { what, story: run.w.story() }),
    }
}

struct Run<'a> {
    options: &'a Options,
    w: World,
    people: People,
    islands: Vec<Island>,
    trouble: Trouble,
    restarts: Restarts,
    operators: Operators,
    flips: Flips,
    lost_beacons: LostBeacons,
    intruder: Option<Intruder>,
    checks: Checks,
    /// Who was well when last looked at.
    well: BTreeMap<String, bool>,
    ways_well: BTreeMap<String, bool>,
    desks_well: Vec<bool>,
    store_well: bool,
    pauses: TestRng,
    acts_at: Instant,
    intrudes_at: Instant,
    looks_at: Instant,
    /// Since when both hosts of a name and all others are well, and in which runs the others are.
    both_since: BTreeMap<String, (Instant, Vec<BootId>)>,
    /// How often it was found that all know of them.
    noticed: u64,
    digest: u64,
    /// What each run of a host has counted of its diagrams when it was last looked at.
    edges: BTreeMap<BootId, BTreeMap<String, u64>>,
    /// How often the spread and the rest were judged.
    spread_judged: u64,
    rest_judged: u64,
}

impl<'a> Run<'a> {
    fn new(options: &'a Options, mut w: World, people: People, islands: Vec<Island>) -> Self {
        let trouble = Trouble::new(options.seed, options.faults, islands.clone());
        let intruder = options.stranger.map(|_| Intruder::new(&mut w, options.seed, &islands));
        Self {
            options,
            people,
            islands,
            trouble,
            restarts: Restarts::new(options.seed, w.now()),
            operators: Operators::new(options.seed, w.now()),
            flips: Flips::new(options.seed, w.now()),
            lost_beacons: LostBeacons::new(options.seed, w.now()),
            intruder,
            checks: Checks::new(),
            well: BTreeMap::new(),
            ways_well: BTreeMap::new(),
            desks_well: vec![true; options.dtus],
            store_well: true,
            pauses: TestRng::new(options.seed ^ 0x7061_7573_6573),
            acts_at: w.now(),
            intrudes_at: w.now(),
            looks_at: w.now(),
            both_since: BTreeMap::new(),
            noticed: 0,
            digest: options.seed,
            edges: BTreeMap::new(),
            spread_judged: 0,
            rest_judged: 0,
            w,
        }
    }

    /// Returns how long it took from the repair to rest.
    fn play(&mut self, progress: Progress<'_>) -> Result<Duration, String> {
        self.look_at_health();
        self.come_to_rest("everybody is switched on", SETTLE, progress)?;
        self.check_spread()?;
        progress(self.w.now(), "faults begin");
        let end = self.w.now() + self.options.time;
        while self.w.now() < end {
            self.live(true)?;
            progress(self.w.now(), "");
        }
        self.trouble.end(&mut self.w);
        self.restarts.end(&mut self.w);
        self.w.tell("everything is repaired");
        self.look_at_health();
        let repaired = self.come_to_rest("everything is repaired", REPAIR, progress)?;
        let end = self.w.now() + REST;
        while self.w.now() < end {
            self.people.press_enter(&mut self.w);
            for _ in 0..10 {
                self.live(false)?;
            }
        }
        let rest = self.rest();
        self.rest_judged += rest.desks.iter().filter(|desk| desk.is_due).count() as u64;
        rest.complaint().map_or(Ok(repaired), |what| Err(format!("at rest, and then: {what}")))
    }

    /// Lets time pass until nothing is to be complained of.
    fn come_to_rest(
        &mut self,
        since: &str,
        within: Duration,
        progress: Progress<'_>,
    ) -> Result<Duration, String> {
        let start = self.w.now();
        while let Some(what) = self.rest().complaint() {
            if self.w.now() >= start + within {
                return Err(format!("{within:?} after {since}: {what}"));
            }
            progress(self.w.now(), &format!("{since}; {what}"));
            self.people.press_enter(&mut self.w);
            for _ in 0..12 {
                self.live(false)?;
            }
        }
        Ok(self.w.now().since(start))
    }

    /// A moment passes: people, faults, the stranger, and what is seen of it.
    fn live(&mut self, lively: bool) -> Result<(), String> {
        let now = self.w.now();
        if lively {
            let restarts = self.options.faults != Faults::None
                && self.restarts.act(&mut self.w, &mut self.people, &self.islands);
            if self.trouble.act(&mut self.w) || restarts {
                self.look_at_health();
            }
            self.operators.act(&mut self.w, &self.islands);
            self.flips.act(&mut self.w, &self.people);
            self.lost_beacons.act(&mut self.w, &self.islands);
            let pause = self.options.pause / u32::try_from(self.options.dtus).unwrap_or(1).max(1);
            while self.acts_at <= now {
                self.people.act(&mut self.w);
                let most = u64::try_from(2 * pause.as_micros()).unwrap_or(u64::MAX);
                self.acts_at =
                    self.acts_at.max(now - SLICE) + Duration::from_micros(1 + self.pauses.below(most));
            }
        }
        if let (Some(intruder), Some(pause)) = (&mut self.intruder, self.options.stranger)
            && self.intrudes_at <= now
        {
            intruder.act(&mut self.w, &self.people);
            self.intrudes_at = now + pause;
        }
        self.w.run_for(SLICE);
        self.look()
    }

    /// Hands what was seen to the checkers.
    fn look(&mut self) -> Result<(), String> {
        let now = self.w.now();
        if now >= self.looks_at {
            self.looks_at = now + LOOK_AROUND;
            self.look_at_tables();
            Operators::look(&mut self.w, &self.islands);
        }
        self.flips.look(&mut self.w);
        let seen = self.w.observations();
        self.digest = seen.iter().fold(self.digest ^ self.w.digest(), |digest, (at, observation)| {
            let text = format!("{at} {observation:?}");
            text.bytes().fold(digest, |d, byte| (d ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        });
        if let Some(intruder) = &mut self.intruder {
            let tickets = seen.iter().filter_map(|(_, observation)| match observation {
                Observation::SendsOn { ticket, .. } => ticket.as_deref(),
                _ => None,
            });
            tickets.for_each(|ticket| intruder.learn(ticket));
        }
        self.checks.see(&seen)?;
        self.checks.pass(now)?;
        self.check_names()
    }

    /// Two hosts of one name that hear everybody are noticed by all that are well within a second.
    fn check_names(&mut self) -> Result<(), String> {
        let now = self.w.now();
        for island in &self.islands {
            for host in &island.hosts {
                let others = island.hosts.iter().filter(|other| *other != host);
                // One that is still taking up its sessions hears nobody.
                let hears = |host: &str| self.w.host(host).is_some_and(groupmgr::host::Host::is_ready);
                let is_well = |other: &&String| self.w.is_host_well(other) && hears(other);
                let others: Vec<&String> = others.filter(is_well).collect();
                if !self.w.are_both_well(host) || others.len() + 1 < island.hosts.len() {
                    self.both_since.remove(host);
                    continue;
                }
                let runs: Vec<BootId> = others.iter().filter_map(|other| self.w.boot_of(other)).collect();
                let (since, known) =
                    self.both_since.entry(host.clone()).or_insert_with(|| (now, runs.clone()));
                if *known != runs {
                    (*since, *known) = (now, runs);
                }
                let since = *since;
                if now.since(since) <= NOTICED_WITHIN {
                    continue;
                }
                if let Some(who) =
                    others.into_iter().chain([host]).find(|who| !self.w.doubles_at(who).contains(host))
                {
                    return Err(format!(
                        "two hosts of one name are noticed within a second — {who} does not know of two {host}"
                    ));
                }
                self.noticed += 1;
            }
        }
        Ok(())
    }

    /// Sees who is well and who is not, after something was done to somebody.
    fn look_at_health(&mut self) {
        for host in self.islands.iter().flat_map(|island| &island.hosts) {
            let ways = self.w.are_ways_well(host);
            if self.ways_well.insert(host.clone(), ways) != Some(ways)
                && let Ok(host) = host.parse()
            {
                self.w.see(Observation::WaysWell { host, well: ways });
            }
            let well = self.w.is_host_well(host);
            if self.well.insert(host.clone(), well) != Some(well) {
                let Ok(host) = host.parse() else { continue };
                self.w.see(Observation::HostWell { host, well });
            }
        }
        for (seat, was) in self.people.seats.iter().zip(&mut self.desks_well) {
            let well = self.w.is_desk_well(seat.desk);
            if core::mem::replace(was, well) != well {
                self.w.see(Observation::DeskWell { desk: seat.desk, well });
            }
        }
        let well = self.w.is_store_well();
        if core::mem::replace(&mut self.store_well, well) != well {
            self.w.see(Observation::StoreWell(well));
        }
    }

    fn look_at_tables(&mut self) {
        for name in self.islands.iter().flat_map(|island| &island.hosts) {
            let Some(host) = self.w.host(name) else { continue };
            let steps = usize::try_from(host.most_steps()).unwrap_or(usize::MAX);
            if let Some(boot) = self.w.boot_of(name) {
                self.edges.insert(boot, host.edges());
            }
            let (host, tables) = (host.name().clone(), host.tables());
            let table = "steps of one input";
            self.w.see(Observation::Size { host: host.clone(), table, len: steps, max: STEPS_MAX });
            for fill in tables {
                let (table, len, max) = (fill.table, fill.len, fill.max);
                self.w.see(Observation::Size { host: host.clone(), table, len, max });
            }
        }
    }

    fn rest(&self) -> Rest {
        let w = &self.w;
        let mut rest = Rest::default();
        for seat in &self.people.seats {
            let status = w.status(seat.desk);
            let due = self.people.due(seat);
            let is_due = due.is_none_or(|(_, is_due)| is_due);
            let token = status.token.to_string();
            let shows = w.shown_at(seat.desk);
            if shows.is_some() {
                rest.claims
                    .insert(token.clone(), w.claim_on(&token).map(|claim| (claim.host, claim.session)));
            }
            let state = if is_due && shows.is_none() {
                format!("{status:?} {:?}", w.notice(seat.desk))
            } else {
                String::new()
            };
            rest.desks.push(RestDesk {
                name: w.desk_name(seat.desk).to_owned(),
                token,
                is_due,
                shows,
                state,
            });
        }
        // One that is kept for its next home names the one that is gone.
        let is_kept = |session: &SessionId, is_replicated: bool| {
            is_replicated && w.record_of(*session).is_some() && w.processes().all(|(_, id, _)| id != *session)
        };
        let (kept, claims): (Vec<_>, Vec<_>) =
            w.claims().into_iter().partition(|(_, claim)| is_kept(&claim.session, claim.is_replicated));
        rest.kept = kept.into_iter().map(|(token, _)| token).collect();
        rest.stored = claims.into_iter().map(|(token, claim)| (token, claim.host, claim.session)).collect();
        let records = w.records();
        let recorded: Vec<SessionId> = records.iter().map(|(id, _)| *id).collect();
        let left = records.into_iter().filter(|(id, record)| !is_kept(id, record.is_replicated()));
        rest.records = left.map(|(session, record)| (session, record.home)).collect();
        rest.running =
            w.processes().map(|(host, session, token)| (host.clone(), session, token.to_string())).collect();
        let running = rest.running.iter().map(|(_, id, _)| *id);
        let there: BTreeSet<SessionId> = recorded.into_iter().chain(running).collect();
        for name in self.islands.iter().flat_map(|island| &island.hosts) {
            let Some(host) = w.host(name) else { continue };
            let listed = host.sessions().iter();
            rest.copies.extend(host.kept().map(|id| ((host.name().clone(), id), !there.contains(&id))));
            rest.listed.extend(listed.map(|s| ((host.name().clone(), s.id), s.claim == Claim::Held)));
        }
        rest
    }

    /// Sessions that were placed while all was well must lie evenly on the hosts of an island.
    fn check_spread(&mut self) -> Result<(), String> {
        // Those that were placed before the hosts knew each other are where they came first.
        let islands = if self.options.together { &[] } else { self.islands.as_slice() };
        for island in islands.iter().filter(|island| island.hosts.len() > 1) {
            self.spread_judged += 1;
            let counts: Vec<usize> = island.hosts.iter().map(|host| self.w.session_count_on(host)).collect();
            if let Some(what) = uneven(&counts) {
                return Err(format!("load is spread within 1.3 times the mean — {what}: {counts:?}"));
            }
        }
        Ok(())
    }

    fn summary(mut self, repaired: Duration) -> Summary {
        self.look_at_tables();
        let mut edges = BTreeMap::new();
        for (edge, times) in self.edges.into_values().flatten() {
            *edges.entry(edge).or_default() += times;
        }
        Summary {
            edges,
            digest: self.digest,
            time: self.w.now().since(Instant::ZERO),
            hosts: self.options.hosts,
            events: self.w.work(),
            faults: self.trouble.made + self.restarts.made,
            beacons_lost: self.lost_beacons.made,
            forgeries: self.intruder.as_ref().map_or(0, |intruder| intruder.said),
            repaired,
            evaluated: self
                .checks
                .evaluated()
                .chain([
                    ("once all is repaired whoever should be shown is", self.rest_judged),
                    ("new sessions are spread evenly", self.spread_judged),
                    ("two hosts of one name are noticed within a second", self.noticed),
                ])
                .collect(),
        }
    }
}

impl Summary {
    /// Simulated hours of hosts.
    #[must_use]
    pub fn host_hours(&self) -> f64 {
        self.time.as_secs_f64() * self.hosts as f64 / 3_600.0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (rule, evaluated) in &self.evaluated {
            writeln!(f, "held {evaluated:>8} times: {rule}")?;
        }
        let Self { time, events, faults, beacons_lost, forgeries, repaired, .. } = self;
        writeln!(f, "{time:?} simulated, {events} events, {faults} faults, {forgeries} words of a stranger")?;
        writeln!(f, "beacons of a host lost {beacons_lost} times")?;
        write!(f, "at rest {repaired:?} after the repair")
    }
}

impl Broken {
    /// All of it, for a reader.
    #[must_use]
    pub fn report(&self, options: &Options) -> String {
        let without = match options.faults {
            Faults::None => " (without any fault)",
            Faults::Low | Faults::High => "",
        };
        format!("{}\n\nBROKEN{without}: {}\nagain: {}", self.story, self.what, options.command())
    }
}
