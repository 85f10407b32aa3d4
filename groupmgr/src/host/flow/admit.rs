//! Is the token genuine and allowed? The registry's record is fetched, the policy applied, a keyed card asked.

use authmgr::{Admitted, Denial, Presentation, Step, StoreAway, Verdict};
use datastore::{Key, Request, Value};
use proto::Token;
use proto::time::Duration;

use super::super::driver::{ConnId, Effect};
use super::super::note::Note;
use super::super::store::Errand;
use super::super::{Clock, Host};
use super::Stage;

/// How soon a presentation that came before the policy is decided anew.
const POLICY_SOON: Duration = Duration::from_millis(5);
/// How soon one that waits for the data store is.
const STORE_AGAIN: Duration = Duration::from_millis(500);

impl Host {
    pub(super) fn admit(&mut self, clock: Clock, conn: ConnId, out: &mut Vec<Effect>) {
        let Some(flow) = self.flow_mut(conn) else { return };
        let (token, token_seq) = (flow.presentation.token.clone(), flow.presentation.token_seq);
        match self.admission.begin(clock.now, &token) {
            Step::Decided(verdict) => self.on_verdict(clock, conn, token_seq, verdict, out),
            Step::Look { key } => self.look_at(clock, conn, token_seq, (token, key), out),
        }
    }

    fn look_at(
        &mut self,
        clock: Clock,
        conn: ConnId,
        token_seq: u32,
        (token, key): (Token, Key),
        out: &mut Vec<Effect>,
    ) {
        self.set_stage(conn, Stage::Record);
        let asked = self.store.is_up() && {
            let errand = Errand::Record { conn, token_seq, token };
            self.ask_store(clock.now, errand, Request::Get { key }, out)
        };
        if !asked {
            self.on_record(clock, conn, token_seq, Err(()), out);
        }
    }

    pub(in crate::host) fn on_record(
        &mut self,
        clock: Clock,
        conn: ConnId,
        token_seq: u32,
        record: Result<Option<Value>, ()>,
        out: &mut Vec<Effect>,
    ) {
        if !self.decides(conn, token_seq) {
            return;
        }
        let Some(flow) = self.flow_mut(conn) else { return };
        let token = flow.presentation.token.clone();
        let verdict = self.admission.on_record(clock.now, &token, record.map_err(|()| StoreAway));
        self.on_verdict(clock, conn, token_seq, verdict, out);
    }

    pub(in crate::host) fn on_verdict(
        &mut self,
        clock: Clock,
        conn: ConnId,
        token_seq: u32,
        verdict: Verdict,
        out: &mut Vec<Effect>,
    ) {
        if !self.decides(conn, token_seq) {
            return;
        }
        let bound = self.flow_mut(conn).is_some_and(|flow| flow.bound);
        match verdict {
            Verdict::Admit(admitted) => self.on_admitted(clock, conn, admitted, out),
            // Whoever made the ticket has asked the card.
            Verdict::Challenge(challenge) if bound => self.on_admitted(clock, conn, challenge.waive(), out),
            Verdict::Challenge(challenge) => {
                self.set_stage(conn, Stage::Card);
                self.at_gate(clock, conn, out, |gate, now, fx| gate.challenge(now, token_seq, challenge, fx));
            }
            Verdict::Refuse(Denial::StoreAway) => self.wait_for_store(clock, conn, out),
            Verdict::Refuse(why) => self.deny(clock, conn, why, out),
        }
    }

    /// What needs the data store waits for it, and says so (DESIGN 5). Just after its start a host has not yet
    /// read the policy, which is a matter of a round trip.
    fn wait_for_store(&mut self, clock: Clock, conn: ConnId, out: &mut Vec<Effect>) {
        if self.store.is_up() && self.admission.policy().is_none() {
            self.wait(clock, conn, POLICY_SOON, "", out);
        } else {
            self.wait(clock, conn, STORE_AGAIN, Denial::StoreAway.notice(), out);
        }
    }

    fn on_admitted(&mut self, clock: Clock, conn: ConnId, admitted: Admitted, out: &mut Vec<Effect>) {
        let Some(flow) = self.flow_mut(conn) else { return };
        let is_first = flow.admitted.is_none() && !flow.bound;
        if is_first {
            let Presentation { token, serial, .. } = flow.presentation.clone();
            out.push(Effect::Note(Note::Admitted { token, serial, of: admitted.token.clone() }));
        }
        flow.admitted = Some(admitted);
        if !flow.bound {
            self.look_up(clock, conn, out);
            return;
        }
        // Sent here to make a session, or the one it was sent for has gone; another of its may be here.
        let token = flow.token().clone();
        let local = self.sessions.of_token(&token).first().map(|s| s.id);
        match local {
            Some(session) => self.show_when_running(clock, conn, session, out),
            None => self.read_claim(clock, conn, out),
        }
    }
}
