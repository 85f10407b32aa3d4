//! The host machine's notes as log records.

use crate::host::Note;
use crate::io::admin::audit::{AUDIT, UNKNOWN};
use crate::topology::{Change, Double};

/// Writes one note.
pub(super) fn log(note: &Note) {
    match note {
        Note::Host(change) => log_change(change),
        Note::Lacks { of, why: Some(why) } => {
            tracing::error!(lacks = %of, "this host takes no new sessions: {why}");
        }
        Note::Lacks { of, why: None } => {
            tracing::info!(no_longer_lacks = %of, "this host has what it lacked");
        }
        Note::TemplateIgnored { template, what } => {
            tracing::warn!(
                template,
                "this template asks for what no host can do, and is used without it: {what}"
            );
        }
        Note::WasAway { ms } => {
            tracing::warn!(ms, "this host was not run for a while and judges nobody by it");
        }
        Note::Kept { session, at } => {
            tracing::info!(%session, secondary = %at, "another host keeps this session");
        }
        // Every session begins so, and some that were struck are filled again at once.
        Note::Unprotected { session, why } if why.is_empty() => {
            tracing::debug!(%session, "no other host keeps this session yet");
        }
        Note::Unprotected { session, why } => {
            tracing::warn!(%session, why, "no other host keeps this session");
        }
        Note::Attached { token, session, serial } => {
            tracing::info!(%token, %session, dtu = %serial, "attached");
        }
        Note::Detached { token, session } => tracing::info!(%token, %session, "detached"),
        Note::Admitted { token, serial, of } => {
            tracing::info!(target: AUDIT, what = "admitted", %token, dtu = %serial, sessions_of = %of, "audit");
        }
        Note::PolicyChanged { policy, by, late } => {
            let (policy, by) = (policy.as_deref().unwrap_or("default"), by.as_deref().unwrap_or(UNKNOWN));
            let late = late.then_some(true);
            tracing::info!(target: AUDIT, what = "policy", policy, by, late, "audit");
        }
        Note::RegistryChanged { token, record, by, late } => {
            let (record, by) = (record.as_deref().unwrap_or("deleted"), by.as_deref().unwrap_or(UNKNOWN));
            let late = late.then_some(true);
            tracing::info!(target: AUDIT, what = "registry", %token, record, by, late, "audit");
        }
        Note::DtuPinned { serial, key } => {
            tracing::info!(target: AUDIT, what = "dtu-pinned", dtu = %serial, %key, "audit");
        }
        Note::DtuForgotten { serial, by, late } => {
            let (by, late) = (by.as_deref().unwrap_or(UNKNOWN), late.then_some(true));
            tracing::info!(target: AUDIT, what = "dtu-forgotten", dtu = %serial, by, late, "audit");
        }
        Note::Redirected { token, serial, to } => tracing::info!(%token, dtu = %serial, %to, "redirected"),
        Note::Denied { token, serial, why } => {
            tracing::warn!(target: AUDIT, what = "refused", %token, dtu = %serial, why, "audit");
        }
        Note::Made { token, session, claimed } => tracing::info!(%token, %session, claimed, "session made"),
        Note::Ended { token, session, why } => tracing::info!(%token, %session, why, "session ended"),
        Note::MovedAway { token, session } => {
            tracing::warn!(%token, %session, "another host goes on with the session: what runs of it here is ended");
        }
        Note::StateLost { token, session, why } => tracing::warn!(%token, %session, why, "session lost"),
        Note::Superseded { token, session } => {
            tracing::warn!(%token, %session, "another host shows a newer session of this token");
        }
        Note::Store { up: true } => tracing::info!("the data store can be reached"),
        Note::Store { up: false } => tracing::warn!("the data store cannot be reached"),
    }
}

fn log_change(change: &Change) {
    match change {
        Change::Up(host) => tracing::info!(%host, "host up"),
        Change::Silent(host) => tracing::warn!(%host, "host silent"),
        Change::Down(host) => tracing::warn!(%host, "host down"),
        Change::Left(host) => tracing::info!(%host, "host stopped"),
        Change::Restarted(host) => tracing::info!(%host, "host restarted"),
        Change::Lacks(host, lacks) if lacks.is_empty() => tracing::info!(%host, "host takes sessions again"),
        Change::Lacks(host, lacks) => tracing::warn!(%host, %lacks, "host takes no new sessions"),
        Change::Two(Double { host, first, second }) => {
            tracing::error!(%host, %first, %second, "two hosts have one name: stop the second one and give it another (--name)");
        }
        Change::OneAgain(host) => tracing::info!(%host, "there is one host of this name again"),
        Change::Changed(host) => tracing::debug!(%host, "host changed"),
        Change::Interface { host, iface, down: true } => {
            tracing::warn!(%host, %iface, "the host is not heard from one of its interfaces any more");
        }
        Change::Interface { host, iface, down: false } => {
            tracing::info!(%host, %iface, "the host is heard from its interface again");
        }
        Change::Forgotten(host) => tracing::info!(%host, "host taken out of the table: gone for a day"),
    }
}
