//! How far this host has come with looking through what all hosts have left in the data store, and what of it is of
//! hosts that do not come back.

use std::collections::BTreeSet;

use datastore::Key;
use proto::time::{Duration, earliest};
use proto::{HostName, Instant};

use super::claim_record::ClaimRecord;
use super::env::Ctx;
use super::liveness::{Liveness, liveness};
use crate::topology::{Row, Standing};

/// How soon after something that leaves claims behind all are looked through: those that are there have had the time to
/// take up, to renew and to offer theirs.
pub(super) const SOON: Duration = Duration::from_secs(10);
/// How often all is looked through if nothing happens, for every ten hosts or part of them: what that costs the data
/// store does not grow with the group.
const ROUND: Duration = Duration::from_secs(300);
const ROUND_HOSTS: u32 = 10;

/// A host that keeps its sessions may come back with them for so long, since they need no daemon to live. The same for a
/// host of which nobody here has ever heard. An operator who knows better says so: `groupmgr forget`.
pub(super) const MAY_RETURN_WITHIN: Duration = Duration::from_secs(24 * 3_600);

/// Forgotten hosts remembered; beyond it claims of one more wait until it can no longer come back.
const FORGOTTEN_MAX: usize = 256;

/// How far a host has come with looking through all of one kind.
#[derive(Debug)]
pub(super) struct Sweep {
    /// None when it has ended.
    pub(super) due: Option<Instant>,
    /// The last key of the page before, within a round.
    pub(super) after: Option<Key>,
    /// Hosts that an operator has removed for good.
    forgotten: BTreeSet<HostName>,
    /// Hosts that were down, and may so have lost their claims though they live.
    were_down: BTreeSet<HostName>,
}

impl Sweep {
    pub(super) fn new(now: Instant) -> Self {
        let (forgotten, were_down) = (BTreeSet::new(), BTreeSet::new());
        Self { due: Some(now + SOON), after: None, forgotten, were_down }
    }

    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn end(&mut self) {
        self.due = None;
    }

    /// Something happened that may leave something behind.
    pub(super) fn soon(&mut self, now: Instant) {
        self.by(now + SOON);
    }

    pub(super) fn by(&mut self, at: Instant) {
        self.due = earliest(self.due, Some(at));
    }

    /// Until it is all looked through again, if nothing happens.
    pub(super) fn round(ctx: &Ctx<'_>) -> Duration {
        let hosts = u32::try_from(ctx.members.topology().group_size()).unwrap_or(u32::MAX);
        ROUND * hosts.div_ceil(ROUND_HOSTS).max(1)
    }

    /// Whether this host sees to what others have left: of all that live, as far as is known here, the lowest does.
    pub(super) fn is_lowest(ctx: &Ctx<'_>) -> bool {
        ctx.members.rows().all(|row| !row.in_service() || row.host() > ctx.name())
    }

    /// Whether a claim of another host names a session that cannot come back there.
    pub(super) fn is_over(&self, ctx: &Ctx<'_>, claim: &ClaimRecord) -> bool {
        if self.forgotten.contains(&claim.host) {
            return true;
        }
        let Some(row) = ctx.members.row(&claim.host) else {
            return ctx.members.up_for(ctx.now) >= MAY_RETURN_WITHIN;
        };
        let is_past = |row: &Row| ctx.now.since(row.heard_at()) >= MAY_RETURN_WITHIN;
        match row.standing() {
            Standing::Up => liveness(ctx, claim, None) == Liveness::Dead,
            Standing::Silent => false,
            Standing::Down | Standing::Left => !row.facts().keep || is_past(row),
        }
    }

    /// A host, or its run, is gone.
    pub(super) fn lost(&mut self, now: Instant, host: &HostName, is_down: bool) {
        if is_down {
            self.were_down.insert(host.clone());
        }
        self.soon(now);
    }

    /// A host is up. Returns whether it was down before.
    pub(super) fn is_back(&mut self, host: &HostName) -> bool {
        self.forgotten.remove(host);
        self.were_down.remove(host)
    }

    /// A host will not come back: an operator says so, or it was down for a day.
    pub(super) fn forget(&mut self, now: Instant, host: &HostName) {
        self.were_down.remove(host);
        if self.forgotten.len() < FORGOTTEN_MAX {
            self.forgotten.insert(host.clone());
        }
        self.by(now);
    }
}
