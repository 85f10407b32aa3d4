//! Daemons that start again while their sessions run on, and somebody who just then carries a card with such a session
//! to another desk: by chance alone the two would hardly ever meet.

use proto::Instant;
use proto::time::Duration;

use super::people::People;
use super::trouble::Island;
use crate::world::{TestRng, World, ms};

/// Between two of them, at most.
const PAUSE_MAX_MS: u64 = 20_000;
/// From a restart to the card, at most; it may also be put in while there is no daemon.
const AFTER_MAX_MS: u64 = 700;

/// What is still to happen of a restart.
#[derive(Debug)]
enum Step {
    Start(String),
    Carry { from: usize, to: usize },
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Restarts {
    dice: TestRng,
    next_at: Instant,
    steps: Vec<(Instant, Step)>,
    /// How many there were.
    pub(super) made: u64,
}

impl Restarts {
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self { dice: TestRng::new(seed ^ 0x7265_7374_6172_7473), next_at: now, steps: Vec::new(), made: 0 }
    }

    /// Goes on with it. Returns whether anything has changed.
    pub(super) fn act(&mut self, w: &mut World, people: &mut People, islands: &[Island]) -> bool {
        let now = w.now();
        let (due, later) = self.steps.drain(..).partition(|(at, _)| *at <= now);
        self.steps = later;
        let due: Vec<(Instant, Step)> = due;
        let mut changed = !due.is_empty();
        for (_, step) in due {
            match step {
                Step::Start(host) => w.start(&host),
                Step::Carry { from, to } => people.carry(w, from, to),
            }
        }
        if now >= self.next_at && self.steps.is_empty() {
            self.next_at = now + self.time(PAUSE_MAX_MS);
            changed |= self.begin(w, people, islands);
        }
        changed
    }

    /// Every daemon that is away starts.
    pub(super) fn end(&mut self, w: &mut World) {
        for (_, step) in self.steps.drain(..) {
            if let Step::Start(host) = step {
                w.start(&host);
            }
        }
    }

    fn time(&mut self, below_ms: u64) -> Duration {
        ms(self.dice.below(below_ms))
    }

    fn begin(&mut self, w: &mut World, people: &People, islands: &[Island]) -> bool {
        let island = &islands[self.dice.below(islands.len() as u64) as usize];
        let host = &island.hosts[self.dice.below(island.hosts.len() as u64) as usize];
        let keeps =
            w.host(host).is_some_and(|core| !core.is_stopping() && w.keeps_sessions(core.name().as_str()));
        if !keeps || !w.is_host_well(host) {
            return false;
        }
        // Somebody at a desk of this host, and somebody else's desk to go to, on the same island.
        let at_host = |desk| w.host_of(desk).as_deref() == Some(host);
        let seats = || people.seats.iter().enumerate().filter(|(_, seat)| island.desks.contains(&seat.desk));
        let from: Vec<usize> =
            seats().filter(|(_, s)| s.has_card() && at_host(s.desk)).map(|(n, _)| n).collect();
        let to: Vec<usize> = seats().filter(|(_, s)| !at_host(s.desk)).map(|(n, _)| n).collect();
        if from.is_empty() || to.is_empty() {
            return false;
        }
        let from = from[self.dice.below(from.len() as u64) as usize];
        let to = to[self.dice.below(to.len() as u64) as usize];
        let away = if self.dice.below(4) == 0 { self.time(8_000) } else { self.time(600) };
        let carried = self.time(u64::try_from(away.as_millis()).unwrap_or(0) + AFTER_MAX_MS);
        if self.dice.below(3) == 0 {
            w.stop(host);
        } else {
            w.kill(host);
        }
        self.made += 1;
        self.steps.push((w.now() + away, Step::Start(host.clone())));
        self.steps.push((w.now() + carried, Step::Carry { from, to }));
        true
    }
}
