use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { per_address: 6, total: 20, silent: 8, handshakes: 4 };

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000 + ms * 1000)
}

fn ip(n: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits(n).into()
}

struct Scene {
    arrivals: Arrivals,
    told: Vec<Told>,
}

impl Scene {
    fn new() -> Self {
        Self { arrivals: Arrivals::new(at(0), LIMITS), told: Vec::new() }
    }

    fn arrive(&mut self, address: u32) -> ArrivalId {
        self.arrivals.arrive(ip(address), &mut self.told).unwrap()
    }

    /// One that arrives and begins TLS at once.
    fn hello(&mut self, ms: u64, address: u32) -> ArrivalId {
        let id = self.arrive(address);
        self.arrivals.speak(at(ms), id, true, &mut self.told).unwrap();
        id
    }

    fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }
}

#[test]
fn the_oldest_silent_connection_of_the_largest_holder_leaves_for_a_newcomer() {
    let mut scene = Scene::new();
    let few: Vec<_> = (0..3).map(|_| scene.arrive(1)).collect();
    let many: Vec<_> = (0..5).map(|_| scene.arrive(2)).collect();
    assert_eq!(scene.told(), []);
    scene.arrive(3);
    assert_eq!(scene.told(), [Told::Leave(many[0])]);
    // Whoever holds most pays for its own connections, too.
    scene.arrive(2);
    assert_eq!(scene.told(), [Told::Leave(many[1])]);
    scene.arrivals.leave(at(0), few[0], &mut scene.told);
    scene.arrive(2);
    assert_eq!(scene.told(), []);
}

#[test]
fn silent_connections_of_an_address_take_no_place_from_those_of_it_that_speak() {
    let mut scene = Scene::new();
    for _ in 0..20 {
        scene.arrive(1);
    }
    scene.told();
    for _ in 0..LIMITS.per_address {
        let id = scene.arrive(1);
        scene.arrivals.speak(at(0), id, false, &mut scene.told).unwrap();
    }
    assert_eq!(scene.arrivals.arrive(ip(1), &mut scene.told), Err(Refused::Address));
    assert!(scene.arrivals.arrive(ip(2), &mut scene.told).is_ok());
}

#[test]
fn those_that_are_silent_when_the_bound_of_their_address_is_reached_are_refused_when_they_speak() {
    let mut scene = Scene::new();
    let late = scene.arrive(1);
    for _ in 0..LIMITS.per_address {
        let id = scene.arrive(1);
        scene.arrivals.speak(at(0), id, false, &mut scene.told).unwrap();
    }
    assert_eq!(scene.arrivals.speak(at(0), late, true, &mut scene.told), Err(Refused::Address));
    assert_eq!(scene.arrivals.len(), LIMITS.per_address);
}

#[test]
fn a_full_host_refuses_the_newest_and_evicts_the_silent_first() {
    let mut scene = Scene::new();
    for n in 0..LIMITS.total - 1 {
        let id = scene.arrive(u32::try_from(n).unwrap() / 5);
        scene.arrivals.speak(at(0), id, false, &mut scene.told).unwrap();
    }
    let silent = scene.arrive(90);
    let newest = scene.arrive(91);
    assert_eq!(scene.told(), [Told::Leave(silent)]);
    scene.arrivals.speak(at(0), newest, false, &mut scene.told).unwrap();
    assert_eq!(scene.arrivals.arrive(ip(92), &mut scene.told), Err(Refused::Host));
    assert_eq!(scene.told(), []);
}

#[test]
fn handshakes_are_begun_up_to_the_bound_and_then_in_turn() {
    let mut scene = Scene::new();
    let ids: Vec<_> = (0..6).map(|_| scene.hello(0, 1)).collect();
    let begun: Vec<_> = ids[..4].iter().map(|id| Told::Begin(*id)).collect();
    assert_eq!(scene.told(), begun);
    scene.arrivals.finish(at(1), ids[2], &mut scene.told);
    assert_eq!(scene.told(), [Told::Begin(ids[4])]);
    scene.arrivals.leave(at(2), ids[0], &mut scene.told);
    assert_eq!(scene.told(), [Told::Begin(ids[5])]);
}

#[test]
fn of_those_that_wait_the_address_with_the_fewest_places_goes_first() {
    let mut scene = Scene::new();
    let ids: Vec<_> = (0..6).map(|_| scene.hello(0, 1)).collect();
    let other = scene.hello(1, 2);
    scene.told();
    scene.arrivals.finish(at(1), ids[0], &mut scene.told);
    assert_eq!(scene.told(), [Told::Begin(other)]);
}

/// Whoever holds every place and lets no handshake end keeps nobody else out.
#[test]
fn while_no_handshake_ends_the_largest_holder_makes_room_for_others() {
    let mut scene = Scene::new();
    let stalled: Vec<_> = (0..6).map(|_| scene.hello(0, 1)).collect();
    scene.told();
    let early = scene.hello(5, 2);
    assert_eq!(scene.told(), []);
    assert_eq!(scene.arrivals.poll_at(), Some(at(10)));
    scene.arrivals.on_timeout(at(10), &mut scene.told);
    assert_eq!(scene.told(), [Told::Leave(stalled[0]), Told::Begin(early)]);
    let late = scene.hello(60, 3);
    assert_eq!(scene.told(), [Told::Leave(stalled[1]), Told::Begin(late)]);
    // Two of the first address, one each of the others: as fair as it gets.
    scene.hello(90, 3);
    scene.arrivals.on_timeout(at(90), &mut scene.told);
    assert_eq!(scene.told(), []);
    assert_eq!(scene.arrivals.poll_at(), Some(at(100)));
}

#[test]
fn while_handshakes_end_none_is_thrown_away() {
    let mut scene = Scene::new();
    let ids: Vec<_> = (0..5).map(|_| scene.hello(0, 1)).collect();
    scene.arrivals.finish(at(95), ids[0], &mut scene.told);
    scene.told();
    let waiting = scene.hello(99, 3);
    scene.arrivals.on_timeout(at(100), &mut scene.told);
    assert_eq!(scene.told(), []);
    scene.arrivals.on_timeout(at(106), &mut scene.told);
    assert_eq!(scene.told(), [Told::Leave(ids[1]), Told::Begin(waiting)]);
}

#[test]
fn a_host_with_few_descriptors_has_few_connections_and_leaves_some_for_other_things() {
    assert_eq!(
        Limits::of_descriptors(20_000, 30, 2048),
        Limits { per_address: 2048, total: 19_458, silent: 9729, handshakes: 128 }
    );
    let few = Limits::of_descriptors(64, 34, 2048);
    assert_eq!(few, Limits { per_address: 15, total: 15, silent: 7, handshakes: 15 });
    assert_eq!(Limits::of_descriptors(10, 40, 0).total, 4);
}

#[derive(Clone, Debug)]
enum Op {
    Arrive(u32),
    Speak(usize, bool),
    Finish(usize),
    Leave(usize),
    Timeout,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let one = prop_oneof![
        3 => (0_u32..4).prop_map(Op::Arrive),
        3 => (0_usize..40, any::<bool>()).prop_map(|(n, tls)| Op::Speak(n, tls)),
        1 => (0_usize..40).prop_map(Op::Finish),
        1 => (0_usize..40).prop_map(Op::Leave),
        1 => Just(Op::Timeout),
    ];
    proptest::collection::vec(one, 0..200)
}

proptest! {
    /// Whatever happens, no bound is passed, nobody is told twice, a free place is never left while somebody waits, and
    /// nothing of an address without connections is kept.
    #[test]
    fn whatever_happens_the_bounds_hold_and_free_places_are_given(ops in ops()) {
        let mut scene = Scene::new();
        let mut live: Vec<ArrivalId> = Vec::new();
        for (n, op) in ops.into_iter().enumerate() {
            let now = at(n as u64 * 7);
            let pick = |n: usize| live.get(n % live.len().max(1)).copied();
            match op {
                Op::Arrive(address) => {
                    if let Ok(id) = scene.arrivals.arrive(ip(address), &mut scene.told) {
                        live.push(id);
                    }
                }
                Op::Speak(n, tls) => if let Some(id) = pick(n)
                    && scene.arrivals.speak(now, id, tls, &mut scene.told).is_err()
                {
                    live.retain(|other| *other != id);
                },
                Op::Finish(n) => if let Some(id) = pick(n) {
                    scene.arrivals.finish(now, id, &mut scene.told);
                },
                Op::Leave(n) => if let Some(id) = pick(n) {
                    scene.arrivals.leave(now, id, &mut scene.told);
                    live.retain(|other| *other != id);
                },
                Op::Timeout => scene.arrivals.on_timeout(now, &mut scene.told),
            }
            for told in scene.told() {
                if let Told::Leave(id) = told {
                    prop_assert!(live.contains(&id));
                    live.retain(|other| *other != id);
                }
            }
            let a = &scene.arrivals;
            prop_assert_eq!(a.len(), live.len());
            prop_assert!(a.len() <= LIMITS.total && a.silent <= LIMITS.silent);
            prop_assert!(a.handshaking <= LIMITS.handshakes);
            prop_assert!(!a.is_crowded() || a.handshaking == LIMITS.handshakes);
            prop_assert!(a.holders.values().all(|h| h.spoken <= LIMITS.per_address));
        }
        for id in live {
            scene.arrivals.leave(at(9999), id, &mut scene.told);
        }
        let a = &scene.arrivals;
        prop_assert!(a.is_empty() && a.holders.is_empty() && a.queue.is_empty());
        prop_assert!(a.by_silent.is_empty() && a.by_handshakes.is_empty());
    }
}
