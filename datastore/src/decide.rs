//! What a write does to the one key it names: the rule all stores share.

use crate::message::{Answer, Change, Request};
use crate::value::Value;

/// The outcome of a write, before anything is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to answer once the change is safe.
    pub answer: Answer,
    /// What to change, if anything.
    pub change: Option<Change>,
}

/// Decides a write, given the newest value of its key. `None` for requests that write nothing.
#[must_use]
pub fn decide(request: &Request, current: Option<&Value>) -> Option<Decision> {
    let decision = match request {
        Request::Put { key, value } => Decision {
            answer: Answer::Stored,
            change: Some(Change { key: key.clone(), value: Some(value.clone()) }),
        },
        Request::Delete { key } => Decision {
            answer: Answer::Deleted { existed: current.is_some() },
            change: current.map(|_| Change { key: key.clone(), value: None }),
        },
        Request::Swap { key, expected, new } if expected.is(current) => Decision {
            answer: Answer::Swapped,
            // Absent to absent is granted and changes nothing.
            change: (current.is_some() || new.is_some())
                .then(|| Change { key: key.clone(), value: new.clone() }),
        },
        Request::Swap { .. } => Decision { answer: Answer::Lost { current: current.cloned() }, change: None },
        Request::Get { .. }
        | Request::Scan { .. }
        | Request::Watch { .. }
        | Request::Unwatch { .. }
        | Request::Ping
        | Request::Status
        // What stands behind a guard is decided when that has admitted it.
        | Request::Guarded { .. } => return None,
    };
    Some(decision)
}

/// The key a write names.
#[must_use]
pub const fn written_key(request: &Request) -> Option<&crate::Key> {
    match request {
        Request::Put { key, .. } | Request::Delete { key } | Request::Swap { key, .. } => Some(key),
        Request::Guarded { write, .. } => Some(write.key()),
        _ => None,
    }
}
