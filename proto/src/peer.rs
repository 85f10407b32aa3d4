//! What trusted hosts say to each other by UDP, each signed for [`Purpose::Peer`](crate::keys::Purpose).
//!
//! ```text
//!  A ── hostQ nonce ──────────▶ B     is this run of you alive, or a recording?
//!  A ◀────────── hostR nonce ── B
//!  A ── tokenQ nonce token ───▶ B     do you have sessions for this token?
//!  A ◀── tokenR n session… ──── B     these; and a grant, should you send the DTU to me; and how busy I am now
//!  A ── coming grant… ────────▶ B     I have sent you DTUs with these grants: count them until they are there
//!  A ── shown token last ─────▶ all   I show this token now: detach it
//!  A ── digest part tags ─────▶ all   I have sessions for these tokens
//!  A ── digestQ part… ────────▶ B     say these parts of your digest again
//!  A ── goodbye ──────────────▶ all   I stop on purpose
//! ```
//!
//! See `docs/protocol.md`, "Between hosts". Digests: [`crate::digest`].

use crate::digest::{DigestPart, parts_asked};
use crate::host_message::Load;
use crate::ids::{BootId, Epoch, GrantId, HostName, KeyId, Last, Nonce, SessionId, TokenTag};
use crate::line::{FieldError, Line};

/// Sessions in one tokenR: what a token may have on one host, so that the answer fits a datagram.
pub const SESSIONS_PER_TOKEN_MAX: usize = 8;

/// Tokens in one `shown`, so that the message fits a datagram.
pub const SHOWN_PER_MESSAGE_MAX: usize = 12;

/// Grants in one `coming`, so that the message fits a datagram.
pub const COMING_PER_MESSAGE_MAX: usize = 16;

/// A message between trusted hosts, with who says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMessage {
    /// The host that speaks.
    pub host: HostName,
    /// Which run of it.
    pub boot: BootId,
    /// What it says.
    pub body: PeerBody,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerBody {
    /// Asks a host that was first heard, or heard with a new boot, to prove that it is alive.
    HostQ {
        /// The run that is meant; another one does not answer.
        to: BootId,
        /// Comes back in the hostR, which shows that this is no recording.
        nonce: Nonce,
    },
    /// The answer to a hostQ: proves the group key over its nonce.
    HostR {
        /// The run that asked.
        to: BootId,
        /// What was sent.
        nonce: Nonce,
    },
    /// Asks for the sessions of a token.
    TokenQ {
        /// Which of its questions this is; the same on every resending.
        seq: u64,
        /// Comes back in the tokenR, which shows that this is no recording.
        nonce: Nonce,
        /// The key `token` was made with.
        tagged: KeyId,
        /// The tag of the token whose sessions are asked for.
        token: TokenTag,
    },
    /// The answer to a tokenQ.
    TokenR {
        /// The question's number.
        seq: u64,
        /// The question's nonce.
        nonce: Nonce,
        /// Permission to present the token here once, with cause=redirect.
        grant: GrantId,
        /// How busy this host is at this moment; hosts of older versions do not say it.
        load: Option<LoadNote>,
        /// The sessions of the token here.
        sessions: Vec<SessionNote>,
        /// Whether this host keeps a copy of a session of the token that runs elsewhere, or ran there.
        keeps: bool,
    },
    /// DTUs have been sent here with these grants, to get new sessions: until they arrive, at most for two seconds,
    /// each counts as a session that is being started. It is sent twice, and counts once. Hosts of older versions
    /// ignore it.
    Coming {
        /// Of the answers of whoever this is said to; at most [`COMING_PER_MESSAGE_MAX`].
        grants: Vec<GrantId>,
    },
    /// Some tokens are shown here since the times given: whoever shows one with a lower time detaches it.
    Shown {
        /// The key the tags were made with.
        tagged: KeyId,
        /// Which tokens, and since when.
        tokens: Vec<(TokenTag, Last)>,
    },
    /// A part of the digest of whoever speaks.
    Digest(DigestPart),
    /// Asks a host to say parts of its digest.
    DigestQ {
        /// The run that is meant; another one does not answer.
        to: BootId,
        /// Which parts, at most [`PARTS_ASKED_MAX`](crate::digest::PARTS_ASKED_MAX).
        parts: Vec<u16>,
    },
    /// This run ends on purpose.
    Goodbye,
}

/// How busy a host is at the moment of its tokenR, for whoever has to place a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadNote {
    /// With the sessions that it is starting and the DTUs that are on their way to it.
    pub load: Load,
    /// Whether it takes no new sessions now.
    pub drain: bool,
    /// Whether it allows the session protocol without TLS; hosts of older versions do not say.
    pub plain: Option<bool>,
}

/// A session as a tokenR tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionNote {
    /// The session that the host has.
    pub session: SessionId,
    /// The epoch of the session's claim.
    pub epoch: Epoch,
    /// When a DTU was last connected to it.
    pub last: Last,
}

/// The commands, by which a datagram is sorted before it is opened.
pub const COMMANDS: [&str; 9] =
    ["hostQ", "hostR", "tokenQ", "tokenR", "coming", "shown", "digest", "digestQ", "goodbye"];

impl PeerMessage {
    /// Reads a message whose signature was checked.
    ///
    /// # Errors
    /// A missing or unusable field, or a count beyond its bound.
    pub fn from_line(line: &Line) -> Result<Self, FieldError> {
        let body = match line.command() {
            "hostQ" => PeerBody::HostQ { to: line.need("to")?, nonce: line.need("nonce")? },
            "hostR" => PeerBody::HostR { to: line.need("to")?, nonce: line.need("nonce")? },
            "tokenQ" => PeerBody::TokenQ {
                seq: line.need("seq")?,
                nonce: line.need("nonce")?,
                tagged: line.need("tagged")?,
                token: line.need("token")?,
            },
            "tokenR" => PeerBody::TokenR {
                seq: line.need("seq")?,
                nonce: line.need("nonce")?,
                grant: line.need("grant")?,
                load: load_note(line)?,
                sessions: session_notes(line)?,
                keeps: line.flag("keeps"),
            },
            "coming" => PeerBody::Coming { grants: grants(line)? },
            "shown" => PeerBody::Shown { tagged: line.need("tagged")?, tokens: shown_tokens(line)? },
            "digest" => PeerBody::Digest(DigestPart::from_line(line)?),
            "digestQ" => PeerBody::DigestQ { to: line.need("to")?, parts: parts_asked(line)? },
            "goodbye" => PeerBody::Goodbye,
            _ => return Err(FieldError::NotThis("peer")),
        };
        Ok(Self { host: line.need("host")?, boot: line.need("boot")?, body })
    }

    /// The message as a line, not yet signed.
    #[must_use]
    pub fn to_line(&self) -> Line {
        let line = |command| Line::new(command).with("host", &self.host).with("boot", self.boot);
        match &self.body {
            PeerBody::HostQ { to, nonce } => line("hostQ").with("to", to).with("nonce", nonce),
            PeerBody::HostR { to, nonce } => line("hostR").with("to", to).with("nonce", nonce),
            PeerBody::TokenQ { seq, nonce, tagged, token } => line("tokenQ")
                .with("seq", seq)
                .with("nonce", nonce)
                .with("tagged", tagged)
                .with("token", token),
            PeerBody::TokenR { seq, nonce, grant, load, sessions, keeps } => {
                let mut line = line("tokenR")
                    .with("seq", seq)
                    .with("nonce", nonce)
                    .with("grant", grant)
                    .with("n", sessions.len());
                for note in sessions {
                    line.push("session", note.session);
                    line.push("epoch", note.epoch);
                    line.push("last", note.last);
                }
                if *keeps {
                    line.push("keeps", 1);
                }
                match load {
                    Some(note) => note.append_to(line),
                    None => line,
                }
            }
            PeerBody::Coming { grants } => {
                let mut line = line("coming");
                for grant in grants {
                    line.push("grant", grant);
                }
                line
            }
            PeerBody::Shown { tagged, tokens } => {
                let mut line = line("shown").with("tagged", tagged).with("n", tokens.len());
                for (token, last) in tokens {
                    line.push("token", token);
                    line.push("last", last);
                }
                line
            }
            PeerBody::Digest(part) => part.append_to(line("digest")),
            PeerBody::DigestQ { to, parts } => {
                let mut line = line("digestQ").with("to", to);
                for part in parts {
                    line.push("part", part);
                }
                line
            }
            PeerBody::Goodbye => line("goodbye"),
        }
    }
}

impl LoadNote {
    fn append_to(self, line: Line) -> Line {
        line.with("load", self.load.run_queue)
            .with("mem", self.load.mem_mib)
            .with("sessions", self.load.sessions)
            .with("drain", u8::from(self.drain))
            .with_some("plain", self.plain.map(u8::from))
    }
}

/// All of it or, from a host of an older version, nothing.
fn load_note(line: &Line) -> Result<Option<LoadNote>, FieldError> {
    if line.get("load").is_none() {
        return Ok(None);
    }
    let load =
        Load { run_queue: line.need("load")?, mem_mib: line.need("mem")?, sessions: line.need("sessions")? };
    let plain = line.get("plain").map(|_| line.flag("plain"));
    Ok(Some(LoadNote { load, drain: line.flag("drain"), plain }))
}

fn grants(line: &Line) -> Result<Vec<GrantId>, FieldError> {
    let grants: Vec<GrantId> = column(line, "grant")?;
    if grants.is_empty() || grants.len() > COMING_PER_MESSAGE_MAX {
        return Err(FieldError::Bad("grant"));
    }
    Ok(grants)
}

fn session_notes(line: &Line) -> Result<Vec<SessionNote>, FieldError> {
    let n: usize = line.need("n")?;
    let sessions = column(line, "session")?;
    let epochs = column(line, "epoch")?;
    let lasts = column(line, "last")?;
    if n > SESSIONS_PER_TOKEN_MAX || [sessions.len(), epochs.len(), lasts.len()] != [n; 3] {
        return Err(FieldError::Bad("n"));
    }
    let rows = sessions.into_iter().zip(epochs).zip(lasts);
    Ok(rows.map(|((session, epoch), last)| SessionNote { session, epoch, last }).collect())
}

fn shown_tokens(line: &Line) -> Result<Vec<(TokenTag, Last)>, FieldError> {
    let n: usize = line.need("n")?;
    let tokens = column(line, "token")?;
    let lasts = column(line, "last")?;
    if n > SHOWN_PER_MESSAGE_MAX || [tokens.len(), lasts.len()] != [n; 2] {
        return Err(FieldError::Bad("n"));
    }
    Ok(tokens.into_iter().zip(lasts).collect())
}

fn column<T: core::str::FromStr>(line: &Line, key: &'static str) -> Result<Vec<T>, FieldError> {
    line.all(key).map(|value| value.parse().map_err(|_| FieldError::Bad(key))).collect()
}
