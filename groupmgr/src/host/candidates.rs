//! Which hosts could be asked for the sessions of a token, for a DTU.

use std::net::SocketAddrV4;

use proto::{HostName, Instant};

use super::liveness::KEEP_GRACE;
use super::membership::Members;
use crate::directory::Target;
use crate::reach::{Choice, Dtu, Reachable};
use crate::topology::{Row, Standing};

/// Everybody who could be asked, but for a host that the DTU could not reach.
pub(super) fn candidates(now: Instant, members: &Members, dtu: Dtu, avoid: Option<&HostName>) -> Vec<Target> {
    // On a LAN of ours and the DTU's a host is asked there, and not where it happens to be heard first: if it
    // does not hear us on that LAN, it will not hear the DTU either.
    let local = members.interfaces().iter().any(|i| i.holds(dtu.addr));
    let mut hosts = members.reachable(now, dtu);
    hosts.extend(perhaps_restarting(now, members, dtu));
    let target = |reach: Reachable| {
        let row = members.row(&reach.host)?;
        let here = local && reach.choice == Choice::First;
        let ask_at = if here { reach.addr } else { row.ask_at(now) };
        Some(Target { reach, ask_at })
    };
    hosts.into_iter().filter(|reach| Some(&reach.host) != avoid).filter_map(target).collect()
}

/// Silent hosts whose sessions may be waiting for their next daemon. They are asked only to find out whether
/// it is the daemon that is gone, which is refused, or the whole host, which says nothing.
fn perhaps_restarting(now: Instant, members: &Members, dtu: Dtu) -> Vec<Reachable> {
    let silent = members.rows().filter(|row| row.standing() == Standing::Silent && row.facts().keep);
    let silent = silent.filter(|row| dtu.suits(row));
    let lately = silent.filter(|row| now.since(row.heard_at()) < KEEP_GRACE);
    let reach = |row: &Row| Reachable {
        host: row.host().clone(),
        boot: row.boot(),
        addr: SocketAddrV4::new(row.addr(), row.facts().port),
        choice: Choice::Second,
    };
    lately.map(reach).collect()
}
