use super::*;
use crate::key::Key;
use crate::message::{Change, Event, Generation, Revision};
use crate::value::Value;

/// A client and the world around it, in virtual time.
struct World {
    now: Instant,
    client: Client,
    out: Vec<Effect>,
}

impl World {
    fn new() -> Self {
        let client = Client::new(Instant::ZERO, "store", Patience::default());
        Self { now: Instant::ZERO, client, out: Vec::new() }
    }

    /// One that is connected.
    fn up() -> Self {
        let mut world = Self::new();
        world.run(Duration::ZERO);
        assert_eq!(world.took(), [Effect::Connect]);
        world.client.connected(world.now, &mut world.out);
        world
    }

    fn took(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.out)
    }

    /// Lets time pass, calling the client whenever it asked for it.
    fn run(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.client.poll_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.client.timeout(self.now, &mut self.out);
        }
        self.now = end;
    }

    fn call(&mut self, request: Request) -> RequestId {
        self.client.call(self.now, request, &mut self.out)
    }

    fn put(&mut self) -> RequestId {
        self.call(Request::Put { key: key(), value: Value::new(b"v").unwrap() })
    }

    fn get(&mut self) -> RequestId {
        self.call(Request::Get { key: key() })
    }

    fn reply(&mut self, id: RequestId, answer: Answer) {
        let response = response(answer);
        self.client.received(self.now, FromStore::Reply { id, response }, &mut self.out);
    }
}

fn key() -> Key {
    "k".parse().unwrap()
}

fn response(answer: Answer) -> Response {
    Response { generation: Generation(1), revision: Revision(1), answer }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn done(effects: &[Effect], wanted: RequestId) -> Result<Response, StoreError> {
    let mut results = effects.iter().filter_map(|effect| match effect {
        Effect::Done { id, result } if *id == wanted => Some(result.clone()),
        _ => None,
    });
    let result = results.next().unwrap_or_else(|| panic!("{wanted:?} is not done in {effects:?}"));
    assert_eq!(results.next(), None, "done twice");
    result
}

fn sent(effects: &[Effect]) -> Vec<RequestId> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send(call) => Some(call.id),
        _ => None,
    });
    sent.collect()
}

#[test]
fn a_request_before_the_connection_is_sent_when_it_stands() {
    let mut world = World::new();
    let put = world.put();
    assert_eq!(world.took(), [Effect::Connect]);
    world.client.connected(world.now, &mut world.out);
    assert_eq!(sent(&world.took()), [put]);
    world.reply(put, Answer::Stored);
    assert_eq!(done(&world.took(), put), Ok(response(Answer::Stored)));
}

#[test]
fn a_write_under_way_when_the_connection_breaks_is_of_unknown_outcome_and_never_sent_again() {
    let mut world = World::up();
    let (put, get) = (world.put(), world.get());
    assert_eq!(sent(&world.took()), [put, get]);
    world.client.disconnected(world.now, "the connection broke", &mut world.out);
    let effects = world.took();
    assert!(matches!(done(&effects, put), Err(StoreError::OutcomeUnknown { .. })));
    assert!(effects.contains(&Effect::Connect), "reconnects at once");
    world.client.connected(world.now, &mut world.out);
    assert_eq!(sent(&world.took()), [get], "the read is sent again, the write is not");
}

#[test]
fn a_write_that_was_not_sent_fails_as_unreachable_and_changed_nothing() {
    let mut world = World::new();
    let put = world.put();
    for _ in 0..100 {
        if world.took().contains(&Effect::Connect) {
            let refused = ConnectError::Unreachable("connection refused".into());
            world.client.connect_failed(world.now, refused, &mut world.out);
        }
        world.run(ms(20));
        if world.out.iter().any(|e| matches!(e, Effect::Done { .. })) {
            break;
        }
    }
    let error = done(&world.took(), put).unwrap_err();
    assert!(matches!(&error, StoreError::Unreachable { why, .. } if why == "connection refused"));
    assert!(!error.may_have_happened());
    assert!(world.now.since(Instant::ZERO) >= Patience::default().connect);

    let late = world.put();
    assert!(done(&world.took(), late).is_err(), "out of reach for long: fails at once");
}

#[test]
fn a_stranger_s_store_fails_everything_at_once_because_waiting_does_not_help() {
    let mut world = World::new();
    let get = world.get();
    let error = ConnectError::NotTrusted("no group key in common".into());
    world.client.connect_failed(world.now, error, &mut world.out);
    assert!(matches!(done(&world.took(), get), Err(StoreError::NotTrusted { .. })));
}

#[test]
fn a_store_that_stops_answering_is_noticed_within_seven_tenths_of_a_second_when_somebody_waits() {
    let mut world = World::up();
    let put = world.put();
    world.took();
    world.run(ms(700));
    let effects = world.took();
    assert!(effects.contains(&Effect::Disconnect));
    assert!(matches!(done(&effects, put), Err(StoreError::OutcomeUnknown { .. })));
}

#[test]
fn a_store_with_a_slow_disk_that_answers_pings_is_waited_for() {
    let mut world = World::up();
    let put = world.put();
    let mut pings = 0;
    for _ in 0..40 {
        world.run(ms(100));
        for id in sent(&world.took()).into_iter().filter(|id| *id != put) {
            pings += 1;
            world.reply(id, Answer::Pong);
        }
    }
    assert!(pings > 5 && world.client.is_up());
    world.run(ms(2000));
    let effects = world.took();
    let end = done(&effects, put).unwrap_err();
    assert!(end.may_have_happened(), "patience ends at five seconds: {end}");
}

#[test]
fn who_did_not_run_itself_does_not_accuse_the_store() {
    let mut world = World::up();
    let put = world.put();
    world.run(ms(200));
    world.took();
    world.now += ms(3000);
    world.client.timeout(world.now, &mut world.out);
    assert!(world.client.is_up(), "asks again first");
    world.reply(put, Answer::Stored);
    assert_eq!(done(&world.took(), put), Ok(response(Answer::Stored)));
}

#[test]
fn an_idle_connection_is_probed_so_that_a_watcher_learns_of_a_dead_store() {
    let mut world = World::up();
    world.run(ms(4100));
    assert!(world.took().contains(&Effect::Disconnect));
}

#[test]
fn a_watch_outlives_its_connection_and_says_that_events_may_be_missing() {
    let mut world = World::up();
    let watch = world.call(Request::Watch { prefix: Prefix::default() });
    world.reply(watch, Answer::Watching);
    let event =
        WatchEvent::Changed(Event { revision: Revision(2), change: Change { key: key(), value: None } });
    world.took();
    world.client.received(world.now, FromStore::Event { watch, event: event.clone() }, &mut world.out);
    assert_eq!(world.took(), [Effect::Event { watch, event: event.clone() }]);

    world.client.disconnected(world.now, "gone", &mut world.out);
    world.client.connected(world.now, &mut world.out);
    assert_eq!(sent(&world.took()), [watch]);
    world.reply(watch, Answer::Watching);
    assert_eq!(world.took(), [Effect::Event { watch, event: WatchEvent::Lagged }]);

    world.client.unwatch(watch, &mut world.out);
    let Some(Effect::Send(Call { request: Request::Unwatch { watch: ended }, .. })) = world.took().pop()
    else {
        panic!("the store is not told")
    };
    assert_eq!(ended, watch);
    world.client.received(world.now, FromStore::Event { watch, event }, &mut world.out);
    assert!(world.took().is_empty(), "an event on its way is dropped");
}

#[test]
fn more_than_fits_a_connection_waits_and_more_than_is_sensible_is_refused() {
    let mut world = World::up();
    let ids: Vec<_> = (0..CALLS_MAX).map(|_| world.get()).collect();
    assert_eq!(sent(&world.took()), ids[..IN_FLIGHT_MAX]);
    let one_more = world.get();
    assert_eq!(done(&world.took(), one_more), Err(StoreError::Refused(Refusal::Busy)));
    world.reply(ids[5], Answer::Value(None));
    let effects = world.took();
    assert_eq!(done(&effects, ids[5]), Ok(response(Answer::Value(None))));
    assert_eq!(sent(&effects), [ids[IN_FLIGHT_MAX]]);
}

#[test]
fn the_pause_between_attempts_grows_to_a_bound_and_shrinks_for_who_waits() {
    let mut world = World::new();
    let fail = |world: &mut World| {
        let error = ConnectError::Unreachable("refused".into());
        world.client.connect_failed(world.now, error, &mut world.out);
    };
    world.run(Duration::ZERO);
    for _ in 0..10 {
        fail(&mut world);
        world.took();
        world.run(BACKOFF_MAX[1]);
        assert_eq!(world.took(), [Effect::Connect]);
    }
    fail(&mut world);
    let pause = |world: &World| world.client.poll_at().unwrap().since(world.now);
    assert_eq!(pause(&world), BACKOFF_MAX[1]);
    world.client.connected(world.now, &mut world.out);
    world.client.disconnected(world.now, "gone", &mut world.out);
    for _ in 0..4 {
        fail(&mut world);
        world.run(BACKOFF_MAX[1]);
    }
    fail(&mut world);
    world.client.down_since = world.now;
    world.put();
    assert!(pause(&world) <= BACKOFF_MAX[0]);
}
