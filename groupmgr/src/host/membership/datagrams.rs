//! What comes by UDP: host messages and beacons, what hosts ask and answer, and serverQ of DTUs.
//!
//! A datagram is sorted by its first word, then its signature is checked, then it is read; each step that
//! fails is counted by its reason and changes nothing. Strangers' host messages are the one exception: they are
//! kept apart and shown to the operator.

use std::net::Ipv4Addr;

use proto::beacon::Beacon;
use proto::discovery::{ServerQ, ServerR};
use proto::host_message::HostMessage;
use proto::keys::{Purpose, Unbelieved};
use proto::line::{FieldError, Line};
use proto::net::IfName;
use proto::peer::{COMMANDS, PeerBody, PeerMessage};
use proto::{BootId, HostName};

use super::super::driver::{Datagram, Effect};
use super::super::env::{Busy, Env};
use super::super::out::Out;
use super::super::step::{ToAttachments, ToDirectory, TokenQuestion};
use super::Membership;
use crate::directory::TokenReply;
use crate::reach;
use crate::topology::{Arrival, Ignored};

/// Why a datagram was dropped.
enum Dropped {
    Unbelieved(Unbelieved),
    Unreadable,
    Ignored(Ignored),
    Malformed,
    Unknown,
}

impl Dropped {
    const fn name(&self) -> &'static str {
        match self {
            Self::Unbelieved(Unbelieved::Unsigned) => "unsigned",
            Self::Unbelieved(Unbelieved::UnknownKey) => "unknown_key",
            Self::Unbelieved(Unbelieved::Forged) => "forged",
            Self::Unbelieved(Unbelieved::NotALine(_)) | Self::Malformed => "malformed",
            Self::Unreadable => "unreadable",
            Self::Ignored(ignored) => ignored.name(),
            Self::Unknown => "unknown_command",
        }
    }
}

impl From<Unbelieved> for Dropped {
    fn from(why: Unbelieved) -> Self {
        Self::Unbelieved(why)
    }
}

impl From<FieldError> for Dropped {
    fn from(_: FieldError) -> Self {
        Self::Unreadable
    }
}

impl From<Ignored> for Dropped {
    fn from(why: Ignored) -> Self {
        Self::Ignored(why)
    }
}

impl Membership {
    pub(super) fn on_datagram(
        &mut self,
        env: &Env<'_>,
        busy: Busy<'_>,
        iface: &IfName,
        Datagram { at, from, bytes }: &Datagram,
        out: &mut Out<'_>,
    ) {
        let at = Arrival { now: (*at).min(env.now), wall: env.wall, iface, from: *from };
        let first = bytes.split(|b| b.is_ascii_whitespace()).next().unwrap_or_default();
        let taken = if first == b"beacon" {
            self.on_beacon(env, at, bytes)
        } else if first.contains(&b'=') {
            self.on_host_message(env, at, bytes, out)
        } else if COMMANDS.iter().any(|command| command.as_bytes() == first) {
            self.on_peer(env, busy, at, bytes, out)
        } else if first == b"serverQ" {
            self.on_server_q(env, at, bytes, out)
        } else {
            Err(Dropped::Unknown)
        };
        match taken {
            // A broadcast of this host's that came back shows in its own row; a recording of one is counted.
            Err(Dropped::Ignored(Ignored::Own)) if self.is_own_address(*from.ip()) => {}
            Err(dropped) => out.refused(dropped.name()),
            Ok(()) => {}
        }
    }

    fn is_own_address(&self, ip: Ipv4Addr) -> bool {
        self.members.interfaces().iter().any(|interface| interface.ip == ip)
    }

    fn on_beacon(&mut self, env: &Env<'_>, at: Arrival<'_>, bytes: &[u8]) -> Result<(), Dropped> {
        let line = env.config.ring.open(Purpose::Beacon, bytes)?;
        let beacon = line.try_map(|line| Beacon::from_line(&line))?;
        self.members.topology.on_beacon(at, &beacon, &mut self.entropy)?;
        let Beacon { host, boot, digest, .. } = beacon.get();
        self.members.digests.on_beacon(at.now, host, *boot, *digest, &mut self.entropy);
        Ok(())
    }

    fn on_host_message(
        &mut self,
        env: &Env<'_>,
        at: Arrival<'_>,
        bytes: &[u8],
        out: &mut Out<'_>,
    ) -> Result<(), Dropped> {
        match env.config.ring.open(Purpose::HostMessage, bytes) {
            Ok(line) => {
                let message = line.try_map(|line| HostMessage::from_line(&line))?;
                self.members.topology.on_message(at, &message, &mut self.entropy)?;
                self.follow_group_time(env, out);
                Ok(())
            }
            // "Host messages are always accepted": one that carries no signature of ours makes its
            // sender a stranger. A wrong signature with one of our keys is a forgery, and not even shown.
            Err(why @ (Unbelieved::Unsigned | Unbelieved::UnknownKey)) => {
                let line = Line::parse(bytes).map_err(|_| Dropped::Malformed)?;
                let message = HostMessage::from_line(&line)?;
                self.members.topology.strangers.hear(at.now, at.wall, message);
                Err(why.into())
            }
            Err(why) => Err(why.into()),
        }
    }

    fn on_server_q(
        &mut self,
        env: &Env<'_>,
        at: Arrival<'_>,
        bytes: &[u8],
        out: &mut Out<'_>,
    ) -> Result<(), Dropped> {
        let line = Line::parse(bytes).map_err(|_| Dropped::Malformed)?;
        let question = ServerQ::from_line(&line)?;
        if self.is_listening() {
            return Ok(());
        }
        if !self.answered.may_answer(at.now, *at.from.ip()) {
            out.refused("asked_too_often");
            return Ok(());
        }
        let Some(ip) = reach::own_address(self.members.interfaces(), question.ip) else { return Ok(()) };
        let answer = ServerR {
            host: env.name().clone(),
            ip,
            port: env.config.identity.port,
            load: self.members.announcer.load().run_queue,
            drain: self.members.drain(),
            plain: env.config.identity.plain,
        };
        let bytes = answer.to_line().to_string().into_bytes();
        out.effect(Effect::Datagram { iface: at.iface.clone(), to: at.from, bytes });
        Ok(())
    }

    fn on_peer(
        &mut self,
        env: &Env<'_>,
        busy: Busy<'_>,
        at: Arrival<'_>,
        bytes: &[u8],
        out: &mut Out<'_>,
    ) -> Result<(), Dropped> {
        let line = env.config.ring.open(Purpose::Peer, bytes)?;
        let PeerMessage { host, boot, body } = PeerMessage::from_line(line.get())?;
        // Another host of this name is asked whether it lives, and answered; nothing else of it counts.
        let is_proof = matches!(body, PeerBody::HostQ { .. } | PeerBody::HostR { .. } | PeerBody::Goodbye);
        let own_boot = env.config.identity.boot;
        if host == *env.name() && (boot == own_boot || !is_proof) {
            return Err(Ignored::Own.into());
        }
        match body {
            // A run that has just started is asked before it knows anybody, so the question needs no row.
            PeerBody::HostQ { to, nonce } => {
                if to != own_boot {
                    return Err(Ignored::Ended.into());
                }
                self.update_load(env, busy);
                // Who asks may have heard no more of us than a beacon, and our next message may be 20 s away.
                let announcer = &self.members.announcer;
                let mut answers = announcer.newest_message(env.now, env.wall, &env.config.ring, at.iface);
                answers.push(env.seal_peer(PeerBody::HostR { to: boot, nonce }));
                for bytes in answers {
                    out.effect(Effect::Datagram { iface: at.iface.clone(), to: at.from, bytes });
                }
                Ok(())
            }
            PeerBody::HostR { to, nonce } if to == own_boot => {
                Ok(self.members.topology.on_proof(at, &host, boot, nonce, &mut self.entropy)?)
            }
            PeerBody::HostR { .. } => Err(Ignored::Unasked.into()),
            PeerBody::Goodbye => Ok(self.members.topology.on_goodbye(&host, boot)?),
            body => self.on_word_of_member(env, at, host, boot, body, out),
        }
    }

    /// Everything else counts only of a run that has proved itself.
    fn on_word_of_member(
        &mut self,
        env: &Env<'_>,
        at: Arrival<'_>,
        host: HostName,
        boot: BootId,
        body: PeerBody,
        out: &mut Out<'_>,
    ) -> Result<(), Dropped> {
        if !self.members.topology.is_present(&host, boot) {
            return Err(Ignored::Unproven.into());
        }
        match body {
            PeerBody::TokenQ { seq, nonce, tagged, token } => {
                let (iface, to) = (at.iface.clone(), at.from);
                let question = TokenQuestion { from: host, iface, to, seq, nonce, tagged, token };
                out.step(ToDirectory::Asked(Box::new(question)));
            }
            PeerBody::TokenR { nonce, grant, load, sessions, keeps, .. } => {
                let reply = Box::new(TokenReply { nonce, grant, load, sessions, keeps });
                out.step(ToDirectory::Answered { host, boot, reply });
            }
            PeerBody::Coming { grants } => out.step(ToDirectory::Coming(grants)),
            PeerBody::Shown { tagged, tokens } => out.step(ToAttachments::ShownAt { host, tagged, tokens }),
            PeerBody::Digest(part) => {
                let digests = &mut self.members.digests;
                if !digests.on_part(env.now, &host, boot, &part, &mut self.entropy) {
                    out.refused("digests_full");
                }
            }
            PeerBody::DigestQ { to, .. } if to != env.config.identity.boot => {
                return Err(Ignored::Ended.into());
            }
            PeerBody::DigestQ { parts, .. } => self.digest.on_question(&parts),
            PeerBody::HostQ { .. } | PeerBody::HostR { .. } | PeerBody::Goodbye => {}
        }
        Ok(())
    }
}
