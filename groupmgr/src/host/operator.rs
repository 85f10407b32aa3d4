//! What an operator asks of this host.

use authmgr::Gate;
use proto::alp::DisconnectCause;
use proto::peer::PeerBody;
use proto::time::Duration;
use proto::{Epoch, Instant, Last, SessionId};
use sessiond::manager::{Claim, Session};

use super::admin::{Command, DtuView, Reply, SessionAct, SessionView, Status};
use super::driver::{AdminReq, Effect};
use super::manage::Order;
use super::{Clock, Host};

/// How long a host that stops may take to give its claims back.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

impl Host {
    pub(super) fn on_command(
        &mut self,
        clock: Clock,
        req: AdminReq,
        command: Command,
        out: &mut Vec<Effect>,
    ) {
        let reply = match command {
            Command::Status => Reply::Status(Box::new(self.status(clock))),
            Command::Topology => Reply::Topology(self.topology.view(clock.now, &self.announcer)),
            Command::Sessions => Reply::Sessions(self.session_views(clock.now)),
            Command::Dtus => Reply::Dtus(self.dtu_views()),
            Command::Explain(token) => return self.explain(clock, req, token, out),
            Command::Drain(drain) => {
                self.announcer.set_drain(clock.now, drain);
                Reply::Done
            }
            Command::Forget(host) if self.topology.row(&host).is_some_and(|row| row.is_up()) => {
                Reply::Refused(format!("{host} is up and would be heard again; stop it first"))
            }
            Command::Forget(host) if self.topology.forget(&host) => {
                self.digests.forget(&host);
                self.sweep_forgotten(clock.now, &host);
                Reply::Done
            }
            Command::Forget(host) => {
                Reply::Refused(format!("no host {host} in the table; see: groupmgr topology"))
            }
            Command::Session { session, act: SessionAct::Outcome(service) } => {
                return self.await_outcome(clock, req, session, service, out);
            }
            Command::Session { session, act } => self.on_session_act(clock, session, act, out),
            Command::NewSession { token, template } => {
                return self.order_session(clock, Order { req, token, template }, out);
            }
            Command::PresentAgain(token) => Reply::At(self.present_again(clock, &token, out)),
            Command::Message { text, .. } if text.trim().is_empty() => {
                Reply::Refused("a message without text shows nothing at a DTU; give it a text".into())
            }
            Command::Message { serial, text } => self.message(clock, serial.as_ref(), &text, out),
            Command::Follow { key } => return self.follow(clock, req, key, out),
            Command::Stop => {
                self.stop(clock, out);
                Reply::Done
            }
        };
        out.push(Effect::Answer { req, reply: Box::new(reply) });
    }

    /// Says goodbye to hosts and DTUs, and asks the driver to end.
    fn stop(&mut self, clock: Clock, out: &mut Vec<Effect>) {
        self.stopping = true;
        let bytes = self.seal_peer(PeerBody::Goodbye);
        self.broadcast(&bytes, out);
        let conns: Vec<_> = self.conns.iter().map(|(id, _)| id).collect();
        // Sessions that stay are taken up by the next daemon within a moment: their DTUs hold.
        if self.config.identity.keep {
            self.stop_at = Some(clock.now);
        } else {
            self.release_all();
            self.stop_at = Some(clock.now + RELEASE_WITHIN);
            for conn in conns {
                self.at_gate(clock, conn, out, |gate: &mut Gate, now, fx| {
                    gate.disconnect(now, DisconnectCause::HostStopping, fx);
                });
            }
        }
    }

    /// Ends when what was to be given back has been, or that takes too long.
    pub(super) fn poll_stop(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Some(at) = self.stop_at else { return };
        if at <= now || !self.store.is_up() || self.store.upkeep.is_idle() {
            self.stop_at = None;
            out.push(Effect::Stop);
        }
    }

    fn status(&self, clock: Clock) -> Status {
        let id = &self.config.identity;
        let mut hosts = std::collections::BTreeMap::from([("up".to_owned(), 1)]);
        for row in self.topology.rows() {
            *hosts.entry(format!("{:?}", row.standing()).to_lowercase()).or_default() += 1;
        }
        Status {
            host: id.host.clone(),
            boot: id.boot,
            up_secs: clock.now.since(self.started).as_secs(),
            key: self.config.ring.signing(),
            keys: self.config.ring.keys().iter().map(proto::keys::GroupKey::id).collect(),
            store: id.store.to_string(),
            store_up: self.store.is_up(),
            store_refuses: self.store.refuses().map(str::to_owned),
            store_trouble: self.store.trouble().map(|trouble| trouble.why.clone()),
            store_distrusts: self.store.trouble().is_some_and(|trouble| trouble.is_distrust),
            drain: self.announcer.is_drained(),
            lacks: self.lacks_in_words(),
            keep: id.keep,
            hosts,
            silent: self
                .topology
                .rows()
                .filter(|row| row.standing().is_unheard())
                .map(|row| row.host().clone())
                .collect(),
            mute: self.directory.mute().map(|(host, _)| host.clone()).collect(),
            strangers: self.topology.strangers.iter().count(),
            doubles: self.doubles(clock.now),
            digest: self.digest_status(),
            sessions: self.sessions.len(),
            unclaimed: self.sessions.iter().filter(|s| s.claim == Claim::Unclaimed).count(),
            dtus: self.conns.len(),
            attached: self.conns.iter().filter(|(_, c)| c.shows.is_some()).count(),
            refused: self.counters.all_refused(),
            done: self.counters.all_done(),
        }
    }

    /// The sessions here, and those that could not be started of late.
    fn session_views(&self, now: Instant) -> Vec<SessionView> {
        let failed = self.failures.recent(now).map(|failure| SessionView {
            host: self.name().clone(),
            session: failure.session.unwrap_or(SessionId(0)),
            token: failure.token.clone(),
            epoch: Epoch::default(),
            last: Last::default(),
            claimed: false,
            state: format!("failed: {}", failure.why),
            shown: None,
        });
        self.sessions.iter().map(|s| self.session_view(s)).chain(failed).collect()
    }

    pub(super) fn session_view(&self, s: &Session) -> SessionView {
        SessionView {
            host: self.name().clone(),
            session: s.id,
            token: s.token.clone(),
            epoch: s.epoch,
            last: s.last,
            claimed: s.claim == Claim::Held,
            state: s.phase.word().into(),
            shown: s.shown.clone(),
        }
    }

    fn dtu_views(&self) -> Vec<DtuView> {
        let view = |c: &super::conns::Conn| DtuView {
            host: self.name().clone(),
            serial: c.presented.as_ref().map(|p| p.serial.clone()),
            addr: c.peer,
            token: c.presented.as_ref().map(|p| p.token.clone()),
            session: c.shows,
        };
        self.conns.iter().map(|(_, c)| view(c)).collect()
    }
}
