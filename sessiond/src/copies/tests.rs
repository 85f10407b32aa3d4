//! What leaves for a secondary, and what waits for it.

use super::*;
use continuity::{Held, Object, Place, Value};
use proptest::prelude::*;
use proto::time::Duration;
use proto::{Epoch, SessionId};

const NOW: Instant = Instant::from_micros(1_000_000);
const BATCH: Protection = Protection::Batch { every: Duration::from_secs(10), versions: 3 };

fn part(kind: Kind) -> Part {
    Part { service: "s".parse().unwrap(), kind }
}

/// A primary that commits to one part, and a secondary that keeps what arrives.
struct World {
    copies: Copies,
    now: Instant,
    object: Object,
    held: Held,
    /// Versions on their way, and the newest that may be answered.
    sent: Vec<Update>,
    safe: Option<Stamp>,
    /// How long acknowledgements have taken.
    took: Vec<Duration>,
}

impl World {
    fn new(how: Protection) -> Self {
        let mut object = Object::new(SessionId(7), "s".parse().unwrap());
        object.head.stamp.epoch = Epoch { generation: 1, counter: 2 };
        // So much that a delta is shorter than all of it.
        let (key, value) = ("all".parse().unwrap(), Value::raw(&[7; 500]).unwrap());
        object.apply(continuity::Edit::Put { place: Place::Global, key, value }).unwrap();
        let mut copies = Copies::new(Protection::Alone);
        copies.protect(NOW, how);
        Self {
            copies,
            now: NOW,
            object,
            held: Held::default(),
            sent: Vec::new(),
            safe: None,
            took: Vec::new(),
        }
    }

    fn act(&mut self) {
        for effect in self.copies.take_effects() {
            match effect {
                CopyEffect::Parts(_) => {}
                CopyEffect::Send { update, .. } => self.sent.push(update),
                CopyEffect::Safe { stamp, .. } => self.safe = self.safe.max(Some(stamp)),
                CopyEffect::Acknowledged { after, .. } => self.took.push(after),
            }
        }
    }

    /// Commits a version with this value; returns it.
    fn commit(&mut self, value: &str) -> Stamp {
        let (key, value) = ("k".parse().unwrap(), Value::raw(value.as_bytes()).unwrap());
        self.object.apply(continuity::Edit::Put { place: Place::Global, key, value }).unwrap();
        self.object.head.stamp.version = self.object.head.stamp.version.next();
        self.copies.changed(self.now, &part(Kind::State));
        self.copies.made(self.now, &part(Kind::State), self.object.encode().unwrap());
        self.act();
        self.object.head.stamp
    }

    fn protect(&mut self, how: Protection) {
        self.copies.protect(self.now, how);
        self.act();
    }

    /// The secondary takes what is on its way and says so. Returns how it came.
    fn arrive(&mut self) -> &'static str {
        let update = self.sent.remove(0);
        let how = match &update {
            Update::Whole(bytes) => {
                self.held.take_whole(Encoded::open(&bytes.0).unwrap()).unwrap();
                "whole"
            }
            Update::Delta(bytes) => {
                self.held.take_delta(&Delta::from_bytes(&bytes.0).unwrap()).unwrap();
                "delta"
            }
        };
        self.copies.protected(self.now, &part(Kind::State), self.held.stamp().unwrap());
        self.act();
        how
    }
}

#[test]
fn with_each_what_is_committed_waits_for_the_secondary_and_meanwhile_leaves_as_one() {
    let mut world = World::new(Protection::Each);
    let first = world.commit("one");
    assert_eq!((world.safe, world.sent.len()), (None, 1));
    world.commit("two");
    let third = world.commit("three");
    assert_eq!((world.safe, world.sent.len()), (None, 1), "one at a time");
    assert_eq!(world.arrive(), "whole");
    assert_eq!((world.safe, world.sent.len()), (Some(first), 1));
    assert_eq!(world.arrive(), "delta");
    assert_eq!((world.safe, world.held.stamp(), world.sent.len()), (Some(third), Some(third), 0));
}

#[test]
fn each_commit_is_timed_until_the_secondary_has_it_and_none_without_one() {
    let ms = Duration::from_millis;
    for how in [Protection::Each, BATCH] {
        let mut world = World::new(how);
        world.commit("one");
        world.now += ms(1);
        world.commit("two");
        world.now += ms(2);
        world.arrive();
        assert_eq!(world.took, [ms(3)]);
        world.now += Duration::from_secs(10);
        world.copies.send_due(world.now);
        world.act();
        world.arrive();
        assert_eq!(world.took, [ms(3), ms(10_002)]);
        world.protect(Protection::Alone);
        world.commit("three");
        world.protect(Protection::Each);
        world.now += ms(1);
        world.arrive();
        assert_eq!(world.took.len(), 2, "nobody was to acknowledge it when it was committed");
    }
}

#[test]
fn alone_nothing_is_sent_and_while_filling_nothing_waits() {
    let mut world = World::new(Protection::Alone);
    let first = world.commit("one");
    assert_eq!((world.safe, world.sent.len()), (Some(first), 0));
    world.copies.protect(NOW, Protection::Filling);
    let effects = world.copies.take_effects();
    assert_eq!(effects[0], CopyEffect::Parts(vec![part(Kind::State)]), "before anything of them");
    assert!(matches!(
        effects[..],
        [_, CopyEffect::Safe { .. }, CopyEffect::Send { update: Update::Whole(_), .. }]
    ));
    let second = world.commit("two");
    assert_eq!(world.safe, Some(second));
}

#[test]
fn held_everything_waits_and_nothing_is_sent_until_there_is_a_secondary() {
    let mut world = World::new(Protection::Held);
    let first = world.commit("one");
    assert_eq!((world.safe, world.sent.len()), (None, 0));
    world.protect(Protection::Each);
    assert_eq!((world.safe, world.sent.len()), (None, 1));
    world.arrive();
    assert_eq!(world.safe, Some(first));
}

#[test]
fn what_waits_is_answered_when_the_session_goes_on_alone() {
    let mut world = World::new(Protection::Each);
    let first = world.commit("one");
    world.protect(Protection::Alone);
    assert_eq!(world.safe, Some(first));
    // An acknowledgement that was late changes nothing, and the next secondary gets the whole.
    world.copies.protected(NOW, &part(Kind::State), first);
    world.act();
    world.sent.clear();
    world.protect(Protection::Filling);
    assert!(matches!(world.sent[..], [Update::Whole(_)]));
}

#[test]
fn a_secondary_that_is_filled_gets_deltas_when_it_begins_to_count() {
    let mut world = World::new(Protection::Filling);
    world.commit("one");
    world.arrive();
    world.protect(Protection::Each);
    assert!(world.sent.is_empty(), "it has all");
    world.commit("two");
    assert_eq!(world.arrive(), "delta");
}

#[test]
fn what_the_secondary_cannot_use_is_sent_whole() {
    let mut world = World::new(Protection::Each);
    world.commit("one");
    world.arrive();
    world.commit("two");
    let delta = world.sent.remove(0);
    assert!(matches!(delta, Update::Delta(_)));
    world.held = Held::default();
    world.copies.whole(NOW, &part(Kind::State));
    world.act();
    assert_eq!(world.arrive(), "whole");
}

#[test]
fn a_batch_leaves_after_its_time_or_its_count_whichever_is_first() {
    let mut world = World::new(Protection::Filling);
    world.commit("filled");
    world.arrive();
    world.protect(BATCH);
    let first = world.commit("one");
    assert_eq!((world.safe, world.sent.len()), (Some(first), 0), "nothing waits for it");
    world.commit("two");
    world.commit("three");
    assert_eq!(world.arrive(), "delta");
    assert_eq!(world.copies.poll_at(), None);
    // A change every 900 ms: what changes all the time waits for its time.
    let began = world.now;
    for _ in 0..2 {
        world.commit("more");
        world.copies.send_due(world.now);
        assert!(world.copies.poll_at().unwrap() <= world.now + QUIET_FOR);
        world.now += Duration::from_millis(900);
        world.copies.send_due(world.now);
        world.act();
        assert!(world.sent.is_empty());
    }
    world.now = began + Duration::from_secs(10);
    world.copies.send_due(world.now);
    world.act();
    assert_eq!(world.sent.len(), 1);
}

#[test]
fn after_a_silence_a_batch_leaves_at_once_and_so_does_one_after_which_nothing_comes() {
    let mut world = World::new(Protection::Filling);
    world.commit("filled");
    world.arrive();
    world.protect(BATCH);
    world.now += QUIET_FOR;
    world.commit("one");
    assert_eq!(world.arrive(), "delta", "at once");
    world.now += Duration::from_millis(100);
    world.commit("two");
    assert!(world.sent.is_empty());
    assert_eq!(world.copies.poll_at(), Some(world.now + QUIET_FOR));
    world.now += QUIET_FOR;
    world.copies.send_due(world.now);
    world.act();
    assert_eq!(world.arrive(), "delta");
    assert_eq!(world.copies.poll_at(), None);
}

#[test]
fn of_a_screen_a_version_is_asked_for_only_when_it_can_be_sent() {
    let screen = part(Kind::Screen);
    let mut copies = Copies::new(Protection::Alone);
    copies.add(&screen);
    copies.changed(NOW, &screen);
    assert!(!copies.is_due(NOW, &screen));
    copies.protect(NOW, Protection::Each);
    assert!(copies.is_due(NOW, &screen));
    let object = Object::new(SessionId(7), "s".parse().unwrap());
    copies.made(NOW, &screen, object.encode().unwrap());
    copies.changed(NOW, &screen);
    assert!(!copies.is_due(NOW, &screen), "one is on its way");
    copies.protected(NOW, &screen, object.head.stamp);
    assert!(copies.is_due(NOW, &screen));
}

proptest! {
    #[test]
    fn the_secondary_never_misses_what_was_answered_while_each_counts(
        steps in proptest::collection::vec(0_u8..8, 0..80)
    ) {
        let mut world = World::new(Protection::Each);
        let mut safe_before = None;
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                0..=3 => drop(world.commit(&n.to_string())),
                4 | 5 if !world.sent.is_empty() => drop(world.arrive()),
                6 => {
                    world.sent.clear();
                    world.held = Held::default();
                    safe_before = world.safe;
                    world.copies.whole(world.now, &part(Kind::State));
                    world.act();
                }
                _ => {}
            }
            prop_assert!(world.sent.len() <= 1);
            prop_assert!(world.safe <= world.held.stamp().max(safe_before));
        }
        while !world.sent.is_empty() {
            world.arrive();
        }
        prop_assert_eq!(world.held.stamp(), world.copies.parts.values().next().map(|_| world.object.head.stamp));
    }
}
