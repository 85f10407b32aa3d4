//! A desk without a DTU: a test speaks the session protocol itself, to do what no good terminal does.

use std::net::SocketAddrV4;

use dtu_emu::dtu::ConnId;
use proto::line::Line;

use super::parts::desk::Brain;
use super::parts::desk::DeskId;
use super::parts::plan::HostPlan;
use super::parts::tcp::Kind;
use super::{LanId, World};

impl HostPlan {
    /// Terminals may speak to it without TLS.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// It can make no session process, for this reason.
    #[must_use]
    pub fn cannot_spawn(mut self, reason: &str) -> Self {
        self.cannot_spawn = Some(reason.to_owned());
        self
    }
}

impl World {
    /// From now on a desk opens its connections without TLS.
    pub fn speak_plain(&mut self, desk: DeskId) {
        self.desks[desk.0].is_plain = true;
    }

    /// A desk at which a test says every word.
    pub fn hand(&mut self, serial: &str, lan: LanId) -> DeskId {
        self.put_desk(serial, &[lan], Brain::Hand { heard: Vec::new(), is_open: false }, None)
    }

    /// Opens its control connection number `conn` to an address.
    pub fn hand_opens(&mut self, desk: DeskId, conn: u64, addr: SocketAddrV4) {
        self.open(desk.0, conn, addr, Kind::Control);
    }

    /// Says a line, or whatever these bytes are, on a connection.
    pub fn hand_says(&mut self, desk: DeskId, conn: u64, text: &str) {
        self.history.tell(self.now, || {
            let shown: String = text.chars().take(300).collect();
            format!("{}: says {shown}", self.desks[desk.0].name)
        });
        self.send_from_desk(desk.0, ConnId(conn), format!("{text}\n").into_bytes());
    }

    /// Closes a connection.
    pub fn hand_closes(&mut self, desk: DeskId, conn: u64) {
        self.close_from_desk(desk.0, ConnId(conn));
    }

    /// What hosts have said to it.
    #[must_use]
    pub fn heard(&self, desk: DeskId) -> &[Line] {
        match &self.desks[desk.0].brain {
            Brain::Hand { heard, .. } => heard,
            Brain::Dtu(_) => &[],
        }
    }

    /// The newest line of a command that hosts have said to it.
    #[must_use]
    pub fn last_heard(&self, desk: DeskId, command: &str) -> Option<&Line> {
        self.heard(desk).iter().rev().find(|line| line.command() == command)
    }

    /// Whether its newest connection is open.
    #[must_use]
    pub fn hand_is_open(&self, desk: DeskId) -> bool {
        matches!(self.desks[desk.0].brain, Brain::Hand { is_open: true, .. })
    }

    /// A hand presents a token, as a DTU would.
    pub fn hand_presents(&mut self, desk: DeskId, conn: u64, token: &str, seq: u32, more: &str) {
        let (kind, id) = token.split_once('.').unwrap_or((token, ""));
        let serial = self.desks[desk.0].name.clone();
        self.hand_says(
            desk,
            conn,
            &format!("infoReq event=insert type={kind} id={id} tokenSeq={seq} sn={serial} size=80x24 {more}"),
        );
    }
}
