//! Why a host is asked for a session. It decides what a refusal or a death means.

use proto::{HostName, Instant};

use super::host_ref::HostRef;

/// Why a host is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ConnectReason {
    /// It was found by a search. If it fails us, the search goes on.
    Search {
        /// Whether a refusal sends the DTU to the next host of the search instead of to its user.
        may_go_on: bool,
    },
    /// A redirect named it, or it had sent us on and the way led nowhere.
    Redirect(RedirectLeg),
    /// It is the host of a session that is held until then, and its daemon is back.
    Rejoin {
        /// Until when the session is held.
        until: Instant,
    },
    /// It granted something on this connection before.
    Again,
}

/// One way of a redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RedirectLeg {
    /// To the target.
    Out {
        /// What the source said to bring.
        props: Option<String>,
        /// The host that sent us.
        source: HostRef,
    },
    /// Back to the source, which chooses again without the target.
    Back {
        /// The redirect's target, where its name is known.
        avoid: Option<HostName>,
    },
}
