//! What can be seen of the world from outside, as it happens: what goes over wires, what desks show, what hosts
//! write into their logs, which processes there are, what the data store holds. It is what checkers are fed.
//!
//! Nothing is gathered unless [`World::watch`] was called.

use std::net::SocketAddrV4;

use dtu_emu::dtu::{DtuEvent, Phase};
use groupmgr::host::{ClaimRecord, Note};
use proto::alp::{Access, FromHost};
use proto::line::Line;
use proto::{BootId, Epoch, HostName, Instant, SessionId, Token};

use super::desk::Brain;
use super::{DeskId, World};

/// What is on a desk's screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Whose.
    pub token: Token,
    /// Which session.
    pub session: SessionId,
    /// Of which host.
    pub host: HostName,
}

/// How a session process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its machine lost its power.
    Power,
    /// The daemon died, and the host does not keep sessions.
    Daemon,
    /// Somebody killed it.
    Killed,
    /// It ended by itself, or its host ended it.
    Ended,
}

/// What is done to a host's daemon or machine, or by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It starts, as this run.
    Starts(BootId),
    /// Its operator asks it to stop.
    Leaves,
    /// Its daemon is dead.
    Dies,
}

/// Something that was seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// A host's spawner is gone, or there is another one.
    Spawner {
        /// The host.
        host: HostName,
        /// Whether it is gone.
        gone: bool,
    },
    /// A second host of a name runs from now on, or no longer does.
    Second {
        /// The name.
        host: HostName,
        /// Whether it runs.
        runs: bool,
    },
    /// A desk presents a token on a connection to a host.
    Presents {
        /// The desk.
        desk: DeskId,
        /// The connection.
        conn: u64,
        /// The host.
        host: HostName,
        /// The token, as it is said.
        token: String,
        /// The ticket it came with, if it came by a redirect.
        ticket: Option<String>,
        /// Whether it says that it was redirected.
        redirected: bool,
    },
    /// A host grants what was presented.
    Grants {
        /// The host.
        host: HostName,
        /// The connection.
        conn: u64,
        /// The desk at its other end.
        desk: DeskId,
        /// The token it names.
        token: String,
        /// What it lets the desk show.
        session: Option<SessionId>,
    },
    /// A host sends a desk elsewhere.
    SendsOn {
        /// The host.
        host: HostName,
        /// The connection.
        conn: u64,
        /// The desk.
        desk: DeskId,
        /// Where to.
        to: SocketAddrV4,
        /// With which ticket.
        ticket: Option<String>,
    },
    /// What a desk shows has changed.
    Screen {
        /// The desk.
        desk: DeskId,
        /// What it shows now.
        shows: Option<Shown>,
    },
    /// A desk reports something.
    Says {
        /// The desk.
        desk: DeskId,
        /// What.
        event: DtuEvent,
    },
    /// A host writes a line into its log.
    Logs {
        /// The host.
        host: HostName,
        /// What.
        note: Note,
    },
    /// A session process begins.
    Begins {
        /// On which host.
        host: HostName,
        /// Which session.
        session: SessionId,
        /// Whose.
        token: Token,
    },
    /// A session process is gone.
    Gone {
        /// On which host.
        host: HostName,
        /// Which session.
        session: SessionId,
        /// How.
        end: End,
    },
    /// The data store holds another claim for a token.
    Claimed {
        /// The token.
        token: String,
        /// The claim, if there is one.
        claim: Option<ClaimRecord>,
    },
    /// A session is told the epoch that its host has of it.
    Epoch {
        /// The host.
        host: HostName,
        /// The session.
        session: SessionId,
        /// The epoch.
        epoch: Epoch,
    },
    /// The data store was restored from a backup.
    Restored,
    /// Something becomes of a host.
    Host {
        /// The host.
        host: HostName,
        /// What.
        fate: Fate,
    },
    /// A token is registered: nobody is let in with it who cannot prove its secret, or nobody at all.
    Registered {
        /// The token.
        token: Token,
        /// Whether it is disabled.
        disabled: bool,
    },
    /// A person put a card into a desk, or took it out.
    Card {
        /// The desk.
        desk: DeskId,
        /// The card's token.
        token: Option<Token>,
        /// Whether it has the secret, should the token need one.
        genuine: bool,
    },
    /// A host, with all its ways, is well now, or is not.
    HostWell {
        /// The host.
        host: HostName,
        /// Whether.
        well: bool,
    },
    /// A host's machine and all its ways are sound now, or are not, whatever its daemon does.
    WaysWell {
        /// The host.
        host: HostName,
        /// Whether.
        well: bool,
    },
    /// A desk's own ways are well now, or are not.
    DeskWell {
        /// The desk.
        desk: DeskId,
        /// Whether.
        well: bool,
    },
    /// The data store and the ways to it are well now, or are not.
    StoreWell(bool),
    /// How full a table of a host is.
    Size {
        /// The host.
        host: HostName,
        /// The table.
        table: &'static str,
        /// Entries in it.
        len: usize,
        /// Entries it may have.
        max: usize,
    },
}

/// What was seen and not yet handed out.
#[derive(Debug, Default)]
pub(super) struct Sights {
    is_on: bool,
    seen: Vec<(Instant, Sight)>,
}

impl World {
    /// From now on everything that can be seen is gathered for [`World::sights`].
    pub const fn watch(&mut self) {
        self.sights.is_on = true;
    }

    /// What was seen since the last call.
    pub fn sights(&mut self) -> Vec<(Instant, Sight)> {
        core::mem::take(&mut self.sights.seen)
    }

    /// Adds what somebody saw who is not of the world's machines: a fault that was made, a card that was moved.
    pub fn see(&mut self, sight: Sight) {
        self.saw(|_| Some(sight));
    }

    pub(super) fn saw(&mut self, what: impl FnOnce(&Self) -> Option<Sight>) {
        if self.sights.is_on
            && let Some(sight) = what(self)
        {
            self.sights.seen.push((self.now, sight));
        }
    }

    pub(super) fn saw_fate(&mut self, host: usize, fate: Fate) {
        self.saw(|w| {
            let name = w.names[host].clone();
            if w.machines[host].plan.called.is_none() {
                return Some(Sight::Host { host: name, fate });
            }
            Some(Sight::Second { host: name, runs: matches!(fate, Fate::Starts(_)) })
        });
    }

    /// Bytes go from a desk to a host.
    pub(super) fn saw_desk_say(&mut self, desk: usize, key: super::tcp::ConnKey, bytes: &[u8]) {
        if !self.sights.is_on || !bytes.starts_with(b"infoReq ") {
            return;
        }
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let (Some(conn), Ok(line)) = (self.conns.get(&key), Line::parse(text)) else { return };
        if line.get("event") != Some("insert") {
            return;
        }
        let redirected = line.get("cause") == Some("redirect");
        let sight = Sight::Presents {
            desk: DeskId(desk),
            conn: key.0,
            host: self.names[conn.host].clone(),
            token: format!("{}.{}", line.get("type").unwrap_or(""), line.get("id").unwrap_or("")),
            ticket: line.get("redirectProps").filter(|_| redirected).map(str::to_owned),
            redirected,
        };
        self.sights.seen.push((self.now, sight));
    }

    /// A host says something to a desk.
    pub(super) fn saw_host_say(&mut self, host: usize, key: super::tcp::ConnKey, message: &FromHost) {
        let Some(desk) = self.conns.get(&key).map(|conn| DeskId(conn.desk)) else { return };
        self.saw(|w| {
            let (host, conn) = (w.names[host].clone(), key.0);
            match message {
                FromHost::ConnInf(inf) if inf.access == Access::Allowed => {
                    let session = inf.grant.as_ref().and_then(|g| g.displays.first()).map(|d| d.session);
                    let token = inf.token.as_ref().map(ToString::to_string).unwrap_or_default();
                    Some(Sight::Grants { host, conn, desk, token, session })
                }
                FromHost::RedirectInf(inf) => {
                    Some(Sight::SendsOn { host, conn, desk, to: inf.addr, ticket: inf.props.clone() })
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
        if !self.sights.is_on {
            return;
        }
        let shows = self.shown_at(DeskId(desk));
        if self.desks[desk].seen != shows {
            self.desks[desk].seen.clone_from(&shows);
            self.sights.seen.push((self.now, Sight::Screen { desk: DeskId(desk), shows }));
        }
    }
}
