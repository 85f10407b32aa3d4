//! Claims of sessions that are over are given back, again and again until the data store has answered: while one
//! stands, its host is asked for a session that it does not have.

use std::collections::VecDeque;

use datastore::{Answer, Expected, Request, Response, StoreError};
use proto::{Instant, Token};
use sessiond::manager::Claim;

use super::Host;
use super::claims::ClaimRecord;
use super::driver::Effect;
use super::store::Errand;

/// Claims that wait to be given back, at most; beyond it the oldest goes, and is taken over by whoever needs it.
pub(super) const UNRELEASED_MAX: usize = 16_384;

/// Claims of which it is not known whether they were given back.
#[derive(Debug, Default)]
pub(super) struct Unreleased(VecDeque<(Token, ClaimRecord)>);

impl Unreleased {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn put(&mut self, token: Token, record: ClaimRecord) {
        if self.0.len() == UNRELEASED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((token, record));
    }
}

impl Host {
    /// Gives a claim back, if it is still that of this session.
    pub(super) fn release_claim(
        &mut self,
        now: Instant,
        token: &Token,
        record: ClaimRecord,
        out: &mut Vec<Effect>,
    ) {
        let (Some(key), Ok(value)) = (ClaimRecord::key(token), record.value()) else { return };
        let request = Request::Swap { key, expected: Expected::Exactly(value), new: None };
        let errand = Errand::Release { token: token.clone(), record: record.clone() };
        if !self.ask_store(now, errand, request, out) {
            self.release_later(now, token.clone(), record);
        }
    }

    /// A claim was asked for that nobody needs any more: it is given back if it was made, or may have been.
    pub(super) fn forget_claim(
        &mut self,
        now: Instant,
        token: &Token,
        record: ClaimRecord,
        outcome: Result<Response, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        match outcome.map(|response| response.answer) {
            Ok(Answer::Swapped) => self.release_claim(now, token, record, out),
            Ok(_) => {}
            Err(_) => self.release_later(now, token.clone(), record),
        }
    }

    pub(super) fn on_released(
        &mut self,
        now: Instant,
        token: Token,
        record: ClaimRecord,
        outcome: Result<Response, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        match outcome.map(|response| response.answer) {
            // Written anew by this host, which never had an answer: it is given back as it stands.
            Ok(Answer::Lost { current: Some(current) }) => {
                let held = ClaimRecord::parse(current.as_bytes()).ok();
                if let Some(held) = held.filter(|held| held.session == record.session && *held != record) {
                    self.release_claim(now, &token, held, out);
                }
            }
            Ok(_) => {}
            Err(_) => self.release_later(now, token, record),
        }
    }

    /// The host stops, and its sessions with it: all their claims are given back.
    pub(super) fn release_all(&mut self) {
        self.release_again();
        self.store.offer_next(None);
        let claimed = self.sessions.iter().filter(|s| s.claim != Claim::Superseded);
        let all: Vec<_> = claimed.map(|s| (s.token.clone(), self.claim_of(s.id, s.epoch))).collect();
        self.store.upkeep.give_all_back(all);
    }

    fn release_later(&mut self, now: Instant, token: Token, record: ClaimRecord) {
        self.store.unreleased.put(token, record);
        self.offer_soon(now);
    }

    pub(super) fn release_again(&mut self) {
        if self.store.is_up() {
            let Unreleased(again) = core::mem::take(&mut self.store.unreleased);
            let room = UNRELEASED_MAX.saturating_sub(self.store.upkeep.releases.len());
            self.store.upkeep.releases.extend(again.into_iter().take(room));
        }
    }
}
