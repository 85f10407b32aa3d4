//! Operators ask other hosts what is there, over the links of the hosts: short questions and long ones, one after the
//! other or several at once.

use groupmgr::host::admin::Command;
use proto::Instant;
use proto::link::WINDOW;

use super::trouble::Island;
use crate::world::{Observation, TestRng, World, ms};

/// Between two times at which somebody asks, at most: now and then longer than a link is kept.
const PAUSE_MAX_MS: u64 = 20_000;
/// The longest question, and so the longest answer.
const LEN_MAX: usize = 5 * WINDOW;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Operators {
    dice: TestRng,
    next_at: Instant,
}

impl Operators {
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self { dice: TestRng::new(seed ^ 0x006f_7065_7261_746f), next_at: now }
    }

    /// Somebody asks, if it is time.
    pub(super) fn act(&mut self, w: &mut World, islands: &[Island]) {
        if w.now() < self.next_at {
            return;
        }
        let below = |dice: &mut TestRng, n: usize| dice.below(n as u64) as usize;
        let hosts = &islands[below(&mut self.dice, islands.len())].hosts;
        let [from, to] = [(); 2].map(|()| &hosts[below(&mut self.dice, hosts.len())]);
        for _ in 0..=below(&mut self.dice, 4) {
            let command =
                [Command::Status, Command::Topology, Command::Dtus][below(&mut self.dice, 3)].clone();
            let len = if self.dice.below(2) == 0 { below(&mut self.dice, LEN_MAX) } else { 0 };
            // There may be no way now, or nobody that asks or is asked.
            if from != to && w.is_host_well(from) {
                w.ask_at_length(from, to, &command, len);
            }
        }
        // Some ask again while they wait.
        let most = if self.dice.below(3) == 0 { 1_000 } else { PAUSE_MAX_MS };
        self.next_at = w.now() + ms(self.dice.below(most));
    }

    /// Says of every link that has nothing to do for how long.
    pub(super) fn look(w: &mut World, islands: &[Island]) {
        for name in islands.iter().flat_map(|island| &island.hosts) {
            let Some(host) = w.host(name).map(|host| host.name().clone()) else { continue };
            let idle: Vec<_> = w.idle_links(name).collect();
            for time in idle {
                w.see(Observation::LinkRests { host: host.clone(), time });
            }
        }
    }
}
