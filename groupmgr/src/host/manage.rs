//! What administrators do with sessions: make one beside those a token has, switch between them, detach and end them,
//! start and stop their services ("The session manager offers a service to the user or administrator", seed 003).
//!
//! A session that is ordered belongs to nobody's presentation: its token is admitted by the registry and the policy
//! as at a desk, except that no card is asked. It is offered to the data store like one made without it; where the
//! token has a claimed session already, it is one more and waits to be switched to.

use authmgr::{Admitted, Denial, Presentation, Step, StoreAway, Verdict};
use datastore::{Request, Value};
use proto::alp::DisconnectCause;
use proto::{Epoch, Last, Serial, ServiceName, SessionId, Token};
use sessiond::control::ServiceState;
use sessiond::manager::{Claim, Session};
use sessiond::template::{Command, Display, Service};

use super::admin::{Reply, ServiceStart, ServiceView, SessionAct};
use super::driver::{AdminReq, ConnId, Effect};
use super::flow::template_of;
use super::note::Note;
use super::store::Errand;
use super::{Clock, Host};

/// A session that an operator wants made.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// Who is to be told.
    pub(super) req: AdminReq,
    /// Whose.
    pub(super) token: Token,
    /// From which template; without one, from the token's own.
    pub(super) template: Option<String>,
}

impl Order {
    fn template_name(&self, admitted: &Admitted) -> String {
        self.template.clone().unwrap_or_else(|| template_of(admitted))
    }
}

fn refuse(req: AdminReq, why: &str, out: &mut Vec<Effect>) {
    out.push(Effect::Answer { req, reply: Box::new(Reply::Refused(why.to_owned())) });
}

impl Host {
    pub(super) fn on_session_act(
        &mut self,
        clock: Clock,
        session: SessionId,
        act: SessionAct,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let Some(found) = self.sessions.get(session) else {
            return Reply::Refused(format!(
                "no session {session} on {}; see: groupmgr session list",
                self.name()
            ));
        };
        match act {
            SessionAct::Services => return Reply::Services(services(found)),
            SessionAct::Detach => self.take_away(clock, session, DisconnectCause::Detached, out),
            SessionAct::End => {
                self.take_away(clock, session, DisconnectCause::EndedByOperator, out);
                self.with_sessions(clock, out, |sessions, now, fx| {
                    sessions.end(now, session, fx);
                });
            }
            SessionAct::Prefer { after } => {
                if !after.is_plausible(self.group_time(clock)) {
                    return Reply::Refused(format!(
                        "the time of last connection {after} ms is far ahead of this host's clock; \
                         see: groupmgr doctor"
                    ));
                }
                let last = Last::next(self.group_time(clock), Some(after.max(found.last)));
                self.with_sessions(clock, out, |sessions, _, fx| sessions.prefer(session, last, fx));
            }
            SessionAct::Start(start) => return self.start_service(clock, session, start, out),
            SessionAct::Stop(service) => {
                let mut known = false;
                self.with_sessions(clock, out, |s, _, fx| known = s.stop_service(session, &service, fx));
                if !known {
                    return no_service(&service, session);
                }
            }
            // Answered when it is known (`Host::await_outcome`).
            SessionAct::Outcome(_) => {}
        }
        Reply::Done
    }

    fn start_service(
        &mut self,
        clock: Clock,
        session: SessionId,
        start: ServiceStart,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let ServiceStart { service: name, command, display } = start;
        let known = self.sessions.get(session).is_some_and(|s| s.services().any(|(own, _)| *own == name));
        if command.is_empty() && !known {
            return no_service(&name, session);
        }
        if known && !command.is_empty() {
            return Reply::Refused(format!(
                "the session has a service {name}, whose command stays as it is; leave the command out, or \
                 choose another name"
            ));
        }
        // Of one that is known only the name counts.
        let command = if known { Command::LoginShell } else { Command::Words(command) };
        let display = if display { Display::Terminal } else { Display::None };
        let service = Service { name, required: false, display, ..Service::terminal(command) };
        if let Err(flaw) = service.check() {
            return Reply::Refused(flaw.to_string());
        }
        let mut told = false;
        self.with_sessions(clock, out, |s, _, fx| told = s.start_service(session, service, fx));
        if told {
            Reply::Done
        } else {
            Reply::Refused("the session does not run, or has as many services as a session may have".into())
        }
    }

    /// Decides anew about a token wherever it is presented here; says at how many DTUs.
    pub(super) fn present_again(&mut self, clock: Clock, token: &Token, out: &mut Vec<Effect>) -> usize {
        let shown = |session: SessionId| self.sessions.get(session).is_some_and(|s| s.token == *token);
        let presenting: Vec<(ConnId, Presentation)> = self
            .conns
            .iter()
            // By an alias a card presents another token than its session's.
            .filter(|(_, c)| {
                c.shows.is_some_and(shown) || c.presented.as_ref().is_some_and(|p| p.token == *token)
            })
            .filter_map(|(id, c)| Some((id, c.presented.clone()?)))
            .collect();
        for (conn, presentation) in &presenting {
            self.hide(clock, *conn, out);
            let again = Presentation { ticket: None, avoid: None, ..presentation.clone() };
            self.begin(clock, *conn, again, out);
        }
        presenting.len()
    }

    pub(super) fn message(
        &mut self,
        clock: Clock,
        to: Option<&Serial>,
        text: &str,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let meant = |serial: Option<&Serial>| serial.is_some() && (to.is_none() || serial == to);
        let conns: Vec<ConnId> =
            self.conns.iter().filter(|(_, c)| meant(c.gate.serial())).map(|(id, _)| id).collect();
        for conn in &conns {
            self.at_gate(clock, *conn, out, |gate, _, fx| gate.notice(text, fx));
        }
        Reply::At(conns.len())
    }

    /// Makes a session for a token that nobody presents.
    pub(super) fn order_session(&mut self, clock: Clock, order: Order, out: &mut Vec<Effect>) {
        if self.announcer.drain() || self.stopping || self.is_full() {
            let lacks = self.announcer.lacks();
            let why = if lacks.is_empty() { String::new() } else { format!(" (it lacks: {lacks})") };
            let why = format!("{} takes no new sessions{why}; see: groupmgr status", self.name());
            return refuse(order.req, &why, out);
        }
        match self.admission.begin(clock.now, &order.token) {
            Step::Decided(verdict) => self.on_order_verdict(clock, order, verdict, out),
            Step::Look { key } => {
                let errand = Errand::OrderRecord(order.clone());
                if !self.ask_store(clock.now, errand, Request::Get { key }, out) {
                    self.on_order_record(clock, order, Err(()), out);
                }
            }
        }
    }

    pub(super) fn on_order_record(
        &mut self,
        clock: Clock,
        order: Order,
        record: Result<Option<Value>, ()>,
        out: &mut Vec<Effect>,
    ) {
        let verdict = self.admission.on_record(clock.now, &order.token, record.map_err(|()| StoreAway));
        self.on_order_verdict(clock, order, verdict, out);
    }

    fn on_order_verdict(&mut self, clock: Clock, order: Order, verdict: Verdict, out: &mut Vec<Effect>) {
        let admitted = match verdict {
            Verdict::Admit(admitted) => admitted,
            Verdict::Challenge(challenge) => challenge.waive(),
            Verdict::Refuse(why) => {
                let why = format!("{}: {}", order.token, why.notice());
                return refuse(order.req, &why, out);
            }
        };
        let name = order.template_name(&admitted);
        let Ok(key) = format!("template/{name}").parse() else {
            return refuse(order.req, &format!("{name:?} cannot name a template"), out);
        };
        let errand = Errand::OrderTemplate(order.clone(), Box::new(admitted.clone()));
        if !self.ask_store(clock.now, errand, Request::Get { key }, out) {
            self.on_order_template(clock, &order, &admitted, Err(()), out);
        }
    }

    pub(super) fn on_order_template(
        &mut self,
        clock: Clock,
        order: &Order,
        admitted: &Admitted,
        text: Result<Option<Value>, ()>,
        out: &mut Vec<Effect>,
    ) {
        let name = order.template_name(admitted);
        if let Err(why) = self.take_template(clock.now, name.clone(), text) {
            return refuse(order.req, &why, out);
        }
        let id = SessionId(self.entropy.u128());
        let new = self.new_session(id, admitted, &name, (Claim::Unclaimed, Epoch::default()));
        let mut made = false;
        self.with_sessions(clock, out, |sessions, now, fx| made = sessions.make(now, new, fx));
        if !made {
            return refuse(order.req, Denial::Full.notice(), out);
        }
        self.note_token(&admitted.token);
        self.offer(clock.now, &admitted.token, id, out);
        self.placing.begun_by_order(clock.now);
        self.counters.done("session_made");
        out.push(Effect::Note(Note::Made { token: admitted.token.clone(), session: id, claimed: false }));
        out.push(Effect::Answer { req: order.req, reply: Box::new(Reply::Made(id)) });
    }
}

fn no_service(service: &ServiceName, session: SessionId) -> Reply {
    let short = session.short();
    Reply::Refused(format!("no service {service} in session {short}; see: groupmgr service list {short}"))
}

pub(super) fn services(session: &Session) -> Vec<ServiceView> {
    let view = |(name, state): (&ServiceName, &ServiceState)| {
        let (state, pid) = match state {
            ServiceState::Idle => ("idle".to_owned(), None),
            ServiceState::Running { pid } => ("running".to_owned(), Some(*pid)),
            ServiceState::Stopping { pid } => ("stopping".to_owned(), Some(*pid)),
            ServiceState::Exited(exit) => (exit.to_string(), None),
            ServiceState::Failed(why) => (format!("failed: {why}"), None),
        };
        ServiceView { service: name.clone(), state, pid, display: session.displays().contains(name) }
    };
    session.services().map(view).collect()
}
