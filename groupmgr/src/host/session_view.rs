//! A session as operators see it.

use proto::{Last, SessionId};
use sessiond::manager::{Claim, Session};

use super::admin::SessionView;
use super::env::Env;
use super::session_record::SessionRecord;

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

/// One whose home is gone, and which whoever presents its token next gets back.
pub(super) fn kept_view(session: SessionId, record: &SessionRecord) -> SessionView {
    let keeper = record.secondary.as_ref();
    SessionView {
        host: keeper.unwrap_or(&record.home).clone(),
        session,
        token: record.token.clone(),
        epoch: record.epoch,
        last: Last::default(),
        claimed: true,
        state: keeper.map_or_else(|| "lost with its host".into(), |_| "kept".into()),
        shown: None,
    }
}
