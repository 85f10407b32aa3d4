//! The scene of a run: islands of hosts on LANs of their own, desks on these LANs and behind routers, and a data
//! store for all.

use std::collections::BTreeMap;

use proto::time::Duration;

use super::options::Options;
use super::people::{People, Seat};
use super::trouble::Island;
use crate::world::{DeskPlan, HostPlan, LanId, TestRng, World, ms};

/// Hosts that a desk behind a router is told of: it hears no beacon, and no answer to a broadcast.
const SERVERS: usize = 3;
/// Machines are not switched on in one moment, but within this.
const BOOT_WITHIN_MS: u64 = 500;
/// Hosts that have started know each other, on every LAN that they share, after this time.
const MEET: Duration = ms(500);
/// The second service of a session, if it has two, which its desk flips between.
const SECOND: &str = "[[service]]\nname = \"mail\"\n";
/// Links of a beacon's hash chain: enough for two minutes, after which another one begins.
const CHAIN_LEN: usize = 1_200;

/// Builds the world; everybody is switched on.
#[must_use]
pub(super) fn build(options: &Options) -> (World, People, Vec<Island>) {
    let mut w = World::new(options.seed);
    let mut dice = TestRng::new(options.seed ^ 0x0073_7461_6765);
    if options.hosts + options.dtus > 200 {
        w.without_story();
    }
    w.watch();
    w.set_fsync(options.fsync);
    if options.services > 1 || options.replicated {
        let class = if options.replicated { "continuity = \"replicated\"\n" } else { "" };
        let second = if options.services > 1 { SECOND } else { "" };
        w.store_put("template/default", &format!("{class}[[service]]\nname = \"terminal\"\n{second}"));
    }
    let mut islands: Vec<Island> = (0..options.islands).map(|n| island(&mut w, options, n)).collect();
    let cards = options.dtus * options.cards as usize / 100;
    let mut people = People::new(&mut w, options.seed, cards, options.islands, options.keyed);
    if options.replicated {
        people.pay();
    }
    add_hosts(&mut w, options, &mut dice, &mut islands);
    if !options.together {
        w.run_for(MEET);
    }
    add_desks(&mut w, options, &mut dice, &mut islands, &mut people);
    (w, people, islands)
}

fn island(w: &mut World, options: &Options, number: usize) -> Island {
    let lans = (0..options.lans).map(|n| {
        let wire = number * (options.lans + 1) + n;
        w.add_lan(&format!("lan{wire}"), &net_of(wire), 20)
    });
    Island { hosts: Vec::new(), lans: lans.collect(), desks: Vec::new() }
}

/// The subnet of the LAN with this number: 4,096 addresses each.
fn net_of(number: usize) -> String {
    format!("10.{}.{}.0", number / 16, number % 16 * 16)
}

fn add_hosts(w: &mut World, options: &Options, dice: &mut TestRng, islands: &mut [Island]) {
    let count = islands.len();
    for n in 0..options.hosts {
        let name = format!("h{}", n + 1);
        let island = &mut islands[n % count];
        let mut plan = HostPlan::named(&name).chain_len(CHAIN_LEN);
        for lan in &island.lans {
            plan = plan.on(*lan);
        }
        if dice.below(100) < options.keep {
            plan = plan.keep();
        }
        w.add_host(plan);
        let off = u64::try_from(options.clocks_off.as_millis()).unwrap_or(0);
        if off > 0 {
            w.set_clock(&name, dice.below(2 * off) as i64 - off as i64);
        }
        if options.drift_ppm > 0 {
            w.drift_clock(&name, dice.below(2 * options.drift_ppm) as i64 - options.drift_ppm as i64);
        }
        island.hosts.push(name);
        w.run_for(ms(dice.below(BOOT_WITHIN_MS / options.hosts as u64 + 1)));
    }
}

/// Every host of a group knows the key of every DTU: beyond so many in all, this machine would have to remember more than its
/// memory holds, and DTUs have none.
const PINS_MAX: usize = 2_000_000;

fn add_desks(
    w: &mut World,
    options: &Options,
    dice: &mut TestRng,
    islands: &mut [Island],
    people: &mut People,
) {
    let mut behind: BTreeMap<usize, LanId> = BTreeMap::new();
    let count = islands.len();
    for n in 0..options.dtus {
        let number = n % count;
        let is_routed = dice.below(100) < options.routed;
        let island = &mut islands[number];
        let lan = if is_routed {
            *behind.entry(number).or_insert_with(|| {
                let wire = number * (options.lans + 1) + options.lans;
                let lan = w.add_lan(&format!("lan{wire}"), &net_of(wire), 20);
                w.route(&[lan, island.lans[0]]);
                lan
            })
        } else {
            island.lans[dice.below(island.lans.len() as u64) as usize]
        };
        let mut plan = DeskPlan::named(&format!("d{}", n + 1), lan);
        if is_routed {
            let first = dice.below(island.hosts.len() as u64) as usize;
            for host in island.hosts.iter().cycle().skip(first).take(SERVERS.min(island.hosts.len())) {
                plan = plan.server(host);
            }
        }
        if !options.displays {
            plan = plan.without_display();
        }
        // Some are of the version before.
        if n % 5 == 4 || options.hosts * options.dtus > PINS_MAX {
            plan = plan.keyless();
        }
        let desk = w.add_desk(plan);
        island.desks.push(desk);
        people.seats.push(Seat { desk, island: number, card: None });
        people.sit_down(w, n);
        // A building full of desks is not switched on in one moment.
        if n % 50 == 49 {
            w.run_for(ms(1));
        }
    }
}
