//! What a host costs, by the number of hosts on its LAN and of DTUs: measured, in a group that is whole and idle.

use core::fmt;

use proto::time::Duration;

use crate::world::{DeskId, DeskPlan, HostPlan, Meter, World, ms, secs};

/// Links of a beacon's hash chain: more than are used.
const CHAIN_LEN: usize = 1_200;
/// Cards that are put in to count what is asked for each.
const INSERTS: u64 = 5;

/// One row of the table: what each host sends, receives and works, on the average, in a second.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// How many hosts.
    pub hosts: usize,
    /// How many DTUs.
    pub dtus: usize,
    idle: Meter,
    /// How long that was metered.
    time: Duration,
    /// tokenQ datagrams for each card that was put in.
    token_qs: f64,
}

/// Measures one row.
///
/// # Panics
/// When the group does not come together.
#[must_use]
pub fn measure(hosts: usize, dtus: usize) -> Cost {
    let mut w = World::new(1);
    w.without_story();
    let lan = w.add_lan("lan", "10.0.0.0", 12);
    for n in 0..hosts {
        w.add_host(HostPlan::named(&format!("h{n}")).on(lan).chain_len(CHAIN_LEN));
        w.run_for(ms(1));
    }
    // Beacons are at the interval of a group of this size once everybody has been met.
    w.run_for(secs(3));
    let desks: Vec<DeskId> = (0..dtus).map(|n| add_desk(&mut w, n)).collect();
    let all = move |w: &World| desks.iter().all(|desk| w.shows(*desk).is_some());
    while !all(&w) {
        w.run_for(ms(200));
    }
    w.run_for(secs(1));
    let time = if hosts * dtus > 1_000_000 { secs(1) } else { secs(4) };
    w.meter();
    w.run_for(time);
    let idle = w.metered();
    let last: Vec<DeskId> = (0..INSERTS as usize).map(|n| add_desk(&mut w, 10_000_000 + n)).collect();
    w.run_for(ms(500));
    w.meter();
    for (n, desk) in last.into_iter().enumerate() {
        w.insert(desk, &format!("card.c{n}"));
        w.run_for(ms(100));
    }
    let token_qs = w.metered().token_qs as f64 / INSERTS as f64;
    Cost { hosts, dtus, idle, time, token_qs }
}

fn add_desk(w: &mut World, number: usize) -> DeskId {
    if number.is_multiple_of(20) {
        w.run_for(ms(1));
    }
    let lan = w.lan();
    w.add_desk(DeskPlan::named(&format!("d{number}"), lan).without_display())
}

impl Cost {
    /// The head of the table.
    pub const HEAD: &'static str =
        "  hosts    dtus |  sent/s  bytes/s |  recv/s   bytes/s |  cpu ms/s | tokenQ/card";
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts, dtus, idle, time, token_qs } = self;
        let each = |sum: f64| sum / time.as_secs_f64() / *hosts as f64;
        let (sent, sent_bytes) = (each(idle.sent as f64), each(idle.sent_bytes as f64));
        let (received, received_bytes) = (each(idle.received as f64), each(idle.received_bytes as f64));
        let cpu = each(idle.worked.as_secs_f64()) * 1_000.0;
        write!(f, "{hosts:>7} {dtus:>7} | {sent:>7.1} {sent_bytes:>8.0} | ")?;
        write!(f, "{received:>7.0} {received_bytes:>9.0} | {cpu:>9.2} | {token_qs:>11.1}")
    }
}
