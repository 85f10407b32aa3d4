//! What can be seen of the world from outside, as it happens: what goes over wires, what desks show, what hosts
//! write into their logs, which processes there are, what the data store holds. It is what checkers are fed.
//!
//! Nothing is gathered unless [`World::watch`] was called.

use dtu_emu::dtu::Phase;
use proto::alp::{Access, FromHost};
use proto::line::Line;
use proto::{Instant, SessionId};
use sessiond::control::ToSession;

use super::World;
use super::parts::desk::Brain;
use super::parts::desk::DeskId;
use super::parts::observation::{Fate, Observation, Shown};

/// Where the stamp of an object stands in its bytes.
const STAMP: core::ops::Range<usize> = 4..20;

impl World {
    /// From now on everything that can be seen is gathered for [`World::observations`].
    pub const fn watch(&mut self) {
        self.observations.is_on = true;
    }

    /// What was seen since the last call.
    pub fn observations(&mut self) -> Vec<(Instant, Observation)> {
        core::mem::take(&mut self.observations.seen)
    }

    /// Adds what somebody saw who is not of the world's machines: a fault that was made, a card that was moved.
    pub fn see(&mut self, observation: Observation) {
        self.observe(|_| Some(observation));
    }

    pub(super) fn observe(&mut self, what: impl FnOnce(&Self) -> Option<Observation>) {
        if self.observations.is_on
            && let Some(observation) = what(self)
        {
            self.observations.seen.push((self.now, observation));
        }
    }

    pub(super) fn saw_fate(&mut self, host: usize, fate: Fate) {
        self.observe(|w| {
            let name = w.names[host].clone();
            if w.machines[host].plan.called.is_none() {
                return Some(Observation::Host { host: name, fate });
            }
            Some(Observation::Second { host: name, runs: matches!(fate, Fate::Starts(_)) })
        });
    }

    /// Bytes go from a desk to a host.
    pub(super) fn saw_desk_say(&mut self, desk: usize, key: super::parts::tcp::ConnKey, bytes: &[u8]) {
        if !self.observations.is_on || !bytes.starts_with(b"infoReq ") {
            return;
        }
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let (Some(conn), Ok(line)) = (self.conns.get(&key), Line::parse(text)) else { return };
        if line.get("event") != Some("insert") {
            return;
        }
        let redirected = line.get("cause") == Some("redirect");
        let observation = Observation::Presents {
            desk: DeskId(desk),
            conn: key.0,
            host: self.names[conn.host].clone(),
            token: format!("{}.{}", line.get("type").unwrap_or(""), line.get("id").unwrap_or("")),
            ticket: line.get("redirectProps").filter(|_| redirected).map(str::to_owned),
            redirected,
        };
        self.observations.seen.push((self.now, observation));
    }

    /// A host tells one of its sessions something.
    pub(super) fn saw_told(&mut self, host: usize, session: SessionId, message: &ToSession) {
        self.observe(|w| {
            let host = w.names[host].clone();
            match message {
                ToSession::SetMeta(meta) => {
                    let epoch = Line::parse(&meta.0).ok()?.need("epoch").ok()?;
                    Some(Observation::Epoch { host, session, epoch })
                }
                ToSession::Begin(beginning) => {
                    Some(Observation::Epoch { host, session, epoch: beginning.epoch })
                }
                ToSession::Protected { part, stamp } => {
                    Some(Observation::Safe { session, part: part.clone(), stamp: stamp.to_bytes() })
                }
                ToSession::Restore { part, object } => {
                    let stamp = object.0.get(STAMP)?.try_into().ok()?;
                    Some(Observation::Restores { host, session, part: part.clone(), stamp })
                }
                _ => None,
            }
        });
    }

    /// A host says something to a desk.
    pub(super) fn saw_host_say(&mut self, host: usize, key: super::parts::tcp::ConnKey, message: &FromHost) {
        let Some(desk) = self.conns.get(&key).map(|conn| DeskId(conn.desk)) else { return };
        self.observe(|w| {
            let (host, conn) = (w.names[host].clone(), key.0);
            match message {
                FromHost::ConnInf(inf) if inf.access == Access::Allowed => {
                    let session = inf.grant.as_ref().and_then(|g| g.displays.first()).map(|d| d.session);
                    let token = inf.token.as_ref().map(ToString::to_string).unwrap_or_default();
                    Some(Observation::Grants { host, conn, desk, token, session })
                }
                FromHost::RedirectInf(inf) => {
                    Some(Observation::SendsOn { host, conn, desk, to: inf.addr, ticket: inf.props.clone() })
                }
                _ => None,
            }
        });
    }

    /// What a desk has on its screen.
    #[must_use]
    pub fn shown_at(&self, desk: DeskId) -> Option<Shown> {
        let Brain::Dtu(dtu) = &self.desks[desk.0].brain else { return None };
        let status = dtu.status();
        let is_shown = matches!(status.phase, Phase::Attached | Phase::Held)
            && (status.shown || self.desks[desk.0].screen.is_none());
        match (status.session, status.host) {
            (Some(session), Some(host)) if is_shown => Some(Shown { token: status.token, session, host }),
            _ => None,
        }
    }

    /// Something happened at a desk: perhaps it shows something else now.
    pub(super) fn saw_screen(&mut self, desk: usize) {
        if !self.observations.is_on {
            return;
        }
        let shows = self.shown_at(DeskId(desk));
        if self.desks[desk].seen != shows {
            self.desks[desk].seen.clone_from(&shows);
            self.observations.seen.push((self.now, Observation::Screen { desk: DeskId(desk), shows }));
        }
    }
}
