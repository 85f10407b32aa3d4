//! The directory: who has sessions for a token, asked of every live host the DTU can reach.
//!
//! Owns the lookups under way, the mute hosts, and the grants this host has given in its own answers
//! ([`grants`]). A lookup ends when everybody has answered or was refused, at the latest 150 ms after it began.
//! Who let it run out is mute: not waited for again until it answers, and asked again in the background.

pub mod grants;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use proto::keys::{KeyRing, Purpose};
use proto::peer::{LoadNote, PeerBody, PeerMessage, SessionNote};
use proto::time::{Duration, earliest};
use proto::{BootId, GrantId, HostName, Instant, Nonce, Token};

use crate::reach::Reachable;
use proto::rng::SecretRng;

/// When an unanswered tokenQ is sent again, counted from the first sending. The first time soon: a process that was
/// killed takes questions for as long as the kernel needs to end it, some milliseconds with many connections, and only
/// the next one is refused. Not to a host that is behind ([`Pace::is_behind`]): it has the question, and would only have
/// more to answer.
const RESEND_AFTER: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(30), Duration::from_millis(80)];
/// When it is given up.
pub const GIVE_UP_AFTER: Duration = Duration::from_millis(150);
/// How often a mute host is asked in the background.
const ASK_MUTE_EVERY: Duration = Duration::from_secs(1);
/// Lookups under way at most: each is a DTU that waits.
pub const LOOKUPS_MAX: usize = 20_000;

/// Names a lookup to whoever began it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LookupId(pub u64);

/// A host to ask.
#[derive(Clone, Debug)]
pub struct Target {
    /// As the DTU reaches it.
    pub reach: Reachable,
    /// As we do.
    pub ask_at: SocketAddrV4,
}

impl Target {
    fn place(&self) -> (HostName, SocketAddrV4) {
        (self.reach.host.clone(), self.ask_at)
    }
}

/// What one host answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Who, and where the DTU finds it.
    pub reach: Reachable,
    /// Its permission to send the DTU there.
    pub grant: GrantId,
    /// How busy it was when it answered; unknown of a host of an older version.
    pub load: Option<LoadNote>,
    /// When it was asked.
    pub asked: Instant,
    /// Where it was asked.
    pub asked_at: SocketAddrV4,
    /// The sessions it has for the token.
    pub sessions: Vec<SessionNote>,
    /// Whether it keeps a copy of one that runs elsewhere, or ran there.
    pub keeps: bool,
}

/// What a tokenR says, in answer to which question.
#[derive(Clone, Debug)]
pub struct TokenReply {
    /// That of the question.
    pub nonce: Nonce,
    /// Permission to send the DTU there.
    pub grant: GrantId,
    /// How busy the host is.
    pub load: Option<LoadNote>,
    /// Its sessions for the token.
    pub sessions: Vec<SessionNote>,
    /// Whether it keeps a copy of one that runs elsewhere, or ran there.
    pub keeps: bool,
}

/// What a lookup found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The lookup that is over.
    pub id: LookupId,
    /// What each host that answered has for the token.
    pub answers: Vec<Answer>,
    /// Who refused: its daemon is gone.
    pub gone: BTreeSet<HostName>,
    /// Who did not answer.
    pub mute: BTreeSet<HostName>,
}

/// A datagram to one host, from a socket of its own so that a refusal can be told from silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The address and port of the host that is asked.
    pub to: SocketAddrV4,
    /// The signed question, ready to be sent.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
struct Lookup {
    bytes: Vec<u8>,
    nonce: Nonce,
    began: Instant,
    resent: usize,
    /// Hosts that have not answered. When there are none left it is over.
    waiting: BTreeMap<HostName, Waiting>,
    found: Found,
}

/// How a host answers.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The latest question that it has answered.
    answered: LookupId,
    /// How long that took.
    took: Duration,
}

impl Pace {
    /// Whether it answers in order and has not come to the question `id`, which was sent so long `ago`: none that came
    /// later was answered, and it has answered another since `before`, or has been as slow with the last one.
    fn is_behind(self, id: LookupId, ago: Duration, before: Option<LookupId>) -> bool {
        self.answered < id && (Some(self.answered) > before || ago < self.took.saturating_mul(2))
    }
}

/// A host that has not answered a lookup.
#[derive(Debug)]
struct Waiting {
    target: Target,
    /// The latest question that it had answered when this one was last sent or considered.
    answered: Option<LookupId>,
}

impl Lookup {
    fn due(&self) -> Instant {
        let wait = RESEND_AFTER.get(self.resent).copied().unwrap_or(GIVE_UP_AFTER);
        self.began + wait
    }
}

#[derive(Debug)]
struct Mute {
    boot: BootId,
    since: Instant,
    next: Instant,
}

/// The directory of one host.
#[derive(Debug)]
pub struct Directory {
    own: (HostName, BootId),
    lookups: BTreeMap<LookupId, Lookup>,
    /// Which of them is due when.
    due: BTreeSet<(Instant, LookupId)>,
    /// Which lookup a nonce belongs to.
    nonces: BTreeMap<Nonce, LookupId>,
    /// How each host that was asked answers, in its present run.
    paces: BTreeMap<HostName, Pace>,
    /// By the address that does not answer: a host may be cut off on one LAN and answer on another.
    mute: BTreeMap<(HostName, SocketAddrV4), Mute>,
    next_id: u64,
}

impl Directory {
    /// The directory of the host `own` in its present run.
    #[must_use]
    pub const fn new(own: HostName, boot: BootId) -> Self {
        Self {
            own: (own, boot),
            lookups: BTreeMap::new(),
            due: BTreeSet::new(),
            nonces: BTreeMap::new(),
            paces: BTreeMap::new(),
            mute: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// How many questions are out.
    #[must_use]
    pub fn lookups(&self) -> usize {
        self.lookups.len()
    }

    /// Hosts that were asked and did not answer, and since when.
    pub fn mute(&self) -> impl Iterator<Item = (&HostName, Instant)> {
        let mut hosts = BTreeMap::new();
        for ((host, _), mute) in &self.mute {
            let since: &mut Instant = hosts.entry(host).or_insert(mute.since);
            *since = (*since).min(mute.since);
        }
        hosts.into_iter()
    }

    /// Begins to ask `targets` for the sessions of `token`. What is found is pushed to `found`, at once when
    /// there is nobody to ask. `None` when too many lookups are under way.
    pub fn ask(
        &mut self,
        now: Instant,
        ring: &KeyRing,
        entropy: &mut SecretRng,
        token: &Token,
        targets: Vec<Target>,
        out: &mut Outbox<'_>,
    ) -> Option<LookupId> {
        if self.lookups.len() >= LOOKUPS_MAX {
            return None;
        }
        let (mute, waiting): (Vec<Target>, Vec<Target>) = targets.into_iter().partition(|t| self.is_mute(t));
        let lookup = self.begin(now, ring, entropy, token, waiting);
        let id = lookup.found.id;
        for Waiting { target, .. } in lookup.waiting.values() {
            out.asks.push(Ask { to: target.ask_at, bytes: lookup.bytes.clone() });
        }
        // A mute host is asked along with the rest, at its slow pace, and not waited for.
        for target in mute {
            self.ask_mute(now, &target, &lookup.bytes, out);
        }
        self.settle(lookup, out);
        Some(id)
    }

    fn begin(
        &mut self,
        now: Instant,
        ring: &KeyRing,
        entropy: &mut SecretRng,
        token: &Token,
        waiting: Vec<Target>,
    ) -> Lookup {
        self.next_id += 1;
        let id = LookupId(self.next_id);
        let nonce = Nonce(entropy.u128());
        let tagged = ring.signing();
        let tag = ring.tag(tagged, token).unwrap_or(proto::TokenTag(0));
        let body = PeerBody::TokenQ { seq: self.next_id, nonce, tagged, token: tag };
        let message = PeerMessage { host: self.own.0.clone(), boot: self.own.1, body };
        self.nonces.insert(nonce, id);
        let waiting = waiting.into_iter().map(|target| {
            let host = target.reach.host.clone();
            let answered = self.paces.get(&host).map(|pace| pace.answered);
            (host, Waiting { target, answered })
        });
        Lookup {
            bytes: ring.seal(Purpose::Peer, &message.to_line()),
            nonce,
            began: now,
            resent: 0,
            waiting: waiting.collect(),
            found: Found { id, answers: Vec::new(), gone: BTreeSet::new(), mute: BTreeSet::new() },
        }
    }

    /// Whether it was asked where `target` says and did not answer.
    #[must_use]
    pub fn is_mute(&self, target: &Target) -> bool {
        self.mute.get(&target.place()).is_some_and(|mute| mute.boot == target.reach.boot)
    }

    fn ask_mute(&mut self, now: Instant, target: &Target, bytes: &[u8], out: &mut Outbox<'_>) {
        if let Some(mute) = self.mute.get_mut(&target.place())
            && now >= mute.next
        {
            mute.next = now + ASK_MUTE_EVERY;
            out.asks.push(Ask { to: target.ask_at, bytes: bytes.to_vec() });
        }
    }

    /// Keeps a lookup that still waits for somebody, or says what it found.
    fn settle(&mut self, mut lookup: Lookup, out: &mut Outbox<'_>) {
        if lookup.waiting.is_empty() {
            self.nonces.remove(&lookup.nonce);
            // Who is mute at one address may have answered at another.
            let Found { answers, mute, .. } = &mut lookup.found;
            let answered = |host: &HostName| answers.iter().any(|a| a.reach.host == *host);
            mute.extend(self.mute.keys().map(|(host, _)| host).filter(|host| !answered(host)).cloned());
            out.found.push(lookup.found);
        } else {
            self.due.insert((lookup.due(), lookup.found.id));
            self.lookups.insert(lookup.found.id, lookup);
        }
    }

    /// Takes a lookup out, to be changed and settled.
    fn take(&mut self, id: LookupId) -> Option<Lookup> {
        let lookup = self.lookups.remove(&id)?;
        self.due.remove(&(lookup.due(), id));
        Some(lookup)
    }

    /// Takes in a tokenR whose signature was checked. Returns whether anybody waited for it. Whoever answers
    /// is not mute, even when the answer is late.
    pub fn on_answer(
        &mut self,
        now: Instant,
        host: &HostName,
        boot: BootId,
        reply: TokenReply,
        out: &mut Outbox<'_>,
    ) -> bool {
        let TokenReply { nonce, grant, load, sessions, keeps } = reply;
        // An answer that is late, or to a probe, may have come from any of its addresses.
        let asked = self.nonces.get(&nonce).and_then(|id| self.lookups.get(id)?.waiting.get(host));
        let asked_at = asked.map(|waiting| waiting.target.ask_at);
        self.mute.retain(|(muted, at), mute| {
            muted != host || mute.boot != boot || asked_at.is_some_and(|asked| asked != *at)
        });
        let Some(id) = self.nonces.get(&nonce).copied() else { return false };
        let Some(mut lookup) = self.take(id) else { return false };
        let waiting = lookup.waiting.remove(host);
        let waited = waiting.is_some();
        if let Some(Waiting { target: Target { reach, ask_at: asked_at }, .. }) = waiting {
            if self.paces.get(host).is_none_or(|pace| pace.answered < id) {
                let took = now.since(lookup.began);
                self.paces.insert(host.clone(), Pace { answered: id, took });
            }
            // A host that has just been restarted answers as another run than was asked; whoever took its answer in has
            // seen to it that this run has proved itself.
            let (reach, asked) = (Reachable { boot, ..reach }, lookup.began);
            lookup.found.answers.push(Answer { reach, grant, load, asked, asked_at, sessions, keeps });
        }
        self.settle(lookup, out);
        waited
    }

    /// A datagram to `addr` was refused: the daemon there is gone. Returns which hosts that is, as far as
    /// they were being asked.
    pub fn on_refused(&mut self, addr: SocketAddrV4, out: &mut Outbox<'_>) -> BTreeSet<HostName> {
        let asked = |lookup: &Lookup| lookup.waiting.values().any(|w| w.target.ask_at == addr);
        let ids: Vec<LookupId> = self.lookups.iter().filter(|(_, l)| asked(l)).map(|(id, _)| *id).collect();
        let mut gone: BTreeSet<HostName> =
            self.mute.keys().filter(|(_, at)| *at == addr).map(|(host, _)| host.clone()).collect();
        for id in ids {
            let Some(mut lookup) = self.take(id) else { continue };
            let refused: Vec<HostName> = lookup
                .waiting
                .iter()
                .filter(|(_, w)| w.target.ask_at == addr)
                .map(|(host, _)| host.clone())
                .collect();
            for host in refused {
                lookup.waiting.remove(&host);
                gone.insert(host.clone());
                lookup.found.gone.insert(host);
            }
            self.settle(lookup, out);
        }
        self.mute.retain(|(host, _), _| !gone.contains(host));
        self.paces.retain(|host, _| !gone.contains(host));
        gone
    }

    /// A run of a host ended or went out of sight: what it was asked will not be answered.
    pub fn on_lost(&mut self, host: &HostName, out: &mut Outbox<'_>) {
        self.mute.retain(|(muted, _), _| muted != host);
        self.paces.remove(host);
        let asked = |lookup: &Lookup| lookup.waiting.contains_key(host);
        let ids: Vec<LookupId> = self.lookups.iter().filter(|(_, l)| asked(l)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(mut lookup) = self.take(id) else { continue };
            lookup.waiting.remove(host);
            self.settle(lookup, out);
        }
    }

    /// Sends again, gives up, and asks mute hosts in the background.
    pub fn on_timeout(
        &mut self,
        now: Instant,
        ring: &KeyRing,
        entropy: &mut SecretRng,
        out: &mut Outbox<'_>,
    ) {
        let due: Vec<LookupId> =
            self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect();
        for id in due {
            let Some(mut lookup) = self.take(id) else { continue };
            if now >= lookup.began + GIVE_UP_AFTER {
                self.give_up(now, &mut lookup);
            } else {
                // After a pause of our own two resendings may be due; one datagram says as much.
                while lookup.due() <= now && lookup.resent < RESEND_AFTER.len() {
                    lookup.resent += 1;
                }
                for (host, Waiting { target, answered }) in &mut lookup.waiting {
                    let pace = self.paces.get(host);
                    let ago = now.since(lookup.began);
                    if !pace.is_some_and(|pace| pace.is_behind(id, ago, *answered)) {
                        out.asks.push(Ask { to: target.ask_at, bytes: lookup.bytes.clone() });
                    }
                    *answered = pace.map(|pace| pace.answered);
                }
            }
            self.settle(lookup, out);
        }
        self.probe_mute(now, ring, entropy, out);
    }

    fn give_up(&mut self, now: Instant, lookup: &mut Lookup) {
        for Waiting { target, .. } in core::mem::take(&mut lookup.waiting).into_values() {
            let mute = Mute { boot: target.reach.boot, since: now, next: now + ASK_MUTE_EVERY };
            self.mute.insert(target.place(), mute);
        }
    }

    /// The question of a probe is one nobody waits for: any answer ends the muteness.
    fn probe_mute(&mut self, now: Instant, ring: &KeyRing, entropy: &mut SecretRng, out: &mut Outbox<'_>) {
        let mut probes = Vec::new();
        for ((_, at), mute) in self.mute.iter_mut().filter(|(_, mute)| mute.next <= now) {
            mute.next = now + ASK_MUTE_EVERY;
            probes.push(*at);
        }
        for to in probes {
            let nonce = Nonce(entropy.u128());
            let tag = proto::TokenTag(entropy.u128());
            let body = PeerBody::TokenQ { seq: 0, nonce, tagged: ring.signing(), token: tag };
            let message = PeerMessage { host: self.own.0.clone(), boot: self.own.1, body };
            out.asks.push(Ask { to, bytes: ring.seal(Purpose::Peer, &message.to_line()) });
        }
    }

    /// When [`Directory::on_timeout`] wants to be called.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        let lookups = self.due.first().map(|(at, _)| *at);
        earliest(lookups, self.mute.values().map(|mute| mute.next).min())
    }
}

/// Where a directory puts what it wants sent and what it found.
#[derive(Debug)]
pub struct Outbox<'a> {
    /// To be sent.
    pub asks: &'a mut Vec<Ask>,
    /// Lookups that are over.
    pub found: &'a mut Vec<Found>,
}

#[cfg(test)]
mod tests;
