//! What a DTU says.

use core::fmt;
use std::net::Ipv4Addr;

use super::host::Access;
use super::seq::TokenSeq;
use super::words;
use crate::frame::{Pixels, Size};
use crate::ids::{HostName, Serial};
use crate::line::{FieldError, Line};
use crate::net::HexIp;

words! {
    /// A DTU's state when it speaks; `uninitialized` never goes on the wire.
    State {
        /// No session is shown.
        Disconnected = "disconnected",
        /// A session is shown.
        Connected = "connected",
    }
}

words! {
    /// What happened to a token.
    Event {
        /// It is there now. Decide on this alone: after a removal another insert follows.
        Insert = "insert",
        /// It went away.
        Remove = "remove",
    }
}

words! {
    /// Why a token is presented.
    Cause {
        /// By itself: authentication and selection follow.
        Insert = "insert",
        /// Sent by another host: with a good ticket neither is done again.
        Redirect = "redirect",
    }
}

words! {
    /// Why a DTU leaves.
    DiscCause {
        /// It follows a redirectInf.
        Redirect = "redirect",
        /// It heard nothing for [`super::EXPIRY`].
        KeepAliveExpiry = "keepAliveExpiry",
    }
}

words! {
    /// Which command a DTU could not handle.
    ProtocolFault {
        /// It could not make use of a connInf.
        Conn = "connError",
        /// It could not make use of a discInf.
        Disc = "discError",
        /// A keepAliveInf or keepAliveCnf.
        KeepAlive = "keepAliveError",
        /// It could not make use of a controlInf.
        Control = "controlError",
        /// A redirectInf, or the redirect itself.
        Redirect = "redirectError",
        /// It could not make use of a protocolErrorInf.
        ProtocolError = "protocolErrorError",
        /// It could not make use of a controlSmartCard.
        ControlSmartCard = "controlSmartCardError",
    }
}

/// The fields common to all messages of a DTU, merged over a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Firmware and its version.
    pub fw: Option<String>,
    /// The hardware's model.
    pub hw: Option<String>,
    /// The serial, by which hosts tell DTUs apart.
    pub sn: Option<Serial>,
    /// Name space of the serial and of the card's id.
    pub namespace: Option<String>,
    /// UDP render port.
    pub pn: Option<u16>,
    /// State when speaking.
    pub state: Option<State>,
}

impl Terminal {
    /// Takes over what `line` states and keeps the rest.
    pub fn merge(&mut self, line: &Line) {
        fn keep<T>(slot: &mut Option<T>, new: Option<T>) {
            if new.is_some() {
                *slot = new;
            }
        }
        keep(&mut self.fw, line.get("fw").map(str::to_owned));
        keep(&mut self.hw, line.get("hw").map(str::to_owned));
        keep(&mut self.sn, line.lenient("sn"));
        keep(&mut self.namespace, line.get("namespace").map(str::to_owned));
        keep(&mut self.pn, line.lenient("pn"));
        keep(&mut self.state, line.lenient("state"));
    }

    /// `line` with these fields appended.
    #[must_use]
    pub fn append_to(&self, line: Line) -> Line {
        line.with("_", 1)
            .with_some("fw", self.fw.as_ref())
            .with_some("hw", self.hw.as_ref())
            .with_some("sn", self.sn.as_ref())
            .with_some("namespace", self.namespace.as_ref())
            .with_some("pn", self.pn)
            .with_some("state", self.state)
    }
}

/// A card or pseudo token as the DTU states it: not yet a [`crate::Token`], since `invalid` cards and odd
/// ids are stated too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// `pseudo`, `card`, `T0unknown`, `invalid`, or a card type's name.
    pub kind: String,
    /// What tells the card from others of its kind.
    pub id: String,
}

impl fmt::Display for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.id)
    }
}

/// "This token came", or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoReq {
    /// Whether it came or went.
    pub event: Event,
    /// The token that came or went.
    pub presented: Presented,
    /// Why it is presented; absent on a removal.
    pub cause: Option<Cause>,
    /// The number of this presentation, to be echoed; absent means the last one.
    pub token_seq: Option<TokenSeq>,
    /// Screen size; the part before a colon counts.
    pub start_res: Option<Pixels>,
    /// What the DTU believes its address is. May be wrong: the TCP peer is what counts.
    pub real_ip: Option<Ipv4Addr>,
    /// The ticket of a redirect, unread.
    pub redirect_props: Option<String>,
    /// The card's answer to reset, hex.
    pub atr: Option<String>,
    /// Ours: the screen's size in characters.
    pub size: Option<Size>,
    /// Ours: a host that a redirect named and that could not be reached or refused.
    pub avoid: Option<HostName>,
}

impl InfoReq {
    fn from_line(line: &Line) -> Result<Self, FieldError> {
        Ok(Self {
            event: line.need("event")?,
            presented: Presented { kind: line.need("type")?, id: line.need("id")? },
            cause: line.lenient("cause"),
            token_seq: line.lenient("tokenSeq"),
            start_res: line.get("startRes").and_then(pair).map(|(width, height)| Pixels { width, height }),
            real_ip: line.lenient::<HexIp>("realIP").map(|ip| ip.0),
            redirect_props: line.get("redirectProps").map(str::to_owned),
            atr: line.get("atr").map(str::to_owned),
            size: line.get("size").and_then(pair).map(|(cols, rows)| Size::clamped(cols, rows)),
            avoid: line.lenient("avoid"),
        })
    }

    fn append_to(&self, line: Line) -> Line {
        line.with("event", self.event)
            .with("type", &self.presented.kind)
            .with("id", &self.presented.id)
            .with_some("cause", self.cause)
            .with_some("tokenSeq", self.token_seq.as_ref())
            .with_some("startRes", self.start_res.map(|Pixels { width, height }| format!("{width}x{height}")))
            .with_some("realIP", self.real_ip.map(HexIp))
            .with_some("redirectProps", self.redirect_props.as_ref())
            .with_some("atr", self.atr.as_ref())
            .with_some("size", self.size.map(|size| format!("{}x{}", size.cols, size.rows)))
            .with_some("avoid", self.avoid.as_ref())
    }
}

/// Reads `WxH` or `WxH:WxH`.
fn pair(text: &str) -> Option<(u16, u16)> {
    let (w, h) = text.split(':').next()?.split_once('x')?;
    Some((w.parse().ok()?, h.parse().ok()?))
}

/// A heartbeat with statistics, of which none is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAliveReq {
    /// `byteCount`, of unknown unit.
    pub byte_count: Option<u64>,
    /// `connTime`, of unknown unit.
    pub conn_time: Option<u64>,
    /// `idleTime`, of unknown unit.
    pub idle_time: Option<u64>,
    /// `lossCount`: a count of lost packets, over an unknown time.
    pub loss_count: Option<u64>,
    /// `pktCount`: a count of packets, over an unknown time.
    pub pkt_count: Option<u64>,
}

/// A message of a DTU, without its common fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromDtu {
    /// A token came or went.
    InfoReq(InfoReq),
    /// First words of Sun's software client; its dialogue is not known, so it is only recognised.
    SessionReq(Line),
    /// The answer to connInf.
    ConnRsp {
        /// Whether the DTU took the session.
        access: Access,
    },
    /// The answer to discInf.
    DiscRsp,
    /// The DTU leaves.
    DiscReq {
        /// Why, when it is a known reason.
        cause: Option<DiscCause>,
    },
    /// The DTU is still there.
    KeepAliveReq(KeepAliveReq),
    /// The answer to keepAliveInf.
    KeepAliveRsp,
    /// The answer to controlInf, of unknown content.
    ControlRsp(Line),
    /// A card's answer to controlSmartCard.
    InfoSmartCard {
        /// Echo of the question's tag.
        tag: String,
        /// Whether the card was asked at all.
        success: bool,
        /// What it answered, hex.
        data: String,
        /// Its status word, four hex digits.
        status: String,
    },
    /// The DTU could not handle a command and starts again.
    ProtocolErrorReq {
        /// Which, when it is a known one.
        cause: Option<ProtocolFault>,
    },
    /// Anything else: ignored.
    Other(Line),
}

impl FromDtu {
    /// Reads a message of a DTU.
    ///
    /// # Errors
    /// A field without which the command means nothing.
    pub fn from_line(line: &Line) -> Result<Self, FieldError> {
        Ok(match line.command() {
            "infoReq" => Self::InfoReq(InfoReq::from_line(line)?),
            "sessionReq" => Self::SessionReq(line.clone()),
            "connRsp" => Self::ConnRsp { access: line.lenient("access").unwrap_or(Access::Denied) },
            "discRsp" => Self::DiscRsp,
            "discReq" => Self::DiscReq { cause: line.lenient("cause") },
            "keepAliveReq" => Self::KeepAliveReq(KeepAliveReq {
                byte_count: line.lenient("byteCount"),
                conn_time: line.lenient("connTime"),
                idle_time: line.lenient("idleTime"),
                loss_count: line.lenient("lossCount"),
                pkt_count: line.lenient("pktCount"),
            }),
            "keepAliveRsp" => Self::KeepAliveRsp,
            "controlRsp" => Self::ControlRsp(line.clone()),
            "infoSmartCard" => Self::InfoSmartCard {
                tag: line.get("tag").unwrap_or_default().to_owned(),
                success: line.flag("apdu_result"),
                data: line.get("rec_data").unwrap_or_default().to_owned(),
                status: line.get("status").unwrap_or_default().to_owned(),
            },
            "protocolErrorReq" => Self::ProtocolErrorReq { cause: line.lenient("cause") },
            _ => Self::Other(line.clone()),
        })
    }

    /// The message as a line, with the common fields of `terminal`.
    #[must_use]
    pub fn to_line(&self, terminal: &Terminal) -> Line {
        let line = match self {
            Self::InfoReq(info) => info.append_to(Line::new("infoReq")),
            Self::SessionReq(line) | Self::ControlRsp(line) | Self::Other(line) => return line.clone(),
            Self::ConnRsp { access } => Line::new("connRsp").with("access", access),
            Self::DiscRsp => Line::new("discRsp"),
            Self::DiscReq { cause } => {
                Line::new("discReq").with_some("cause", *cause).with("type", "unknown")
            }
            Self::KeepAliveReq(k) => Line::new("keepAliveReq")
                .with_some("byteCount", k.byte_count)
                .with_some("connTime", k.conn_time)
                .with_some("idleTime", k.idle_time)
                .with_some("lossCount", k.loss_count)
                .with_some("pktCount", k.pkt_count),
            Self::KeepAliveRsp => Line::new("keepAliveRsp"),
            Self::InfoSmartCard { tag, success, data, status } => Line::new("infoSmartCard")
                .with("tag", tag)
                .with("apdu_result", u8::from(*success))
                .with("rec_data", data)
                .with("rec_len", data.len() / 2)
                .with("status", status),
            Self::ProtocolErrorReq { cause } => Line::new("protocolErrorReq").with_some("cause", *cause),
        };
        terminal.append_to(line)
    }
}
