//! The sessions that are still to come to this host, which its run queue does not show: the table of placing.

use proto::host_message::Load;
use proto::{GrantId, Instant};

use super::driver::ConnId;
use super::membership::Members;
use crate::placement::{Arrivals, Starts};

/// What this host has to do besides what the kernel sees.
#[derive(Debug, Default)]
pub(super) struct Workload {
    /// Sessions that have just begun.
    pub(super) starts: Starts,
    /// DTUs that other hosts have sent here, until they arrive.
    pub(super) sent_here: Arrivals<GrantId>,
    /// DTUs that are here and whose session is being claimed.
    pub(super) being_made: Arrivals<ConnId>,
}

impl Workload {
    /// Sessions that are expected here and have not begun.
    pub(super) fn to_come(&self, now: Instant) -> usize {
        self.sent_here.count(now) + self.being_made.count(now)
    }

    /// How busy this host is now, with so many sessions.
    pub(super) fn load(&self, now: Instant, sessions: usize, members: &Members) -> Load {
        let to_come = u32::try_from(self.to_come(now)).unwrap_or(u32::MAX);
        let starting = self.starts.run_queue(now, to_come, members.cpus());
        let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
        let load = members.load();
        Load {
            run_queue: load.run_queue.saturating_add(starting),
            sessions: sessions.saturating_add(to_come),
            mem_mib: load.mem_mib,
        }
    }
}
