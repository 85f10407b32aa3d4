//! Guests: sessions of tokens that nobody registered. Whoever can reach a host can invent such tokens, so what they cause
//! has bounds, and ends by itself.
//!
//! | Bound | At the bound |
//! |---|---|
//! | sessions of guests on this host | a guest without a session gets none here |
//! | sessions that one address has left behind | one that was hardly used ends for the next; without such a one, a guest without a session gets none |
//! | time that nobody is shown one | it ends |
//!
//! Left behind is what no desk shows or waits for. A site behind one router has one address and many desks, so an address
//! may leave behind the more, the more of its desks are at work. Whoever fills its share by presenting one card
//! after the other ends its own sessions by that, and nobody else's: those that were used for a while stay.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proto::time::Duration;
use proto::{Instant, SessionId};

/// How often is looked at who is shown what.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A session that was shown at so many looks was used; half a minute.
const USED: u32 = 6;
/// How long one must have been left behind before it ends for another: else whoever presents cards without a pause has
/// sessions made and ended without a pause.
const LEFT_FOR: Duration = Duration::from_secs(10);
/// What each desk at work adds to what its address may leave behind.
const LEFT_PER_DESK: usize = 4;

/// The bounds of guests on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestLimits {
    /// Sessions in all; 0 for no bound.
    pub sessions: usize,
    /// Sessions that an address without a desk at work may have left behind.
    pub left: usize,
    /// How long one that nobody is shown stays; zero for ever.
    pub idle: Duration,
}

impl Default for GuestLimits {
    /// As many sessions as a machine usually has terminals; half a day.
    fn default() -> Self {
        Self { sessions: 4096, left: 64, idle: Duration::from_secs(12 * 3600) }
    }
}

/// What is known of one guest's session.
#[derive(Clone, Copy, Debug, Default)]
struct Guest {
    /// Looks at which it was shown.
    shown: u32,
    /// Since when nobody is shown it.
    left_at: Option<Instant>,
}

/// The sessions of guests, by the address whose desk had them made.
#[derive(Debug, Default)]
pub(super) struct Guests {
    by_address: BTreeMap<Ipv4Addr, BTreeMap<SessionId, Guest>>,
    len: usize,
    look_at: Option<Instant>,
}

impl Guests {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn poll_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// A session was made.
    pub(super) fn add(&mut self, now: Instant, session: SessionId, from: Ipv4Addr) {
        let of_address = self.by_address.entry(from).or_default();
        self.len += usize::from(of_address.insert(session, Guest::default()).is_none());
        self.look_at.get_or_insert(now + LOOK_EVERY);
    }

    /// A session has ended, or its token was registered.
    pub(super) fn remove(&mut self, session: SessionId, from: Ipv4Addr) {
        let Some(of_address) = self.by_address.get_mut(&from) else { return };
        self.len -= usize::from(of_address.remove(&session).is_some());
        if of_address.is_empty() {
            self.by_address.remove(&from);
        }
        if self.len == 0 {
            self.look_at = None;
        }
    }

    /// Looks who is shown what. Returns the sessions whose time is over.
    pub(super) fn look(
        &mut self,
        now: Instant,
        idle: Duration,
        is_left: impl Fn(SessionId) -> bool,
    ) -> Vec<SessionId> {
        let mut over = Vec::new();
        for (session, guest) in self.by_address.values_mut().flatten() {
            if is_left(*session) {
                let left_at = *guest.left_at.get_or_insert(now);
                if idle > Duration::ZERO && now.since(left_at) >= idle {
                    over.push(*session);
                }
            } else {
                guest.left_at = None;
                guest.shown = guest.shown.saturating_add(1);
            }
        }
        self.look_at = (self.len > 0).then_some(now + LOOK_EVERY);
        over
    }

    /// Whether an address may have another session made, and which one has to end for it.
    pub(super) fn room(
        &mut self,
        now: Instant,
        from: Ipv4Addr,
        max: usize,
        is_left: impl Fn(SessionId) -> bool,
    ) -> Room {
        let Some(of_address) = self.by_address.get_mut(&from).filter(|sessions| sessions.len() >= max) else {
            return Room::Free;
        };
        let (mut left, mut hardly_used) = (0, None);
        for (session, guest) in of_address.iter_mut().filter(|(session, _)| is_left(**session)) {
            left += 1;
            let left_at = *guest.left_at.get_or_insert(now);
            let for_long = now.since(left_at) >= LEFT_FOR;
            if for_long && guest.shown < USED && hardly_used.is_none_or(|(at, _)| left_at < at) {
                hardly_used = Some((left_at, *session));
            }
        }
        match hardly_used {
            _ if left < max + LEFT_PER_DESK * (of_address.len() - left) => Room::Free,
            Some((_, session)) => Room::After(session),
            None => Room::None,
        }
    }
}

/// What [`Guests::room`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    /// When this session has ended.
    After(SessionId),
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn at(secs: u64) -> Instant {
        Instant::from_micros(1_000_000 * (1 + secs))
    }

    fn left(n: u128) -> impl Fn(SessionId) -> bool {
        move |id| id.0 < n
    }

    #[test]
    fn what_an_address_leaves_behind_is_bounded_and_the_longest_left_of_what_was_hardly_used_goes() {
        let mut guests = Guests::default();
        for n in 0..4 {
            assert_eq!(guests.room(at(0), HOME, 4, left(99)), Room::Free);
            guests.add(at(0), SessionId(n), HOME);
        }
        assert_eq!(guests.room(at(1), HOME, 4, left(99)), Room::None, "all were left a moment ago");
        assert_eq!(guests.room(at(11), HOME, 4, left(99)), Room::After(SessionId(0)));
        assert_eq!(guests.room(at(11), Ipv4Addr::LOCALHOST, 4, left(99)), Room::Free);
        guests.remove(SessionId(0), HOME);
        assert_eq!(guests.room(at(11), HOME, 4, left(99)), Room::Free);
    }

    #[test]
    fn sessions_that_were_used_stay_and_desks_at_work_let_their_address_leave_more_behind() {
        let mut guests = Guests::default();
        (0..8).for_each(|n| guests.add(at(0), SessionId(n), HOME));
        for look in 1..=6 {
            assert_eq!(guests.look(at(5 * look), Duration::from_secs(60), left(0)), []);
        }
        // Of eight, seven are left behind and one is shown: four and four for it.
        assert_eq!(guests.room(at(40), HOME, 4, left(7)), Room::Free);
        assert_eq!(guests.room(at(60), HOME, 4, left(99)), Room::None, "none of them was hardly used");
    }

    #[test]
    fn a_session_that_nobody_is_shown_ends_after_its_time_and_one_that_is_shown_does_not() {
        let mut guests = Guests::default();
        (0..2).for_each(|n| guests.add(at(0), SessionId(n), HOME));
        assert_eq!(guests.poll_at(), Some(at(5)));
        let idle = Duration::from_secs(60);
        assert_eq!(guests.look(at(5), idle, left(1)), []);
        assert_eq!(guests.look(at(30), idle, left(0)), [], "it is shown again");
        assert_eq!(guests.look(at(35), idle, left(1)), []);
        assert_eq!(guests.look(at(90), idle, left(1)), []);
        assert_eq!(guests.look(at(95), idle, left(1)), [SessionId(0)]);
        assert_eq!(guests.look(at(95), Duration::ZERO, left(1)), []);
        (0..2).for_each(|n| guests.remove(SessionId(n), HOME));
        assert_eq!((guests.poll_at(), guests.len(), guests.by_address.len()), (None, 0, 0));
    }
}
