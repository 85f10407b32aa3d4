//! The data store as this host sees it: what was asked of it and what for, and whether it answers.
//!
//! What comes of an answer is decided in the room that asked. Nobody waits for one for longer than a moment.

use std::collections::BTreeMap;

use authmgr::Admitted;
use datastore::{Answer, Key, Refusal, Request, Response, StoreError, Value};
use proto::time::{Duration, earliest};
use proto::{Instant, SessionId, Token};

use super::claims::ClaimRecord;
use super::driver::{AdminReq, ConnId, Effect, StoreReq};
use super::explain::Explained;
use super::manage::Order;
use super::note::Note;
use super::relay::DataAsker;
use super::release::Unreleased;
use super::sweep::Sweep;
use super::upkeep::Upkeep;
use super::{Clock, Host};

/// What a DTU waits for is given up after this long, and the store counts as away until it answers: a slow
/// store must not hold a desk back for longer than a mute host does.
const ANSWER_WITHIN: Duration = Duration::from_millis(400);
/// A claim whose answer came too late for its DTU is remembered for so long: it may be held, unknown to anybody.
const LATE_CLAIM_WITHIN: Duration = Duration::from_secs(60);
/// How often a store that takes no writes is asked whether it does again.
const HEALTH_EVERY: Duration = Duration::from_secs(1);
/// How the names of those of its counters begin that say so.
const REFUSES: &str = "refuses_writes";
/// Requests under way at most.
pub(super) const PENDING_MAX: usize = 65_536;

/// What an answer of the store is for.
#[derive(Clone, Debug)]
pub(super) enum Errand {
    /// The registry's record of a token that a DTU presents.
    Record { conn: ConnId, token_seq: u32, token: Token },
    /// The login policy.
    Policy,
    /// A page of a listing of the registry.
    Listing { number: u64 },
    /// An operator wants to be sure that a change holds here.
    Follow { req: AdminReq, key: Key },
    /// The claim of a token, before a session is made.
    ReadClaim { conn: ConnId, token_seq: u32 },
    /// The template of a session that is about to be made.
    Template { conn: ConnId, token_seq: u32 },
    /// The claim for a session that is about to be made.
    Claim { conn: ConnId, token_seq: u32, token: Token, record: ClaimRecord },
    /// A claim whose answer came too late for its DTU.
    LateClaim { token: Token, record: ClaimRecord },
    /// A session without a claim is offered.
    Offer { token: Token, record: ClaimRecord },
    /// A session of an earlier daemon takes its claim along.
    Renew { token: Token, record: ClaimRecord },
    /// Whether a session that is shown still has its claim.
    Check { session: SessionId },
    /// The claim of a session that is over is given back.
    Release { token: Token, record: ClaimRecord },
    /// A page of all claims.
    Sweep,
    /// A claim of a session that is over is removed.
    Stray,
    /// A program of a session asks.
    Data(DataAsker),
    /// The registry's record of a token for which an operator orders a session.
    OrderRecord(Order),
    /// The template of a session that an operator orders.
    OrderTemplate(Order, Box<Admitted>),
    /// An operator wants to know what is registered about a token.
    ExplainRecord { req: AdminReq, token: Token },
    /// Whether the store takes writes again.
    Health,
    /// And the template of its sessions.
    ExplainTemplate { req: AdminReq, explained: Box<Explained> },
    /// An operator wants to know a claim.
    Explain { req: AdminReq, explained: Box<Explained> },
}

impl Errand {
    /// Whether nobody at a desk waits for it.
    const fn is_upkeep(&self) -> bool {
        matches!(
            self,
            Self::Offer { .. } | Self::Renew { .. } | Self::Check { .. } | Self::Release { .. } | Self::Stray
        )
    }

    /// The session that the store is asked to make a claim of.
    const fn claims(&self) -> Option<SessionId> {
        match self {
            Self::Claim { record, .. } | Self::LateClaim { record, .. } => Some(record.session),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct Pending {
    errand: Errand,
    give_up_at: Instant,
}

/// The state of this host's dealings with the data store.
#[derive(Debug)]
pub(super) struct StoreSide {
    pending: BTreeMap<StoreReq, Pending>,
    /// Claims that were answered too late for whoever wanted them.
    late_claims: BTreeMap<StoreReq, Pending>,
    /// The number of the last one. The order of numbers is that of deadlines, here as there.
    next: u64,
    up: bool,
    /// The store's generation as last heard; a restored backup raises it (DESIGN 8).
    generation: u32,
    /// When that rose.
    restored_at: Option<Instant>,
    /// Why it could not be asked of late; none while it answers.
    trouble: Option<Trouble>,
    /// When sessions without a claim are offered.
    offer_at: Option<Instant>,
    /// Why the store takes no writes, as it last said, and when it is asked again.
    refuses: Option<(String, Instant)>,
    pub(super) unreleased: Unreleased,
    pub(super) upkeep: Upkeep,
    pub(super) sweep: Sweep,
}

/// Why the data store cannot be asked.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    /// In words for an operator.
    pub(super) why: String,
    /// Whether the two sides have no key in common.
    pub(super) is_distrust: bool,
}

impl Default for StoreSide {
    fn default() -> Self {
        Self {
            pending: BTreeMap::new(),
            late_claims: BTreeMap::new(),
            next: 0,
            up: true,
            generation: 0,
            restored_at: None,
            trouble: None,
            offer_at: None,
            refuses: None,
            unreleased: Unreleased::default(),
            upkeep: Upkeep::default(),
            sweep: Sweep::default(),
        }
    }
}

impl StoreSide {
    pub(super) const fn is_up(&self) -> bool {
        self.up
    }

    /// Why it cannot be asked, while it cannot.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref().filter(|_| !self.up)
    }

    /// Keeps why a request was not answered, however late that is known.
    fn note_trouble(&mut self, outcome: &Result<Response, StoreError>) {
        match outcome {
            Ok(_) => self.trouble = None,
            Err(error @ (StoreError::Unreachable { .. } | StoreError::NotTrusted { .. })) => {
                let is_distrust = matches!(error, StoreError::NotTrusted { .. });
                self.trouble = Some(Trouble { why: error.to_string(), is_distrust });
            }
            Err(_) => {}
        }
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len() + self.late_claims.len()
    }

    pub(super) const fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) const fn restored_at(&self) -> Option<Instant> {
        self.restored_at
    }

    /// Takes in the generation of an answer. Returns whether it has risen.
    pub(super) fn is_new_generation(&mut self, now: Instant, generation: u32) -> bool {
        let has_risen = generation > self.generation;
        if has_risen {
            self.generation = generation;
            self.restored_at = Some(now);
        }
        has_risen
    }

    pub(super) const fn offer_at_once(&mut self, now: Instant) {
        self.offer_next(Some(now));
    }

    pub(super) const fn offer_next(&mut self, at: Option<Instant>) {
        self.offer_at = at;
    }

    pub(super) fn offer_by(&mut self, at: Instant) {
        self.offer_at = Some(self.offer_at.map_or(at, |old| old.min(at)));
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        let first = |pending: &BTreeMap<_, Pending>| pending.values().next().map(|p| p.give_up_at);
        let first = earliest(first(&self.pending), first(&self.late_claims));
        let again = self.refuses.as_ref().map(|(_, at)| *at);
        let claims = earliest(self.upkeep.poll_at(), self.sweep.poll_at());
        earliest(earliest(first, again), earliest(self.offer_at, claims))
    }

    /// Why the store takes no writes, if it takes none.
    pub(super) fn refuses(&self) -> Option<&str> {
        self.refuses.as_ref().map(|(why, _)| why.as_str())
    }

    /// Takes note of whether the store takes writes, if this answer says so.
    fn note_health(&mut self, now: Instant, outcome: &Result<Response, StoreError>) {
        match outcome.as_ref().map(|response| &response.answer) {
            Err(StoreError::Refused(refusal @ Refusal::Failed { .. })) => {
                self.refuses = Some((refusal.to_string(), now + HEALTH_EVERY));
            }
            Ok(Answer::Stored | Answer::Swapped | Answer::Deleted { existed: true }) => self.refuses = None,
            Ok(Answer::Status(says)) => {
                let refuses = says.iter().any(|(name, is_so)| name.starts_with(REFUSES) && *is_so > 0);
                self.refuses.take_if(|_| !refuses);
            }
            _ => {}
        }
    }

    /// Whether the claim of a session is under way, or may have been made though nobody knows of it.
    pub(super) fn is_claiming(&self, session: SessionId) -> bool {
        let mut all = self.pending.values().chain(self.late_claims.values());
        all.any(|pending| pending.errand.claims() == Some(session))
    }

    /// Takes out what an answer is for.
    fn take(&mut self, req: StoreReq) -> Option<Errand> {
        let found = self.pending.remove(&req).or_else(|| self.late_claims.remove(&req));
        found.map(|pending| self.taken(pending))
    }

    fn taken(&mut self, Pending { errand, .. }: Pending) -> Errand {
        if errand.is_upkeep() {
            self.upkeep.ended();
        }
        errand
    }

    /// Takes out the first errand that was not answered in time; of a claim it stays known what it was for.
    fn take_overdue(&mut self, now: Instant) -> Option<Errand> {
        while self.late_claims.first_entry().is_some_and(|first| first.get().give_up_at <= now) {
            self.late_claims.pop_first();
        }
        let first = self.pending.first_entry().filter(|first| first.get().give_up_at <= now)?;
        let (req, pending) = first.remove_entry();
        let errand = self.taken(pending);
        if let Errand::Claim { token, record, .. } = &errand {
            let errand = Errand::LateClaim { token: token.clone(), record: record.clone() };
            self.late_claims.insert(req, Pending { errand, give_up_at: now + LATE_CLAIM_WITHIN });
        }
        Some(errand)
    }
}

impl Host {
    /// Asks the store. `false` when too much is under way: the caller goes on as if the store were away.
    pub(super) fn ask_store(
        &mut self,
        now: Instant,
        errand: Errand,
        request: Request,
        out: &mut Vec<Effect>,
    ) -> bool {
        if self.store.pending() >= PENDING_MAX {
            self.counters.refused("store_queue_full");
            return false;
        }
        if errand.is_upkeep() {
            self.store.upkeep.began();
        }
        self.store.next += 1;
        let req = StoreReq(self.store.next);
        self.store.pending.insert(req, Pending { errand, give_up_at: now + ANSWER_WITHIN });
        out.push(Effect::Store { req, request: Box::new(request) });
        true
    }

    pub(super) fn on_store(
        &mut self,
        clock: Clock,
        req: StoreReq,
        outcome: Result<Response, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        self.store.note_trouble(&outcome);
        let Some(errand) = self.store.take(req) else { return };
        if outcome.is_ok() && !self.store.up {
            self.on_store_link(clock, true, out);
        }
        self.finish_errand(clock, errand, outcome, out);
    }

    fn finish_errand(
        &mut self,
        clock: Clock,
        errand: Errand,
        outcome: Result<Response, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        if let Ok(response) = &outcome {
            self.note_generation(clock, response.generation.0);
        }
        self.store.note_health(clock.now, &outcome);
        match errand {
            Errand::Health => {}
            Errand::Record { conn, token_seq, token } => {
                let record = self.newest_record(&token, outcome);
                self.on_record(clock, conn, token_seq, record, out);
            }
            Errand::ReadClaim { conn, token_seq } => {
                self.on_claim_read(clock, conn, token_seq, value_of(outcome), out);
            }
            Errand::Policy => self.on_policy(clock, outcome, out),
            Errand::Listing { number } => self.on_listing(clock, number, outcome, out),
            Errand::Follow { req, key } => self.on_follow(clock, req, &key, outcome, out),
            Errand::Template { conn, token_seq } => {
                self.on_template(clock, conn, token_seq, value_of(outcome), out);
            }
            Errand::Claim { conn, token_seq, token, record } => {
                self.on_claimed(clock, (conn, token_seq), &token, record, outcome, out);
            }
            // Whoever wanted it has been told that the store is away.
            Errand::LateClaim { token, record } => {
                self.forget_claim(clock.now, &token, record, outcome, out);
            }
            Errand::Offer { token, record } => self.on_offered(clock, &token, record, outcome, out),
            Errand::Renew { token, record } => self.on_renewed(clock, &token, record, outcome, out),
            Errand::Check { session } => self.on_checked(clock, session, value_of(outcome), out),
            Errand::Release { token, record } => self.on_released(clock.now, token, record, outcome, out),
            Errand::Sweep => self.on_swept(clock.now, outcome),
            // Who was quicker has written it anew; and one that could not be removed is found in the next round.
            Errand::Stray => {}
            Errand::Data(asker) => self.answer_data(&asker, outcome, out),
            Errand::OrderRecord(order) => {
                let record = self.newest_record(&order.token, outcome);
                self.on_order_record(clock, order, record, out);
            }
            Errand::OrderTemplate(order, admitted) => {
                self.on_order_template(clock, &order, &admitted, value_of(outcome), out);
            }
            Errand::ExplainRecord { req, token } => {
                let record = self.newest_record(&token, outcome);
                self.on_explain_record(clock, req, token, record, out);
            }
            Errand::ExplainTemplate { req, explained } => {
                self.on_explain_template(clock, req, *explained, value_of(outcome), out);
            }
            Errand::Explain { req, explained } => self.on_explained(clock.now, req, *explained, outcome, out),
        }
    }

    pub(super) fn on_store_link(&mut self, clock: Clock, up: bool, out: &mut Vec<Effect>) {
        if up == self.store.up {
            return;
        }
        self.store.up = up;
        out.push(Effect::Note(Note::Store { up }));
        if up {
            self.store.offer_at_once(clock.now);
            self.read_registry_at(clock.now);
            self.go_on_with_store(clock.now);
            self.check_all_claims();
            self.sweep_soon(clock.now);
        }
    }

    /// Gives up what was not answered in time, and offers what is not claimed.
    pub(super) fn poll_store(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        while let Some(errand) = self.store.take_overdue(clock.now) {
            self.counters.refused("store_late");
            let late = StoreError::Unreachable { at: "-".into(), why: "no answer in time".into() };
            self.on_store_link(clock, false, out);
            self.finish_errand(clock, errand, Err(late), out);
        }
        if self.store.offer_at.is_some_and(|at| at <= clock.now) {
            self.offer_unclaimed(clock, out);
        }
        if let Some((_, at)) = &mut self.store.refuses
            && *at <= clock.now
        {
            *at = clock.now + HEALTH_EVERY;
            if self.store.is_up() {
                self.ask_store(clock.now, Errand::Health, Request::Status, out);
            }
        }
        self.go_round_claims(clock.now);
        self.poll_sweep(clock.now, out);
        self.go_on_with_claims(clock, out);
    }
}

/// The value a get found. `Err` means that the store could not be asked.
fn value_of(outcome: Result<Response, StoreError>) -> Result<Option<Value>, ()> {
    match outcome {
        Ok(Response { answer: Answer::Value(value), .. }) => Ok(value),
        _ => Err(()),
    }
}
