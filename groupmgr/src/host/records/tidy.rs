//! Records of sessions that are over are removed, whoever has left them in the data store; and those of sessions that
//! are kept for a next home are known, so that operators see them.
//!
//! Each host looks through all records now and then, and soon after something happened that leaves some behind: for
//! those that name itself and a session that it does not have, and, if it is the lowest host that lives, for those of hosts that are gone.
//! A session that only restarts is over with its home. One that is replicated is over when no claim has pointed to its
//! record for a minute, or when nobody has come for it for a day. Each is removed by swapping exactly what was read.

use datastore::{Answer, Expected, Request, Response, StoreError};
use proto::SessionId;
use proto::time::Duration;

use super::super::claim_record::ClaimRecord;
use super::super::env::Ctx;
use super::super::out::Out;
use super::super::port::value_of;
use super::super::session_record::{SESSIONS, SessionRecord};
use super::super::sweep::{MAY_RETURN_WITHIN, SOON, Sweep};
use super::orphans::{Found, ORPHANED_AFTER};
use super::slot::Which;
use super::{Records, Wanted};

/// Between two pages: nobody at a desk waits for this.
const STEP: Duration = Duration::from_millis(500);
/// Records on a page.
const PAGE: u16 = 256;
impl Records {
    /// Asks for the next page, if it is time.
    pub(super) fn go_on_sweeping(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        if self.sweep.due.is_none_or(|due| due > ctx.now) {
            return;
        }
        if !ctx.sessions.is_ready() || !self.orphans.found.is_empty() {
            // A moment that has passed would be asked for over and over.
            self.sweep.due = Some(ctx.now + STEP);
            return;
        }
        self.sweep.due = Some(ctx.now + SOON);
        if ctx.store.is_up()
            && let Ok(prefix) = SESSIONS.parse()
        {
            let request = Request::Scan { prefix, after: self.sweep.after.clone(), limit: PAGE };
            self.ask(ctx, Wanted::Page, request, out);
        }
    }

    pub(super) fn on_page(&mut self, ctx: &Ctx<'_>, outcome: Result<Response, StoreError>) {
        let Ok(Response { answer: Answer::Page(page), .. }) = outcome else { return };
        let last = page.entries.last().map(|(key, _)| key.clone()).filter(|_| page.more);
        for (key, read) in page.entries {
            // What another version wrote is its own.
            let (Some(session), Ok(record)) =
                (SessionRecord::session_of(&key), SessionRecord::parse(read.as_bytes()))
            else {
                continue;
            };
            if self.is_without_home(ctx, session, &record) {
                let has_expired = record.expiry.is_some_and(|expiry| expiry <= ctx.group_time());
                let is_over = !record.is_replicated() || has_expired;
                self.orphans.found.push_back(Found { session, record, key, read, is_over });
            }
        }
        let pause = if last.is_some() { STEP } else { Sweep::round(ctx) };
        if last.is_none() {
            self.orphans.end_round(ctx.now);
        }
        self.sweep.due = Some(ctx.now + pause);
        self.sweep.after = last;
    }

    /// Whether a session runs nowhere, and it is for this host to see to its record.
    fn is_without_home(&self, ctx: &Ctx<'_>, session: SessionId, record: &SessionRecord) -> bool {
        if record.home == *ctx.name() {
            let is_here = ctx.sessions.get(session).is_some();
            return !is_here && !ctx.sessions.has_stragglers() && !self.is_writing(session);
        }
        Sweep::is_lowest(ctx) && self.sweep.is_over(ctx, &record.as_claim(session))
    }

    fn is_writing(&self, session: SessionId) -> bool {
        let is_taking = |wanted: &Wanted| matches!(wanted, Wanted::Take(taking) if taking.session == session);
        self.slots.contains_key(&(session, Which::Record)) || self.port.keys().any(is_taking)
    }

    /// Looks at the next record that was found. Returns whether there was one.
    pub(super) fn tidy_next(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) -> bool {
        let Some(found) = self.orphans.found.pop_front() else { return false };
        if found.is_over {
            self.remove(ctx, found, out);
        } else if let Some(key) = ClaimRecord::key(&found.record.token) {
            self.ask(ctx, Wanted::Pointer(Box::new(found), Which::Record), Request::Get { key }, out);
        }
        true
    }

    pub(super) fn on_pointer(
        &mut self,
        ctx: &Ctx<'_>,
        found: Found,
        which: Which,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        let Ok(value) = value_of(outcome) else { return };
        let claim = value.and_then(|value| ClaimRecord::parse(value.as_bytes()).ok());
        if claim.is_some_and(|claim| claim.session == found.session) {
            if found.record.expiry.is_none() {
                self.let_expire(ctx, &found, out);
            }
            return self.orphans.keep(found);
        }
        if which == Which::Record
            && let Some(key) = ClaimRecord::second_key(&found.record.token, found.session)
        {
            return self.ask(ctx, Wanted::Pointer(Box::new(found), Which::Second), Request::Get { key }, out);
        }
        if self.orphans.is_orphan(ctx.now, &found) {
            return self.remove(ctx, found, out);
        }
        self.sweep.by(ctx.now + ORPHANED_AFTER);
    }

    /// Removes a record, if it is still what was read.
    fn remove(&mut self, ctx: &Ctx<'_>, found: Found, out: &mut Out<'_>) {
        out.done("stray_record");
        self.orphans.forget(&found);
        let expected = Expected::Exactly(found.read);
        self.ask(ctx, Wanted::Remove, Request::Swap { key: found.key, expected, new: None }, out);
    }

    /// From now on somebody has a day to come for a session.
    fn let_expire(&mut self, ctx: &Ctx<'_>, found: &Found, out: &mut Out<'_>) {
        let expiry = Some(ctx.group_time() + MAY_RETURN_WITHIN);
        let Ok(value) = (SessionRecord { expiry, ..found.record.clone() }).value() else { return };
        let (key, expected) = (found.key.clone(), Expected::Exactly(found.read.clone()));
        self.ask(ctx, Wanted::Remove, Request::Swap { key, expected, new: Some(value) }, out);
    }
}
