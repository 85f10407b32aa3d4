//! Claims of sessions that are over are removed, whoever has left them in the data store.
//!
//! A host gives the claims of its sessions back itself ([`super::release`]). One that dies cannot, and neither can one
//! whose answer was lost. So each host looks through all claims now and then, and soon after something happened that
//! leaves some behind: for those that name itself and a session that it does not have, and, if it is the lowest host
//! that lives, for those of hosts that are down. Each is removed by swapping exactly what was read, so one that is
//! written anew meanwhile stays; and whoever is wrongly taken for dead finds out that its claim is gone and makes it
//! again ([`super::renew`]).

use datastore::{Answer, Expected, Request, Response, StoreError};
use proto::time::Duration;

use super::super::claim_record::ClaimRecord;
use super::super::env::Ctx;
use super::super::out::Out;
use super::super::port::value_of;
use super::super::session_record::SessionRecord;
use super::super::sweep::{SOON, Sweep};
use super::queue::Stray;
use super::{Claims, Wanted};

/// Between two pages: nobody at a desk waits for this.
const STEP: Duration = Duration::from_millis(500);
/// Claims on a page.
const PAGE: u16 = 256;
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
            let Ok(claim) = claim else { continue };
            if self.is_stray(ctx, &claim) {
                // While a session that outlives its host has a record, it is waited for.
                let unless = claim.is_replicated.then_some(claim.session);
                self.tasks.add_stray(Stray { key, read: value, unless });
            }
        }
        let pause = if last.is_some() { STEP } else { Sweep::round(ctx) };
        self.sweep.due = Some(ctx.now + pause);
        self.sweep.after = last;
    }

    /// Removes a claim, if it is still what was read. One that points to a record stays as long as that.
    pub(super) fn remove_stray(&mut self, ctx: &Ctx<'_>, stray: Stray, out: &mut Out<'_>) {
        if let Some(key) = stray.unless.and_then(SessionRecord::key) {
            let stray = Box::new(Stray { unless: None, ..stray });
            return self.ask(ctx, Wanted::StrayRecord(stray), Request::Get { key }, out);
        }
        out.done("stray_claim");
        let request = Request::Swap { key: stray.key, expected: Expected::Exactly(stray.read), new: None };
        self.ask(ctx, Wanted::Remove, request, out);
    }

    pub(super) fn on_stray_record(
        &mut self,
        ctx: &Ctx<'_>,
        stray: Stray,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        if matches!(value_of(outcome), Ok(None)) {
            self.remove_stray(ctx, stray, out);
        }
    }

    /// Whether a claim names a session that is over, and it is for this host to remove it.
    fn is_stray(&self, ctx: &Ctx<'_>, claim: &ClaimRecord) -> bool {
        if claim.host == *ctx.name() {
            let is_here = ctx.sessions.get(claim.session).is_some();
            return !is_here && !ctx.sessions.has_stragglers() && !self.is_claiming(claim.session);
        }
        Sweep::is_lowest(ctx) && self.sweep.is_over(ctx, claim)
    }
}
