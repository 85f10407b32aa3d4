//! Which hosts ask for a token at the same time: while there is no data store to decide, the lowest of them goes first.

use std::collections::BTreeMap;

use proto::time::Duration;
use proto::{HostName, Instant, TokenTag};

/// Askers remembered, one for each token.
pub(super) const ASKERS_MAX: usize = 65_536;
/// How long an asker counts as simultaneous.
const ASKER_FRESH: Duration = Duration::from_secs(1);

/// The lowest other host that asked for each token of late.
#[derive(Debug, Default)]
pub(super) struct Askers(BTreeMap<TokenTag, (HostName, Instant)>);

impl Askers {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn note(&mut self, now: Instant, tag: TokenTag, host: &HostName) {
        if self.0.len() >= ASKERS_MAX {
            self.0.retain(|_, (_, at)| now.since(*at) < ASKER_FRESH);
        }
        let fresh = |at: &Instant| now.since(*at) < ASKER_FRESH;
        let room = self.0.len() < ASKERS_MAX;
        match self.0.get_mut(&tag) {
            Some((lowest, at)) if *lowest < *host && fresh(at) => {}
            Some(entry) => *entry = (host.clone(), now),
            None if room => {
                self.0.insert(tag, (host.clone(), now));
            }
            None => {}
        }
    }

    /// The lowest other host that asked for the token within the last second.
    pub(super) fn lowest(&self, now: Instant, tag: TokenTag) -> Option<&HostName> {
        self.0.get(&tag).filter(|(_, at)| now.since(*at) < ASKER_FRESH).map(|(host, _)| host)
    }
}
