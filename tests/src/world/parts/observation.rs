//! What can be seen of the world from outside.

use std::net::SocketAddrV4;

use datastore::once::EffectId;
use dtu_emu::dtu::DtuEvent;
use groupmgr::host::{ClaimRecord, Note, SessionRecord};
use groupmgr::links::Loss;
use proto::time::Duration;
use proto::{BootId, Epoch, HostName, Instant, SessionId, Token};
use sessiond::control::Part;

use super::desk::DeskId;
use super::links::QuestionId;

/// What is on a desk's screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The token that the desk presents.
    pub token: Token,
    /// The session that is drawn.
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
pub enum Observation {
    /// A host's spawner is gone, or there is another one.
    Spawner {
        /// The host whose spawner it is.
        host: HostName,
        /// Whether it is gone.
        gone: bool,
    },
    /// A second host of a name runs from now on, or no longer does.
    Second {
        /// The name that both have.
        host: HostName,
        /// Whether it runs.
        runs: bool,
    },
    /// A desk presents a token on a connection to a host.
    Presents {
        /// The desk that presents it.
        desk: DeskId,
        /// The number of the connection, unique in the world.
        conn: u64,
        /// The host at the other end.
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
        /// The host that grants.
        host: HostName,
        /// The number of the connection, unique in the world.
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
        /// The host that sends it away.
        host: HostName,
        /// The number of the connection, unique in the world.
        conn: u64,
        /// The desk at its other end.
        desk: DeskId,
        /// The address it is to go to.
        to: SocketAddrV4,
        /// With which ticket.
        ticket: Option<String>,
    },
    /// What a desk shows has changed.
    Screen {
        /// The desk whose screen it is.
        desk: DeskId,
        /// What it shows now.
        shows: Option<Shown>,
    },
    /// A desk reports something.
    Says {
        /// The desk that reports.
        desk: DeskId,
        /// What it reports.
        event: DtuEvent,
    },
    /// A host writes a line into its log.
    Logs {
        /// The host whose log it is.
        host: HostName,
        /// What was noted.
        note: Note,
    },
    /// A session process begins.
    Begins {
        /// On which host.
        host: HostName,
        /// The session that it runs.
        session: SessionId,
        /// The token that the session belongs to.
        token: Token,
    },
    /// A session process is gone.
    Gone {
        /// On which host.
        host: HostName,
        /// The session that it ran.
        session: SessionId,
        /// How it ended.
        end: End,
    },
    /// The data store holds another claim for a token.
    Claimed {
        /// The token's text.
        token: String,
        /// The claim, if there is one.
        claim: Option<ClaimRecord>,
    },
    /// The data store holds another record for a session.
    Recorded {
        /// The session that it is of.
        session: SessionId,
        /// The record, if there is one.
        record: Option<Box<SessionRecord>>,
    },
    /// A session is told the epoch that its host has of it.
    Epoch {
        /// The host that tells it.
        host: HostName,
        /// The session that is told.
        session: SessionId,
        /// The epoch of its claim.
        epoch: Epoch,
    },
    /// A session is told that a version of one of its parts is kept by another host.
    Safe {
        /// The session that is told.
        session: SessionId,
        /// What it is a version of.
        part: Part,
        /// The version's stamp, ordered as its bytes are.
        stamp: [u8; 16],
    },
    /// A session is told what to go on with.
    Restores {
        /// The host that tells it.
        host: HostName,
        /// The session that is told.
        session: SessionId,
        /// What it is a version of.
        part: Part,
        /// The version's stamp.
        stamp: [u8; 16],
    },
    /// The data store has done something for a session that is to be done once.
    Effect {
        /// The session whose program has asked for it.
        session: SessionId,
        /// Which effect it is.
        effect: EffectId,
        /// The epoch in which its host believes the session to be.
        believed: Epoch,
        /// The epoch that the session's record has.
        recorded: Option<Epoch>,
    },
    /// The data store was restored from a backup.
    Restored,
    /// Something becomes of a host.
    Host {
        /// The host that something is done to.
        host: HostName,
        /// What became of it.
        fate: Fate,
    },
    /// A token is registered: nobody is let in with it who cannot prove its secret, or nobody at all.
    Registered {
        /// The token that the record is about.
        token: Token,
        /// Whether it is disabled.
        disabled: bool,
    },
    /// A person put a card into a desk, or took it out.
    Card {
        /// The desk whose card reader it is.
        desk: DeskId,
        /// The card's token.
        token: Option<Token>,
        /// Whether it has the secret, should the token need one.
        genuine: bool,
    },
    /// A host, with all its ways, is well now, or is not.
    HostWell {
        /// The host that is judged.
        host: HostName,
        /// Whether it is well now.
        well: bool,
    },
    /// A host's machine and all its ways are sound now, or are not, whatever its daemon does.
    WaysWell {
        /// The host that is judged.
        host: HostName,
        /// Whether all of them are sound now.
        well: bool,
    },
    /// A desk's own ways are well now, or are not.
    DeskWell {
        /// The desk that is judged.
        desk: DeskId,
        /// Whether all of them are well now.
        well: bool,
    },
    /// The data store and the ways to it are well now, or are not.
    StoreWell(bool),
    /// Somebody flips to the next display at a desk.
    Flips {
        /// At which desk.
        desk: DeskId,
    },
    /// It shows that display.
    Flipped {
        /// Which desk does.
        desk: DeskId,
    },
    /// An operator of one host asks another one over the link of the two.
    AsksOver {
        /// By which its answer is known.
        question: QuestionId,
        /// The host whose operator asks.
        from: HostName,
        /// Who is asked.
        to: HostName,
    },
    /// A question to another host has its answer, or the reason why it gets none.
    Answered {
        /// Which question that was.
        question: QuestionId,
        /// The reason, if it is lost.
        loss: Option<Loss>,
    },
    /// A host sends something on a link on which neither it nor, as far as it knows, the other end waits for anything.
    RestingLinkSpeaks {
        /// The one that sends.
        host: HostName,
    },
    /// A link of a host has had nothing to do for so long.
    LinkRests {
        /// The one at whose end it is.
        host: HostName,
        /// Since it was used or heard.
        time: Duration,
    },
    /// How full a table of a host is.
    Size {
        /// The host whose table it is.
        host: HostName,
        /// What the table is called.
        table: &'static str,
        /// Entries in it.
        len: usize,
        /// Entries it may have.
        max: usize,
    },
}

/// What was seen and not yet handed out.
#[derive(Debug, Default)]
pub(in crate::world) struct Observations {
    pub(in crate::world) is_on: bool,
    pub(in crate::world) seen: Vec<(Instant, Observation)>,
}
