//! Beacons are lost now and then, one or two in a row, as broadcasts are on any network: harm that nobody may notice.

use proto::Instant;
use proto::beacon::INTERVAL;

use super::trouble::Island;
use crate::world::{TestRng, World, ms};

/// Between two losses somewhere: longer than hosts need to hear each other again, and shorter at most than a second.
const PAUSE_MIN_MS: u64 = 500;
const PAUSE_MAX_MS: u64 = 1_000;
/// So many beacons are lost in a row, at most: a third one makes its sender silent.
const IN_A_ROW: u64 = 2;

/// See the module's text.
#[derive(Debug)]
pub(super) struct LostBeacons {
    dice: TestRng,
    next_at: Instant,
    /// How often some were lost.
    pub(super) made: u64,
}

impl LostBeacons {
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self { dice: TestRng::new(seed ^ 0x006c_6f73_7362), next_at: now, made: 0 }
    }

    /// A host on each island is not heard for a moment, if it is time.
    pub(super) fn act(&mut self, w: &mut World, islands: &[Island]) {
        if w.now() < self.next_at {
            return;
        }
        self.next_at = w.now() + ms(PAUSE_MIN_MS + self.dice.below(PAUSE_MAX_MS - PAUSE_MIN_MS));
        for island in islands {
            let host = self.dice.below(island.hosts.len() as u64) as usize;
            // Beacons come every tenth of a second in groups of this size.
            w.lose_beacons(&island.hosts[host], INTERVAL * (1 + self.dice.below(IN_A_ROW) as u32));
            self.made += 1;
        }
    }
}
