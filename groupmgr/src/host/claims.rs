//! The claims of this host's sessions.
//!
//! A claim is the record of which host made the session of a token (DESIGN 4.3). It is made, moved and given
//! back only by compare-and-swap, so two hosts that create at the same instant cannot both succeed. While the
//! store is away sessions are made unclaimed; when it is back they are offered to it.

use datastore::{Answer, Expected, Key, Request, Response, StoreError, Value};
use proto::line::{FieldError, Line};
use proto::time::Duration;
use proto::{BootId, Epoch, HostName, Instant, SessionId, Token};
use sessiond::manager::{Claim, Session};

use super::driver::Effect;
use super::note::Note;
use super::store::Errand;
use super::upkeep::Care;
use super::{Clock, Host};

/// How often sessions without a claim are offered to the store.
const OFFER_EVERY: Duration = Duration::from_secs(2);
/// How often one that is shown is whose claim another session has: that may end, and nobody would say so.
const OFFER_SHOWN_EVERY: Duration = Duration::from_secs(10);
/// A host that keeps its sessions has taken up those of its earlier run by then, or they are gone.
pub(super) const TAKE_UP_WITHIN: Duration = Duration::from_secs(6);

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
        Some(authmgr::admission::claim_key(token))
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

impl Host {
    pub(super) fn offer_unclaimed(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        self.release_again();
        if self.stopping {
            return self.store.offer_next(None);
        }
        let is_shown = |s: &Session| s.claim == Claim::Superseded && s.shown.is_some();
        let usable = self.sessions.iter().filter(|s| s.is_usable());
        let unclaimed: Vec<(Token, SessionId)> = usable
            .filter(|s| s.claim == Claim::Unclaimed || is_shown(s))
            .map(|s| (s.token.clone(), s.id))
            .collect();
        let is_settled = |(_, id): &(Token, SessionId)| self.sessions.get(*id).is_some_and(is_shown);
        let pause = if unclaimed.iter().all(is_settled) { OFFER_SHOWN_EVERY } else { OFFER_EVERY };
        self.store.offer_next((!unclaimed.is_empty()).then(|| clock.now + pause));
        if self.store.is_up() {
            unclaimed.iter().for_each(|(_, session)| self.care_for(*session, Care::Offer));
        } else if let Some((token, session)) = unclaimed.first() {
            // One offer finds out whether it is back.
            self.offer(clock.now, token, *session, out);
        }
    }

    /// Offers a session to the store as its token's.
    pub(super) fn offer(&mut self, now: Instant, token: &Token, session: SessionId, out: &mut Vec<Effect>) {
        let record = self.claim_of(session, self.epoch_of(session));
        self.offer_in_place_of(now, Expected::Absent, token, record, out);
    }

    /// The epoch under which a session is offered: its own, so that it never falls. One that has none yet, or one of
    /// before a backup was restored, gets the next.
    fn epoch_of(&self, session: SessionId) -> Epoch {
        let own = self.sessions.get(session).map_or(Epoch::default(), |s| s.epoch);
        self.in_this_generation(own)
    }

    /// `epoch`, or the next one if the data store gives out none of its generation any more.
    pub(super) fn in_this_generation(&self, epoch: Epoch) -> Epoch {
        let generation = self.store.generation();
        let is_current = epoch.counter > 0 && epoch.generation >= generation;
        if is_current { epoch } else { epoch.next(generation) }
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
    pub(super) fn offer_superseded(&mut self) {
        self.care_for_all(Care::Offer, |s| s.claim == Claim::Superseded && s.shown.is_some());
    }

    pub(super) fn offer_soon(&mut self, now: Instant) {
        self.offer_after(now, OFFER_EVERY);
    }

    fn offer_after(&mut self, now: Instant, pause: Duration) {
        self.store.offer_by(now + pause);
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
        let Some(s) = self.sessions.get(session) else { return };
        let (is_news, epoch) = (s.claim != Claim::Superseded, s.epoch);
        self.set_claim(clock, session, Claim::Superseded, epoch, out);
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

    pub(super) fn on_offered(
        &mut self,
        clock: Clock,
        token: &Token,
        record: ClaimRecord,
        outcome: Result<Response, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        let Some(own) = self.sessions.get(record.session).map(|s| s.epoch) else {
            // It has ended meanwhile.
            return self.forget_claim(clock.now, token, record, outcome, out);
        };
        // What became of it is not known: it may well be claimed now.
        let Ok(response) = outcome else { return self.claim_again(clock, record, out) };
        let session = record.session;
        match response.answer {
            Answer::Swapped => self.set_claim(clock, session, Claim::Held, record.epoch, out),
            Answer::Lost { current: Some(current) } => {
                let Ok(held) = ClaimRecord::parse(current.as_bytes()) else {
                    // Nobody can read it: it is replaced, by an epoch that no session here had before.
                    let record = ClaimRecord { epoch: own.max(record.epoch), ..record };
                    return self.offer_in_place_of(clock.now, Expected::Exactly(current), token, record, out);
                };
                if held.session == session {
                    return self.find_own_claim(clock, token, held, current, out);
                }
                match self.life_since_backup(clock.now, &held) {
                    Life::There => self.supersede(clock, token, record, out),
                    Life::Perhaps => self.claim_again(clock, record, out),
                    Life::Gone => {
                        let epoch = own.max(held.epoch).next(response.generation.0);
                        let record = ClaimRecord { epoch, ..record };
                        self.offer_in_place_of(clock.now, Expected::Exactly(current), token, record, out);
                    }
                }
            }
            _ => self.claim_again(clock, record, out),
        }
    }

    /// The store has a claim of this very session: this host's own word, whose answer was lost, or one of an earlier
    /// run of it or of before a backup. It stands if it is as it should be, and is else written anew.
    pub(super) fn find_own_claim(
        &mut self,
        clock: Clock,
        token: &Token,
        held: ClaimRecord,
        stored: Value,
        out: &mut Vec<Effect>,
    ) {
        let own = self.sessions.get(held.session).map_or(Epoch::default(), |s| s.epoch);
        let record = self.claim_of(held.session, self.in_this_generation(own.max(held.epoch)));
        if record == held {
            self.set_claim(clock, held.session, Claim::Held, held.epoch, out);
        } else {
            self.offer_in_place_of(clock.now, Expected::Exactly(stored), token, record, out);
        }
    }

    /// Whether the session that a claim names is still there, as far as can be known without asking.
    pub(super) fn life_of(&self, now: Instant, claim: &ClaimRecord) -> Life {
        if claim.host == *self.name() {
            return if self.sessions.get(claim.session).is_some() { Life::There } else { Life::Gone };
        }
        if self.topology.is_in_doubt(&claim.host) {
            return Life::Perhaps;
        }
        match self.topology.row(&claim.host).filter(|row| row.is_up()) {
            Some(row) if row.boot() == claim.boot => Life::There,
            Some(row) if row.facts().keep && now.since(row.up_since()) < TAKE_UP_WITHIN => Life::Perhaps,
            _ => Life::Gone,
        }
    }

    /// The epoch of a session rises or stays.
    pub(super) fn set_claim(
        &mut self,
        clock: Clock,
        session: SessionId,
        claim: Claim,
        epoch: Epoch,
        out: &mut Vec<Effect>,
    ) {
        let own = self.sessions.get(session).map_or(Epoch::default(), |s| s.epoch);
        let epoch = own.max(epoch);
        self.with_sessions(clock, out, |sessions, _, fx| sessions.set_claim(session, claim, epoch, fx));
    }
}
