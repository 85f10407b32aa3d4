//! Copies as operators see them.

use proto::{HostName, SessionId};

use super::super::admin::{CopiesView, KeptView, ReplicaView};
use super::super::env::Local;
use super::Keeping;
use super::choose::{best, nearness};
use super::phase::Phase;
use super::primary::Primary;

/// Who keeps the sessions of this host, and how far they have come.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::host) struct Extent {
    pub(in crate::host) protected: usize,
    pub(in crate::host) unprotected: usize,
    pub(in crate::host) lag_ms: u64,
    pub(in crate::host) commit_p99_us: u64,
    /// There is no host that could keep another session.
    pub(in crate::host) is_alone: bool,
}

impl Keeping {
    /// Everything about copies.
    pub(in crate::host) fn view(&self, local: &Local<'_>) -> CopiesView {
        let own = self.primaries.iter().map(|primary| replica(local, primary)).collect();
        let kept = self.kept.copies.view().map(|copy| KeptView {
            session: copy.session,
            token: copy.token.cloned(),
            from: copy.from.clone(),
            epoch: copy.epoch,
            parts: copy.parts,
            version: copy.newest.map(|stamp| stamp.to_string()),
            bytes: copy.bytes,
        });
        CopiesView { own, kept: kept.collect() }
    }

    /// The host that a session of this one moves to, while it does.
    pub(in crate::host) fn moves_to(&self, session: SessionId) -> Option<&HostName> {
        self.primaries.get(session).filter(|primary| primary.is_moving()).and_then(Primary::peer)
    }

    /// The same in numbers.
    pub(in crate::host) fn extent(&self, local: &Local<'_>) -> Extent {
        let mut extent = Extent { is_alone: best(local, |_| false).is_none(), ..Extent::default() };
        for primary in self.primaries.iter() {
            match primary.phase() {
                Phase::Protected { .. } => extent.protected += 1,
                _ => extent.unprotected += 1,
            }
            extent.lag_ms = extent.lag_ms.max(lag_ms(local, primary));
            let times = local.sessions.get(primary.session).and_then(|session| session.acknowledged);
            extent.commit_p99_us = extent.commit_p99_us.max(times.map_or(0, |times| times.p99_us));
        }
        extent
    }

    /// Bytes that are kept for others.
    pub(in crate::host) const fn kept_bytes(&self) -> usize {
        self.kept.copies.bytes()
    }
}

fn lag_ms(local: &Local<'_>, primary: &Primary) -> u64 {
    let lag = primary.waits_since().map(|since| local.now.since(since));
    lag.map_or(0, |lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX))
}

fn replica(local: &Local<'_>, primary: &Primary) -> ReplicaView {
    let secondary = primary.peer();
    let is_near = |host| nearness(local, host).is_some_and(|nearness| nearness.same_machine);
    let (state, why) = primary.state();
    ReplicaView {
        session: primary.session,
        state: state.into(),
        why: why.into(),
        secondary: secondary.cloned(),
        same_machine: secondary.is_some_and(is_near),
        waits: format!("{} {}", primary.replication.ack, primary.replication.protect.as_str()),
        version: primary.newest().map(|stamp| stamp.to_string()),
        lag_ms: lag_ms(local, primary),
        parts: primary.parts(),
        sent_bytes: primary.sent_bytes,
        sent_versions: primary.sent_versions,
        acknowledged: local.sessions.get(primary.session).and_then(|session| session.acknowledged),
    }
}
