//! Nobody has a session for the token: whose is the claim, where does a new session go, and making it.

use authmgr::admission::AccountName;
use authmgr::{Admitted, Denial};
use datastore::{Answer as StoreAnswer, Expected, Request, Response, StoreError, Value};
use proto::time::Duration;
use proto::{Epoch, HostName, Instant, SessionId, Token};
use sessiond::manager::{Claim, NewSession, Phase};
use sessiond::template::Template;

use super::super::claims::{ClaimRecord, TAKE_UP_WITHIN};
use super::super::digests::Besides;
use super::super::driver::{ConnId, Effect};
use super::super::failures::Failure;
use super::super::note::Note;
use super::super::store::Errand;
use super::super::{Clock, Host};
use super::{Flow, NewClaim, Stage};

/// How often a held host is asked for.
const HELD_AGAIN: Duration = Duration::from_millis(250);
/// How soon everybody is asked again when the claim's host knew nothing of it; then after twice as long.
const DOUBT_FIRST: Duration = Duration::from_millis(20);
/// And how often.
const DOUBTS_MAX: u32 = 5;
/// How long a host that has just started listens before it takes one it has not heard for one that is gone: every
/// host that lives says something within a beacon's interval.
const LISTEN_FIRST: Duration = Duration::from_millis(150);
/// How long a higher host lets a lower one go first while there is no data store to decide.
const LOWER_FIRST: Duration = Duration::from_millis(60);
/// And how often.
const LOWER_FIRST_TIMES: u32 = 3;
/// How soon a host that can make no session looks again whether it can.
const UNFIT_AGAIN: Duration = Duration::from_millis(250);
/// The name of the template of tokens for which the registry names none.
const DEFAULT_TEMPLATE: &str = "default";
/// A template is not fetched again within this time.
const TEMPLATE_FRESH: Duration = Duration::from_secs(2);
/// Templates remembered.
pub(in crate::host) const TEMPLATES_MAX: usize = 256;

/// Templates as they were last fetched, for a storm and for when the data store is away.
#[derive(Debug, Default)]
pub(in crate::host) struct Templates(std::collections::BTreeMap<String, (Template, Instant)>);

impl Templates {
    pub(in crate::host) fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, name: &str) -> Option<&(Template, Instant)> {
        self.0.get(name)
    }

    fn put(&mut self, name: String, template: Template, now: Instant) {
        if self.0.len() >= TEMPLATES_MAX && !self.0.contains_key(&name) {
            self.0.pop_first();
        }
        self.0.insert(name, (template, now));
    }
}

/// What becomes of a claim that was read.
enum Holder {
    /// Nobody's: none there, or of a host that everybody knows is gone.
    Nobody,
    /// Of a session that this host alone knows is gone, because it asked.
    GoneByWhatWeFound,
    /// Of a host that was not heard yet, or not long enough: this one has to listen for so much longer.
    Unheard(Duration),
    /// Of a session that its host does not know: gone, or claimed after the host was asked.
    Unsure,
    /// Of a session that its host's next daemon may take up.
    Held(HostName),
    /// Of a session that lives where this DTU cannot go.
    OutOfReach,
}

impl Host {
    pub(super) fn read_claim(&mut self, clock: Clock, conn: ConnId, out: &mut Vec<Effect>) {
        let Some(flow) = self.flow_mut(conn) else { return };
        let (token, token_seq) = (flow.token().clone(), flow.presentation.token_seq);
        self.set_stage(conn, Stage::ReadingClaim);
        let asked = self.store.is_up()
            && ClaimRecord::key(&token).is_some_and(|key| {
                let errand = Errand::ReadClaim { conn, token_seq };
                self.ask_store(clock.now, errand, Request::Get { key }, out)
            });
        if !asked {
            self.on_claim_read(clock, conn, token_seq, Err(()), out);
        }
    }

    pub(in crate::host) fn on_claim_read(
        &mut self,
        clock: Clock,
        conn: ConnId,
        token_seq: u32,
        claim: Result<Option<Value>, ()>,
        out: &mut Vec<Effect>,
    ) {
        if !self.decides(conn, token_seq) {
            return;
        }
        let Ok(value) = claim else {
            self.create_unclaimed(clock, conn, out);
            return;
        };
        let record = value.as_ref().and_then(|v| ClaimRecord::parse(v.as_bytes()).ok());
        // Made here for another DTU while this one was being decided about.
        let here = record.as_ref().and_then(|r| self.sessions.get(r.session)).filter(|s| s.is_usable());
        if let Some(session) = here.map(|s| s.id) {
            self.show_when_running(clock, conn, session, out);
            return;
        }
        // A digest may lag behind the session by a moment; its claim does not.
        let flow = self.conns.get(conn).and_then(|c| c.flow.as_ref());
        let named = record.as_ref().map(|r| &r.host);
        let named =
            named.filter(|host| flow.is_some_and(|flow| self.was_spared(clock.now, flow, host))).cloned();
        if named.is_some() {
            self.ask_besides(clock, conn, Besides { named, ..Besides::default() }, out);
            return;
        }
        let epoch = record.as_ref().map_or(Epoch::default(), |r| r.epoch);
        let swap = NewClaim::Swap { expected: value, epoch };
        let Some(flow) = self.conns.get(conn).and_then(|c| c.flow.as_ref()) else { return };
        let (bound, doubts, has_asked) = (flow.bound, flow.doubts, flow.found.is_some());
        match record.map_or(Holder::Nobody, |r| self.holder(clock, &r, flow)) {
            Holder::Nobody if !bound => self.place(clock, conn, swap, out),
            Holder::Nobody | Holder::GoneByWhatWeFound => self.create(clock, conn, swap, out),
            Holder::Held(host) => {
                let notice = format!("Waiting for host {host}, which has your session.");
                self.wait(clock, conn, HELD_AGAIN, &notice, out);
            }
            Holder::Unheard(pause) => self.wait(clock, conn, pause + Duration::from_millis(1), "", out),
            Holder::Unsure if doubts < DOUBTS_MAX => {
                if let Some(flow) = self.flow_mut(conn) {
                    flow.doubts += 1;
                }
                self.wait(clock, conn, DOUBT_FIRST * (1 << doubts), "", out);
            }
            Holder::Unsure => self.create(clock, conn, swap, out),
            // Whoever sent the DTU has asked and knows more: a host that has just been killed is up for all who have
            // not. Its DTUs come by the hundred, and none of them is to be sent to and fro for that.
            Holder::OutOfReach if bound && !has_asked => self.look_up(clock, conn, out),
            // The DTU goes back to whoever sent it, who asks everybody again.
            Holder::OutOfReach if bound => self.deny(clock, conn, Denial::SessionFailed, out),
            Holder::OutOfReach => self.create(clock, conn, NewClaim::Beside, out),
        }
    }

    /// Asks again, and more hosts than before.
    fn ask_besides(&mut self, clock: Clock, conn: ConnId, besides: Besides, out: &mut Vec<Effect>) {
        if let Some(flow) = self.flow_mut(conn) {
            flow.besides = besides;
        }
        self.counters.done("asked_besides");
        self.look_up(clock, conn, out);
    }

    fn holder(&self, clock: Clock, claim: &ClaimRecord, flow: &Flow) -> Holder {
        let found = flow.found.as_ref();
        if claim.host == *self.name() {
            if self.straggles(claim.session) {
                return Holder::Held(claim.host.clone());
            }
            // It may be one whose answer is still on its way to us.
            let perhaps =
                claim.boot == self.config.identity.boot || self.sessions.get(claim.session).is_some();
            return if perhaps { Holder::Unsure } else { Holder::GoneByWhatWeFound };
        }
        if self.topology.is_in_doubt(&claim.host) {
            return Holder::Unheard(DOUBT_FIRST);
        }
        let Some(row) = self.topology.row(&claim.host) else {
            // Who has just started has not yet listened for as long as a host may be quiet.
            let listened = clock.now.since(self.started);
            return LISTEN_FIRST.checked_sub(listened).map_or(Holder::Nobody, Holder::Unheard);
        };
        let (up, same_run, keeps) = (row.is_up(), row.boot() == claim.boot, row.facts().keep);
        let gone = found.is_some_and(|f| f.gone.contains(&claim.host));
        if Self::may_return(clock.now, row, gone) {
            return Holder::Held(claim.host.clone());
        }
        if !up || gone || (!same_run && !keeps) {
            return Holder::Nobody;
        }
        let answered = found.is_some_and(|f| f.answers.iter().any(|a| a.reach.host == claim.host));
        if answered {
            return Holder::Unsure;
        }
        let up_for = clock.now.since(row.up_since());
        let is_mute = found.is_some_and(|f| f.mute.contains(&claim.host));
        // A run that has just begun knows us no sooner than we have spoken, and does not answer before; nor does it
        // while some of what it keeps has not said whose it is. Should it be dying, it is silent soon.
        if is_mute && keeps && up_for < TAKE_UP_WITHIN {
            return Holder::Held(claim.host.clone());
        }
        if is_mute {
            return Holder::GoneByWhatWeFound;
        }
        // One that has just come up could not be asked, and was perhaps not heard yet on the DTU's LAN.
        if let Some(rest) = LISTEN_FIRST.checked_sub(up_for) {
            return Holder::Unheard(rest);
        }
        // The DTU has tried it and says that it cannot get there. Should it be dying, everybody knows soon.
        if flow.presentation.avoid.as_ref() == Some(&claim.host) {
            return if flow.doubts < DOUBTS_MAX { Holder::Unsure } else { Holder::OutOfReach };
        }
        // One that could be asked by now; whoever was sent here has to go back for that.
        let missed = || self.reachable(clock.now, flow.dtu).iter().any(|r| r.host == claim.host);
        if !flow.bound && missed() { Holder::Unsure } else { Holder::OutOfReach }
    }

    pub(in crate::host) fn is_full(&self) -> bool {
        self.config.sessions_max > 0 && self.sessions.len() >= self.config.sessions_max
    }

    /// The data store is away. No claim tells of a session that digests do not show yet, so everybody is asked
    /// first. Of several hosts that are asked at once the lowest goes ahead, which it learns from their questions;
    /// and what it makes is unclaimed until the store is back (DESIGN 4.3).
    fn create_unclaimed(&mut self, clock: Clock, conn: ConnId, out: &mut Vec<Effect>) {
        let Some(flow) = self.conns.get(conn).and_then(|c| c.flow.as_ref()) else { return };
        if flow.spared {
            self.ask_besides(clock, conn, Besides { everybody: true, ..Besides::default() }, out);
            return;
        }
        // Without a claim nobody can tell whose sessions are waiting there.
        let held = self.held_host(clock.now, flow.found.as_ref());
        if let Some(host) = held.or_else(|| self.has_stragglers().then(|| self.name().clone())) {
            let notice = format!("Waiting for host {host}, which may have your session.");
            return self.wait(clock, conn, HELD_AGAIN, &notice, out);
        }
        let tag = self.config.ring.tag(self.config.ring.signing(), flow.token());
        let lower = tag.and_then(|tag| self.discovery.asker(clock.now, tag)).is_some_and(|h| h < self.name());
        if lower && !flow.bound && flow.attempts < LOWER_FIRST_TIMES {
            self.wait(clock, conn, LOWER_FIRST, "", out);
        } else {
            self.create(clock, conn, NewClaim::Unclaimed, out);
        }
    }

    /// Makes the session here: template, claim, process, in this order.
    pub(super) fn create(&mut self, clock: Clock, conn: ConnId, claim: NewClaim, out: &mut Vec<Effect>) {
        if self.is_full() {
            self.deny(clock, conn, Denial::Full, out);
            return;
        }
        let Some(flow) = self.conns.get(conn).and_then(|c| c.flow.as_ref()) else { return };
        // Whoever sent the DTU here did not know yet, and chooses anew when it comes back.
        if flow.bound && !self.announcer.lacks().is_empty() {
            self.deny(clock, conn, Denial::SessionFailed, out);
            return;
        }
        if self.fitness.is_hopeless() {
            let text = format!("Host {} can make no session at the moment. It is being mended.", self.name());
            self.wait(clock, conn, UNFIT_AGAIN, &text, out);
            return;
        }
        let (from, registered) = (flow.presentation.addr, flow.is_registered());
        if !registered && !self.takes_guest(clock, from, out) {
            self.deny(clock, conn, Denial::TooManyGuests, out);
            return;
        }
        let Some(flow) = self.conns.get(conn).and_then(|c| c.flow.as_ref()) else { return };
        let token_seq = flow.presentation.token_seq;
        let name = flow.template_name();
        let fresh =
            self.shows.templates.get(&name).is_some_and(|(_, at)| clock.now.since(*at) < TEMPLATE_FRESH);
        if fresh || !self.store.is_up() {
            self.claim_and_make(clock, conn, claim, out);
            return;
        }
        let Ok(key) = format!("template/{name}").parse() else {
            self.deny(clock, conn, Denial::SessionFailed, out);
            return;
        };
        self.set_stage(conn, Stage::Template(claim));
        if !self.ask_store(clock.now, Errand::Template { conn, token_seq }, Request::Get { key }, out) {
            self.on_template(clock, conn, token_seq, Err(()), out);
        }
    }

    pub(in crate::host) fn on_template(
        &mut self,
        clock: Clock,
        conn: ConnId,
        token_seq: u32,
        text: Result<Option<Value>, ()>,
        out: &mut Vec<Effect>,
    ) {
        if !self.decides(conn, token_seq) {
            return;
        }
        let Some(flow) = self.flow_mut(conn) else { return };
        let Stage::Template(claim) = flow.stage.clone() else { return };
        let name = flow.template_name();
        if let Err(why) = self.take_template(clock.now, name, text) {
            self.fail(clock, conn, &why, out);
            return;
        }
        self.claim_and_make(clock, conn, claim, out);
    }

    /// Takes in what the data store has of a template.
    ///
    /// # Errors
    /// There is none of this name, or it cannot be used; what to do about it.
    pub(in crate::host) fn take_template(
        &mut self,
        now: Instant,
        name: String,
        text: Result<Option<Value>, ()>,
    ) -> Result<(), String> {
        let template = match text {
            // Away: what was fetched before has to do, else the default.
            Err(()) => return Ok(()),
            Ok(None) if name == DEFAULT_TEMPLATE => Template::default(),
            Ok(None) => {
                return Err(format!("there is no template {name}: groupmgr template put {name} FILE"));
            }
            Ok(Some(value)) => Template::parse(&String::from_utf8_lossy(value.as_bytes()))
                .map_err(|error| format!("template {name}: {error}"))?,
        };
        self.shows.templates.put(name, template, now);
        Ok(())
    }

    fn fail(&mut self, clock: Clock, conn: ConnId, why: &str, out: &mut Vec<Effect>) {
        if let Some(token) = self.flow_mut(conn).map(|flow| flow.token().clone()) {
            self.failures.note(Failure { token, session: None, at: clock.now, why: why.to_owned() });
        }
        self.deny_because(clock, conn, Denial::SessionFailed, why, out);
    }

    fn claim_and_make(&mut self, clock: Clock, conn: ConnId, claim: NewClaim, out: &mut Vec<Effect>) {
        let NewClaim::Swap { expected, epoch } = claim else {
            self.make(clock, conn, claim, out);
            return;
        };
        let Some(flow) = self.flow_mut(conn) else { return };
        let (token, token_seq) = (flow.token().clone(), flow.presentation.token_seq);
        let session = SessionId(self.entropy.u128());
        let record = self.claim_of(session, epoch.next(self.store.generation()));
        self.set_stage(conn, Stage::Claiming);
        let errand = |token, record| Errand::Claim { conn, token_seq, token, record };
        if !self.swap_claim(clock.now, Expected::from(expected), &token, record, errand, out) {
            self.create_unclaimed(clock, conn, out);
        }
    }

    pub(in crate::host) fn on_claimed(
        &mut self,
        clock: Clock,
        (conn, token_seq): (ConnId, u32),
        token: &Token,
        record: ClaimRecord,
        outcome: Result<Response, StoreError>,
        out: &mut Vec<Effect>,
    ) {
        let swapped = matches!(outcome, Ok(Response { answer: StoreAnswer::Swapped, .. }));
        if !self.decides(conn, token_seq) {
            // The DTU left meanwhile: nobody needs the session.
            return self.forget_claim(clock.now, token, record, outcome, out);
        }
        match outcome {
            Ok(_) if swapped => {
                let held = NewClaim::Held { session: record.session, epoch: record.epoch };
                self.make(clock, conn, held, out);
            }
            Ok(_) => self.on_claim_lost(clock, conn, out),
            Err(_) => self.create_unclaimed(clock, conn, out),
        }
    }

    /// Somebody else was quicker: whoever it is has the session now, and asking finds it. Where a DTU was sent here
    /// only the claim is read again: it may be another DTU of this very host that was quicker. If not, the DTU
    /// returns to its source, which asks everybody again and finds the winner.
    fn on_claim_lost(&mut self, clock: Clock, conn: ConnId, out: &mut Vec<Effect>) {
        self.counters.done("claim_lost");
        self.wait(clock, conn, Duration::ZERO, "", out);
    }

    /// There is no room for a session that is claimed already.
    fn give_way(
        &mut self,
        clock: Clock,
        conn: ConnId,
        token: &Token,
        claim: &NewClaim,
        out: &mut Vec<Effect>,
    ) {
        if let NewClaim::Held { session, epoch } = claim {
            let record = self.claim_of(*session, *epoch);
            self.release_claim(clock.now, token, record, out);
        }
        self.deny(clock, conn, Denial::Full, out);
    }

    /// A session for an admitted token from a template that was fetched, else from the default.
    pub(in crate::host) fn new_session(
        &self,
        id: SessionId,
        admitted: &Admitted,
        template: &str,
        (claim, epoch): (Claim, Epoch),
    ) -> NewSession {
        let template = self.shows.templates.get(template).map(|(t, _)| t.clone()).unwrap_or_default();
        let name = |account: &AccountName| account.to_string();
        NewSession {
            id,
            token: admitted.token.clone(),
            owner: admitted.owner.data().to_string(),
            epoch,
            claim,
            account: admitted.account.as_ref().map(name),
            machine_account: self.config.shared_machine_account.as_ref().map(name),
            size: template.size,
            guest: None,
            template,
        }
    }

    fn make(&mut self, clock: Clock, conn: ConnId, claim: NewClaim, out: &mut Vec<Effect>) {
        let Some(flow) = self.flow_mut(conn) else { return };
        let Some(admitted) = flow.admitted.clone() else { return };
        // Others may have been made while this one was being claimed.
        if self.is_full() {
            self.give_way(clock, conn, &admitted.token, &claim, out);
            return;
        }
        let Some(flow) = self.flow_mut(conn) else { return };
        let (size, name, from) = (flow.presentation.size, flow.template_name(), flow.presentation.addr);
        let guest = (!admitted.registered).then_some(from);
        let (id, claim, epoch) = match claim {
            NewClaim::Held { session, epoch } => (session, Claim::Held, epoch),
            NewClaim::Unclaimed | NewClaim::Swap { .. } => {
                (SessionId(self.entropy.u128()), Claim::Unclaimed, Epoch::default())
            }
            NewClaim::Beside => (SessionId(self.entropy.u128()), Claim::Superseded, Epoch::default()),
        };
        let new = NewSession { size, guest, ..self.new_session(id, &admitted, &name, (claim, epoch)) };
        self.shows.wait_for(id, conn);
        self.set_stage(conn, Stage::Starting(id));
        let mut made = false;
        self.with_sessions(clock, out, |sessions, now, fx| made = sessions.make(now, new, fx));
        if !made {
            self.deny(clock, conn, Denial::Full, out);
            return;
        }
        if self.sessions.get(id).is_some_and(|s| s.phase == Phase::InLine) {
            let text = format!("Host {} has many sessions to start. Yours is in line.", self.name());
            self.at_gate(clock, conn, out, |gate, _, fx| gate.notice(&text, fx));
        }
        if let Some(from) = guest {
            self.guests.add(clock.now, id, from);
        }
        self.note_token(&admitted.token);
        if claim == Claim::Unclaimed {
            self.offer_soon(clock.now);
        }
        self.placing.begun(clock.now, conn);
        self.counters.done("session_made");
        let claimed = claim == Claim::Held;
        out.push(Effect::Note(Note::Made { token: admitted.token, session: id, claimed }));
    }
}

impl super::Flow {
    fn template_name(&self) -> String {
        self.admitted.as_ref().map_or_else(|| DEFAULT_TEMPLATE.to_owned(), template_of)
    }
}

/// The name of the template of an admitted token's sessions.
pub(in crate::host) fn template_of(admitted: &Admitted) -> String {
    admitted.template.as_ref().map_or_else(|| DEFAULT_TEMPLATE.to_owned(), ToString::to_string)
}
