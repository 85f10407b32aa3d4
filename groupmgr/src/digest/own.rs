//! The digest of this host.

use std::collections::{BTreeMap, BTreeSet};

use proto::digest::{DigestPart, DigestVersion, PARTS_MAX, ShortTag, TAGS_MAX, TAGS_PER_PART};
use proto::time::Duration;
use proto::{Instant, KeyId};

use super::pace::pause;

/// A new generation begins when more tags than this, and than half of those in use, are of tokens that have gone.
const GONE_MAX: usize = 32;

/// A host that had too many tokens for a digest has one again when so many are left.
const FITS_AGAIN: usize = TAGS_MAX / 4 * 3;

/// What this host tells of its tokens.
#[derive(Debug)]
pub struct Own {
    tagged: KeyId,
    generation: u32,
    /// None while there are too many tokens.
    list: Option<Vec<ShortTag>>,
    /// How many tokens with sessions here have a tag; 0 for one in the list whose tokens have gone.
    tokens: BTreeMap<ShortTag, u32>,
    gone: usize,
    /// Parts to be said.
    due: BTreeSet<u16>,
    /// Whether the next one is the oldest of them: in a storm the newest change all the time, and alone would
    /// keep everybody else waiting.
    oldest_next: bool,
    next_at: Instant,
    pause: Duration,
    /// Whether there is anybody who wants to hear of changes.
    tells: bool,
}

impl Own {
    /// An empty digest, whose tags are made with the key `tagged`.
    #[must_use]
    pub fn new(tagged: KeyId) -> Self {
        Self {
            tagged,
            generation: 1,
            list: Some(Vec::new()),
            tokens: BTreeMap::new(),
            gone: 0,
            due: BTreeSet::new(),
            oldest_next: false,
            next_at: Instant::ZERO,
            pause: pause(proto::beacon::INTERVAL),
            tells: false,
        }
    }

    /// Takes in how often beacons come, and whether the group is large enough for changes to be told.
    pub fn set_group(&mut self, every: Duration, is_large: bool) {
        self.pause = pause(every);
        self.tells = is_large;
    }

    /// How far it has come; none while there are more tokens than fit.
    #[must_use]
    pub fn version(&self) -> Option<DigestVersion> {
        let list = self.list.as_ref()?;
        Some(DigestVersion {
            generation: self.generation,
            count: u32::try_from(list.len()).unwrap_or(u32::MAX),
        })
    }

    /// Tags in use.
    #[must_use]
    pub fn tags(&self) -> usize {
        self.tokens.len() - self.gone
    }

    /// A token has its first session here.
    pub fn add(&mut self, tag: ShortTag) {
        let Some(list) = &mut self.list else {
            *self.tokens.entry(tag).or_default() += 1;
            return;
        };
        let known = self.tokens.contains_key(&tag);
        let tokens = self.tokens.entry(tag).or_default();
        *tokens += 1;
        if known {
            self.gone -= usize::from(*tokens == 1);
            return;
        }
        if list.len() == TAGS_MAX {
            self.renew();
            return;
        }
        list.push(tag);
        let number = (list.len() - 1) / TAGS_PER_PART;
        if self.tells
            && let Ok(number) = u16::try_from(number)
        {
            self.due.insert(number);
        }
    }

    /// A token's last session here has gone.
    pub fn remove(&mut self, tag: ShortTag) {
        let Some(tokens) = self.tokens.get_mut(&tag).filter(|tokens| **tokens > 0) else { return };
        *tokens -= 1;
        self.gone += usize::from(*tokens == 0);
        let in_use = self.tags();
        let renews = match &self.list {
            Some(_) => self.gone > GONE_MAX.max(in_use / 2),
            None => in_use <= FITS_AGAIN,
        };
        if renews {
            self.renew();
        }
    }

    /// Begins a new generation, of the tags in use alone.
    fn renew(&mut self) {
        self.tokens.retain(|_, tokens| *tokens > 0);
        self.gone = 0;
        self.due.clear();
        self.list = None;
        if self.tokens.len() > TAGS_MAX {
            return;
        }
        self.generation += 1;
        self.list = Some(self.tokens.keys().copied().collect());
        if self.tells {
            let parts = u16::try_from(self.parts()).unwrap_or(u16::MAX);
            self.due.extend(0..parts);
        }
    }

    fn parts(&self) -> usize {
        self.version().map_or(0, DigestVersion::parts)
    }

    /// Somebody lacks parts. However many ask for one, it is said to all of them once.
    pub fn on_question(&mut self, parts: &[u16]) {
        let there = self.parts().min(PARTS_MAX);
        self.due.extend(parts.iter().copied().filter(|part| usize::from(*part) < there));
    }

    /// The part to be said now, if one is due.
    pub fn speak(&mut self, now: Instant) -> Option<DigestPart> {
        if now < self.next_at {
            return None;
        }
        let number = if self.oldest_next { self.due.pop_first() } else { self.due.pop_last() }?;
        self.oldest_next = !self.oldest_next;
        self.next_at = now + self.pause;
        let (version, list) = (self.version()?, self.list.as_ref()?);
        let tags = list.chunks(TAGS_PER_PART).nth(usize::from(number))?.to_vec();
        Some(DigestPart { tagged: self.tagged, version, number, tags })
    }

    /// When [`Own::speak`] wants to be called.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        (!self.due.is_empty()).then_some(self.next_at)
    }
}
