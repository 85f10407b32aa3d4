//! Claims of sessions that are over are removed, whoever has left them in the data store.
//!
//! A host gives the claims of its sessions back itself ([`super::release`]). One that dies cannot, and neither can one
//! whose answer was lost. So each host looks through all claims now and then, and soon after something happened that
//! leaves some behind: for those that name itself and a session that it does not have, and, if it is the lowest host
//! that lives, for those of hosts that are down. Each is removed by swapping exactly what was read, so one that is
//! written anew meanwhile stays; and whoever is wrongly taken for dead finds out that its claim is gone and makes it
//! again ([`super::renew`]).

use datastore::{Answer, Expected, Key, Request, Response, StoreError, Value};
use proto::time::Duration;

use super::super::claim_record::ClaimRecord;
use super::super::env::Ctx;
use super::super::liveness::Liveness;
use super::super::out::Out;
use super::sweep::SOON;
use super::{Claims, Wanted};
use crate::topology::{Row, Standing};

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

impl Claims {
    /// Asks for the next page, if it is time.
    pub(super) fn go_on_sweeping(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        if !ctx.sessions.is_ready() || self.tasks.has_strays() {
            // A moment that has passed would be asked for over and over.
            self.sweep.due = self.sweep.due.map(|due| due.max(ctx.now + STEP));
            return;
        }
        if self.sweep.due.is_none_or(|due| due > ctx.now) {
            return;
        }
        self.sweep.due = Some(ctx.now + SOON);
        if ctx.store.is_up()
            && let Ok(prefix) = "claim/".parse()
        {
            let request = Request::Scan { prefix, after: self.sweep.after.clone(), limit: PAGE };
            self.ask(ctx, Wanted::Page, request, out);
        }
    }

    pub(super) fn on_page(&mut self, ctx: &Ctx<'_>, outcome: Result<Response, StoreError>) {
        let Ok(Response { answer: Answer::Page(page), .. }) = outcome else { return };
        if self.is_stopping {
            return;
        }
        let last = page.entries.last().map(|(key, _)| key.clone()).filter(|_| page.more);
        for (key, value) in page.entries {
            let claim = ClaimRecord::parse(value.as_bytes());
            // What another version wrote is its own.
            if claim.is_ok_and(|claim| self.is_stray(ctx, &claim)) {
                self.tasks.add_stray(key, value);
            }
        }
        let hosts = u32::try_from(ctx.members.topology().group_size()).unwrap_or(u32::MAX);
        let pause = if last.is_some() { STEP } else { ROUND * hosts.div_ceil(ROUND_HOSTS).max(1) };
        self.sweep.due = Some(ctx.now + pause);
        self.sweep.after = last;
    }

    /// Removes a claim, if it is still what was read.
    pub(super) fn remove_stray(&mut self, ctx: &Ctx<'_>, key: Key, read: Value, out: &mut Out<'_>) {
        out.done("stray_claim");
        let request = Request::Swap { key, expected: Expected::Exactly(read), new: None };
        self.ask(ctx, Wanted::Remove, request, out);
    }

    /// Whether a claim names a session that is over, and it is for this host to remove it.
    fn is_stray(&self, ctx: &Ctx<'_>, claim: &ClaimRecord) -> bool {
        if claim.host == *ctx.name() {
            let is_here = ctx.sessions.get(claim.session).is_some();
            return !is_here && !ctx.sessions.has_stragglers() && !self.is_claiming(claim.session);
        }
        // Of all hosts that live, as far as is known here, the lowest does it.
        let is_lowest = ctx.members.rows().all(|row| !row.in_service() || row.host() > ctx.name());
        is_lowest && self.is_over(ctx, claim)
    }

    /// Whether a claim of another host names a session that cannot come back.
    fn is_over(&self, ctx: &Ctx<'_>, claim: &ClaimRecord) -> bool {
        if self.sweep.forgotten.contains(&claim.host) {
            return true;
        }
        let Some(row) = ctx.members.row(&claim.host) else {
            return ctx.members.up_for(ctx.now) >= MAY_RETURN_WITHIN;
        };
        let is_past = |row: &Row| ctx.now.since(row.heard_at()) >= MAY_RETURN_WITHIN;
        match row.standing() {
            Standing::Up => self.liveness(ctx, claim) == Liveness::Dead,
            Standing::Silent => false,
            Standing::Down | Standing::Left => !row.facts().keep || is_past(row),
        }
    }
}
