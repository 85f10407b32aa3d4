//! What administrators ask and order: explain a token, make a session beside those a token has, switch between sessions,
//! detach and end them, start and stop their services, drain and stop the host. What a table alone answers is not asked here.
//!
//! A session that is ordered belongs to nobody's presentation: its token is admitted by the registry and the policy
//! as at a desk, except that no card is asked. It is offered to the data store like one made without it; where the
//! token has a claimed session already, it is one more and waits to be switched to.

mod explain;
mod failures;
mod outcomes;

pub(super) use failures::FAILURES_MAX;
pub(super) use outcomes::WAITING_MAX;

use std::collections::BTreeMap;

use authmgr::Admitted;
use proto::alp::DisconnectCause;
use proto::time::Duration;
use proto::{Epoch, Instant, Last, SessionId, Token};
use sessiond::control::ServiceState;
use sessiond::manager::{Claim, Session};
use sessiond::template::{self, Display, Replication, Service, Template};

use super::admin::{Command, Reply, ServiceStart, ServiceView, SessionAct, SessionView};
use super::driver::{AdminReq, Effect};
use super::env::{Ctx, Local};
use super::new_session::{new_session, template_of};
use super::out::Out;
use super::step::{
    Asker, Judgement, ToAdmission, ToAttachments, ToClaims, ToConnections, ToMembership, ToOperations,
    ToPresentations, ToSessions,
};
use explain::Explained;
use failures::{Failure, Failures};
use outcomes::{Outcomes, Waiting};
use proto::rng::SecretRng;

/// How long a host that stops may take to give its claims back.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// What an operator waits for.
#[derive(Clone, Debug)]
enum Pending {
    /// For the token to be judged, then for its template, and then for its claim.
    Explain(Token),
    Explained(Box<Explained>),
    /// For the token of a session to be judged, or then for its template; from which template, if not its own.
    Order(Token, Option<String>),
    Admitted(Box<Admitted>, String),
}

/// The machine that answers operators.
#[derive(Debug)]
pub(super) struct Operations {
    pending: BTreeMap<AdminReq, Pending>,
    outcomes: Outcomes,
    failures: Failures,
    /// When a host that stops ends at the latest.
    stop_at: Option<Instant>,
    is_stopping: bool,
    entropy: SecretRng,
}

impl Operations {
    pub(super) fn new(entropy: SecretRng) -> Self {
        Self {
            pending: BTreeMap::new(),
            outcomes: Outcomes::default(),
            failures: Failures::default(),
            stop_at: None,
            is_stopping: false,
            entropy,
        }
    }

    /// Failures and outcomes, for the bounds check.
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.failures.len(), self.outcomes.len()]
    }

    /// Sessions that could not be started of late.
    pub(super) fn failed_sessions<'a>(
        &'a self,
        local: &'a Local<'_>,
    ) -> impl Iterator<Item = SessionView> + 'a {
        self.failures.recent(local.now).map(|failure| SessionView {
            host: local.name().clone(),
            session: failure.session.unwrap_or(SessionId(0)),
            token: failure.token.clone(),
            epoch: Epoch::default(),
            last: Last::default(),
            claimed: false,
            state: format!("failed: {}", failure.why),
            shown: None,
        })
    }

    pub(super) fn deadlines(&self) -> [(&'static str, Option<Instant>); 2] {
        [("outcome of a service", self.outcomes.poll_at()), ("stop", self.stop_at)]
    }

    pub(super) fn handle(&mut self, ctx: &Ctx<'_>, step: ToOperations, out: &mut Out<'_>) {
        match step {
            ToOperations::Command { req, command } => self.on_command(ctx, req, command, out),
            ToOperations::Verdict { req, judgement, policy } => match self.pending.remove(&req) {
                Some(Pending::Explain(token)) => {
                    self.explain(req, Explained::new(token, &judgement, policy), out);
                }
                Some(Pending::Order(token, template)) => {
                    self.on_order_judged(req, &token, template, *judgement, out);
                }
                _ => {}
            },
            ToOperations::Claim { req, result } => {
                if let Some(Pending::Explained(explained)) = self.pending.remove(&req) {
                    let explanation = explained.with_claim(ctx, &self.failures, *result);
                    out.answer(req, Reply::Explain(explanation));
                }
            }
            ToOperations::Template { req, result } => match self.pending.remove(&req) {
                Some(Pending::Admitted(admitted, name)) => {
                    self.make(ctx, req, &admitted, (name, result), out);
                }
                Some(Pending::Explained(mut explained)) => {
                    explained.set_template(ctx, result);
                    self.explain(req, *explained, out);
                }
                _ => {}
            },
            ToOperations::Made { req, result } => out.answer(
                req,
                match result {
                    Ok(session) => Reply::Made(session),
                    Err(why) => Reply::Refused(why.notice().to_owned()),
                },
            ),
            ToOperations::Started(token) => self.failures.forget(&token),
            ToOperations::Failed { token, why } => {
                self.failures.note(Failure { token, session: None, at: ctx.now, why });
            }
            ToOperations::Ended(ended) => {
                if ended.failed {
                    let (token, session, why) = (ended.token, Some(ended.session), ended.why);
                    self.failures.note(Failure { token, session, at: ctx.now, why });
                }
                self.tell_outcomes(ctx, |waiting| waiting.session == ended.session, out);
            }
            ToOperations::ServiceSettled { session, service } => {
                self.tell_outcomes(ctx, |w| w.session == session && w.service == service, out);
            }
            ToOperations::Stopped { req } => {
                out.answer(req, Reply::Done);
                if ctx.config.identity.keep {
                    self.end(out);
                }
            }
            ToOperations::GivenBack => self.end(out),
            ToOperations::Due => {
                self.tell_outcomes(ctx, |waiting| waiting.give_up_at <= ctx.now, out);
                if self.stop_at.is_some_and(|at| at <= ctx.now) {
                    self.end(out);
                }
            }
        }
    }

    fn on_command(&mut self, ctx: &Ctx<'_>, req: AdminReq, command: Command, out: &mut Out<'_>) {
        match command {
            // The host itself answers what the tables of several machines tell together.
            Command::Status | Command::Topology | Command::Sessions | Command::Dtus | Command::Copies => {}
            Command::Explain(token) => {
                self.pending.insert(req, Pending::Explain(token.clone()));
                out.step(ToAdmission::Admit { asker: Asker::Operator(req), token, dtu: None });
            }
            Command::Drain(drain) => {
                out.step(ToMembership::Drain(drain));
                out.answer(req, Reply::Done);
            }
            Command::Forget(host) => out.step(ToMembership::Forget { req, host }),
            Command::Session { session, act } => self.on_session_act(ctx, req, session, act, out),
            Command::NewSession { token, template } => self.order_session(ctx, req, token, template, out),
            Command::PresentAgain(token) => out.step(ToPresentations::Again { req, token }),
            Command::Message { text, .. } if text.trim().is_empty() => {
                let why = "a message without text shows nothing at a DTU; give it a text";
                out.answer(req, Reply::Refused(why.into()));
            }
            Command::Message { serial, text } => {
                out.step(ToConnections::Message { req, to: serial, text });
            }
            Command::Follow { key } => out.step(ToAdmission::Follow { req, key }),
            Command::Stop => self.stop(ctx, req, out),
        }
    }

    /// Asks for the template of a token's sessions, and then for its claim.
    fn explain(&mut self, req: AdminReq, explained: Explained, out: &mut Out<'_>) {
        let asker = Asker::Operator(req);
        match explained.template_wanted() {
            Some(name) => out.step(ToAdmission::Template { asker, name }),
            None => out.step(ToClaims::Read { asker, token: explained.session_token.clone() }),
        }
        self.pending.insert(req, Pending::Explained(Box::new(explained)));
    }

    /// Says goodbye to hosts and DTUs, gives back what is claimed, and asks the driver to end.
    fn stop(&mut self, ctx: &Ctx<'_>, req: AdminReq, out: &mut Out<'_>) {
        self.is_stopping = true;
        out.step(ToPresentations::Stop);
        out.step(ToMembership::Stop);
        // Sessions that stay are taken up by the next daemon within a moment: their DTUs hold.
        if ctx.config.identity.keep {
            self.stop_at = Some(ctx.now);
        } else {
            self.stop_at = Some(ctx.now + RELEASE_WITHIN);
            out.step(ToClaims::GiveBack);
            out.step(ToConnections::SendAway);
        }
        out.step(ToOperations::Stopped { req });
    }

    fn end(&mut self, out: &mut Out<'_>) {
        if self.stop_at.take().is_some() {
            out.effect(Effect::Stop);
        }
    }

    fn on_session_act(
        &mut self,
        ctx: &Ctx<'_>,
        req: AdminReq,
        session: SessionId,
        act: SessionAct,
        out: &mut Out<'_>,
    ) {
        if let SessionAct::Outcome(service) = act {
            let waiting = Waiting::new(ctx.now, req, session, service);
            return self.await_outcome(ctx, waiting, out);
        }
        let Some(found) = ctx.sessions.get(session) else {
            let why = format!("no session {session} on {}; see: groupmgr session list", ctx.name());
            return out.answer(req, Reply::Refused(why));
        };
        let evict = |cause, end| ToAttachments::Evict { session, cause, end };
        match act {
            SessionAct::Services => return out.answer(req, Reply::Services(services(found))),
            SessionAct::Detach => out.step(evict(DisconnectCause::Detached, false)),
            SessionAct::End => out.step(evict(DisconnectCause::EndedByOperator, true)),
            SessionAct::Prefer { after } => {
                if !after.is_plausible(ctx.group_time()) {
                    let why = format!(
                        "the time of last connection {after} ms is far ahead of this host's clock; \
                         see: groupmgr doctor"
                    );
                    return out.answer(req, Reply::Refused(why));
                }
                let last = Last::next(ctx.group_time(), Some(after.max(found.last)));
                out.step(ToSessions::SetLast { session, last });
            }
            SessionAct::Protect { ack, protect } => {
                let ack = ack.unwrap_or(found.replication.ack);
                let protect = protect.unwrap_or(found.replication.protect);
                if !found.is_replicated() || !ack.is_within_bounds() {
                    let why =
                        "no other host is to keep the session, or none could be told of its versions so";
                    return out.answer(req, Reply::Refused(why.into()));
                }
                let replication = Replication { ack, protect, ..found.replication };
                out.step(ToSessions::SetReplication { session, replication });
            }
            SessionAct::Start(start) => return start_service(req, found, start, out),
            SessionAct::Stop(service) => {
                return out.step(ToSessions::StopService { req, session, service });
            }
            SessionAct::Outcome(_) => {}
        }
        out.answer(req, Reply::Done);
    }

    /// Answers with how the service stands, once that is settled.
    fn await_outcome(&mut self, ctx: &Ctx<'_>, waiting: Waiting, out: &mut Out<'_>) {
        let waits = ctx.sessions.get(waiting.session).is_some_and(|s| s.is_unsettled(&waiting.service));
        let refused = if waits { self.outcomes.add(waiting).err() } else { Some(waiting) };
        if let Some(waiting) = refused {
            tell_outcome(ctx, &waiting, out);
        }
    }

    fn tell_outcomes(&mut self, ctx: &Ctx<'_>, which: impl Fn(&Waiting) -> bool, out: &mut Out<'_>) {
        self.outcomes.take(which).iter().for_each(|waiting| tell_outcome(ctx, waiting, out));
    }

    /// Makes a session for a token that nobody presents.
    fn order_session(
        &mut self,
        ctx: &Ctx<'_>,
        req: AdminReq,
        token: Token,
        template: Option<String>,
        out: &mut Out<'_>,
    ) {
        if ctx.members.drain() || self.is_stopping || ctx.is_full() {
            let lacks = ctx.members.lacks();
            let why = if lacks.is_empty() { String::new() } else { format!(" (it lacks: {lacks})") };
            let why = format!("{} takes no new sessions{why}; see: groupmgr status", ctx.name());
            return out.answer(req, Reply::Refused(why));
        }
        self.pending.insert(req, Pending::Order(token.clone(), template));
        out.step(ToAdmission::Admit { asker: Asker::Operator(req), token, dtu: None });
    }

    fn on_order_judged(
        &mut self,
        req: AdminReq,
        token: &Token,
        template: Option<String>,
        judgement: Judgement,
        out: &mut Out<'_>,
    ) {
        let admitted = match judgement {
            Judgement::Admit(admitted) => admitted,
            Judgement::Challenge(challenge) => challenge.waive(),
            Judgement::Refuse(why) => {
                return out.answer(req, Reply::Refused(format!("{token}: {}", why.notice())));
            }
            Judgement::NotYet => {
                let why = authmgr::Denial::StoreAway.notice();
                return out.answer(req, Reply::Refused(format!("{token}: {why}")));
            }
        };
        let name = template.unwrap_or_else(|| template_of(&admitted));
        self.pending.insert(req, Pending::Admitted(Box::new(admitted), name.clone()));
        out.step(ToAdmission::Template { asker: Asker::Operator(req), name });
    }

    fn make(
        &mut self,
        ctx: &Ctx<'_>,
        req: AdminReq,
        admitted: &Admitted,
        (name, template): (String, Result<Box<Template>, String>),
        out: &mut Out<'_>,
    ) {
        match template {
            Ok(template) => {
                let id = SessionId(self.entropy.u128());
                let claim = (Claim::Unclaimed, Epoch::default());
                let new = Box::new(new_session(ctx, id, admitted, (name, *template), claim));
                out.step(ToSessions::Make { asker: Asker::Operator(req), new });
            }
            Err(why) => out.answer(req, Reply::Refused(why)),
        }
    }
}

fn start_service(req: AdminReq, found: &Session, start: ServiceStart, out: &mut Out<'_>) {
    let ServiceStart { service: name, command, display } = start;
    let session = found.id;
    let known = found.services().any(|(own, _)| *own == name);
    if command.is_empty() && !known {
        return out.answer(req, Reply::no_service(&name, session));
    }
    if known && !command.is_empty() {
        let why = format!(
            "the session has a service {name}, whose command stays as it is; leave the command out, or \
             choose another name"
        );
        return out.answer(req, Reply::Refused(why));
    }
    // Of one that is known only the name counts.
    let command = if known { template::Command::LoginShell } else { template::Command::Words(command) };
    let display = if display { Display::Terminal } else { Display::None };
    let service = Service { name, required: false, display, ..Service::terminal(command) };
    match service.check() {
        Ok(()) => out.step(ToSessions::StartService { req, session, service: Box::new(service) }),
        Err(flaw) => out.answer(req, Reply::Refused(flaw.to_string())),
    }
}

fn tell_outcome(ctx: &Ctx<'_>, waiting: &Waiting, out: &mut Out<'_>) {
    let services = ctx.sessions.get(waiting.session).map(services).unwrap_or_default();
    let reply = match services.into_iter().find(|view| view.service == waiting.service) {
        Some(view) => Reply::Services(vec![view]),
        None => Reply::Refused(format!("session {} has ended", waiting.session.short())),
    };
    out.answer(waiting.req, reply);
}

fn services(session: &Session) -> Vec<ServiceView> {
    let view = |(name, state): (&proto::ServiceName, &ServiceState)| {
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
