//! What a run is made with: drawn from its seed, but for what is given.

use core::fmt;

use proto::time::Duration;

use crate::world::TestRng;

/// Hosts that are in one LAN and know each other, at most: each hears the beacons of all others, and is asked by
/// them for every card. What a thousand in one LAN cost is in the table of `--cost`.
const ISLAND: usize = 10;

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// No harm is done.
    None,
    /// One thing at a time, for a while; then everything is well for a while.
    Low,
    /// Many things at once, without a pause.
    High,
}

impl core::str::FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "low" => Ok(Self::Low),
            "high" => Ok(Self::High),
            _ => Err(format!("{text:?} is none of none, low, high")),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Low => "low",
            Self::High => "high",
        })
    }
}

/// What is given; the rest is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Given {
    /// How many hosts; drawn by the seed without it.
    pub hosts: Option<usize>,
    /// How many DTUs; drawn by the seed without it.
    pub dtus: Option<usize>,
    /// How long things happen.
    pub time: Option<Duration>,
    /// How much goes wrong.
    pub faults: Option<Faults>,
    /// Whether the seed may draw sessions that outlive their hosts.
    pub replicated: bool,
}

/// What a run is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// From which all is drawn.
    pub seed: u64,
    /// How many hosts.
    pub hosts: usize,
    /// How many DTUs.
    pub dtus: usize,
    /// How long things happen, before all is repaired.
    pub time: Duration,
    /// How much goes wrong.
    pub faults: Faults,
    /// Groups of hosts that know each other, each on LANs of its own.
    pub islands: usize,
    /// LANs of an island that all its hosts are on.
    pub lans: usize,
    /// DTUs behind a router, where no beacon is heard, in percent.
    pub routed: u64,
    /// Hosts whose sessions outlive their daemon, in percent.
    pub keep: u64,
    /// Cards that must prove a secret, in percent.
    pub keyed: u64,
    /// Cards, in percent of the DTUs.
    pub cards: u64,
    /// Whether DTUs have screens, or only ask.
    pub displays: bool,
    /// Services of a session.
    pub services: usize,
    /// Whether sessions outlive their hosts.
    pub replicated: bool,
    /// Between two things that somebody does at one desk, about.
    pub pause: Duration,
    /// What a write costs the data store.
    pub fsync: Duration,
    /// How far wall clocks are off from the start.
    pub clocks_off: Duration,
    /// How much they gain or lose, in millionths, at most.
    pub drift_ppm: u64,
    /// Between two things a stranger says; none says nothing.
    pub stranger: Option<Duration>,
    /// Whether DTUs are switched on while the hosts are still starting: as after a power failure, when sessions go to
    /// whoever is there first.
    pub together: bool,
}

impl Options {
    /// Draws them all, and then puts in what is given: so that a run is the same one when it is told again with
    /// what was drawn.
    #[must_use]
    pub fn draw(seed: u64, given: Given) -> Self {
        let mut dice = TestRng::new(seed ^ 0x6f70_7469_6f6e_7300);
        let mut one_of = |few: &[u64]| few[dice.below(few.len() as u64) as usize];
        let drawn = one_of(&[2, 3, 3, 4, 5, 5, 6, 7]) as usize;
        let hosts = given.hosts.unwrap_or(drawn);
        let drawn = hosts as u64 * one_of(&[1, 2, 2, 3]) + 1;
        let dtus = given.dtus.unwrap_or(drawn as usize);
        let faults = [Faults::Low, Faults::Low, Faults::High][one_of(&[0, 1, 2]) as usize];
        let is_large = hosts > ISLAND;
        let lans = one_of(&[1, 2, 2]) as usize;
        let displays = one_of(&[0, 1]) == 1;
        let stranger = one_of(&[0, 50, 200, 500]);
        let time = Duration::from_secs(one_of(&[20, 30, 40]));
        let routed = one_of(&[0, 0, 30, 60]);
        let [keep, keyed] = [one_of(&[0, 50, 50, 100]), one_of(&[0, 20, 50])];
        let cards = one_of(&[60, 90, 120]);
        let pause = Duration::from_millis(one_of(&[4_000, 10_000, 20_000]));
        Self {
            seed,
            hosts,
            dtus,
            time: given.time.unwrap_or(time),
            faults: given.faults.unwrap_or(faults),
            islands: hosts.div_ceil(ISLAND).max(1),
            lans: if is_large { 1 } else { lans },
            routed: if is_large { 90 } else { routed },
            keep,
            keyed,
            cards,
            displays: !is_large && displays,
            // In a large building cards are moved all the time even so.
            pause: if is_large { Duration::from_secs(120) } else { pause },
            fsync: Duration::from_millis(one_of(&[1, 1, 5, 30])),
            clocks_off: Duration::from_millis(one_of(&[0, 2_000, 3_600_000])),
            drift_ppm: one_of(&[0, 50, 500]),
            stranger: (stranger > 0).then(|| Duration::from_millis(stranger)),
            together: one_of(&[0, 0, 0, 1]) == 1 && given.faults != Some(Faults::None),
            services: one_of(&[1, 2]) as usize,
            replicated: one_of(&[0, 0, 1]) == 1 && given.replicated,
        }
    }

    /// The command that does this run again.
    #[must_use]
    pub fn command(&self) -> String {
        let Self { seed, hosts, dtus, faults, .. } = self;
        let replicated = if self.replicated { " --replicated" } else { "" };
        let minutes = self.time.as_secs_f64() / 60.0;
        format!(
            "cargo run --release -p tests --no-default-features --bin sim -- \
             --seed {seed} --hosts {hosts} --dtus {dtus} --minutes {minutes} --faults {faults}{replicated}"
        )
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, hosts, dtus, faults, islands, lans, .. } = self;
        let told = |time: Option<Duration>| time.map_or("none".to_owned(), |time| format!("every {time:?}"));
        writeln!(f, "seed          {seed}")?;
        writeln!(f, "hosts         {hosts}, on {islands} x {lans} LANs, {}% keep sessions", self.keep)?;
        writeln!(f, "dtus          {dtus}, {}% behind a router, displays {}", self.routed, self.displays)?;
        writeln!(f, "services      {} of a session, replicated {}", self.services, self.replicated)?;
        writeln!(f, "cards         {}% of the dtus, {}% of them keyed", self.cards, self.keyed)?;
        writeln!(f, "people        something at each desk about every {:?}", self.pause)?;
        writeln!(f, "faults        {faults}, for {:?}", self.time)?;
        writeln!(f, "start         {}", if self.together { "all at once" } else { "hosts first" })?;
        writeln!(f, "store         {:?} a write", self.fsync)?;
        writeln!(f, "wall clocks   {:?} off, {} ppm drift at most", self.clocks_off, self.drift_ppm)?;
        write!(f, "stranger      {}", told(self.stranger))
    }
}
