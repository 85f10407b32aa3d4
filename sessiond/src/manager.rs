//! The session manager: the sessions of this host as a pure machine.
//!
//! Owns which sessions there are, whose they are, where each is shown, and what their processes were told.
//! Refuses to decide whether a session may be made or who may see it: whoever calls has authenticated the token
//! and holds the claim. The processes themselves are in `io`.

mod event;
mod services;
mod session;
mod start_queue;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Bound;

use continuity::Encoded;
use proto::frame::Size;
use proto::time::Duration;
use proto::{Epoch, HostName, Instant, Last, Nonce, Serial, SessionId, Token};

use crate::control::{
    Description, EndReason, FromSession, Part, ServiceState, SessionSpec, ToSession, Tools,
};
use crate::template::{Continuity, Display, Replication, Template};

pub use event::{SessionEffect, SessionEvent};
pub use session::{Claim, Session, SessionPhase};
pub use start_queue::{STARTING_MAX, WAITING_MAX};

use session::{Why, tell, turn};
use start_queue::StartQueue;

/// A session process that has not said `Ready` after this long is given up.
const START_WITHIN: Duration = Duration::from_secs(5);
/// One that was asked to end and has not is killed.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Sessions of one token on one host at most; a tokenR tells of as many.
pub const SESSIONS_PER_TOKEN_MAX: usize = proto::peer::SESSIONS_PER_TOKEN_MAX;

/// What a new session is made from.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id, drawn at random.
    pub id: SessionId,
    /// The token that it will belong to.
    pub token: Token,
    /// Under whose name its permanent data lies.
    pub owner: String,
    /// The epoch of its claim.
    pub epoch: Epoch,
    /// How it stands with the data store.
    pub claim: Claim,
    /// The address of the desk that had it made, when nobody registered the token.
    pub guest: Option<Ipv4Addr>,
    /// The account that the registry names for the token.
    pub account: Option<String>,
    /// The account of sessions for which neither the registry nor the template names one; without it the spawner's.
    pub machine_account: Option<String>,
    /// The name of its template.
    pub name: String,
    /// What it consists of.
    pub template: Template,
    /// The DTU's screen.
    pub size: Size,
    /// What it goes on with, if it had another home before.
    pub restore: Option<Box<Restore>>,
}

/// What another host has left of a session that goes on here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restore {
    /// What was kept of its services.
    pub objects: Vec<(Part, Encoded)>,
    /// The home before, which is gone; none if it was this host in an earlier run.
    pub lost: Option<HostName>,
    /// Whether another host keeps copies that were of that home: until it has those of this one, nothing may get out.
    pub is_kept_elsewhere: bool,
    /// Whether that home has handed it over, and applied nothing since.
    pub is_moved: bool,
}

impl NewSession {
    /// The account it runs as; without one, the spawner's.
    #[must_use]
    pub fn runs_as(&self) -> Option<&str> {
        self.account.as_deref().or(self.template.account.as_deref()).or(self.machine_account.as_deref())
    }
}

/// The sessions of one host.
#[derive(Debug)]
pub struct Sessions {
    host: HostName,
    tools: Option<Tools>,
    table: BTreeMap<SessionId, Session>,
    by_token: BTreeMap<Token, Vec<SessionId>>,
    /// What is due when: thousands of sessions must not be looked at to find out that nothing is.
    due: BTreeSet<(Instant, SessionId)>,
    starts: StartQueue,
}

impl Sessions {
    /// No sessions yet on the host `host`; `tools` are put into their `PATH`.
    #[must_use]
    pub const fn new(host: HostName, tools: Option<Tools>) -> Self {
        Self {
            host,
            tools,
            table: BTreeMap::new(),
            by_token: BTreeMap::new(),
            due: BTreeSet::new(),
            starts: StartQueue::new(),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The session of this id, if it is in the table.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.table.get(&id)
    }

    /// All of them, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.table.values()
    }

    /// Those from this id on, in the order of their ids.
    pub fn from(&self, from: Bound<SessionId>) -> impl Iterator<Item = &Session> {
        self.table.range((from, Bound::Unbounded)).map(|(_, session)| session)
    }

    /// Those of a token that a DTU can be shown, the one last connected first.
    #[must_use]
    pub fn of_token(&self, token: &Token) -> Vec<&Session> {
        let ids = self.by_token.get(token).map(Vec::as_slice).unwrap_or_default();
        let mut sessions: Vec<&Session> =
            ids.iter().filter_map(|id| self.table.get(id)).filter(|s| s.is_usable()).collect();
        sessions.sort_by_key(|s| (core::cmp::Reverse(s.last), s.id));
        sessions
    }

    /// Makes a session. `false` when the token has [`SESSIONS_PER_TOKEN_MAX`] here already, or [`WAITING_MAX`] wait.
    pub fn make(&mut self, now: Instant, new: NewSession, out: &mut Vec<SessionEffect>) -> bool {
        let has = self.by_token.get(&new.token).map_or(0, Vec::len);
        if has >= SESSIONS_PER_TOKEN_MAX || self.queued() >= WAITING_MAX {
            return false;
        }
        self.by_token.entry(new.token.clone()).or_default().push(new.id);
        let has_process = !new.template.services.is_empty();
        let account = new.runs_as().map(str::to_owned);
        let mut session = Session {
            id: new.id,
            token: new.token,
            owner: new.owner,
            epoch: new.epoch,
            continuity: new.template.continuity,
            replication: new.template.replication,
            last: Last::default(),
            claim: new.claim,
            guest: new.guest,
            phase: SessionPhase::Running,
            shown: None,
            since: now,
            has_process,
            template: new.name,
            is_recorded: false,
            acknowledged: None,
            restore: new.restore,
            fingerprint: None,
            displays: Vec::new(),
            services: BTreeMap::new(),
            unsettled: BTreeSet::new(),
        };
        if !has_process {
            out.push(SessionEffect::Event(SessionEvent::Ready(session.id)));
            self.insert(session);
            return true;
        }
        let services = new.template.services_at(&self.host, &self.host).cloned().collect();
        let spec = SessionSpec {
            session: session.id,
            token: session.token.clone(),
            host: self.host.clone(),
            named_by_registry: new.account.is_some(),
            account,
            services,
            size: new.size,
            continuity: new.template.continuity,
            tools: self.tools.clone(),
            meta: session.meta(),
        };
        let (phase, spawn) = self.starts.enter(now, spec);
        session.phase = phase;
        self.insert(session);
        out.extend(spawn);
        true
    }

    /// Shows a running session at a DTU. The session forgets any DTU it was shown at before.
    pub fn attach(
        &mut self,
        id: SessionId,
        last: Last,
        ticket: Nonce,
        serial: &Serial,
        size: Size,
        out: &mut Vec<SessionEffect>,
    ) -> bool {
        let Some(session) = self.table.get_mut(&id).filter(|s| s.phase == SessionPhase::Running) else {
            return false;
        };
        session.shown = Some(serial.clone());
        session.last = last;
        tell(session, out, || ToSession::Attach { ticket, serial: serial.clone(), size });
        tell(session, out, || ToSession::SetMeta(session.meta()));
        true
    }

    /// Takes a session off its DTU; its services run on.
    pub fn detach(&mut self, id: SessionId, out: &mut Vec<SessionEffect>) {
        let Some(session) = self.table.get_mut(&id) else { return };
        if session.shown.take().is_some() {
            tell(session, out, || ToSession::Detach);
        }
    }

    /// The DTU's control connection is gone, which says nothing about its display: the session is not told,
    /// so that a DTU that comes back at once has lost nothing.
    pub fn lose_sight(&mut self, id: SessionId) {
        if let Some(session) = self.table.get_mut(&id) {
            session.shown = None;
        }
    }

    /// Ends a session and all it has started.
    pub fn end(&mut self, now: Instant, id: SessionId, out: &mut Vec<SessionEffect>) -> bool {
        let Some(session) = self.table.get_mut(&id) else { return false };
        if !session.has_process || session.phase == SessionPhase::Queued {
            self.remove(now, id, Why::Over("it was ended".into()), out);
        } else if !matches!(session.phase, SessionPhase::Ending { .. }) {
            turn(&mut self.due, session, SessionPhase::Ending { kill_at: now + END_WITHIN });
            out.push(SessionEffect::Tell(id, Box::new(ToSession::End)));
        }
        true
    }

    /// Makes a session the one last connected of its token, so that whoever presents the token next is shown it.
    pub fn prefer(&mut self, id: SessionId, last: Last, out: &mut Vec<SessionEffect>) {
        let Some(session) = self.table.get_mut(&id) else { return };
        session.last = last;
        if session.phase == SessionPhase::Running {
            tell(session, out, || ToSession::SetMeta(session.meta()));
        }
    }

    fn insert(&mut self, session: Session) {
        if let Some(at) = session.phase.deadline() {
            self.due.insert((at, session.id));
        }
        self.table.insert(session.id, session);
    }

    /// Notes how a session stands with the data store.
    pub fn set_claim(&mut self, id: SessionId, claim: Claim, epoch: Epoch, out: &mut Vec<SessionEffect>) {
        let Some(session) = self.table.get_mut(&id) else { return };
        if (session.claim, session.epoch) != (claim, epoch) {
            // A backup may know nothing of it.
            session.is_recorded &= session.epoch.generation == epoch.generation;
            session.claim = claim;
            session.epoch = epoch;
            // Before it runs its process could not be told; it gets the whole when it is attached.
            if session.phase == SessionPhase::Running {
                tell(session, out, || ToSession::SetMeta(session.meta()));
            }
        }
    }

    /// A session process was made. One of an earlier daemon is asked what it is.
    pub fn on_spawned(&mut self, now: Instant, id: SessionId, kept: bool, out: &mut Vec<SessionEffect>) {
        if !kept {
            let Some(session) = self.table.get_mut(&id) else { return };
            // One that was told to end before its process was there must hear it now.
            if matches!(session.phase, SessionPhase::Ending { .. }) {
                out.push(SessionEffect::Tell(id, Box::new(ToSession::End)));
            } else if session.is_replicated() {
                session.begin(out);
            }
            return;
        }
        let Ok(unknown) = Token::new("pseudo", "unknown") else { return };
        if self.table.contains_key(&id) {
            return;
        }
        self.insert(Session {
            id,
            token: unknown,
            owner: String::new(),
            epoch: Epoch::default(),
            continuity: Continuity::default(),
            replication: Replication::default(),
            last: Last::default(),
            claim: Claim::Unclaimed,
            guest: None,
            phase: SessionPhase::TakenUp { give_up_at: now + START_WITHIN },
            shown: None,
            since: now,
            has_process: true,
            template: String::new(),
            is_recorded: false,
            acknowledged: None,
            restore: None,
            fingerprint: None,
            displays: Vec::new(),
            services: BTreeMap::new(),
            unsettled: BTreeSet::new(),
        });
        out.push(SessionEffect::Tell(id, Box::new(ToSession::Describe)));
    }

    /// A session process could not be made.
    pub fn on_spawn_failed(
        &mut self,
        now: Instant,
        id: SessionId,
        reason: String,
        out: &mut Vec<SessionEffect>,
    ) {
        self.remove(now, id, Why::Failed(reason), out);
    }

    /// A session process is gone.
    pub fn on_exited(&mut self, now: Instant, id: SessionId, out: &mut Vec<SessionEffect>) {
        let why = "its process ended".to_owned();
        let starts = self.table.get(&id).is_some_and(|s| matches!(s.phase, SessionPhase::Starting { .. }));
        self.remove(now, id, if starts { Why::Failed(why) } else { Why::Over(why) }, out);
    }

    /// A session process says something.
    pub fn on_said(&mut self, now: Instant, id: SessionId, said: FromSession, out: &mut Vec<SessionEffect>) {
        match said {
            FromSession::Ready(what) | FromSession::Described(what) => {
                self.on_description(now, id, *what, out);
            }
            FromSession::ServiceStarted { service, pid } => {
                self.note_service(id, service, ServiceState::Running { pid }, out);
            }
            FromSession::ServiceFailed { service, reason } => {
                self.note_service(id, service, ServiceState::Failed(reason), out);
            }
            FromSession::ServiceExited { service, exit } => {
                self.note_service(id, service, ServiceState::Exited(exit), out);
            }
            FromSession::DisplayConnected { serial, .. } => {
                out.push(SessionEffect::Event(SessionEvent::OnScreen(id, serial)));
            }
            FromSession::DisplayGone { .. } | FromSession::DisplayRefused(_) => {}
            FromSession::Committed { part, update } => {
                out.push(SessionEffect::Event(SessionEvent::Committed { session: id, part, update }));
            }
            FromSession::Parts(parts) => {
                out.push(SessionEffect::Event(SessionEvent::Parts { session: id, parts }));
            }
            FromSession::Still => out.push(SessionEffect::Event(SessionEvent::Still(id))),
            FromSession::Acknowledged(times) => {
                if let Some(session) = self.table.get_mut(&id) {
                    session.acknowledged = Some(times);
                }
            }
            FromSession::Data { client, request } => {
                out.push(SessionEffect::Event(SessionEvent::Data { session: id, client, request }));
            }
            FromSession::Ended(reason) => {
                let why = match reason {
                    EndReason::CouldNotStart(why) => Why::Failed(why),
                    EndReason::Finished(exit) => Why::Over(format!("its services {exit}")),
                    EndReason::Asked => Why::Over("it was ended".into()),
                    EndReason::Alone => Why::Over("its daemon was gone".into()),
                };
                self.remove(now, id, why, out);
            }
        }
    }

    fn on_description(
        &mut self,
        now: Instant,
        id: SessionId,
        what: Description,
        out: &mut Vec<SessionEffect>,
    ) {
        let Some(session) = self.table.get_mut(&id) else { return };
        session.fingerprint = Some(what.fingerprint);
        session.services = what.services.into_iter().collect();
        let shown = what.spec.services.iter().filter(|service| service.display == Display::Terminal);
        session.displays = shown.map(|service| service.name.clone()).collect();
        match session.phase {
            SessionPhase::Starting { .. } => {
                turn(&mut self.due, session, SessionPhase::Running);
                if session.is_recorded && session.is_replicated() {
                    // It was recorded before it could be told.
                    tell(session, out, || ToSession::SetMeta(session.meta()));
                }
                out.push(SessionEffect::Event(SessionEvent::Ready(id)));
                self.leave_queue(now, id, out);
            }
            SessionPhase::TakenUp { .. } => {
                session.token = what.spec.token.clone();
                session.continuity = what.spec.continuity;
                if session.read_meta(&what.spec.meta.0).is_err() {
                    // What an incompatible daemon left cannot be given to anybody.
                    self.end(now, id, out);
                    return;
                }
                turn(&mut self.due, session, SessionPhase::Running);
                self.by_token.entry(what.spec.token).or_default().push(id);
                out.push(SessionEffect::Event(SessionEvent::TakenUp(id)));
            }
            SessionPhase::Running | SessionPhase::Ending { .. } | SessionPhase::Queued => {}
        }
    }

    fn remove(&mut self, now: Instant, id: SessionId, why: Why, out: &mut Vec<SessionEffect>) {
        let Some(session) = self.table.remove(&id) else { return };
        if let Some(at) = session.phase.deadline() {
            self.due.remove(&(at, id));
        }
        if let Some(ids) = self.by_token.get_mut(&session.token) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_token.remove(&session.token);
            }
        }
        out.push(SessionEffect::Event(SessionEvent::Ended {
            session: id,
            token: session.token,
            epoch: session.epoch,
            claim: session.claim,
            guest: session.guest,
            shown: session.shown,
            lived: now.since(session.since),
            failed: matches!(why, Why::Failed(_)),
            why: why.into_text(),
        }));
        self.leave_queue(now, id, out);
    }

    /// Gives up what does not start and kills what does not end.
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<SessionEffect>) {
        while let Some(&(at, id)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            out.push(SessionEffect::Kill(id));
            match self.table.get_mut(&id) {
                Some(session) if matches!(session.phase, SessionPhase::Ending { .. }) => {
                    turn(&mut self.due, session, SessionPhase::Ending { kill_at: now + END_WITHIN });
                }
                _ => self.remove(now, id, Why::Failed("its process did not answer".into()), out),
            }
        }
    }

    /// When [`Sessions::on_timeout`] wants to be called.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}
