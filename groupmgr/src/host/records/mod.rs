//! The records of sessions: `session/<id>`, and the claims of a token's further sessions.
//!
//! Each session that runs here has a record, which names its home and its epoch, and is changed by compare-and-swap alone.
//! One that is to outlive its home is written before the claim that points to it ([`TakeOver`]); the others follow
//! behind, since nobody at a desk waits for them. A session that is not the one its token's claim names has a claim
//! of its own, `claim/<token>/<id>`, so that it is found when its home is gone.
//!
//! What the store shall have is worked out from the table of sessions whenever something of a session has changed, and
//! swapped for what it is known to have: so it does not matter in which order answers come. Who finds a higher
//! epoch has lost the session to another home, and ends its process.
//!
//! | File | What |
//! |---|---|
//! | this | what the store has, and what it shall have |
//! | [`slot`] | one key of a session |
//! | [`secondary`] | who keeps a copy of a session |
//! | [`takeover`] | records are read and taken over for a card that is presented |
//! | [`tidy`], [`orphans`] | now and then all are looked through: for those of sessions that are over, and those that are kept |

mod orphans;
mod secondary;
mod slot;
mod takeover;
mod tidy;

use std::collections::{BTreeMap, BTreeSet};

use datastore::{Answer, Request, Response, StoreError, Value};
use proto::time::{Duration, earliest};
use proto::{Instant, SessionId};
use sessiond::manager::{Claim, Session};

use super::driver::Port;
use super::env::Ctx;
use super::note::Note;
use super::out::Out;
use super::port::{Arrival, StorePort, not_asked, unanswered, value_of};
use super::session_record::SessionRecord;
use super::sessions::LocalSessions;
use super::step::{
    PresentationId, Recorded, TakeOver, ToAttachments, ToClaims, ToKeeping, ToPresentations, ToRecords,
    ToSessions,
};
use super::sweep::Sweep;
use crate::topology::Change;
use orphans::{Found, Orphans};
pub(super) use orphans::{KEPT_MAX, ORPHANS_MAX};
use slot::{Slot, Which, is_of_another, key_of};

/// Writes under way at once: nobody waits for them, and they must not keep those waiting who put in a card.
const UNDER_WAY_MAX: usize = 64;
/// Keys of sessions that are over and could not be removed yet; beyond it they are found by the sweep.
pub(super) const LEFT_MAX: usize = 16_384;
/// How soon what could not be written is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// What the store is asked for.
#[derive(Clone, Debug)]
enum Wanted {
    /// One of the keys of a session is written, as it was wanted.
    Write(SessionId, Which, Option<Value>),
    /// Whether a session still has its home here.
    Check(SessionId),
    /// What an earlier home has left of a claim of a session's own.
    Second(SessionId),
    /// The record of a session whose token is presented.
    Read(PresentationId, SessionId),
    Take(Box<TakeOver>),
    /// The claims of the other sessions of a token.
    Seconds(PresentationId),
    /// The record of a session of which this host keeps a copy.
    LookUp(SessionId),
    /// A page of all records.
    Page,
    /// Whether something points to a record: its token's claim, or one of its own.
    Pointer(Box<Found>, Which),
    /// A record that is nobody's is removed.
    Remove,
}

impl Wanted {
    /// Whether nobody at a desk waits for it.
    const fn is_upkeep(&self) -> bool {
        matches!(self, Self::Write(..) | Self::Check(_) | Self::Second(_) | Self::Pointer(..) | Self::Remove)
    }
}

/// The machine of the sessions' records.
#[derive(Debug)]
pub(super) struct Records {
    slots: BTreeMap<(SessionId, Which), Slot>,
    /// What is to be looked at: each once.
    due: BTreeSet<(SessionId, Which)>,
    /// Sessions whose home is to be looked up, and those of which it is being asked.
    checks: BTreeSet<SessionId>,
    checking: BTreeSet<SessionId>,
    /// Sessions that have a later home and still end here: nothing is written of them any more.
    moved: BTreeSet<SessionId>,
    under_way: usize,
    /// When what could not be written is tried again.
    again_at: Option<Instant>,
    port: StorePort<Wanted>,
    sweep: Sweep,
    orphans: Orphans,
}

impl Records {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            slots: BTreeMap::new(),
            due: BTreeSet::new(),
            checks: BTreeSet::new(),
            checking: BTreeSet::new(),
            moved: BTreeSet::new(),
            under_way: 0,
            again_at: None,
            port: StorePort::new(Port::Records),
            sweep: Sweep::new(now),
            orphans: Orphans::default(),
        }
    }

    /// Requests under way.
    pub(super) fn pending(&self) -> usize {
        self.port.len()
    }

    pub(super) fn awaits(&self, seq: u64) -> bool {
        self.port.awaits(seq)
    }

    /// Keys of sessions that are over, records to which nothing points, and those of kept sessions, for the bounds check.
    pub(super) fn sizes(&self, sessions: &LocalSessions) -> [usize; 3] {
        let [orphans, kept] = self.orphans.sizes();
        [self.left(sessions), orphans, kept]
    }

    /// Sessions whose home is gone and whose state another host keeps, as far as this host is the one to say so.
    pub(super) fn kept(&self) -> impl Iterator<Item = (SessionId, &SessionRecord)> {
        self.orphans.kept()
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 3] {
        [
            ("records, again", self.again_at),
            ("sweep of all records", self.sweep.poll_at()),
            ("records, unanswered", self.port.poll_at()),
        ]
    }

    pub(super) fn handle(&mut self, ctx: &Ctx<'_>, step: ToRecords, out: &mut Out<'_>) {
        match step {
            ToRecords::Changed { session } => self.came(session),
            ToRecords::TakenUp { session } => self.take_up(ctx, session),
            ToRecords::Ended { session } => self.on_ended(ctx, session, out),
            ToRecords::GaveUp { session } => self.give_up(session),
            ToRecords::Check { session } => drop(self.checks.insert(session)),
            ToRecords::Read { id, session } => self.read(ctx, id, session, out),
            ToRecords::Take(taking) => self.take_over(ctx, taking, out),
            ToRecords::Seconds { id, token } => self.find_seconds(ctx, id, &token, out),
            ToRecords::Secondary { session, secondary } => self.set_secondary(ctx, session, secondary, out),
            ToRecords::LookUp { session } => self.look_up(ctx, session, out),
            ToRecords::Group(change) => self.on_change(ctx, &change),
            ToRecords::OutOfSight => self.check_all(ctx),
            ToRecords::StoreUp => {
                self.again_at = Some(ctx.now);
                self.check_all(ctx);
                self.sweep.soon(ctx.now);
            }
            ToRecords::Restored => {
                self.check_all(ctx);
                self.read_seconds(ctx);
                self.sweep.soon(ctx.now);
            }
            ToRecords::Stored { seq, outcome } => {
                // What comes late was given up, and the next swap finds out what became of it.
                if let Some(Arrival::InTime(wanted)) = self.port.arrived(seq) {
                    self.on_answer(ctx, wanted, *outcome, out);
                }
            }
            ToRecords::Due => self.on_due(ctx, out),
        }
        self.go_on(ctx, out);
    }

    fn on_due(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        while let Some(wanted) = self.port.overdue(ctx.now, out) {
            self.on_answer(ctx, wanted, Err(unanswered()), out);
        }
        if self.again_at.is_some_and(|at| at <= ctx.now) {
            self.again_at = None;
            self.due.extend(self.slots.keys().flat_map(|(session, _)| keys(*session)));
        }
        self.go_on_sweeping(ctx, out);
    }

    fn on_change(&mut self, ctx: &Ctx<'_>, change: &Change) {
        match change {
            Change::Down(host) | Change::Left(host) | Change::Restarted(host) => {
                self.sweep.lost(ctx.now, host, matches!(change, Change::Down(_)));
            }
            // It may have taken for dead what lives here.
            Change::Up(host) if self.sweep.is_back(host) => self.check_all(ctx),
            // So may whoever took another host of this name for this one, started again.
            Change::OneAgain(host) if host == ctx.name() => self.check_all(ctx),
            Change::Forgotten(host) => self.sweep.forget(ctx.now, host),
            _ => {}
        }
    }

    /// Another host may have taken sessions of this one over, or removed their records; or they were lost with a backup.
    fn check_all(&mut self, ctx: &Ctx<'_>) {
        self.checks.extend(ctx.sessions.iter().map(|s| s.id));
    }

    /// A backup may bring a claim of its own back for a session that has none any more.
    fn read_seconds(&mut self, ctx: &Ctx<'_>) {
        for s in ctx.sessions.iter().filter(|s| !ctx.sessions.straggles(s.id)) {
            if let Some(key) = key_of(s, Which::Second) {
                self.slots.entry((s.id, Which::Second)).or_insert_with(|| Slot::unread(key));
                self.due.insert((s.id, Which::Second));
            }
        }
    }

    fn on_ended(&mut self, ctx: &Ctx<'_>, session: SessionId, out: &mut Out<'_>) {
        self.checks.remove(&session);
        self.moved.remove(&session);
        let slot = self.slots.get(&(session, Which::Record));
        if slot.is_some_and(|slot| slot.began.is_some()) {
            out.step(ToKeeping::Ended { session });
        }
        if self.left(ctx.sessions) >= LEFT_MAX {
            // They are found by the sweep.
            self.slots.remove(&(session, Which::Record));
            self.slots.remove(&(session, Which::Second));
        }
        self.came(session);
    }

    /// How many keys there are of sessions that are over, at least.
    fn left(&self, sessions: &LocalSessions) -> usize {
        self.slots.len().saturating_sub(2 * sessions.len())
    }

    fn look_at(&mut self, session: SessionId) {
        self.due.extend(keys(session));
    }

    /// It is known now whether it was made.
    fn came(&mut self, session: SessionId) {
        for of in keys(session) {
            if let Some(slot) = self.slots.get_mut(&of) {
                slot.is_coming = false;
            }
        }
        self.look_at(session);
    }

    /// An earlier daemon has left a session: what it has written of it is read first.
    fn take_up(&mut self, ctx: &Ctx<'_>, session: SessionId) {
        let Some(s) = ctx.sessions.get(session) else { return };
        for which in [Which::Record, Which::Second] {
            if let Some(key) = key_of(s, which) {
                let had = Some(s.epoch).filter(|_| s.is_recorded);
                self.slots.insert((session, which), Slot { had, ..Slot::unread(key) });
            }
        }
        self.look_at(session);
    }

    /// Does what is due, as far as there is room. While the data store is away everything waits.
    fn go_on(&mut self, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        while ctx.store.is_up() && self.under_way < UNDER_WAY_MAX {
            if let Some(session) = self.checks.pop_first() {
                if let Some(key) = SessionRecord::key(session) {
                    self.checking.insert(session);
                    self.ask(ctx, Wanted::Check(session), Request::Get { key }, out);
                }
            } else if let Some((session, which)) = self.due.pop_first() {
                self.settle(ctx, session, which, out);
            } else if !self.tidy_next(ctx, out) {
                return;
            }
        }
    }

    /// What the store shall have: nothing once the session is over, and before it has an epoch.
    fn desired(&self, ctx: &Ctx<'_>, session: &Session, which: Which) -> Option<Value> {
        if session.epoch.counter == 0 {
            return None;
        }
        let slot = self.slots.get(&(session.id, Which::Record));
        let (secondary, floor) = slot.map(|slot| (slot.secondary.clone(), slot.floor)).unwrap_or_default();
        let record = SessionRecord {
            secondary,
            floor,
            ..SessionRecord::of(ctx.name(), ctx.config.identity.boot, session)
        };
        match which {
            Which::Record => record.value().ok(),
            Which::Second if session.claim == Claim::Superseded => record.as_claim(session.id).value().ok(),
            Which::Second => None,
        }
    }

    /// Has the store changed to what it shall have, unless it has that, or is being asked.
    fn settle(&mut self, ctx: &Ctx<'_>, session: SessionId, which: Which, out: &mut Out<'_>) {
        // Nothing points to what may have another home; it is looked at again when that is known.
        let waits =
            which == Which::Second && (self.checking.contains(&session) || self.checks.contains(&session));
        if waits || self.moved.contains(&session) {
            return;
        }
        let s = ctx.sessions.get(session).filter(|s| !ctx.sessions.straggles(s.id));
        let desired = s.and_then(|s| self.desired(ctx, s, which));
        if let Some(s) = s.filter(|_| desired.is_some())
            && let Some(key) = key_of(s, which)
        {
            self.slots.entry((session, which)).or_insert_with(|| Slot::new(key));
        }
        let of = (session, which);
        let Some(slot) = self.slots.get_mut(&of).filter(|slot| !slot.is_asked && !slot.is_coming) else {
            return;
        };
        if slot.is_unread {
            return self.read_first(ctx, session, which, out);
        }
        if slot.stored == desired {
            if desired.is_none() {
                self.slots.remove(&(session, which));
            } else if let Some(s) = s.filter(|_| which == Which::Record) {
                out.step(ToSessions::Recorded { session });
                slot.stands(s, out);
            }
            return;
        }
        slot.is_asked = true;
        let (key, expected) = (slot.key.clone(), slot.stored.clone().into());
        let wanted = Wanted::Write(session, which, desired.clone());
        self.ask(ctx, wanted, Request::Swap { key, expected, new: desired }, out);
    }

    /// Asks what the store has under a key before anything is written there.
    fn read_first(&mut self, ctx: &Ctx<'_>, session: SessionId, which: Which, out: &mut Out<'_>) {
        match self.slots.get_mut(&(session, which)).filter(|_| which == Which::Second) {
            Some(slot) => {
                slot.is_asked = true;
                let request = Request::Get { key: slot.key.clone() };
                self.ask(ctx, Wanted::Second(session), request, out);
            }
            None if !self.checking.contains(&session) => drop(self.checks.insert(session)),
            None => {}
        }
    }

    fn on_second(&mut self, ctx: &Ctx<'_>, session: SessionId, outcome: Result<Response, StoreError>) {
        let of = (session, Which::Second);
        let Some(slot) = self.slots.get_mut(&of) else { return };
        slot.is_asked = false;
        let Ok(value) = value_of(outcome) else { return self.try_again(ctx) };
        // That of the next home stays, if it is over here.
        if ctx.sessions.get(session).is_none() && is_of_another(ctx, session, value.as_ref()) {
            self.slots.remove(&of);
            return;
        }
        slot.adopt(value);
        self.due.insert(of);
    }

    fn try_again(&mut self, ctx: &Ctx<'_>) {
        self.again_at = earliest(self.again_at, Some(ctx.now + AGAIN_AFTER));
    }

    fn ask(&mut self, ctx: &Ctx<'_>, wanted: Wanted, request: Request, out: &mut Out<'_>) {
        self.under_way += usize::from(wanted.is_upkeep());
        if let Err(wanted) = self.port.ask(ctx.now, wanted, request, out) {
            self.on_answer(ctx, wanted, Err(not_asked()), out);
        }
    }

    fn on_answer(
        &mut self,
        ctx: &Ctx<'_>,
        wanted: Wanted,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        self.under_way = self.under_way.saturating_sub(usize::from(wanted.is_upkeep()));
        match wanted {
            Wanted::Write(session, which, written) => {
                self.on_written(ctx, (session, which), written, outcome, out);
            }
            Wanted::Check(session) => self.on_checked(ctx, session, outcome, out),
            Wanted::Second(session) => self.on_second(ctx, session, outcome),
            Wanted::Read(id, session) => {
                let result = Box::new(value_of(outcome).map(|value| {
                    let record = value.as_ref().and_then(|v| SessionRecord::parse(v.as_bytes()).ok());
                    value.zip(record)
                }));
                out.step(ToPresentations::Record { id, session, result });
            }
            Wanted::Take(taking) => self.on_taken(*taking, outcome, out),
            Wanted::Seconds(id) => Self::on_seconds(id, outcome, out),
            Wanted::LookUp(session) => Self::on_looked_up(session, outcome, out),
            Wanted::Page => self.on_page(ctx, outcome),
            Wanted::Pointer(found, which) => self.on_pointer(ctx, *found, which, outcome, out),
            // Who was quicker has written it anew; and one that could not be removed is found in the next round.
            Wanted::Remove => {}
        }
    }

    fn on_written(
        &mut self,
        ctx: &Ctx<'_>,
        of: (SessionId, Which),
        written: Option<Value>,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        let Some(slot) = self.slots.get_mut(&of) else { return };
        slot.is_asked = false;
        match outcome.map(|response| response.answer) {
            Ok(Answer::Swapped) => slot.stored = written,
            Ok(Answer::Lost { current }) => {
                let is_theirs = match of.1 {
                    Which::Record => slot.is_lost(ctx, of.0, current.as_ref()),
                    Which::Second => is_of_another(ctx, of.0, current.as_ref()),
                };
                slot.adopt(current);
                if is_theirs && of.1 == Which::Second && ctx.sessions.get(of.0).is_some() {
                    // Whoever wrote that has written the record before.
                    slot.is_unread = true;
                    self.checks.insert(of.0);
                } else if is_theirs {
                    slot.answer(of.0, Recorded::Lost, out);
                    self.slots.remove(&of);
                    return self.lose(of.0, ctx, out);
                }
            }
            // It may have been written: the next swap finds out.
            _ => {
                slot.answer(of.0, Recorded::Away, out);
                return self.try_again(ctx);
            }
        }
        self.due.insert(of);
    }

    fn on_checked(
        &mut self,
        ctx: &Ctx<'_>,
        session: SessionId,
        outcome: Result<Response, StoreError>,
        out: &mut Out<'_>,
    ) {
        self.checking.remove(&session);
        let Ok(value) = value_of(outcome) else { return self.try_again(ctx) };
        let slot = self.slots.get(&(session, Which::Record));
        if slot.is_some_and(|slot| slot.is_lost(ctx, session, value.as_ref())) {
            self.slots.remove(&(session, Which::Record));
            return self.lose(session, ctx, out);
        }
        // Whatever it is, it is made what it should be.
        if let Some(slot) = self.slots.get_mut(&(session, Which::Record)).filter(|slot| !slot.is_asked) {
            if slot.is_unread {
                out.step(ToClaims::Stands { session });
            }
            slot.adopt(value);
        }
        self.look_at(session);
    }

    /// Another host goes on with the session: what runs here is of before.
    fn lose(&mut self, session: SessionId, ctx: &Ctx<'_>, out: &mut Out<'_>) {
        let Some(s) = ctx.sessions.get(session) else { return };
        self.moved.insert(session);
        out.done("session_moved_away");
        out.step(ToKeeping::Ended { session });
        out.note(Note::MovedAway { token: s.token.clone(), session });
        // Its claim is the next home's, or about to be.
        out.step(ToClaims::MovedAway { session });
        out.step(ToAttachments::MovedAway { session });
    }
}

/// Both keys of a session.
const fn keys(session: SessionId) -> [(SessionId, Which); 2] {
    [(session, Which::Record), (session, Which::Second)]
}
