//! Claims of sessions that are over are removed, whoever has left them in the data store.
//!
//! A host gives the claims of its sessions back itself ([`super::release`]). One that dies cannot, and neither can one
//! whose answer was lost. So each host looks through all claims now and then, and soon after something happened that
//! leaves some behind: for those that name itself and a session that it does not have, and, if it is the lowest host
//! that lives, for those of hosts that are down. Each is removed by swapping exactly what was read, so one that is
//! written anew meanwhile stays; and whoever is wrongly taken for dead finds out that its claim is gone and makes it
//! again ([`super::renew`]).

use std::collections::BTreeSet;

use datastore::{Answer, Expected, Key, Request, Response, StoreError, Value};
use proto::time::Duration;
use proto::{HostName, Instant};

use super::Host;
use super::claims::{ClaimRecord, Life, TAKE_UP_WITHIN};
use super::driver::Effect;
use super::store::Errand;
use crate::topology::{Change, Row, Standing};

/// How soon after something that leaves claims behind all are looked through: those that are there have had the time to
/// take up, to renew and to offer theirs.
const SOON: Duration = Duration::from_secs(10);
/// Between two pages: nobody at a desk waits for this.
const STEP: Duration = Duration::from_millis(500);
/// Claims on a page.
const PAGE: u16 = 256;
/// How often they are looked through if nothing happens, for every ten hosts or part of them: what that costs the data
/// store does not grow with the group.
const ROUND: Duration = Duration::from_secs(300);
const ROUND_HOSTS: u32 = 10;

/// A host that keeps its sessions may come back with them for so long, since they need no daemon to live. The same for a
/// host of which nobody here has ever heard. An operator who knows better says so: `groupmgr forget`.
const MAY_RETURN_WITHIN: Duration = Duration::from_secs(24 * 3_600);

/// Forgotten hosts remembered; beyond it claims of one more wait for [`MAY_RETURN_WITHIN`].
const FORGOTTEN_MAX: usize = 256;

/// How far a host has come with looking through all claims.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    due: Option<Instant>,
    /// The last claim of the page before, within a round.
    after: Option<Key>,
    /// Hosts that an operator has removed for good.
    forgotten: BTreeSet<HostName>,
    /// Hosts that were down, and may so have lost their claims though they live.
    pub(super) were_down: BTreeSet<HostName>,
}

impl Sweep {
    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.due
    }

    fn by(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

impl Host {
    /// Something happened that may leave claims behind.
    pub(super) fn sweep_soon(&mut self, now: Instant) {
        self.store.sweep.by(now + SOON);
    }

    /// The same for what becomes of a host. One that was down for us may have been alive all the while, and we for it:
    /// then each has lost its claims to the other.
    pub(super) fn sweep_after(&mut self, now: Instant, change: &Change) {
        match change {
            Change::Down(host) | Change::Left(host) | Change::Restarted(host) => {
                if matches!(change, Change::Down(_)) {
                    self.store.sweep.were_down.insert(host.clone());
                }
                self.sweep_soon(now);
            }
            Change::Up(host) => {
                self.store.sweep.forgotten.remove(host);
                if self.store.sweep.were_down.remove(host) {
                    self.check_all_claims();
                }
            }
            // It was down for a day.
            Change::Forgotten(host) => self.sweep_forgotten(now, host),
            Change::Silent(_)
            | Change::Changed(_)
            | Change::Interface { .. }
            | Change::Lacks(..)
            | Change::Two(_)
            | Change::OneAgain(_) => {}
        }
    }

    /// A host will not come back: an operator says so, or it was down for a day.
    pub(super) fn sweep_forgotten(&mut self, now: Instant, host: &HostName) {
        self.store.sweep.were_down.remove(host);
        if self.store.sweep.forgotten.len() < FORGOTTEN_MAX {
            self.store.sweep.forgotten.insert(host.clone());
        }
        self.store.sweep.by(now);
    }

    pub(super) fn poll_sweep(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.stopping || !self.is_ready() || !self.store.upkeep.strays.is_empty() {
            // A moment that has passed would be asked for over and over.
            let due = self.store.sweep.due.filter(|_| !self.stopping);
            self.store.sweep.due = due.map(|due| due.max(now + STEP));
            return;
        }
        let due = *self.store.sweep.due.get_or_insert(now + SOON);
        if due > now {
            return;
        }
        self.store.sweep.due = Some(now + SOON);
        if self.store.is_up()
            && let Ok(prefix) = "claim/".parse()
        {
            let request = Request::Scan { prefix, after: self.store.sweep.after.clone(), limit: PAGE };
            self.ask_store(now, Errand::Sweep, request, out);
        }
    }

    pub(super) fn on_swept(&mut self, now: Instant, outcome: Result<Response, StoreError>) {
        let Ok(Response { answer: Answer::Page(page), .. }) = outcome else { return };
        let last = page.entries.last().map(|(key, _)| key.clone()).filter(|_| page.more);
        for (key, value) in page.entries {
            let claim = ClaimRecord::parse(value.as_bytes());
            // What another version wrote is its own.
            if claim.is_ok_and(|claim| self.is_stray(now, &claim)) {
                self.store.upkeep.strays.push_back((key, value));
            }
        }
        let hosts = u32::try_from(self.topology.group_size()).unwrap_or(u32::MAX);
        let pause = if last.is_some() { STEP } else { ROUND * hosts.div_ceil(ROUND_HOSTS).max(1) };
        self.store.sweep.due = Some(now + pause);
        self.store.sweep.after = last;
    }

    /// Removes a claim, if it is still what was read.
    pub(super) fn remove_stray(&mut self, now: Instant, key: Key, read: Value, out: &mut Vec<Effect>) {
        self.counters.done("stray_claim");
        let request = Request::Swap { key, expected: Expected::Exactly(read), new: None };
        self.ask_store(now, Errand::Stray, request, out);
    }

    /// Whether a claim names a session that is over, and it is for this host to remove it.
    fn is_stray(&self, now: Instant, claim: &ClaimRecord) -> bool {
        if claim.host == *self.name() {
            let is_here = self.sessions.get(claim.session).is_some();
            return !is_here && !self.has_stragglers() && !self.store.is_claiming(claim.session);
        }
        self.is_lowest() && self.is_over(now, claim)
    }

    /// Of all hosts that live, as far as is known here.
    fn is_lowest(&self) -> bool {
        self.topology.rows().all(|row| !row.in_service() || row.host() > self.name())
    }

    /// Whether a claim of another host names a session that cannot come back.
    fn is_over(&self, now: Instant, claim: &ClaimRecord) -> bool {
        if self.store.sweep.forgotten.contains(&claim.host) {
            return true;
        }
        let Some(row) = self.topology.row(&claim.host) else {
            return now.since(self.started) >= MAY_RETURN_WITHIN;
        };
        let is_past = |row: &Row| now.since(row.heard_at()) >= MAY_RETURN_WITHIN;
        match row.standing() {
            Standing::Up if row.boot() != claim.boot && row.facts().keep => {
                now.since(row.up_since()) > TAKE_UP_WITHIN
            }
            Standing::Up => self.life_since_backup(now, claim) == Life::Gone,
            Standing::Silent => false,
            Standing::Down | Standing::Left => !row.facts().keep || is_past(row),
        }
    }
}
