//! The data store as this host sees it: what was asked of it, whether it answers, and the claims it holds.
//!
//! A claim is the record of which host made the session of a token (DESIGN 4.3). It is made, moved and given
//! back only by compare-and-swap, so two hosts that create at the same instant cannot both succeed. While the
//! store is away sessions are made unclaimed; when it is back they are offered to it.

use std::collections::BTreeMap;

use authmgr::Admitted;
use datastore::{Answer, Expected, Key, Request, Response, StoreError, Value};
use proto::line::{FieldError, Line};
use proto::time::Duration;
use proto::{BootId, Epoch, HostName, Instant, SessionId, Token};
use sessiond::manager::{Claim, Session};

use super::driver::{AdminReq, ConnId, Effect, StoreReq};
use super::manage::Order;
use super::note::Note;
use super::relay::DataAsker;
use super::release::Unreleased;
use super::{Clock, Host};

/// What a DTU waits for is given up after this long, and the store counts as away until it answers: a slow
/// store must not hold a desk back for longer than a mute host does.
const ANSWER_WITHIN: Duration = Duration::from_millis(400);
/// How often sessions without a claim are offered to the store.
const OFFER_EVERY: Duration = Duration::from_secs(2);
/// How often one that is shown is whose claim another session has: that may end, and nobody would say so.
const OFFER_SHOWN_EVERY: Duration = Duration::from_secs(10);
/// A host that keeps its sessions has taken up those of its earlier run by then, or they are gone.
const TAKE_UP_WITHIN: Duration = Duration::from_secs(6);
/// Requests under way at most.
pub(super) const PENDING_MAX: usize = 65_536;

/// Who made the session of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRecord {
    /// The session.
    pub session: SessionId,
    /// The host that made it.
    pub host: HostName,
    /// In which run.
    pub boot: BootId,
    /// Its epoch.
    pub epoch: Epoch,
}

impl ClaimRecord {
    /// Reads a claim from its value in the store.
    ///
    /// # Errors
    /// A missing or unusable field: another version wrote it.
    pub fn parse(value: &[u8]) -> Result<Self, FieldError> {
        let line = Line::parse(value).map_err(|_| FieldError::NotThis("claim"))?;
        line.expect("claim")?;
        Ok(Self {
            session: line.need("session")?,
            host: line.need("host")?,
            boot: line.need("boot")?,
            epoch: line.need("epoch")?,
        })
    }

    /// Its value in the store.
    ///
    /// # Errors
    /// None that can happen: the text is short.
    pub fn value(&self) -> Result<Value, StoreError> {
        let line = Line::new("claim")
            .with("session", self.session)
            .with("host", &self.host)
            .with("boot", self.boot)
            .with("epoch", self.epoch);
        stored(line.to_string().as_bytes())
    }

    /// Where the claim of a token lies.
    #[must_use]
    pub fn key(token: &Token) -> Option<Key> {
        format!("claim/{token}").parse().ok()
    }
}

fn stored(bytes: &[u8]) -> Result<Value, StoreError> {
    Value::new(bytes).map_err(|too| StoreError::TooLarge {
        what: "value".into(),
        bytes: u32::try_from(too.bytes).unwrap_or(u32::MAX),
        max: Value::LEN_MAX as u32,
    })
}

/// What is known of the session that a claim names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Its host is up in the same run.
    There,
    /// Its host is up in another run, and may be taking up what it kept; that puts the new run into the claim.
    Perhaps,
    /// It went with its host, or with its host's run.
    Gone,
}

/// What an answer of the store is for.
#[derive(Clone, Debug)]
pub(super) enum Errand {
    /// The registry's record of a token that a DTU presents.
    Record { conn: ConnId, token_seq: u32 },
    /// The login policy.
    Policy,
    /// A page of the registry.
    Listing,
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
    /// A program of a session asks.
    Data(DataAsker),
    /// The registry's record of a token for which an operator orders a session.
    OrderRecord(Order),
    /// The template of a session that an operator orders.
    OrderTemplate(Order, Box<Admitted>),
    /// An operator wants to know a claim.
    Explain { req: AdminReq, token: Token },
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
    /// In the order of their deadlines, which is that of their numbers.
    next: u64,
    up: bool,
    /// The store's generation as last heard; a restored backup raises it (DESIGN 8).
    generation: u32,
    /// When that rose.
    restored_at: Option<Instant>,
    offer_at: Option<Instant>,
    pub(super) unreleased: Unreleased,
}

impl Default for StoreSide {
    fn default() -> Self {
        Self {
            pending: BTreeMap::new(),
            next: 0,
            up: true,
            generation: 0,
            restored_at: None,
            offer_at: None,
            unreleased: Unreleased::default(),
        }
    }
}

impl StoreSide {
    pub(super) const fn is_up(&self) -> bool {
        self.up
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
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
        self.offer_at = Some(now);
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        let first = self.pending.values().next().map(|p| p.give_up_at);
        proto::time::earliest(first, self.offer_at)
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
        if self.store.pending.len() >= PENDING_MAX {
            self.counters.refused("store_queue_full");
            return false;
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
        let Some(Pending { errand, .. }) = self.store.pending.remove(&req) else { return };
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
            self.note_generation(clock, response.generation.0, out);
        }
        match errand {
            Errand::Record { conn, token_seq } => {
                self.on_record(clock, conn, token_seq, value_of(outcome), out);
            }
            Errand::ReadClaim { conn, token_seq } => {
                self.on_claim_read(clock, conn, token_seq, value_of(outcome), out);
            }
            Errand::Policy => self.on_policy(clock, value_of(outcome)),
            Errand::Listing => self.on_listing(clock, outcome, out),
            Errand::Template { conn, token_seq } => {
                self.on_template(clock, conn, token_seq, value_of(outcome), out);
            }
            Errand::Claim { conn, token_seq, token, record } => {
                self.on_claimed(clock, (conn, token_seq), &token, record, outcome, out);
            }
            Errand::LateClaim { token, record } => {
                if matches!(outcome, Ok(Response { answer: Answer::Swapped, .. })) {
                    self.on_late_claim(clock, &token, &record, out);
                }
            }
            Errand::Offer { token, record } => self.on_offered(clock, &token, record, outcome, out),
            Errand::Renew { token, record } => self.on_renewed(clock, &token, record, outcome, out),
            Errand::Check { session } => self.on_checked(clock, session, value_of(outcome), out),
            Errand::Release { token, record } => self.on_released(clock.now, token, record, outcome, out),
            Errand::Data(asker) => self.answer_data(&asker, outcome, out),
            Errand::OrderRecord(order) => self.on_order_record(clock, order, value_of(outcome), out),
            Errand::OrderTemplate(order, admitted) => {
                self.on_order_template(clock, &order, &admitted, value_of(outcome), out);
            }
            Errand::Explain { req, token } => self.on_explained(clock.now, req, &token, outcome, out),
        }
    }

    pub(super) fn on_store_link(&mut self, clock: Clock, up: bool, out: &mut Vec<Effect>) {
        if up == self.store.up {
            return;
        }
        self.store.up = up;
        out.push(Effect::Note(Note::Store { up }));
        if up {
            self.store.offer_at = Some(clock.now);
            self.read_registry_at(clock.now);
            self.go_on_with_store(clock.now);
            self.check_all_claims(clock.now, out);
        }
    }

    /// Gives up what was not answered in time, and offers what is not claimed.
    pub(super) fn poll_store(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        while let Some((&req, first)) = self.store.pending.first_key_value()
            && first.give_up_at <= clock.now
        {
            let Some(Pending { errand, .. }) = self.store.pending.remove(&req) else { break };
            self.counters.refused("store_late");
            // A claim that is answered late must still be known to be held.
            if let Errand::Claim { token, record, .. } = &errand {
                let late = Errand::LateClaim { token: token.clone(), record: record.clone() };
                let give_up_at = clock.now + Duration::from_secs(60);
                self.store.pending.insert(req, Pending { errand: late, give_up_at });
            }
            let late = StoreError::Unreachable { at: "-".into(), why: "no answer in time".into() };
            if !matches!(errand, Errand::LateClaim { .. }) {
                self.on_store_link(clock, false, out);
                self.finish_errand(clock, errand, Err(late), out);
            }
        }
        if self.store.offer_at.is_some_and(|at| at <= clock.now) {
            self.offer_unclaimed(clock, out);
        }
    }

    fn offer_unclaimed(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        self.release_again(clock.now, out);
        let is_shown = |s: &Session| s.claim == Claim::Superseded && s.shown.is_some();
        let usable = self.sessions.iter().filter(|s| s.is_usable());
        let unclaimed: Vec<(Token, SessionId)> = usable
            .filter(|s| s.claim == Claim::Unclaimed || is_shown(s))
            .map(|s| (s.token.clone(), s.id))
            .collect();
        let is_settled = |(_, id): &(Token, SessionId)| self.sessions.get(*id).is_some_and(is_shown);
        let pause = if unclaimed.iter().all(is_settled) { OFFER_SHOWN_EVERY } else { OFFER_EVERY };
        self.store.offer_at = (!unclaimed.is_empty()).then(|| clock.now + pause);
        // While the store is away one offer finds out whether it is back.
        let offers = if self.store.up { usize::MAX } else { 1 };
        for (token, session) in unclaimed.into_iter().take(offers) {
            self.offer(clock.now, &token, session, out);
        }
    }

    /// Offers a session to the store as its token's.
    pub(super) fn offer(&mut self, now: Instant, token: &Token, session: SessionId, out: &mut Vec<Effect>) {
        let record = self.claim_of(session, Epoch::default().next(self.store.generation));
        self.offer_in_place_of(now, Expected::Absent, token, record, out);
    }

    /// Offers a session in the place of what the store is expected to have.
    pub(super) fn offer_in_place_of(
        &mut self,
        now: Instant,
        expected: Expected,
        token: &Token,
        record: ClaimRecord,
        out: &mut Vec<Effect>,
    ) {
        let errand = |token, record| Errand::Offer { token, record };
        self.swap_claim(now, expected, token, record, errand, out);
    }

    /// A host was lost that may have held the claim of a token whose session is shown here.
    pub(super) fn offer_superseded(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        if !self.store.up {
            return;
        }
        let shown = self.sessions.iter().filter(|s| s.claim == Claim::Superseded && s.shown.is_some());
        let shown: Vec<(Token, SessionId)> = shown.map(|s| (s.token.clone(), s.id)).collect();
        for (token, session) in shown {
            self.offer(clock.now, &token, session, out);
        }
    }

    pub(super) fn offer_soon(&mut self, now: Instant) {
        self.offer_after(now, OFFER_EVERY);
    }

    fn offer_after(&mut self, now: Instant, pause: Duration) {
        let at = now + pause;
        self.store.offer_at = Some(self.store.offer_at.map_or(at, |old| old.min(at)));
    }

    /// Another session has the claim.
    pub(super) fn supersede(
        &mut self,
        clock: Clock,
        token: &Token,
        record: ClaimRecord,
        out: &mut Vec<Effect>,
    ) {
        let session = record.session;
        let is_news = self.sessions.get(session).is_some_and(|s| s.claim != Claim::Superseded);
        self.set_claim(clock, session, Claim::Superseded, record.epoch, out);
        self.offer_after(clock.now, OFFER_SHOWN_EVERY);
        if is_news {
            out.push(Effect::Note(Note::Superseded { token: token.clone(), session }));
        }
    }

    /// A session of this host, as a claim says it.
    pub(super) fn claim_of(&self, session: SessionId, epoch: Epoch) -> ClaimRecord {
        let id = &self.config.identity;
        ClaimRecord { session, host: id.host.clone(), boot: id.boot, epoch }
    }

    /// Asks the store to make `record` the claim of `token`, if what is there is what is expected. `false` when
    /// it cannot even be asked.
    pub(super) fn swap_claim(
        &mut self,
        now: Instant,
        expected: Expected,
        token: &Token,
        record: ClaimRecord,
        errand: impl FnOnce(Token, ClaimRecord) -> Errand,
        out: &mut Vec<Effect>,
    ) -> bool {
        let (Some(key), Ok(value)) = (ClaimRecord::key(token), record.value()) else { return false };
        let request = Request::Swap { key, expected, new: Some(value) };
        self.ask_store(now, errand(token.clone(), record), request, out)
    }

    fn on_offered(
        &mut self,
        clock: Clock,
        token: &Token,
        record: ClaimRecord,
        outcome: Result<Response, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        // What became of it is not known: it may well be claimed now.
        let Ok(response) = outcome else { return self.claim_again(clock, record, out) };
        let session = record.session;
        match response.answer {
            Answer::Swapped => self.set_claim(clock, session, Claim::Held, record.epoch, out),
            Answer::Lost { current: Some(current) } => {
                let holder = ClaimRecord::parse(current.as_bytes()).ok();
                if holder.as_ref().is_some_and(|held| held.session == session) {
                    // Our own word, whose answer was lost.
                    self.set_claim(clock, session, Claim::Held, record.epoch, out);
                    return;
                }
                match holder.as_ref().map_or(Life::Gone, |held| self.life_since_backup(clock.now, held)) {
                    Life::There => self.supersede(clock, token, record, out),
                    Life::Perhaps => self.claim_again(clock, record, out),
                    Life::Gone => {
                        let epoch = holder.map_or(Epoch::default(), |held| held.epoch);
                        let record = ClaimRecord { epoch: epoch.next(response.generation.0), ..record };
                        self.offer_in_place_of(clock.now, Expected::Exactly(current), token, record, out);
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether the session that a claim names is still there, as far as can be known without asking.
    pub(super) fn life_of(&self, now: Instant, claim: &ClaimRecord) -> Life {
        if claim.host == *self.name() {
            return if self.sessions.get(claim.session).is_some() { Life::There } else { Life::Gone };
        }
        match self.topology.row(&claim.host).filter(|row| row.is_up()) {
            Some(row) if row.boot() == claim.boot => Life::There,
            Some(row) if row.facts().keep && now.since(row.up_since()) < TAKE_UP_WITHIN => Life::Perhaps,
            _ => Life::Gone,
        }
    }

    fn on_late_claim(&mut self, clock: Clock, token: &Token, record: &ClaimRecord, out: &mut Vec<Effect>) {
        if self.sessions.get(record.session).is_some() {
            self.set_claim(clock, record.session, Claim::Held, record.epoch, out);
        } else {
            self.release_claim(clock.now, token, record.clone(), out);
        }
    }

    pub(super) fn set_claim(
        &mut self,
        clock: Clock,
        session: SessionId,
        claim: Claim,
        epoch: Epoch,
        out: &mut Vec<Effect>,
    ) {
        self.with_sessions(clock, out, |sessions, _, fx| sessions.set_claim(session, claim, epoch, fx));
    }
}

/// The value a get found. `Err` means that the store could not be asked.
fn value_of(outcome: Result<Response, StoreError>) -> Result<Option<Value>, ()> {
    match outcome {
        Ok(Response { answer: Answer::Value(value), .. }) => Ok(value),
        _ => Err(()),
    }
}
