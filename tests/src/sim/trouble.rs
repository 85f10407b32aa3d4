//! Faults, drawn at random: what goes wrong, for how long, and how it is put right.

use proto::Instant;
use proto::time::Duration;

use super::options::Faults;
use crate::world::{Backup, DeskId, LanId, Rule, TestRng, Way, World, ms};

/// A clock that nobody can have meant.
const YEARS_AHEAD_MS: i64 = 10 * 365 * 24 * 3_600_000;
/// For so long a second host of a name may be deaf: longer than a host listens before it starts.
const DEAF_FOR: Duration = Duration::from_millis(300);

/// The places where something may go wrong.
#[derive(Clone, Debug)]
pub(super) struct Island {
    /// Its hosts, by name.
    pub(super) hosts: Vec<String>,
    /// The LANs that all of them are on.
    pub(super) lans: Vec<LanId>,
    /// The desks on its LANs.
    pub(super) desks: Vec<DeskId>,
}

/// What puts one fault right again.
#[derive(Clone, Debug)]
enum Undo {
    Start(String),
    Thaw(String),
    Heal(String, LanId),
    Plug(String, LanId),
    Join(LanId),
    Desk(DeskId),
    WakeDesk(DeskId),
    Store,
    StoreLink(String),
    Clock(String),
    Second(String),
    Hear(String),
    Spawner(String),
}

/// The faults of a run.
#[derive(Debug)]
pub(super) struct Trouble {
    dice: TestRng,
    faults: Faults,
    islands: Vec<Island>,
    ongoing: Vec<(Instant, Undo)>,
    calm_until: Instant,
    backup: Option<Backup>,
    /// How many there were.
    pub(super) made: u64,
}

impl Trouble {
    /// So much of it, in these places.
    #[must_use]
    pub(super) fn new(seed: u64, faults: Faults, islands: Vec<Island>) -> Self {
        let dice = TestRng::new(seed ^ 0x0074_726f_7562_6c65);
        let calm_until = Instant::ZERO;
        Self { dice, faults, islands, ongoing: Vec::new(), calm_until, backup: None, made: 0 }
    }

    /// Goes on with it: ends what has lasted long enough, and begins something else if it is time. Returns whether
    /// anything has changed.
    pub(super) fn act(&mut self, w: &mut World) -> bool {
        let now = w.now();
        let (over, ongoing) = self.ongoing.drain(..).partition(|(until, _)| *until <= now);
        self.ongoing = ongoing;
        let over: Vec<(Instant, Undo)> = over;
        for (_, undo) in &over {
            undo.put_right(w);
        }
        let (at_once, calm) = match self.faults {
            Faults::None => return false,
            Faults::Low => (self.islands.len(), self.time(8_000, 25_000)),
            Faults::High => (5 * self.islands.len(), self.time(100, 1_500)),
        };
        if now < self.calm_until || self.ongoing.len() >= at_once {
            return !over.is_empty();
        }
        let lasts = self.time(200, 9_000);
        let begun = self.begin(w);
        if let Some(Undo::Second(host)) = &begun {
            // A deaf one has started by then.
            self.ongoing.push((now + DEAF_FOR, Undo::Hear(host.clone())));
        }
        self.made += 1;
        self.ongoing.extend(begun.map(|undo| (now + lasts, undo)));
        // Of many islands each has its own calm.
        self.calm_until = now + (lasts * u32::from(self.faults == Faults::Low) + calm) / at_once as u32;
        true
    }

    /// Puts everything right.
    pub(super) fn end(&mut self, w: &mut World) {
        for (_, undo) in self.ongoing.drain(..) {
            undo.put_right(w);
        }
    }

    fn time(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        ms(from_ms + self.dice.below(to_ms - from_ms))
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.dice.below(from.len() as u64) as usize).cloned()
    }

    /// Something goes wrong. `None` when nothing is left of it to be put right, or it cannot go wrong now.
    fn begin(&mut self, w: &mut World) -> Option<Undo> {
        let number = self.dice.below(self.islands.len() as u64) as usize;
        let island = self.islands[number].clone();
        let (host, lan) = (self.pick(&island.hosts)?, self.pick(&island.lans)?);
        match self.dice.below(28) {
            0..=5 => self.at_a_daemon(w, host),
            6..=12 => self.on_a_link(w, host, lan),
            13 | 14 => {
                let aside: Vec<&str> =
                    island.hosts.iter().filter(|_| self.dice.below(3) == 0).map(String::as_str).collect();
                let desks: Vec<DeskId> =
                    island.desks.iter().copied().filter(|_| self.dice.below(3) == 0).collect();
                let there: Vec<DeskId> = desks.into_iter().filter(|desk| w.is_on(*desk, lan)).collect();
                w.split(lan, &aside, &there);
                Some(Undo::Join(lan))
            }
            15 | 16 => self.at_a_desk(w, &island),
            17..=20 => self.at_the_store(w, host),
            21 => {
                if self.dice.below(4) == 0 {
                    w.set_clock(&host, YEARS_AHEAD_MS);
                    return Some(Undo::Clock(host));
                }
                let off = i64::try_from(self.dice.below(7_200_000)).unwrap_or(0) - 3_600_000;
                w.set_clock(&host, off);
                None
            }
            24 | 25 => {
                let is_deaf = self.dice.below(2) == 0;
                if w.has_second(&host) {
                    return None;
                }
                w.start_second(&host, is_deaf);
                Some(Undo::Second(host))
            }
            26 | 27 => {
                w.host(&host)?;
                w.set_spawner_gone(&host, true);
                Some(Undo::Spawner(host))
            }
            _ => {
                let running: Vec<_> = w.sessions_on(&host);
                let session = self.pick(&running)?;
                w.kill_session(&host, session);
                None
            }
        }
    }

    fn at_a_daemon(&mut self, w: &mut World, host: String) -> Option<Undo> {
        // One that is dead or stopped already has its own end.
        w.host(&host).filter(|_| w.is_host_well(&host))?;
        match self.dice.below(6) {
            0 => w.kill(&host),
            1 => w.power_off(&host),
            2 => {
                w.restart(&host);
                return None;
            }
            3 => w.stop(&host),
            4 => {
                w.freeze(&host);
                return Some(Undo::Thaw(host));
            }
            _ => {
                w.stop_daemon(&host);
                return Some(Undo::Thaw(host));
            }
        }
        Some(Undo::Start(host))
    }

    fn on_a_link(&mut self, w: &mut World, host: String, lan: LanId) -> Option<Undo> {
        let way = [Way::In, Way::Out, Way::Both][self.dice.below(3) as usize];
        let rule = match self.dice.below(7) {
            0 | 1 => Rule { cut: true, ..Rule::default() },
            2 => Rule { loss: self.dice.below(50) as f64 / 100.0, ..Rule::default() },
            3 => Rule { delay: ms(self.dice.below(80)), ..Rule::default() },
            4 => Rule { jitter: ms(1 + self.dice.below(200)), ..Rule::default() },
            5 => Rule { twice: 0.3, jitter: ms(1 + self.dice.below(50)), ..Rule::default() },
            _ => {
                w.unplug(&host, lan);
                return Some(Undo::Plug(host, lan));
            }
        };
        w.set_rule(&host, lan, way, rule);
        Some(Undo::Heal(host, lan))
    }

    fn at_a_desk(&mut self, w: &mut World, island: &Island) -> Option<Undo> {
        let desk = self.pick(&island.desks)?;
        match self.dice.below(3) {
            0 => {
                w.put_to_sleep(desk);
                return Some(Undo::WakeDesk(desk));
            }
            1 => w.set_desk_rule(desk, Way::Both, Rule { cut: true, ..Rule::default() }),
            _ => w.set_desk_rule(desk, Way::Both, Rule { loss: 0.3, ..Rule::default() }),
        }
        Some(Undo::Desk(desk))
    }

    fn at_the_store(&mut self, w: &mut World, host: String) -> Option<Undo> {
        match self.dice.below(6) {
            0 => w.kill_store(),
            1 => w.stop_store(),
            2 => w.slow_down_store(ms(self.dice.below(600))),
            3 | 4 => {
                w.cut_store(&host, true);
                return Some(Undo::StoreLink(host));
            }
            // A backup is made, or what is not in the last one is lost.
            _ => match self.backup.take() {
                Some(backup) => w.restore_store(backup),
                None => self.backup = Some(w.back_up_store()),
            },
        }
        Some(Undo::Store)
    }
}

impl Undo {
    fn put_right(&self, w: &mut World) {
        match self {
            Self::Start(host) => w.start(host),
            Self::Thaw(host) => {
                w.continue_daemon(host);
                w.thaw(host);
            }
            Self::Heal(host, lan) => w.heal(host, *lan),
            Self::Plug(host, lan) => w.plug(host, *lan),
            Self::Join(lan) => w.join(*lan),
            Self::Desk(desk) => w.set_desk_rule(*desk, Way::Both, Rule::default()),
            Self::WakeDesk(desk) => w.wake_up(*desk),
            Self::Store => {
                w.start_store();
                w.slow_down_store(Duration::ZERO);
            }
            Self::StoreLink(host) => w.cut_store(host, false),
            Self::Clock(host) => w.set_clock(host, 0),
            Self::Second(host) => {
                w.stop_second(host);
                // One that was just starting again has found its name in use, and has to be started anew.
                w.start(host);
            }
            Self::Hear(host) => w.second_hears(host),
            Self::Spawner(host) => w.set_spawner_gone(host, false),
        }
    }
}
