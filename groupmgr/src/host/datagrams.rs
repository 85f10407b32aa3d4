//! What comes by UDP: host messages and beacons, what hosts ask and answer, and serverQ of DTUs.
//!
//! A datagram is sorted by its first word, then its signature is checked, then it is read; each step that
//! fails is counted by its reason and changes nothing. Strangers' host messages are the one exception: they are
//! kept apart and shown to the operator.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use proto::beacon::Beacon;
use proto::discovery::{ServerQ, ServerR};
use proto::host_message::HostMessage;
use proto::keys::{Purpose, Unbelieved};
use proto::line::{FieldError, Line};
use proto::net::IfName;
use proto::peer::{COMMANDS, PeerBody, PeerMessage, SessionNote};
use proto::time::Duration;
use proto::{HostName, Instant, KeyId, Last, TokenTag};

use super::driver::Effect;
use super::{Clock, Host};
use crate::directory::TokenReply;
use crate::reach;
use crate::topology::{Arrival, Ignored};

/// A DTU is answered at most this often per address; a broadcast storm must not be amplified.
const ANSWER_PAUSE: Duration = Duration::from_millis(50);
/// Addresses whose last answer is remembered; beyond, the oldest are forgotten.
pub(super) const ANSWERED_MAX: usize = 65_536;
/// Askers remembered per token, for when the data store is away.
pub(super) const ASKERS_MAX: usize = 65_536;
/// How long an asker counts as simultaneous.
const ASKER_FRESH: Duration = Duration::from_secs(1);

/// What datagrams leave behind that belongs to no table of its own.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    answered: BTreeMap<Ipv4Addr, Instant>,
    /// The lowest host that asked for a token of late.
    askers: BTreeMap<TokenTag, (HostName, Instant)>,
}

impl Discovery {
    pub(super) fn answered(&self) -> usize {
        self.answered.len()
    }

    pub(super) fn askers(&self) -> usize {
        self.askers.len()
    }

    fn may_answer(&mut self, now: Instant, ip: Ipv4Addr) -> bool {
        if self.answered.get(&ip).is_some_and(|at| now.since(*at) < ANSWER_PAUSE) {
            return false;
        }
        if self.answered.len() >= ANSWERED_MAX {
            self.answered.retain(|_, at| now.since(*at) < ANSWER_PAUSE);
        }
        if self.answered.len() < ANSWERED_MAX {
            self.answered.insert(ip, now);
        }
        true
    }

    fn note_asker(&mut self, now: Instant, tag: TokenTag, host: &HostName) {
        if self.askers.len() >= ASKERS_MAX {
            self.askers.retain(|_, (_, at)| now.since(*at) < ASKER_FRESH);
        }
        let fresh = |at: &Instant| now.since(*at) < ASKER_FRESH;
        let room = self.askers.len() < ASKERS_MAX;
        match self.askers.get_mut(&tag) {
            Some((lowest, at)) if *lowest < *host && fresh(at) => {}
            Some(entry) => *entry = (host.clone(), now),
            None if room => {
                self.askers.insert(tag, (host.clone(), now));
            }
            None => {}
        }
    }

    /// The lowest other host that asked for the token within the last second.
    pub(super) fn asker(&self, now: Instant, tag: TokenTag) -> Option<&HostName> {
        self.askers.get(&tag).filter(|(_, at)| now.since(*at) < ASKER_FRESH).map(|(host, _)| host)
    }
}

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

impl Host {
    pub(super) fn on_datagram(
        &mut self,
        clock: Clock,
        iface: &IfName,
        from: SocketAddrV4,
        bytes: &[u8],
        out: &mut Vec<Effect>,
    ) {
        let at = Arrival { now: clock.now, wall: clock.wall, iface, from };
        let first = bytes.split(|b| b.is_ascii_whitespace()).next().unwrap_or_default();
        let taken = if first == b"beacon" {
            self.on_beacon(at, bytes)
        } else if first.contains(&b'=') {
            self.on_host_message(clock, at, bytes, out)
        } else if COMMANDS.iter().any(|command| command.as_bytes() == first) {
            self.on_peer(clock, at, bytes, out)
        } else if first == b"serverQ" {
            self.on_server_q(at, bytes, out)
        } else {
            Err(Dropped::Unknown)
        };
        match taken {
            // A broadcast of this host's that came back shows in its own row; a recording of one is counted.
            Err(Dropped::Ignored(Ignored::Own)) if self.is_own_address(*from.ip()) => {}
            Err(dropped) => self.counters.refused(dropped.name()),
            Ok(()) => {}
        }
    }

    fn is_own_address(&self, ip: Ipv4Addr) -> bool {
        self.announcer.interfaces().iter().any(|interface| interface.ip == ip)
    }

    fn on_beacon(&mut self, at: Arrival<'_>, bytes: &[u8]) -> Result<(), Dropped> {
        let line = self.config.ring.open(Purpose::Beacon, bytes)?;
        let beacon = line.try_map(|line| Beacon::from_line(&line))?;
        self.topology.on_beacon(at, &beacon, &mut self.entropy)?;
        let Beacon { host, boot, digest, .. } = beacon.get();
        self.digests.on_beacon(at.now, host, *boot, *digest, &mut self.entropy);
        Ok(())
    }

    fn on_host_message(
        &mut self,
        clock: Clock,
        at: Arrival<'_>,
        bytes: &[u8],
        out: &mut Vec<Effect>,
    ) -> Result<(), Dropped> {
        match self.config.ring.open(Purpose::HostMessage, bytes) {
            Ok(line) => {
                let message = line.try_map(|line| HostMessage::from_line(&line))?;
                self.topology.on_message(at, &message, &mut self.entropy)?;
                self.follow_group_time(clock, out);
                Ok(())
            }
            // "Host messages are always accepted" (seed 003): one that carries no signature of ours makes its
            // sender a stranger. A wrong signature with one of our keys is a forgery, and not even shown.
            Err(why @ (Unbelieved::Unsigned | Unbelieved::UnknownKey)) => {
                let line = Line::parse(bytes).map_err(|_| Dropped::Malformed)?;
                let message = HostMessage::from_line(&line)?;
                self.topology.strangers.hear(at.now, at.wall, message);
                Err(why.into())
            }
            Err(why) => Err(why.into()),
        }
    }

    fn on_server_q(&mut self, at: Arrival<'_>, bytes: &[u8], out: &mut Vec<Effect>) -> Result<(), Dropped> {
        let line = Line::parse(bytes).map_err(|_| Dropped::Malformed)?;
        let question = ServerQ::from_line(&line)?;
        if self.is_listening() {
            return Ok(());
        }
        if !self.discovery.may_answer(at.now, *at.from.ip()) {
            self.counters.refused("asked_too_often");
            return Ok(());
        }
        let Some(ip) = reach::own_address(self.announcer.interfaces(), question.ip) else { return Ok(()) };
        let answer = ServerR {
            host: self.name().clone(),
            ip,
            port: self.config.identity.port,
            load: self.announcer.load().run_queue,
            drain: self.announcer.drain(),
            plain: self.config.identity.plain,
        };
        let bytes = answer.to_line().to_string().into_bytes();
        out.push(Effect::Datagram { iface: at.iface.clone(), to: at.from, bytes });
        Ok(())
    }

    fn on_peer(
        &mut self,
        clock: Clock,
        at: Arrival<'_>,
        bytes: &[u8],
        out: &mut Vec<Effect>,
    ) -> Result<(), Dropped> {
        let line = self.config.ring.open(Purpose::Peer, bytes)?;
        let PeerMessage { host, boot, body } = PeerMessage::from_line(line.get())?;
        // Another host of this name is asked whether it lives, and answered; nothing else of it counts.
        let is_proof = matches!(body, PeerBody::HostQ { .. } | PeerBody::HostR { .. } | PeerBody::Goodbye);
        if host == *self.name() && (boot == self.config.identity.boot || !is_proof) {
            return Err(Ignored::Own.into());
        }
        match body {
            // A run that has just started is asked before it knows anybody, so the question needs no row.
            PeerBody::HostQ { to, nonce } => {
                if to != self.config.identity.boot {
                    return Err(Ignored::Ended.into());
                }
                // Who asks may have heard no more of us than a beacon, and our next message may be 20 s away.
                let mut answers =
                    self.announcer.newest_message(clock.now, clock.wall, &self.config.ring, at.iface);
                answers.push(self.seal_peer(PeerBody::HostR { to: boot, nonce }));
                for bytes in answers {
                    out.push(Effect::Datagram { iface: at.iface.clone(), to: at.from, bytes });
                }
                return Ok(());
            }
            PeerBody::HostR { to, nonce } if to == self.config.identity.boot => {
                return Ok(self.topology.on_proof(at, &host, boot, nonce, &mut self.entropy)?);
            }
            PeerBody::HostR { .. } => return Err(Ignored::Unasked.into()),
            PeerBody::Goodbye => return Ok(self.topology.on_goodbye(&host, boot)?),
            _ => {}
        }
        // Everything else is only for runs that have proved themselves.
        if !self.topology.is_present(&host, boot) {
            return Err(Ignored::Unproven.into());
        }
        match body {
            PeerBody::TokenQ { seq, nonce, tagged, token } => {
                self.counters.done("token_asked");
                self.discovery.note_asker(at.now, token, &host);
                if self.has_stragglers() && self.shows.token_of(tagged, token).is_none() {
                    // It may be whose session is still being taken up: no answer is better than a wrong one.
                    return Ok(());
                }
                let body = self.answer_token_q(at.now, seq, nonce, tagged, token);
                let bytes = self.seal_peer(body);
                out.push(Effect::Datagram { iface: at.iface.clone(), to: at.from, bytes });
            }
            PeerBody::TokenR { nonce, grant, load, sessions, .. } => {
                let reply = TokenReply { nonce, grant, load, sessions };
                self.on_token_r(clock, &(host, boot), reply, out);
            }
            PeerBody::Coming { grants } => self.on_coming(at.now, &grants),
            PeerBody::Shown { tagged, tokens } => self.on_shown(clock, &host, tagged, &tokens, out),
            PeerBody::Digest(part) => self.on_digest(at.now, &host, boot, &part),
            PeerBody::DigestQ { to, parts } => self.on_digest_q(to, &parts)?,
            PeerBody::HostQ { .. } | PeerBody::HostR { .. } | PeerBody::Goodbye => {}
        }
        Ok(())
    }

    fn answer_token_q(
        &mut self,
        now: Instant,
        seq: u64,
        nonce: proto::Nonce,
        tagged: KeyId,
        token: TokenTag,
    ) -> PeerBody {
        let notes = self.shows.token_of(tagged, token).map(|token| {
            let sessions = self.sessions.of_token(token);
            sessions.iter().map(|s| SessionNote { session: s.id, epoch: s.epoch, last: s.last }).collect()
        });
        let grant = self.grants.give(now, &mut self.entropy);
        let load = Some(self.load_note(now));
        PeerBody::TokenR { seq, nonce, grant, load, sessions: notes.unwrap_or_default() }
    }

    fn on_token_r(
        &mut self,
        clock: Clock,
        from: &(HostName, proto::BootId),
        mut reply: TokenReply,
        out: &mut Vec<Effect>,
    ) {
        // An absurd time of last connection must not win every comparison for years.
        let group_time = self.group_time(clock);
        for note in &mut reply.sessions {
            if !note.last.is_plausible(group_time) {
                note.last = Last::default();
                self.counters.refused("absurd_last");
            }
        }
        let waited = self.with_directory(clock, out, |directory, outbox| {
            directory.on_answer(&from.0, from.1, reply, outbox)
        });
        if !waited {
            self.counters.refused("unasked");
        }
    }

    pub(super) fn on_refused(&mut self, clock: Clock, addr: SocketAddrV4, out: &mut Vec<Effect>) {
        self.topology.on_refused(addr);
        let gone = self.with_directory(clock, out, |directory, outbox| directory.on_refused(addr, outbox));
        if !gone.is_empty() {
            self.counters.done("daemon_gone");
        }
    }
}
