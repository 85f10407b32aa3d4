//! What operators see of the tables of several machines together, and how full those tables are that others make grow.

use std::collections::BTreeMap;

use authmgr::admission::PINS_AN_HOUR;
use proto::keys::GroupKey;
use sessiond::manager::Claim;
use sessiond::template::Continuity;

use super::admin::{Command, DtuView, Reply, SessionView, Status};
use super::counters::Counters;
use super::env::Env;
use super::machines::Machines;
use super::presentations::stage;
use super::session_view::{kept_view, session_view};
use super::{admission, askers, attachments, claims, edges, keeping, membership, operations, port, records};
use crate::directory::{self, grants};
use crate::keep::copies::Limits;
use crate::{placement, topology};

/// How full one bounded table of a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// What the table is called, in the simulator's reports.
    pub table: &'static str,
    /// Entries in it.
    pub len: usize,
    /// Entries it may have.
    pub max: usize,
}

/// The answer to an operator's question that a look at the tables answers; none to any other command.
pub(super) fn answer(env: Env<'_>, m: &Machines, counters: &Counters, command: &Command) -> Option<Reply> {
    Some(match command {
        Command::Status => Reply::Status(Box::new(status(env, m, counters))),
        Command::Topology => Reply::Topology(m.membership.members().view(env.now)),
        Command::Sessions => Reply::Sessions(sessions(env, m)),
        Command::Dtus => Reply::Dtus(dtus(env, m)),
        Command::Copies => Reply::Copies(m.keeping.view(&m.ctx(env).local)),
        _ => return None,
    })
}

fn status(env: Env<'_>, m: &Machines, counters: &Counters) -> Status {
    let id = &env.config.identity;
    let ctx = m.ctx(env);
    let members = ctx.members;
    let mut hosts = BTreeMap::from([("up".to_owned(), 1)]);
    for row in members.rows() {
        *hosts.entry(format!("{:?}", row.standing()).to_lowercase()).or_default() += 1;
    }
    let silent = members.rows().filter(|row| row.standing().is_unheard());
    let extent = m.keeping.extent(&ctx.local);
    Status {
        host: id.host.clone(),
        boot: id.boot,
        up_secs: members.up_for(env.now).as_secs(),
        key: env.config.ring.signing(),
        keys: env.config.ring.keys().iter().map(GroupKey::id).collect(),
        store: id.store.to_string(),
        store_up: ctx.store.is_up(),
        store_refuses: ctx.store.refuses().map(str::to_owned),
        store_trouble: ctx.store.trouble().map(|trouble| trouble.why.clone()),
        store_distrusts: ctx.store.trouble().is_some_and(|trouble| trouble.is_distrust),
        drain: members.is_drained(),
        lacks: members.fitness().why().iter().map(|(of, why)| (of.to_string(), why.clone())).collect(),
        keep: id.keep,
        hosts,
        silent: silent.map(|row| row.host().clone()).collect(),
        mute: m.directory.mute().cloned().collect(),
        strangers: members.topology().strangers.iter().count(),
        doubles: members.doubles(env.now),
        digest: m.membership.digest_status(),
        sessions: ctx.sessions.len(),
        unclaimed: ctx.sessions.iter().filter(|s| s.claim == Claim::Unclaimed).count(),
        // The spawner counts them.
        ahead: 0,
        dtus: m.connections.len(),
        attached: m.attachments.len(),
        pair: env.config.pair.clone(),
        cannot_keep: extent.is_alone.then(|| Continuity::Replicated.to_string()).into_iter().collect(),
        protected: extent.protected,
        unprotected: extent.unprotected,
        lag_ms: extent.lag_ms,
        commit_p99_us: extent.commit_p99_us,
        kept_sessions: m.keeping.kept().len(),
        kept_bytes: m.keeping.kept_bytes(),
        refused: counters.all_refused(),
        done: counters.all_done(),
    }
}

/// The sessions here, those without a home that another host keeps, and those that could not be started of late.
fn sessions(env: Env<'_>, m: &Machines) -> Vec<SessionView> {
    let local = m.ctx(env).local;
    let here = local.sessions.iter().map(|s| {
        let view = session_view(&local, s);
        match m.keeping.moves_to(s.id) {
            Some(host) => SessionView { state: format!("moving to {host}"), ..view },
            None => view,
        }
    });
    let kept = m.records.kept().map(|(session, record)| kept_view(session, record));
    here.chain(kept).chain(m.operations.failed_sessions(&local)).collect()
}

fn dtus(env: Env<'_>, m: &Machines) -> Vec<DtuView> {
    let view = |(conn, addr, serial, key): (_, _, Option<&proto::Serial>, _)| DtuView {
        host: env.name().clone(),
        serial: serial.cloned(),
        addr,
        token: m.presentations.presented_at(conn).cloned(),
        session: m.attachments.shown_at(conn),
        key,
    };
    m.connections.view().map(view).collect()
}

/// Every edge that is drawn, and how often it was taken.
pub(super) fn edges(counters: &Counters) -> BTreeMap<String, u64> {
    let told = edges::EDGES.iter().flat_map(|(from, to)| to.iter().map(|to| (*from, *to)));
    let told = told.map(|(from, to)| (format!("{from:?} tells {to:?}"), counters.times_told(from, to)));
    let turned = stage::EDGES.iter().flat_map(|(from, to)| to.iter().map(|to| (*from, *to)));
    let turned =
        turned.map(|(from, to)| (format!("{from:?} becomes {to:?}"), counters.times_turned(from, to)));
    told.chain(turned).collect()
}

/// All tables that strangers, other hosts or DTUs can make grow.
pub(super) fn tables(m: &Machines) -> Vec<Fill> {
    let fill = |table, len, max| Fill { table, len, max };
    let topology = m.membership.members().topology();
    let [lookups, grants, askers] = m.directory.sizes();
    let [changes, templates, _, entrants, pinned_for] = m.admission.sizes();
    let [releases, unreleased, _] = m.claims.sizes();
    let [failures, outcomes] = m.operations.sizes();
    let [repeats, heard] = m.attachments.sizes();
    let [left, orphans, kept] = m.records.sizes(m.sessions.table());
    let workload = m.placing.workload();
    vec![
        fill("hosts", topology.rows().count() + topology.candidates(), topology::HOSTS_MAX),
        fill("strangers", topology.strangers.iter().count(), topology::STRANGERS_MAX),
        fill("lookups", lookups, directory::LOOKUPS_MAX),
        fill("grants", grants, grants::GRANTS_MAX),
        fill("answered", m.membership.answered(), membership::ANSWERED_MAX),
        fill("sent here", workload.sent_here.len(), placement::ARRIVALS_MAX),
        fill("being made", workload.being_made.len(), placement::ARRIVALS_MAX),
        fill("notices", m.placing.notices(), placement::NOTICES_MAX),
        fill("askers", askers, askers::ASKERS_MAX),
        fill("unreleased claims", unreleased, claims::UNRELEASED_MAX),
        fill("releases", releases, claims::UNRELEASED_MAX),
        fill("start queue", m.sessions.all().queued(), sessiond::manager::WAITING_MAX),
        // One port of five may be full.
        fill("store requests", m.store_requests(), 5 * port::PENDING_MAX),
        fill("records left behind", left, records::LEFT_MAX),
        fill("orphaned records", orphans, records::ORPHANS_MAX),
        fill("kept sessions", kept, records::KEPT_MAX),
        fill("sessions of others", m.keeping.kept().len(), Limits::USUAL.sessions),
        fill("fetches", m.keeping.fetches(), keeping::FETCHES_MAX),
        fill("homes in doubt", m.keeping.doubted(), Limits::USUAL.sessions),
        fill("sessions handed over", m.keeping.handed(), keeping::HANDED_MAX),
        fill("repeats", repeats, attachments::REPEATS_MAX),
        fill("announced elsewhere", heard, attachments::HEARD_MAX),
        fill("registry changes", changes, admission::CHANGES_MAX),
        fill("failures", failures, operations::FAILURES_MAX),
        fill("outcomes", outcomes, operations::WAITING_MAX),
        fill("templates", templates, admission::TEMPLATES_MAX),
        fill("tokens to admit", entrants, port::PENDING_MAX),
        fill("addresses of new DTUs", pinned_for, PINS_AN_HOUR),
    ]
}
