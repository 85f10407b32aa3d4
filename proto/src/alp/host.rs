//! What a host says.

use core::time::Duration;
use std::net::SocketAddrV4;

use super::cookie::Cookie;
use super::seq::TokenSeq;
use super::words;
use crate::chain::ChainValue;
use crate::ids::{BootId, HostName, Nonce, ServiceName, SessionId, Token};
use crate::line::{FieldError, Line};
use crate::net::HexIp;

words! {
    /// Whether a token may use the group.
    Access {
        /// It may use the group.
        Allowed = "allowed",
        /// It may not, or not now.
        Denied = "denied",
    }
}

words! {
    /// Why a session is taken off a DTU: what [`FromHost::DiscInf`] says in its cause. A DTU that reads another word
    /// treats it as [`DisconnectCause::Ended`].
    DisconnectCause {
        /// The token was presented at another DTU, or the session is shown by another host.
        ShownElsewhere = "shownElsewhere",
        /// An operator took it off this DTU; it runs on.
        Detached = "detached",
        /// An operator ended it.
        EndedByOperator = "endedByOperator",
        /// Its services ended by themselves.
        Ended = "ended",
        /// It was lost: its process died.
        Lost = "lost",
        /// The host is being drained: present the token to another host.
        HostDraining = "hostDraining",
        /// The host is stopping: present the token to another host.
        HostStopping = "hostStopping",
    }
}

words! {
    /// Why a host takes no connection: what [`FromHost::BusyInf`] says in its reason. It comes before TLS, so anybody on
    /// the way may have written it: a hint to come back later, and no more.
    BusyReason {
        /// The DTU's address has as many connections as one may have.
        Address = "address",
        /// The host has as many as it can.
        Host = "host",
    }
}

impl DisconnectCause {
    /// Whether it is the host that goes, so that the DTU had better go to another one.
    #[must_use]
    pub const fn sends_away(self) -> bool {
        matches!(self, Self::HostDraining | Self::HostStopping)
    }
}

/// Hosts a DTU is told to fail over to, at most: more than it would ever try in the time it has.
pub const STANDBYS_MAX: usize = 16;

/// Services of one session that a connInf can show.
pub const DISPLAYS_MAX: usize = 6;

/// Another host of the group, as told to a DTU over TLS (`server=name@ip:port`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// The name of the host that speaks.
    pub host: HostName,
    /// Where the DTU reaches it.
    pub addr: SocketAddrV4,
}

impl core::fmt::Display for Standby {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}@{}", self.host, self.addr)
    }
}

impl core::str::FromStr for Standby {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        let (host, addr) = s.split_once('@').ok_or(())?;
        Ok(Self { host: host.parse().map_err(|_| ())?, addr: addr.parse().map_err(|_| ())? })
    }
}

/// By what a DTU checks this host's beacons (`anchor=boot:tick:link:every in ms`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchorNote {
    /// The run whose chain it is.
    pub boot: BootId,
    /// How often the value has to be hashed to give the chain's number 0: the beacon's `tick`.
    pub tick: u64,
    /// The newest revealed value of the chain, `link` on the wire.
    pub chain_value: ChainValue,
    /// The present interval of the beacons.
    pub every: Duration,
}

impl core::fmt::Display for AnchorNote {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{}:{}:{}", self.boot, self.tick, self.chain_value, self.every.as_millis())
    }
}

impl core::str::FromStr for AnchorNote {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        let mut parts = s.splitn(4, ':');
        let mut part = || parts.next().ok_or(());
        Ok(Self {
            boot: part()?.parse().map_err(|_| ())?,
            tick: part()?.parse().map_err(|_| ())?,
            chain_value: part()?.parse()?,
            every: Duration::from_millis(part()?.parse().map_err(|_| ())?),
        })
    }
}

/// Where and how a service is shown: `display=ip:port session=.. service=.. ticket=.. fp=..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Display {
    /// The host that runs the service.
    pub addr: SocketAddrV4,
    /// The session whose display it is.
    pub session: SessionId,
    /// The service that is shown.
    pub service: ServiceName,
    /// The one-time ticket of the display channel.
    pub ticket: Nonce,
    /// The fingerprint of the session's own certificate, 32 bytes.
    pub fp: [u8; 32],
}

/// What a grant says beyond the protocol of real terminals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The host that grants.
    pub host: HostName,
    /// Where the DTU may fail over to.
    pub standbys: Vec<Standby>,
    /// By what it checks the host's beacons.
    pub anchor: AnchorNote,
    /// Who keeps the session; `None` where nobody does, and in what hosts of older versions say.
    pub cookie: Option<Cookie>,
    /// What it may show, at most [`DISPLAYS_MAX`]; the first is shown.
    pub displays: Vec<Display>,
    /// How many displays the session has: more than `displays` where they are too many. Hosts of older versions do not
    /// say so.
    pub displays_total: usize,
}

/// The answer to an infoReq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnInf {
    /// Echo of the presentation's number.
    pub token_seq: TokenSeq,
    /// Granted or refused.
    pub access: Access,
    /// Whose session it is.
    pub token: Option<Token>,
    /// Ours, when granted.
    pub grant: Option<Grant>,
    /// Ours: a line for the person at the screen, when refused or waiting.
    pub notice: Option<String>,
}

/// "Go to another host".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectInf {
    /// `authipa` and `authport`.
    pub addr: SocketAddrV4,
    /// `redirectProps`: the ticket, which the DTU returns unread.
    pub props: Option<String>,
    /// Ours: its name, for a DTU that has to return and say which host failed.
    pub host: Option<HostName>,
    /// Ours: echo of the presentation's number. A card may have been moved meanwhile; an older host does not say.
    pub token_seq: Option<TokenSeq>,
}

/// A message of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromHost {
    /// A token is granted or refused.
    ConnInf(Box<ConnInf>),
    /// The session is taken away.
    DiscInf {
        /// Which presentation it belonged to.
        token_seq: Option<TokenSeq>,
        /// Why, free text in one word; ours are those of [`DisconnectCause`].
        cause: Option<String>,
    },
    /// The answer to keepAliveReq.
    KeepAliveCnf,
    /// The host's heartbeat. Ours: it may carry a fresh anchor, the hosts to fail over to, and who keeps the session.
    KeepAliveInf {
        /// By what to check the host's beacons from now on.
        anchor: Option<AnchorNote>,
        /// Where to fail over to from now on; empty means no change.
        standbys: Vec<Standby>,
        /// Who keeps the session that is shown, from now on; `None` means no change.
        cookie: Option<Cookie>,
    },
    /// Present the token at another host.
    RedirectInf(RedirectInf),
    /// Of unknown content.
    ControlInf(Line),
    /// A command for the card in the DTU.
    ControlSmartCard {
        /// Echoed in the answer.
        tag: String,
        /// CLA INS P1 P2, eight hex digits.
        head: String,
        /// Data to send, hex.
        tdata: String,
        /// Length expected back.
        rlen: u16,
    },
    /// Ours: the connection is refused, for now. Said in plain text, and instead of anything else.
    BusyInf {
        /// Why; `None` when the word is of a later version.
        reason: Option<BusyReason>,
    },
    /// Ours: a line for the person at the screen, such as that the desk waits for the data store.
    Notice(String),
    /// Anything else, `protocolErrorInf` among it: ignored.
    Other(Line),
}

impl FromHost {
    /// Reads a message of a host.
    ///
    /// # Errors
    /// A field without which the command means nothing.
    pub fn from_line(line: &Line) -> Result<Self, FieldError> {
        Ok(match line.command() {
            "connInf" => Self::ConnInf(Box::new(ConnInf {
                token_seq: line.need("tokenSeq")?,
                access: line.need("access")?,
                token: line.lenient("token"),
                grant: Grant::from_line(line)?,
                notice: line.get("notice").map(str::to_owned),
            })),
            "discInf" => Self::DiscInf {
                token_seq: line.lenient("tokenSeq"),
                cause: line.get("cause").map(str::to_owned),
            },
            "keepAliveCnf" => Self::KeepAliveCnf,
            "keepAliveInf" => Self::KeepAliveInf {
                anchor: line.lenient("anchor"),
                standbys: standbys(line),
                cookie: line.lenient("cookie"),
            },
            "redirectInf" => Self::RedirectInf(RedirectInf {
                addr: SocketAddrV4::new(line.need::<HexIp>("authipa")?.0, line.need("authport")?),
                props: line.get("redirectProps").map(str::to_owned),
                host: line.lenient("host"),
                token_seq: line.lenient("tokenSeq"),
            }),
            "controlInf" => Self::ControlInf(line.clone()),
            "controlSmartCard" => Self::ControlSmartCard {
                tag: line.get("tag").unwrap_or_default().to_owned(),
                head: line.need("head")?,
                tdata: line.get("tdata").unwrap_or_default().to_owned(),
                rlen: line.lenient("rlen").unwrap_or(0),
            },
            "busyInf" => Self::BusyInf { reason: line.lenient("reason") },
            "notice" => Self::Notice(line.get("text").unwrap_or_default().to_owned()),
            _ => Self::Other(line.clone()),
        })
    }

    /// The message as a line.
    #[must_use]
    pub fn to_line(&self) -> Line {
        match self {
            Self::ConnInf(conn) => conn.to_line(),
            Self::DiscInf { token_seq, cause } => Line::new("discInf")
                .with("access", Access::Denied)
                .with_some("tokenSeq", token_seq.as_ref())
                .with_some("cause", cause.as_ref()),
            Self::KeepAliveCnf => Line::new("keepAliveCnf"),
            Self::KeepAliveInf { anchor, standbys, cookie } => {
                let mut line = Line::new("keepAliveInf")
                    .with_some("anchor", *anchor)
                    .with_some("cookie", cookie.as_ref());
                for standby in standbys {
                    line.push("server", standby);
                }
                line
            }
            Self::RedirectInf(redirect) => Line::new("redirectInf")
                .with("authipa", HexIp(*redirect.addr.ip()))
                .with("authport", redirect.addr.port())
                .with_some("redirectProps", redirect.props.as_ref())
                .with_some("host", redirect.host.as_ref())
                .with_some("tokenSeq", redirect.token_seq.as_ref()),
            Self::ControlInf(line) | Self::Other(line) => line.clone(),
            Self::ControlSmartCard { tag, head, tdata, rlen } => Line::new("controlSmartCard")
                .with("tag", tag)
                .with("command", "apduInf")
                .with("head", head)
                .with("tdata", tdata)
                .with("rlen", rlen),
            Self::BusyInf { reason } => Line::new("busyInf").with_some("reason", *reason),
            Self::Notice(text) => Line::new("notice").with("text", text),
        }
    }
}

impl ConnInf {
    fn to_line(&self) -> Line {
        let mut line = Line::new("connInf")
            .with("tokenSeq", &self.token_seq)
            .with("access", self.access)
            .with("module", "StartSession.m3")
            .with_some("token", self.token.as_ref())
            .with("useReal", "true")
            .with("encUpType", "none")
            .with("encDownType", "none")
            .with_some("notice", self.notice.as_ref());
        let Some(grant) = &self.grant else { return line };
        line = line
            .with("host", &grant.host)
            .with("anchor", grant.anchor)
            .with_some("cookie", grant.cookie.as_ref());
        for standby in &grant.standbys {
            line.push("server", standby);
        }
        for display in &grant.displays {
            line.push("display", display.addr);
            line.push("session", display.session);
            line.push("service", &display.service);
            line.push("ticket", display.ticket);
            line.push("fp", crate::hex::encode(&display.fp));
        }
        if grant.displays_total > grant.displays.len() {
            line.push("displays", grant.displays_total);
        }
        line
    }
}

impl Grant {
    fn from_line(line: &Line) -> Result<Option<Self>, FieldError> {
        let (Some(host), Some(anchor)) = (line.lenient("host"), line.lenient("anchor")) else {
            return Ok(None);
        };
        let sessions: Vec<_> = line.all("session").collect();
        let services: Vec<_> = line.all("service").collect();
        let tickets: Vec<_> = line.all("ticket").collect();
        let fps: Vec<_> = line.all("fp").collect();
        let addrs: Vec<_> = line.all("display").collect();
        let n = addrs.len();
        if n > DISPLAYS_MAX || [sessions.len(), services.len(), tickets.len(), fps.len()] != [n; 4] {
            return Err(FieldError::Bad("display"));
        }
        let display = |at: usize| -> Option<Display> {
            Some(Display {
                addr: addrs[at].parse().ok()?,
                session: sessions[at].parse().ok()?,
                service: services[at].parse().ok()?,
                ticket: tickets[at].parse().ok()?,
                fp: crate::hex::decode(fps[at].as_bytes())?,
            })
        };
        let displays = (0..n).map(display).collect::<Option<_>>().ok_or(FieldError::Bad("display"))?;
        let displays_total = line.lenient("displays").unwrap_or(n).max(n);
        let (standbys, cookie) = (standbys(line), line.lenient("cookie"));
        Ok(Some(Self { host, standbys, anchor, cookie, displays, displays_total }))
    }
}

/// The hosts named in a message; odd ones and those beyond the bound are skipped.
fn standbys(line: &Line) -> Vec<Standby> {
    line.all("server").filter_map(|text| text.parse().ok()).take(STANDBYS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_says_how_many_displays_the_session_has_where_it_does_not_name_them_all() {
        let (id, fp) = ("0".repeat(32), "cd".repeat(32));
        let one = format!(
            "connInf tokenSeq=1 access=allowed host=a anchor=0000000000000001:42:{id}:100 display=192.0.2.1:7009 \
             session={id} service=terminal ticket={id} fp={fp}"
        );
        let read = |line: String| FromHost::from_line(&line.parse().unwrap()).unwrap();
        let total = |said: &FromHost| match said {
            FromHost::ConnInf(conn) => conn.grant.as_ref().unwrap().displays_total,
            other => panic!("{other:?}"),
        };
        let eight = read(format!("{one} displays=8"));
        assert_eq!((total(&eight), eight.to_line().get("displays")), (8, Some("8")));
        for odd in ["", " displays=0", " displays=x", " displays=-1"] {
            let said = read(format!("{one}{odd}"));
            assert_eq!((total(&said), said.to_line().get("displays")), (1, None), "{odd}");
        }
    }
}
