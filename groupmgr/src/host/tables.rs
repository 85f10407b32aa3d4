//! How full the tables are that others make grow, and what their bounds are.

use super::Host;
use super::{datagrams, failures, flow, outcomes, registry, release, shows, store};
use crate::directory::{self, grants};
use crate::{placement, topology};

/// One table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Its name.
    pub table: &'static str,
    /// Entries in it.
    pub len: usize,
    /// Entries it may have.
    pub max: usize,
}

impl Host {
    /// All tables that strangers, other hosts or DTUs can make grow.
    #[must_use]
    pub fn tables(&self) -> Vec<Fill> {
        let fill = |table, len, max| Fill { table, len, max };
        let rows = self.topology.rows().count() + self.topology.candidates();
        vec![
            fill("hosts", rows, topology::HOSTS_MAX),
            fill("strangers", self.topology.strangers.iter().count(), topology::STRANGERS_MAX),
            fill("lookups", self.directory.lookups(), directory::LOOKUPS_MAX),
            fill("grants", self.grants.len(), grants::GRANTS_MAX),
            fill("answered", self.discovery.answered(), datagrams::ANSWERED_MAX),
            fill("sent here", self.placing.expected()[0], placement::ARRIVALS_MAX),
            fill("being made", self.placing.expected()[1], placement::ARRIVALS_MAX),
            fill("notices", self.placing.notices(), placement::NOTICES_MAX),
            fill("askers", self.discovery.askers(), datagrams::ASKERS_MAX),
            fill("unreleased claims", self.store.unreleased.len(), release::UNRELEASED_MAX),
            fill("releases", self.store.upkeep.releases.len(), release::UNRELEASED_MAX),
            fill("start queue", self.sessions.in_line(), sessiond::manager::WAITING_MAX),
            fill("store requests", self.store.pending(), store::PENDING_MAX),
            fill("repeats", self.shows.repeats(), shows::REPEATS_MAX),
            fill("registry changes", self.registry.changes(), registry::CHANGES_MAX),
            fill("failures", self.failures.len(), failures::FAILURES_MAX),
            fill("outcomes", self.outcomes.len(), outcomes::WAITING_MAX),
            fill("templates", self.shows.templates.len(), flow::TEMPLATES_MAX),
        ]
    }
}
