//! The services of a running session: started and stopped one by one.

use proto::{ServiceName, SessionId};

use super::{SessionEffect, SessionEvent, SessionPhase, Sessions};
use crate::control::{ServiceState, ToSession};
use crate::template::{Display, SERVICES_MAX, Service};

impl Sessions {
    /// Starts a service of a running session: one of its own, or another one, which is added. A DTU that shows
    /// the session sees a new terminal when it attaches next. `false` when the session does not run or has
    /// [`SERVICES_MAX`] services already.
    pub fn start_service(&mut self, id: SessionId, service: Service, out: &mut Vec<SessionEffect>) -> bool {
        let Some(session) = self.table.get_mut(&id).filter(|s| s.phase == SessionPhase::Running) else {
            return false;
        };
        if !session.services.contains_key(&service.name) {
            if session.services.len() >= SERVICES_MAX {
                return false;
            }
            session.services.insert(service.name.clone(), ServiceState::Idle);
            if service.display == Display::Terminal {
                session.displays.push(service.name.clone());
            }
        }
        if !matches!(session.services.get(&service.name), Some(ServiceState::Running { .. })) {
            session.unsettled.insert(service.name.clone());
        }
        out.push(SessionEffect::Tell(id, Box::new(ToSession::StartService(Box::new(service)))));
        true
    }

    /// Ends a service of a running session and all it has started. `false` when there is no such service, or
    /// the session does not run.
    pub fn stop_service(
        &mut self,
        id: SessionId,
        service: &ServiceName,
        out: &mut Vec<SessionEffect>,
    ) -> bool {
        let running = self.table.get_mut(&id).filter(|s| s.phase == SessionPhase::Running);
        let Some(session) = running.filter(|s| s.services.contains_key(service)) else { return false };
        if matches!(session.services.get(service), Some(ServiceState::Running { .. })) {
            session.unsettled.insert(service.clone());
        }
        out.push(SessionEffect::Tell(id, Box::new(ToSession::StopService(service.clone()))));
        true
    }

    pub(super) fn note_service(
        &mut self,
        id: SessionId,
        service: ServiceName,
        state: ServiceState,
        out: &mut Vec<SessionEffect>,
    ) {
        let Some(session) = self.table.get_mut(&id) else { return };
        if session.services.len() >= SERVICES_MAX && !session.services.contains_key(&service) {
            return;
        }
        if session.unsettled.remove(&service) {
            let service = service.clone();
            out.push(SessionEffect::Event(SessionEvent::ServiceSettled { session: id, service }));
        }
        session.services.insert(service, state);
    }
}
