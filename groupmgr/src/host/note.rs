//! What a host has to say to its log.

use proto::lack::Lack;
use proto::{DtuKey, HostName, Serial, SessionId, Token};

use crate::topology::Change;

/// One event. The driver prints it; a test reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Another host's standing changed.
    Host(Change),
    /// This host lacks something without which it can make no session, or no longer does.
    Lacks {
        /// What it lacks or has again.
        of: Lack,
        /// Why, and what to do about it; none when it no longer does.
        why: Option<String>,
    },
    /// This host was itself not run for a while, and judges nobody until it has listened again.
    WasAway {
        /// For how long, in milliseconds.
        ms: u64,
    },
    /// Another host keeps all of a session from now on.
    Kept {
        /// The session that runs here.
        session: SessionId,
        /// The host that keeps it.
        at: HostName,
    },
    /// No other host keeps a session any more.
    Unprotected {
        /// The session that runs here.
        session: SessionId,
        /// Why, for a person.
        why: String,
    },
    /// A session is shown at a DTU.
    Attached {
        /// The token that the session belongs to.
        token: Token,
        /// The session that is shown.
        session: SessionId,
        /// The DTU that shows it.
        serial: Serial,
    },
    /// A session is no longer shown.
    Detached {
        /// The token that the session belongs to.
        token: Token,
        /// The session that runs on unseen.
        session: SessionId,
    },
    /// A DTU was sent elsewhere.
    Redirected {
        /// With which token.
        token: Token,
        /// The serial of the DTU.
        serial: Serial,
        /// To which host.
        to: HostName,
    },
    /// A token was admitted.
    Admitted {
        /// The token that was presented.
        token: Token,
        /// At which DTU.
        serial: Serial,
        /// Whose sessions it gets.
        of: Token,
    },
    /// The login policy was changed.
    PolicyChanged {
        /// What it says now; `None` when it was deleted, and the default holds.
        policy: Option<String>,
        /// Who did it, as far as it is known.
        by: Option<String>,
        /// It was changed some time ago, while this host was not told of changes.
        late: bool,
    },
    /// What is registered about a token was changed.
    RegistryChanged {
        /// The token whose record it is.
        token: Token,
        /// What is registered now, without a secret; `None` when it was deleted.
        record: Option<String>,
        /// Who did it, as far as it is known.
        by: Option<String>,
        /// It was changed some time ago, while this host was not told of changes.
        late: bool,
    },
    /// The key of a DTU was pinned to its serial, when it was admitted for the first time.
    DtuPinned {
        /// The serial of the DTU.
        serial: Serial,
        /// The key that it has to prove from now on.
        key: DtuKey,
    },
    /// The key that was pinned to a serial is forgotten: the next one that is proved is pinned.
    DtuForgotten {
        /// The serial of the DTU that it was pinned to.
        serial: Serial,
        /// Who did it, as far as it is known.
        by: Option<String>,
        /// It was done some time ago, while this host was not told of changes.
        late: bool,
    },
    /// A token was not admitted or not served.
    Denied {
        /// The token that it presents.
        token: Token,
        /// The serial of the DTU.
        serial: Serial,
        /// The cause, for a person to read.
        why: String,
    },
    /// A session was made.
    Made {
        /// The token that it was made for.
        token: Token,
        /// The session that was made.
        session: SessionId,
        /// Whether the data store knows of it.
        claimed: bool,
    },
    /// A session is over.
    Ended {
        /// The token that it belonged to.
        token: Token,
        /// The session that is over.
        session: SessionId,
        /// The cause, for a person to read.
        why: String,
    },
    /// A stored template asks for something that nothing implements: its sessions are made without.
    TemplateIgnored {
        /// The template's name.
        template: String,
        /// What is ignored, with its line.
        what: String,
    },
    /// Another host took over the token while this one was out of sight: its session here stays and is not
    /// the one shown.
    Superseded {
        /// The token that both belong to.
        token: Token,
        /// The session of this host that is no longer the one.
        session: SessionId,
    },
    /// Another host goes on with a session: its process here is of before, and is ended.
    MovedAway {
        /// The token that it belongs to.
        token: Token,
        /// The session that runs on there.
        session: SessionId,
    },
    /// Nobody can go on with a session: another one is made in its place.
    StateLost {
        /// The token that it belongs to.
        token: Token,
        /// The session that is lost.
        session: SessionId,
        /// Why, for a person.
        why: String,
    },
    /// The data store can be reached, or cannot.
    Store {
        /// Whether it can be reached now.
        up: bool,
    },
}
