//! The digests of the other hosts, as far as they are held here.

use std::collections::{BTreeMap, BTreeSet};

use proto::digest::{DigestPart, DigestVersion, PARTS_ASKED_MAX, ShortTag};
use proto::time::Duration;
use proto::{BootId, HostName, Instant, KeyId};

use super::pace::{Tags, pause};
use proto::rng::SecretRng;

/// Tags held in all, about 16 MiB. Hosts whose digests do not fit are always asked.
pub const HELD_MAX: usize = 1 << 21;

/// Two questions have at least this pause between them, whomever they go to.
const ASK_PAUSE: Duration = Duration::from_millis(5);
/// A question that brought nothing is asked again after this long; then after twice as long.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// The longest wait between two questions.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(10);
/// What does not fit is not asked for again within this time.
const FULL_PAUSE: Duration = Duration::from_secs(60);

/// Parts to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The host whose digest is asked for.
    pub host: HostName,
    /// The run of the host whose digest it is.
    pub boot: BootId,
    /// The numbers of the parts.
    pub parts: Vec<u16>,
}

#[derive(Debug)]
struct Digest {
    boot: BootId,
    tagged: KeyId,
    /// The newest that was heard of.
    version: DigestVersion,
    /// Whether a later one may have gone unheard.
    is_doubted: bool,
    /// How many tags of each part are held.
    lens: Vec<usize>,
    have: usize,
    tags: BTreeSet<ShortTag>,
    /// When it is asked for, and how often that was in vain.
    ask_at: Option<Instant>,
    asked: u32,
}

impl Digest {
    const fn new(boot: BootId) -> Self {
        Self {
            boot,
            tagged: KeyId(0),
            version: DigestVersion { generation: 0, count: 0 },
            is_doubted: true,
            lens: Vec::new(),
            have: 0,
            tags: BTreeSet::new(),
            ask_at: None,
            asked: 0,
        }
    }

    const fn lacks(&self) -> bool {
        self.have < self.version.count as usize
    }

    /// Returns how many tags are no longer held.
    fn advance(&mut self, version: DigestVersion) -> usize {
        if version <= self.version {
            return 0;
        }
        let renewed = version.generation > self.version.generation;
        self.version = version;
        if renewed { self.clear() } else { 0 }
    }

    fn take(&mut self, part: &DigestPart) {
        let number = usize::from(part.number);
        self.lens.resize(self.lens.len().max(number + 1), 0);
        self.have += part.tags.len() - self.lens[number];
        self.lens[number] = part.tags.len();
        self.tagged = part.tagged;
        self.tags.extend(&part.tags);
    }

    fn clear(&mut self) -> usize {
        self.lens.clear();
        self.tags.clear();
        core::mem::take(&mut self.have)
    }

    fn len_of(&self, number: u16) -> usize {
        self.lens.get(usize::from(number)).copied().unwrap_or(0)
    }

    fn missing(&self) -> Vec<u16> {
        let all = 0..u16::try_from(self.version.parts()).unwrap_or(u16::MAX);
        all.filter(|part| self.len_of(*part) < self.version.len_of(*part)).take(PARTS_ASKED_MAX).collect()
    }
}

/// What is held of the digests of all other hosts. A host has an entry only after its run has proved itself.
#[derive(Debug)]
pub struct Others {
    digests: BTreeMap<HostName, Digest>,
    held: usize,
    /// Who is to be asked when.
    due: BTreeSet<(Instant, HostName)>,
    next_ask: Instant,
    every: Duration,
    is_large: bool,
}

impl Default for Others {
    fn default() -> Self {
        Self {
            digests: BTreeMap::new(),
            held: 0,
            due: BTreeSet::new(),
            next_ask: Instant::ZERO,
            every: proto::beacon::INTERVAL,
            is_large: false,
        }
    }
}

impl Others {
    /// Takes in how often beacons come, and whether the group is so large that digests are of use: only then is
    /// anybody asked for one.
    pub const fn set_group(&mut self, every: Duration, is_large: bool) {
        self.every = every;
        self.is_large = is_large;
    }

    /// A beacon of the present run of `host` said how far its digest has come, or that it has none.
    pub fn on_beacon(
        &mut self,
        now: Instant,
        host: &HostName,
        boot: BootId,
        version: Option<DigestVersion>,
        entropy: &mut SecretRng,
    ) {
        let Some(version) = version else {
            self.forget(host);
            return;
        };
        self.begin_run(host, boot);
        let Some(digest) = self.digests.get_mut(host) else { return };
        digest.is_doubted = false;
        self.held -= digest.advance(version);
        self.ask_if_it_lacks(now, host, false, entropy);
    }

    /// A part of the digest of the present run of `host` came. `false` when there is no room for it.
    pub fn on_part(
        &mut self,
        now: Instant,
        host: &HostName,
        boot: BootId,
        part: &DigestPart,
        entropy: &mut SecretRng,
    ) -> bool {
        self.begin_run(host, boot);
        let Some(digest) = self.digests.get_mut(host) else { return true };
        self.held -= digest.advance(part.version);
        let more = part.tags.len().saturating_sub(digest.len_of(part.number));
        let fits = self.held + more <= HELD_MAX;
        let same_list = part.version.generation == digest.version.generation
            && (digest.have == 0 || digest.tagged == part.tagged);
        let is_news = same_list && more > 0;
        if is_news && !fits {
            self.ask_at(host, Some(now + FULL_PAUSE));
            return false;
        }
        if is_news {
            digest.take(part);
            self.held += more;
        }
        self.ask_if_it_lacks(now, host, is_news, entropy);
        true
    }

    fn begin_run(&mut self, host: &HostName, boot: BootId) {
        if self.digests.get(host).is_some_and(|digest| digest.boot != boot) {
            self.forget(host);
        }
        self.digests.entry(host.clone()).or_insert_with(|| Digest::new(boot));
    }

    /// Nothing is asked for while it comes by itself: its host says what has changed, and others ask too.
    fn ask_if_it_lacks(&mut self, now: Instant, host: &HostName, came: bool, entropy: &mut SecretRng) {
        let Some(digest) = self.digests.get_mut(host) else { return };
        if !digest.lacks() {
            digest.asked = 0;
            self.ask_at(host, None);
        } else if came || digest.ask_at.is_none() {
            if came {
                digest.asked = 0;
            }
            let wait = pause(self.every) * 2 + self.jitter(entropy);
            self.ask_at(host, Some(now + wait));
        }
    }

    /// Hosts that missed the same broadcast must not all ask in one moment: the answer to the first one serves
    /// them all. In a small group nobody asks, and nothing random is needed.
    fn jitter(&self, entropy: &mut SecretRng) -> Duration {
        if !self.is_large {
            return Duration::ZERO;
        }
        let micros = usize::try_from(self.every.as_micros()).unwrap_or(usize::MAX);
        Duration::from_micros(entropy.below(micros) as u64)
    }

    fn ask_at(&mut self, host: &HostName, at: Option<Instant>) {
        let Some(digest) = self.digests.get_mut(host) else { return };
        if let Some(old) = core::mem::replace(&mut digest.ask_at, at) {
            self.due.remove(&(old, host.clone()));
        }
        if let Some(at) = at {
            self.due.insert((at, host.clone()));
        }
    }

    /// A run of a host has ended: so has its digest.
    pub fn forget(&mut self, host: &HostName) {
        self.ask_at(host, None);
        if let Some(digest) = self.digests.remove(host) {
            self.held -= digest.have;
        }
    }

    /// A host was out of sight: what it has made meanwhile is unknown until its next beacon.
    pub fn doubt(&mut self, host: &HostName) {
        if let Some(digest) = self.digests.get_mut(host) {
            digest.is_doubted = true;
        }
    }

    /// This host was itself not run: the same holds for everybody.
    pub fn doubt_all(&mut self) {
        for digest in self.digests.values_mut() {
            digest.is_doubted = true;
        }
    }

    /// Whether the digest of this run of `host` is held as its last beacon told of it.
    #[must_use]
    pub fn is_known(&self, host: &HostName, boot: BootId) -> bool {
        self.digests.get(host).is_some_and(|d| d.boot == boot && !d.is_doubted && !d.lacks())
    }

    /// Whether `host` has to be asked for a token that is tagged so.
    #[must_use]
    pub fn may_hold(&self, host: &HostName, boot: BootId, tags: &Tags) -> bool {
        let Some(digest) = self.digests.get(host).filter(|_| self.is_known(host, boot)) else { return true };
        let tag = tags.iter().find(|(kid, _)| *kid == digest.tagged).map(|(_, tag)| tag);
        // Its key may be one that we have not been given yet.
        digest.have > 0 && tag.is_none_or(|tag| digest.tags.contains(tag))
    }

    /// Digests held whole, and tags held in all.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        let known = self.digests.iter().filter(|(host, digest)| self.is_known(host, digest.boot));
        (known.count(), self.held)
    }

    /// The question that is due, if there is one.
    pub fn on_timeout(&mut self, now: Instant, entropy: &mut SecretRng) -> Option<Question> {
        if self.poll_at().is_none_or(|at| at > now) {
            return None;
        }
        let (_, host) = self.due.first()?.clone();
        let jitter = self.jitter(entropy);
        let digest = self.digests.get_mut(&host)?;
        let question = Question { host: host.clone(), boot: digest.boot, parts: digest.missing() };
        let wait = ASK_AGAIN.saturating_mul(1 << digest.asked.min(16)).min(ASK_AGAIN_MAX).max(self.every);
        digest.asked += 1;
        self.next_ask = now + ASK_PAUSE;
        self.ask_at(&host, Some(now + wait + jitter));
        Some(question)
    }

    /// When [`Others::on_timeout`] wants to be called.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        let (first, _) = self.due.first().filter(|_| self.is_large)?;
        Some((*first).max(self.next_ask))
    }
}
