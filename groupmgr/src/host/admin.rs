//! What an operator can ask a host, and what it answers. The words are those of the command line.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use datastore::Key;
use proto::{BootId, DtuKey, Epoch, HostName, KeyId, Last, Serial, ServiceName, SessionId, Token};
use serde::{Deserialize, Serialize};
use sessiond::control::Acknowledged;
use sessiond::template::{Ack, Protect};

use crate::topology::{Double, RowView};

/// What an operator asks of one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// How this host is.
    Status,
    /// The topology table.
    Topology,
    /// The sessions of this host.
    Sessions,
    /// The DTUs connected to this host.
    Dtus,
    /// Who keeps the sessions of this host, and what it keeps for others.
    Copies,
    /// What this host would do with a token, and why.
    Explain(Token),
    /// Take no new sessions, or take them again.
    Drain(bool),
    /// Take a host out of the table that is gone for good.
    Forget(HostName),
    /// Do something with a session of this host.
    Session {
        /// The session that something is done with.
        session: SessionId,
        /// What is to be done with it.
        act: SessionAct,
    },
    /// Make a session for a token here, beside what it has already.
    NewSession {
        /// The token that gets one session more.
        token: Token,
        /// From which template; without one, from the token's own.
        template: Option<String>,
    },
    /// Decide anew about the token at every DTU here that presents it, as if it had just been put in.
    PresentAgain(Token),
    /// Show the person at a DTU a line.
    Message {
        /// At which; at all without it.
        serial: Option<Serial>,
        /// One line of plain text without its end.
        text: String,
    },
    /// Read a key of the policy or the registry anew, so that a change of it is sure to hold here.
    Follow {
        /// The key that was written.
        key: Key,
    },
    /// Say goodbye and end the daemon.
    Stop,
}

/// What can be done with a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionAct {
    /// Take it off its DTU.
    Detach,
    /// End it and all it has started.
    End,
    /// Make it the one that its token is shown from now on, over all that were last connected until then.
    Prefer {
        /// The latest time of last connection of the token's other sessions.
        after: Last,
    },
    /// List its services.
    Services,
    /// Start a service.
    Start(ServiceStart),
    /// End a service and all it has started.
    Stop(ServiceName),
    /// Have it wait for something else than its template says, as long as it is at this host.
    Protect {
        /// When its secondary is told of a version; as it is without this.
        ack: Option<Ack>,
        /// What becomes of it while it has no secondary; as it is without this.
        protect: Option<Protect>,
    },
    /// What has come of a service that was started or stopped: answered by [`Reply::Services`] with that one alone,
    /// once it runs, has ended, or could not be started.
    Outcome(ServiceName),
}

/// A service to be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStart {
    /// The name under which it is listed, attached and stopped.
    pub service: ServiceName,
    /// What it runs; empty for one that the session has already.
    pub command: Vec<String>,
    /// Whether a DTU sees it.
    pub display: bool,
}

/// What a host answers to a [`Command`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The answer to [`Command::Status`].
    Status(Box<Status>),
    /// The answer to [`Command::Topology`].
    Topology(Vec<RowView>),
    /// The answer to [`Command::Sessions`].
    Sessions(Vec<SessionView>),
    /// The answer to [`Command::Dtus`].
    Dtus(Vec<DtuView>),
    /// The answer to [`Command::Copies`].
    Copies(CopiesView),
    /// The answer to [`Command::Explain`].
    Explain(Explanation),
    /// The answer to [`SessionAct::Services`] and [`SessionAct::Outcome`].
    Services(Vec<ServiceView>),
    /// To `Follow`: the key was read and what it says holds here.
    Follows {
        /// The data store's generation.
        generation: u32,
        /// The revision at which it was read.
        revision: u64,
        /// Where the data store is.
        store: String,
    },
    /// To `NewSession`: it is being started.
    Made(SessionId),
    /// To `Message` and `PresentAgain`: at so many DTUs.
    At(usize),
    /// It was done, and there is nothing to tell.
    Done,
    /// Not done; the text says why and what would help.
    Refused(String),
}

impl Reply {
    /// The session has no such service.
    #[must_use]
    pub fn no_service(service: &ServiceName, session: SessionId) -> Self {
        let short = session.short();
        Self::Refused(format!("no service {service} in session {short}; see: groupmgr service list {short}"))
    }
}

/// How a host is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The host's name.
    pub host: HostName,
    /// The number of its daemon's present run.
    pub boot: BootId,
    /// Seconds since it started.
    pub up_secs: u64,
    /// The key it signs with.
    pub key: KeyId,
    /// All keys it verifies, the one it signs with first; a host of an older version does not say.
    #[serde(default)]
    pub keys: Vec<KeyId>,
    /// Its data store, and whether it can be reached.
    pub store: String,
    /// Whether it can be reached.
    pub store_up: bool,
    /// Why it takes no writes, if it takes none.
    #[serde(default)]
    pub store_refuses: Option<String>,
    /// Why it cannot be reached, while it cannot.
    #[serde(default)]
    pub store_trouble: Option<String>,
    /// Whether that is a matter of keys.
    #[serde(default)]
    pub store_distrusts: bool,
    /// Whether its operator has drained it: it takes no new sessions.
    pub drain: bool,
    /// What it lacks to make sessions, and why; while there is anything it takes none.
    #[serde(default)]
    pub lacks: BTreeMap<String, String>,
    /// Whether sessions outlive the daemon.
    pub keep: bool,
    /// Trusted hosts by standing, itself among the up ones.
    pub hosts: BTreeMap<String, usize>,
    /// Trusted hosts whose datagrams have not come of late, though they said no goodbye.
    #[serde(default)]
    pub silent: Vec<HostName>,
    /// Hosts that do not answer.
    pub mute: Vec<HostName>,
    /// Hosts without our key.
    pub strangers: usize,
    /// Names that two hosts have at once.
    #[serde(default)]
    pub doubles: Vec<Double>,
    /// What it tells of its tokens, and knows of the others'; a host of an older version does not say.
    #[serde(default)]
    pub digest: DigestStatus,
    /// Sessions that run here.
    pub sessions: usize,
    /// Sessions of which the data store does not know.
    pub unclaimed: usize,
    /// Processes that were started ahead of need and wait to become sessions.
    #[serde(default)]
    pub ahead: u32,
    /// DTUs that are connected.
    pub dtus: usize,
    /// DTUs that are shown a session.
    pub attached: usize,
    /// The host that is to keep its sessions, as its operator says.
    #[serde(default)]
    pub pair: Option<HostName>,
    /// Classes of sessions that it cannot keep now: there is no other host that could have copies.
    #[serde(default)]
    pub cannot_keep: Vec<String>,
    /// Sessions here that another host keeps.
    #[serde(default)]
    pub protected: usize,
    /// Those that another host should keep and does not.
    #[serde(default)]
    pub unprotected: usize,
    /// For how long the oldest version of any session waits for its acknowledgement, in milliseconds.
    #[serde(default)]
    pub lag_ms: u64,
    /// What 99 of 100 commits of a program took until another host had them, of the slowest session, in microseconds.
    #[serde(default)]
    pub commit_p99_us: u64,
    /// Sessions of other hosts that this one keeps.
    #[serde(default)]
    pub kept_sessions: usize,
    /// Bytes of them.
    #[serde(default)]
    pub kept_bytes: usize,
    /// What was dropped or refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// What was done, by kind.
    pub done: BTreeMap<String, u64>,
}

/// How a host stands with digests.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DigestStatus {
    /// How far its own has come, as its beacons say it; none when there are more tokens than fit.
    pub version: Option<String>,
    /// Tokens with sessions here.
    pub tokens: usize,
    /// Hosts whose digests it holds as their last beacons told of them.
    pub known: usize,
    /// Tags it holds of all hosts.
    pub held: usize,
}

/// One session of a host, as it is listed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionView {
    /// The host that runs it.
    pub host: HostName,
    /// The session's id, which outlives a restart of its daemon.
    pub session: SessionId,
    /// The token that it belongs to.
    pub token: Token,
    /// The epoch of its home, as its host knows it: it never falls.
    pub epoch: Epoch,
    /// Time of last connection, milliseconds since 1970.
    pub last: Last,
    /// Whether the data store knows of it.
    pub claimed: bool,
    /// `starting`, `running` or `ending`; `moving to` a host, from a drained one; `kept` by this host, and not running, since its home is gone; `failed: ` and the reason of one that could not be started a while ago and
    /// is no longer there.
    pub state: String,
    /// Where it is shown.
    pub shown: Option<Serial>,
}

/// Copies of sessions, as one host sees them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CopiesView {
    /// Sessions that run here and that others may keep.
    pub own: Vec<ReplicaView>,
    /// What is kept here of sessions that run elsewhere.
    pub kept: Vec<KeptView>,
}

/// A session of the class `replicated`, at the host that runs it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplicaView {
    /// The session that runs here.
    pub session: SessionId,
    /// `protected`, `filling`, `moving`, `unprotected` or `held`.
    pub state: String,
    /// Why, unless it is protected.
    pub why: String,
    /// The host that keeps it or is being filled.
    pub secondary: Option<HostName>,
    /// Whether that is on the same machine, and dies with it.
    pub same_machine: bool,
    /// What it waits for: how versions are acknowledged, and what becomes of it without a secondary.
    #[serde(default)]
    pub waits: String,
    /// The newest version of any part that was sent.
    pub version: Option<String>,
    /// For how long the oldest version waits for its acknowledgement, in milliseconds; 0 while none waits.
    pub lag_ms: u64,
    /// Parts that have been sent.
    pub parts: usize,
    /// Bytes of all versions that were sent.
    pub sent_bytes: u64,
    /// How many versions that were.
    pub sent_versions: u64,
    /// How long it took from the commits of its programs until the secondary had them.
    #[serde(default)]
    pub acknowledged: Option<Acknowledged>,
}

/// A session of which a host keeps copies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptView {
    /// The session that is kept.
    pub session: SessionId,
    /// The token that it belongs to, if that is known.
    pub token: Option<Token>,
    /// The host that runs it, or ran it last.
    pub from: HostName,
    /// In which epoch.
    pub epoch: Epoch,
    /// Objects that are kept.
    pub parts: usize,
    /// The newest version of any of them.
    #[serde(default)]
    pub version: Option<String>,
    /// Bytes of all of them.
    pub bytes: usize,
}

/// One service of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceView {
    /// The service's name, unique in its session.
    pub service: ServiceName,
    /// How it stands, for a person.
    pub state: String,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// Whether a DTU sees it.
    pub display: bool,
}

/// One connected DTU.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DtuView {
    /// The host it is connected to.
    pub host: HostName,
    /// Its serial; none before it has said it.
    pub serial: Option<Serial>,
    /// The other end of its connection.
    pub addr: SocketAddrV4,
    /// The token it presents.
    pub token: Option<Token>,
    /// The session it shows.
    pub session: Option<SessionId>,
    /// The key that it has proved; none of a plain terminal, and where a host of an older version tells.
    #[serde(default)]
    pub key: Option<DtuKey>,
}

/// What a host would do with a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// The token that was asked about.
    pub token: Token,
    /// Whether it is admitted, in one sentence with the reason.
    #[serde(default)]
    pub admission: String,
    /// The same in one word; none while it cannot be decided.
    #[serde(default)]
    pub admitted: Option<bool>,
    /// The account its sessions run as, where registry, template or host name one.
    #[serde(default)]
    pub account: Option<String>,
    /// Its sessions on this host.
    pub here: Vec<SessionView>,
    /// The claim, as the data store has it.
    pub claim: Option<String>,
    /// One sentence a line.
    pub reasons: Vec<String>,
}
