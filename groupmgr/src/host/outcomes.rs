//! What comes of a service that an operator had started or stopped: the request is answered when the session's
//! process has said so.

use proto::time::{Duration, earliest};
use proto::{Instant, ServiceName, SessionId};

use super::admin::Reply;
use super::driver::{AdminReq, Effect};
use super::{Clock, Host, manage};

/// Requests that wait at once; one more is answered with how things are.
pub(super) const WAITING_MAX: usize = 64;
/// A service has started or ended by then: one that is told to end is killed after two seconds.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Waiting {
    req: AdminReq,
    session: SessionId,
    service: ServiceName,
    give_up_at: Instant,
}

/// The requests that wait.
#[derive(Debug, Default)]
pub(super) struct Outcomes(Vec<Waiting>);

impl Outcomes {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.0.iter().fold(None, |at, waiting| earliest(at, Some(waiting.give_up_at)))
    }
}

impl Host {
    /// Answers with how the service stands, once that is settled.
    pub(super) fn await_outcome(
        &mut self,
        clock: Clock,
        req: AdminReq,
        session: SessionId,
        service: ServiceName,
        out: &mut Vec<Effect>,
    ) {
        let waits = self.sessions.get(session).is_some_and(|s| s.is_unsettled(&service));
        let waiting = Waiting { req, session, service, give_up_at: clock.now + GIVE_UP_AFTER };
        if waits && self.outcomes.len() < WAITING_MAX {
            self.outcomes.0.push(waiting);
        } else {
            self.tell_outcome(&waiting, out);
        }
    }

    fn tell_outcome(&self, waiting: &Waiting, out: &mut Vec<Effect>) {
        let services = self.sessions.get(waiting.session).map(manage::services).unwrap_or_default();
        let reply = match services.into_iter().find(|view| view.service == waiting.service) {
            Some(view) => Reply::Services(vec![view]),
            None => Reply::Refused(format!("session {} has ended", waiting.session.short())),
        };
        out.push(Effect::Answer { req: waiting.req, reply: Box::new(reply) });
    }

    fn tell_outcomes(&mut self, which: impl Fn(&Waiting) -> bool, out: &mut Vec<Effect>) {
        let (told, rest): (Vec<Waiting>, Vec<Waiting>) = self.outcomes.0.drain(..).partition(which);
        self.outcomes.0 = rest;
        for waiting in told {
            self.tell_outcome(&waiting, out);
        }
    }

    pub(super) fn on_service_settled(
        &mut self,
        session: SessionId,
        service: &ServiceName,
        out: &mut Vec<Effect>,
    ) {
        self.tell_outcomes(|waiting| waiting.session == session && waiting.service == *service, out);
    }

    pub(super) fn on_session_gone(&mut self, session: SessionId, out: &mut Vec<Effect>) {
        self.tell_outcomes(|waiting| waiting.session == session, out);
    }

    pub(super) fn poll_outcomes(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        self.tell_outcomes(|waiting| waiting.give_up_at <= clock.now, out);
    }
}
