//! The sessions of this host that others keep: when each wants to be looked at, and which hosts are left alone for a while.

use std::collections::{BTreeMap, BTreeSet};

use proto::time::{Duration, earliest};
use proto::{HostName, Instant, SessionId};
use sessiond::template::Protect;

use super::super::env::Local;
use super::choose::{Grade, Nearness, best, can_keep, choose, nearness};
use super::phase::{Order, Phase, Why};
use super::primary::Primary;
use crate::topology::{Change, Row};

/// A session that found no host looks again after this time at the latest.
const CHOOSE_EVERY: Duration = Duration::from_secs(4);
/// Sessions that are filled at a time; the others wait for their turn.
const FILLING_MAX: usize = 64;
const TURN_AFTER: Duration = Duration::from_millis(20);
/// While the data store is away no host is chosen: its name could not be recorded.
const STORE_AGAIN: Duration = Duration::from_secs(1);
/// Sessions that a drained host hands over at a time, and how often it looks for the next.
const MOVES_MAX: usize = 8;
const MOVE_EVERY: Duration = Duration::from_millis(50);
/// A host that has failed is left out for so long, twice as long each time, and at most for so long.
const SHUN_FIRST: Duration = Duration::from_secs(1);
const SHUN_MAX: Duration = Duration::from_secs(60);

/// A host that has failed.
#[derive(Clone, Copy, Debug)]
struct Shunned {
    until: Instant,
    pause: Duration,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Primaries {
    sessions: BTreeMap<SessionId, Primary>,
    /// When each is due.
    due: BTreeSet<(Instant, SessionId)>,
    shunned: BTreeMap<HostName, Shunned>,
    /// When it is looked which sessions can be handed over, while this host is drained.
    move_at: Option<Instant>,
    /// How long hosts take to acknowledge, smoothed.
    distances: BTreeMap<HostName, Duration>,
}

/// What a session wants.
pub(super) type Orders = Vec<(SessionId, Order)>;

impl Primaries {
    pub(super) fn get(&self, session: SessionId) -> Option<&Primary> {
        self.sessions.get(&session)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Primary> {
        self.sessions.values()
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        earliest(self.due.first().map(|(at, _)| *at), self.move_at)
    }

    /// Begins a session.
    pub(super) fn begin(
        &mut self,
        local: &Local<'_>,
        primary: Primary,
        secondary: Option<HostName>,
        orders: &mut Orders,
    ) {
        let session = primary.session;
        if local.members.is_drained() {
            self.drain(local.now);
        }
        self.end(session, &mut Vec::new());
        self.sessions.insert(session, primary);
        let secondary = secondary.map(|host| {
            let can = can_keep(local, &host);
            (host, can)
        });
        self.with(local.now, session, orders, |primary, out| primary.begin(local.now, secondary, out));
    }

    /// A session is over.
    pub(super) fn end(&mut self, session: SessionId, orders: &mut Orders) {
        let Some(primary) = self.sessions.remove(&session) else { return };
        if let Some(at) = primary.deadline() {
            self.due.remove(&(at, session));
        }
        let mut out = Vec::new();
        primary.ended(&mut out);
        orders.extend(out.into_iter().map(|order| (session, order)));
    }

    /// Does a step of one session.
    pub(super) fn with<R: Default>(
        &mut self,
        now: Instant,
        session: SessionId,
        orders: &mut Orders,
        step: impl FnOnce(&mut Primary, &mut Vec<Order>) -> R,
    ) -> R {
        let Some(primary) = self.sessions.get_mut(&session) else { return R::default() };
        let (before, mut out) = (primary.deadline(), Vec::new());
        let named = primary.phase().named().cloned();
        let result = step(primary, &mut out);
        if primary.phase().named() != named.as_ref() {
            out.push(Order::Named);
        }
        let after = primary.deadline();
        if before != after
            && let Some(before) = before
        {
            self.due.remove(&(before, session));
        }
        if let Some(after) = after {
            self.due.insert((after, session));
        }
        for order in &out {
            match order {
                Order::Shun(host) => self.shun(now, host),
                Order::Kept(host) => drop(self.shunned.remove(host)),
                _ => {}
            }
        }
        orders.extend(out.into_iter().map(|order| (session, order)));
        result
    }

    fn shun(&mut self, now: Instant, host: &HostName) {
        let pause = self.shunned.get(host).map_or(SHUN_FIRST, |shunned| (shunned.pause * 2).min(SHUN_MAX));
        // One failure of a host is seen by many sessions.
        if self.shunned.get(host).is_none_or(|shunned| shunned.until <= now) {
            self.shunned.insert(host.clone(), Shunned { until: now + pause, pause });
        }
    }

    /// Something was said to a host, and may not have come.
    pub(super) fn lost(&mut self, now: Instant, host: &HostName, why: Why, orders: &mut Orders) {
        self.with_all_at(now, host, orders, |primary, out| primary.lost(now, host, why, out));
    }

    fn is_silent(&mut self, now: Instant, host: &HostName, is_silent: bool, orders: &mut Orders) {
        self.with_all_at(now, host, orders, |primary, out| primary.is_silent(now, host, is_silent, out));
    }

    /// Does a step of each session of which this host is the secondary.
    fn with_all_at(
        &mut self,
        now: Instant,
        host: &HostName,
        orders: &mut Orders,
        step: impl Fn(&mut Primary, &mut Vec<Order>),
    ) {
        let theirs = |primary: &&Primary| primary.peer() == Some(host);
        let sessions: Vec<SessionId> = self.iter().filter(theirs).map(|primary| primary.session).collect();
        for session in sessions {
            self.with(now, session, orders, &step);
        }
    }

    /// Something has become of another host.
    pub(super) fn on_change(&mut self, local: &Local<'_>, change: &Change, orders: &mut Orders) {
        match change {
            Change::Silent(host) => self.is_silent(local.now, host, true, orders),
            Change::Down(host) | Change::Left(host) => self.lost(local.now, host, Why::Gone, orders),
            Change::Restarted(host) => {
                self.shunned.remove(host);
                self.lost(local.now, host, Why::Gone, orders);
                self.look_again(local, orders);
            }
            Change::Up(host) => {
                self.shunned.remove(host);
                self.is_silent(local.now, host, false, orders);
                self.look_again(local, orders);
            }
            Change::Forgotten(host) => {
                self.shunned.remove(host);
                self.distances.remove(host);
            }
            Change::Changed(_) => self.look_again(local, orders),
            Change::Interface { .. } | Change::Lacks(..) | Change::Two(_) | Change::OneAgain(_) => {}
        }
    }

    /// A host that keeps a session took so long to acknowledge a version.
    pub(super) fn measured(&mut self, host: &HostName, took: Duration) {
        let distance = self.distances.entry(host.clone()).or_insert(took);
        *distance = (*distance * 7 + took) / 8;
    }

    fn is_shunned(&self, now: Instant, host: &HostName) -> bool {
        self.shunned.get(host).is_some_and(|shunned| now < shunned.until)
    }

    /// There is a host that may be a better secondary: for sessions that have none, or one in a makeshift place.
    fn look_again(&mut self, local: &Local<'_>, orders: &mut Orders) {
        let now = local.now;
        let best = best(local, |host| self.is_shunned(now, host));
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.with(now, session, orders, |primary, out| match primary.phase() {
                Phase::Lacking { choose_at } if *choose_at > now + TURN_AFTER => primary.look(now),
                Phase::Protected { host, .. } if is_worse(local, host, best) => {
                    let host = host.clone();
                    primary.lost(now, &host, Why::Better, out);
                }
                _ => {}
            });
        }
    }

    /// Does what is due.
    pub(super) fn on_due(&mut self, local: &Local<'_>, is_store_up: bool, orders: &mut Orders) {
        let now = local.now;
        if self.move_at.is_some_and(|at| at <= now) {
            self.hand_over(local, is_store_up, orders);
        }
        let mut counts = None;
        let best = best(local, |host| self.is_shunned(now, host));
        let due: Vec<SessionId> =
            self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, session)| *session).collect();
        for session in due {
            self.with(now, session, orders, |primary, out| {
                primary.due(now, out);
                // Others may have come up while it was filled; and one that is drained is about to go.
                if let Phase::Protected { host, .. } = primary.phase()
                    && (is_worse(local, host, best) || is_leaving(local, host) && best.is_some())
                {
                    let host = host.clone();
                    primary.lost(now, &host, Why::Better, out);
                }
            });
            let chooses = |primary: &Primary| matches!(primary.phase(), Phase::Lacking { choose_at } if *choose_at <= now);
            if self.sessions.get(&session).is_some_and(chooses) {
                if !is_store_up {
                    let until = now + STORE_AGAIN;
                    let why = Some("the data store cannot be told who keeps it");
                    self.with(now, session, orders, |primary, out| primary.wait(until, why, out));
                    continue;
                }
                let (kept, filling) = counts.get_or_insert_with(|| self.counts());
                if let Some(host) = self.choose(local, session, kept, *filling, orders) {
                    *kept.entry(host).or_default() += 1;
                    *filling += 1;
                }
            }
        }
    }

    /// This host is drained.
    pub(super) const fn drain(&mut self, now: Instant) {
        self.move_at = Some(now);
    }

    /// Hands over some sessions of this host, which is drained: those whose secondary can make sessions.
    fn hand_over(&mut self, local: &Local<'_>, is_store_up: bool, orders: &mut Orders) {
        let now = local.now;
        let goes_on = local.members.is_drained() && !self.sessions.is_empty();
        self.move_at = goes_on.then(|| now + MOVE_EVERY);
        if !goes_on || !is_store_up {
            return;
        }
        let under_way = self.iter().filter(|primary| primary.is_moving()).count();
        let fits = |host: &HostName| nearness(local, host).is_some();
        let hosts: Vec<&HostName> = local.members.rows().map(Row::host).filter(|host| fits(host)).collect();
        // One that must be protected is to be so there as well.
        let needed = |primary: &Primary| 1 + usize::from(primary.replication.protect == Protect::Must);
        let can_move = |primary: &&Primary| primary.can_move(now) && hosts.len() >= needed(primary);
        let next: Vec<SessionId> = self.iter().filter(can_move).map(|primary| primary.session).collect();
        for session in next.into_iter().take(MOVES_MAX.saturating_sub(under_way)) {
            self.with(now, session, orders, |primary, out| match primary.peer().cloned() {
                Some(host) if !fits(&host) => primary.lost(now, &host, Why::Better, out),
                _ => primary.leave(now, out),
            });
        }
    }

    /// How many sessions each host keeps, and how many are being filled.
    fn counts(&self) -> (BTreeMap<HostName, usize>, usize) {
        let mut kept: BTreeMap<HostName, usize> = BTreeMap::new();
        self.iter().filter_map(Primary::peer).for_each(|host| *kept.entry(host.clone()).or_default() += 1);
        let filling =
            |primary: &&Primary| matches!(primary.phase(), Phase::Filling { .. } | Phase::Naming { .. });
        (kept, self.iter().filter(filling).count())
    }

    /// Chooses the secondary of a session, and begins to fill it.
    fn choose(
        &mut self,
        local: &Local<'_>,
        session: SessionId,
        kept: &BTreeMap<HostName, usize>,
        filling: usize,
        orders: &mut Orders,
    ) -> Option<HostName> {
        let now = local.now;
        let chosen = choose(local, session, kept, &self.distances, |host| self.is_shunned(now, host));
        let until = self.shunned.values().map(|shunned| shunned.until).filter(|until| now < *until).min();
        let waits = until.unwrap_or(now + CHOOSE_EVERY).min(now + CHOOSE_EVERY);
        let has_turn = filling < FILLING_MAX;
        self.with(now, session, orders, |primary, out| match &chosen {
            Some((host, nearness)) if has_turn => {
                primary.is_near(nearness.is_makeshift());
                primary.fill(now, host.clone(), false, out);
            }
            Some(_) => primary.wait(now + TURN_AFTER, None, out),
            None if until.is_some() => primary.wait(waits, None, out),
            None => primary.wait(waits, Some("there is no other host"), out),
        });
        chosen.filter(|_| has_turn).map(|(host, _)| host)
    }

    /// This host was not run for so long.
    pub(super) fn was_away(&mut self, gap: Duration) {
        self.sessions.values_mut().for_each(|primary| primary.was_away(gap));
        let due = self.sessions.values().filter_map(|primary| Some((primary.deadline()?, primary.session)));
        self.due = due.collect();
    }
}

/// Whether a host still keeps what it has, and takes nothing more.
fn is_leaving(local: &Local<'_>, host: &HostName) -> bool {
    can_keep(local, host) && nearness(local, host).is_none()
}

/// Whether another host would be a better place than this one.
fn is_worse(local: &Local<'_>, host: &HostName, best: Option<Grade>) -> bool {
    nearness(local, host).map(Nearness::grade).zip(best).is_some_and(|(grade, best)| best < grade)
}
