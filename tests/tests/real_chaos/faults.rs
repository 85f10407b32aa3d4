//! What will be done, and when: drawn from a seed before anything is started.

use std::time::Duration;

use lab::net::{Rule, Way};
use tests::world::TestRng;

use crate::scene::Played;

pub(crate) const HOSTS: usize = 4;
pub(crate) const DESKS: usize = 4;
pub(crate) const CARDS: usize = 3;

/// Hosts that have something serious at the same time, at most: somebody must be left to go to.
const SERIOUS_MAX: usize = 2;
/// A host is left in peace for so long after a fault.
const PEACE: Duration = Duration::from_secs(4);

/// Which of a host's two LANs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Lan {
    Desks,
    Store,
}

/// What is done to one host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// All its processes are killed.
    Kill,
    /// Its daemon alone is.
    KillDaemon,
    /// All its processes stand still.
    Freeze,
    /// Its daemon alone does.
    FreezeDaemon,
    /// The processes of its sessions alone do.
    FreezeSessions,
    /// Frames of one way, or both, do not pass on a LAN.
    Cut(Lan, Way),
    /// Its cable is out.
    Unplug(Lan),
    /// What is done to frames that it sends, or that are sent to it.
    Line(Lan, Way, Rule),
    /// Eight processes that only compute share its processors, which are everybody's.
    Busy,
}

impl Fault {
    /// Whether a desk may leave the host for it. Frames that are late, twice, out of order or rarely lost are no
    /// reason, nor are busy processors, nor a session that stands still while its daemon answers: another host
    /// would not have it sooner.
    pub(crate) fn excuses_leaving(self) -> bool {
        match self {
            Self::FreezeSessions | Self::Busy => false,
            Self::Line(lan, _, rule) => lan == Lan::Desks && rule.loss > LOSS_LIGHT,
            Self::Cut(lan, _) | Self::Unplug(lan) => lan == Lan::Desks,
            Self::Kill | Self::KillDaemon | Self::Freeze | Self::FreezeDaemon => true,
        }
    }

    /// Whether a desk may find its display dead for it.
    pub(crate) fn excuses_display(self) -> bool {
        self.excuses_leaving() || self == Self::FreezeSessions
    }

    /// Whether another host may make a session anew that lives on this one: it cannot be asked, or the data store
    /// cannot.
    pub(crate) fn excuses_another_session(self) -> bool {
        self.excuses_leaving() || matches!(self, Self::Cut(..) | Self::Unplug(_))
    }
}

/// So rarely lost, a frame is no reason to leave.
const LOSS_LIGHT: f64 = 0.03;

/// A fault of one host for some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Planned {
    pub(crate) host: usize,
    pub(crate) fault: Fault,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// What is done at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Deed {
    Begin(usize),
    End(usize),
    Insert { desk: usize, card: usize },
    Remove { desk: usize },
}

/// The whole plan; deeds are in the order of their times, faults are numbered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) faults: Vec<Planned>,
    pub(crate) deeds: Vec<(Duration, Deed)>,
}

/// What is drawn for a plan.
struct Draw(TestRng);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.0.below(n as u64)).unwrap_or(0)
    }

    fn millis(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis((from + self.below(to - from)) as u64)
    }

    fn lan(&mut self) -> Lan {
        if self.below(3) == 0 { Lan::Store } else { Lan::Desks }
    }

    fn way(&mut self) -> Way {
        [Way::In, Way::Out, Way::Both][self.below(3)]
    }

    fn fault(&mut self) -> Fault {
        match self.below(12) {
            0 | 1 => Fault::Kill,
            2 => Fault::KillDaemon,
            3 => Fault::Freeze,
            4 => Fault::FreezeDaemon,
            5 => Fault::FreezeSessions,
            6 | 7 => Fault::Cut(self.lan(), self.way()),
            8 => Fault::Unplug(self.lan()),
            9 | 10 => Fault::Line(self.lan(), self.way(), self.rule()),
            _ => Fault::Busy,
        }
    }

    fn rule(&mut self) -> Rule {
        match self.below(5) {
            0 => Rule::loss(0.1 + self.below(30) as f64 / 100.0),
            1 => Rule::loss(0.02),
            2 => Rule { jitter: self.millis(1, 15), ..Rule::delay(self.millis(1, 15)) },
            3 => Rule { duplicate: 0.3, ..Rule::default() },
            _ => Rule { reorder: 0.3, duplicate: 0.1, ..Rule::default() },
        }
    }
}

impl Plan {
    /// The plan of a seed for so long.
    pub(crate) fn draw(seed: u64, length: Duration) -> Self {
        let mut draw = Draw(TestRng::new(seed));
        let mut plan = Self { faults: Vec::new(), deeds: Vec::new() };
        for card in 0..CARDS {
            plan.deeds.push((Duration::from_millis(10), Deed::Insert { desk: card, card }));
        }
        let mut now = Duration::from_secs(3);
        while now < length {
            if draw.below(3) == 0 {
                plan.draw_card(&mut draw, now);
            } else {
                plan.draw_fault(&mut draw, now, length);
            }
            now += draw.millis(300, 2_500);
        }
        plan.deeds.sort_by_key(|(at, _)| *at);
        plan
    }

    fn draw_card(&mut self, draw: &mut Draw, now: Duration) {
        let (desk, card) = (draw.below(DESKS), draw.below(CARDS + 1));
        let deed = if card < CARDS { Deed::Insert { desk, card } } else { Deed::Remove { desk } };
        self.deeds.push((now, deed));
    }

    fn draw_fault(&mut self, draw: &mut Draw, now: Duration, length: Duration) {
        let (host, fault) = (draw.below(HOSTS), draw.fault());
        let until = (now + draw.millis(150, 6_000)).min(length);
        let busy = self.faults.iter().any(|f| f.host == host && f.until + PEACE > now);
        let serious =
            self.faults.iter().filter(|f| f.until + PEACE > now && f.fault.excuses_another_session()).count();
        if busy || (fault.excuses_another_session() && serious >= SERIOUS_MAX) {
            return;
        }
        let number = self.faults.len();
        self.faults.push(Planned { host, fault, from: now, until });
        self.deeds.push((now, Deed::Begin(number)));
        self.deeds.push((until, Deed::End(number)));
    }
}

/// What cannot be said of two runs of real processes can be said of their plans.
pub(crate) fn same_seed_same_plan() -> Played {
    let length = Duration::from_secs(600);
    let plan = Plan::draw(7, length);
    assert_eq!(plan, Plan::draw(7, length));
    assert_ne!(plan, Plan::draw(8, length));
    assert!(plan.faults.len() > 100, "{} faults in ten minutes", plan.faults.len());
    for (n, one) in plan.faults.iter().enumerate() {
        assert!(one.from < one.until && one.until <= length);
        let others = plan.faults[..n].iter().filter(|other| other.host == one.host);
        assert!(others.into_iter().all(|other| other.until + PEACE <= one.from), "one at a time");
    }
    Ok(())
}
