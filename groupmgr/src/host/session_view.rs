//! A session as operators see it.

use sessiond::manager::{Claim, Session};

use super::admin::SessionView;
use super::env::Env;

/// A session as operators see it.
pub(super) fn session_view(env: &Env<'_>, s: &Session) -> SessionView {
    SessionView {
        host: env.name().clone(),
        session: s.id,
        token: s.token.clone(),
        epoch: s.epoch,
        last: s.last,
        claimed: s.claim == Claim::Held,
        state: s.phase.word().into(),
        shown: s.shown.clone(),
    }
}
