//! Before a host says anything it listens for a little longer than a beacon's interval: if another host of its name
//! lives, it is heard, asked to prove that it is no recording, and this one does not start.
//!
//! A daemon that takes up sessions does not listen first: it starts again on the machine where they are, and while it says
//! nothing, its silence counts as its death and its sessions are made anew elsewhere. If a second host of its name has
//! started while it was away, both notice that.
//!
//! DTUs that connect meanwhile are served as soon as that is over. A host that cannot hear the other one starts; when
//! both hear each other, both say so, and the one that has run for less long takes no new sessions.

use proto::time::Duration;
use proto::{Instant, beacon};

/// Beyond a beacon's interval, for what was on its way.
const MARGIN: Duration = Duration::from_millis(10);
/// How much longer it listens when its own name was heard and the proof is still out; a recording gets no longer.
const FOR_PROOF: Duration = Duration::from_millis(100);
/// Never longer than this, however large the group.
const LISTEN_MAX: Duration = Duration::from_secs(1);

/// What a host that has just started waits for.
#[derive(Debug)]
pub(super) struct Listening {
    /// Its sessions are there already.
    is_restart: bool,
    /// From when to when; none before it was told of its interfaces, by which it hears.
    time: Option<(Instant, Instant)>,
    has_waited_for_proof: bool,
}

impl Listening {
    /// An earlier daemon has left so many session processes.
    pub(super) const fn new(kept: usize) -> Self {
        Self { is_restart: kept > 0, time: None, has_waited_for_proof: false }
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.time.map(|(_, until)| until)
    }

    /// It can hear from now on.
    pub(super) fn begin(&mut self, now: Instant) {
        self.time.get_or_insert((now, now + beacon::INTERVAL + MARGIN));
    }

    /// Whether it has listened for long enough, beacons being `every` so far apart.
    pub(super) fn is_over(&mut self, now: Instant, every: Duration, is_own_name_in_doubt: bool) -> bool {
        let Some((since, until)) = &mut self.time else { return false };
        // In a large group beacons are further apart.
        *until = (*until).max(*since + (every + MARGIN).min(LISTEN_MAX));
        if self.is_restart {
            *until = *since;
        }
        if now < *until {
            return false;
        }
        if is_own_name_in_doubt && !self.has_waited_for_proof {
            self.has_waited_for_proof = true;
            *until = now + FOR_PROOF;
            return false;
        }
        true
    }
}
