//! What a host keeps of other hosts' sessions: objects that it does not read, as a pure machine.
//!
//! It takes what comes from a primary and says what is to be answered. A copy is refused to a primary of an older epoch.
//! Who fetches the copies of a session in order to take it over *fences* them: nothing more is taken of that epoch, so
//! that a primary that was only frozen cannot have a version acknowledged that the new one does not know. It has to
//! strike this keeper from the session's record first, which fails if the other was quicker.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use continuity::{Encoded, Held, Refused, Stamp};
use proto::time::Duration;
use proto::{Epoch, HostName, Instant, SessionId, Token};
use sessiond::control::Part;

use super::message::{Message, PARTS_MAX, Standing};

/// How much a host keeps for others.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions, of all hosts together.
    pub sessions: usize,
    /// Bytes, of all hosts together.
    pub bytes: usize,
    /// One host's share of both is one part in so many.
    pub shares: usize,
}

impl Limits {
    /// What a daemon allows: 16,384 sessions and 512 MiB, and half of that for one host.
    pub const USUAL: Self = Self { sessions: 16_384, bytes: 512 << 20, shares: 2 };
}

/// What a host that takes a session over wants.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The session that it takes over.
    pub session: SessionId,
    /// The epoch of the primary that is gone.
    pub epoch: Epoch,
    /// What was kept before this epoch is not enough.
    pub floor: Epoch,
}

/// A copy of which its primary has said nothing for this long may be of a session that is over: it compares every 10 s.
pub const DOUBTED_AFTER: Duration = Duration::from_secs(30);
/// How often it is looked for such copies.
const DOUBT_EVERY: Duration = Duration::from_secs(5);

/// The objects of one session.
#[derive(Clone, Debug)]
struct Copy {
    /// Unknown of a session of which nothing was kept when it was fetched.
    token: Option<Token>,
    /// Whose session it is.
    from: HostName,
    epoch: Epoch,
    /// Nothing is taken of this epoch, nor of those before.
    fence: Option<Epoch>,
    /// Whether this host goes on with it unasked.
    is_watched: bool,
    parts: BTreeMap<Part, Held>,
    bytes: usize,
    /// When its primary last spoke of it, or it was last found to be needed.
    heard_at: Instant,
}

/// What a host keeps of the sessions of one other host.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    sessions: usize,
    bytes: usize,
}

/// One session's copies, as operators see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyView<'a> {
    /// The session that they are of.
    pub session: SessionId,
    /// The token that it belongs to, if that is known.
    pub token: Option<&'a Token>,
    /// The host that runs it.
    pub from: &'a HostName,
    /// In which epoch it does.
    pub epoch: Epoch,
    /// Objects that are kept.
    pub parts: usize,
    /// The newest version of any of them.
    pub newest: Option<Stamp>,
    /// Bytes of them all.
    pub bytes: usize,
}

/// Everything a host keeps for others.
#[derive(Debug)]
pub struct Copies {
    limits: Limits,
    sessions: BTreeMap<SessionId, Copy>,
    /// How many sessions of a token are kept.
    tokens: BTreeMap<Token, usize>,
    shares: BTreeMap<HostName, Share>,
    bytes: usize,
    /// When it is looked for copies of which nobody speaks; none while nothing is kept.
    doubt_at: Option<Instant>,
}

impl Copies {
    /// None so far.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            sessions: BTreeMap::new(),
            tokens: BTreeMap::new(),
            shares: BTreeMap::new(),
            bytes: 0,
            doubt_at: None,
        }
    }

    /// Sessions of which something is kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Bytes of all objects.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether objects of a session of this token are kept.
    #[must_use]
    pub fn keeps(&self, token: &Token) -> bool {
        self.tokens.contains_key(token)
    }

    /// Whether objects of a session are kept, of this epoch or of one before.
    #[must_use]
    pub fn has(&self, session: SessionId, epoch: Epoch) -> bool {
        self.sessions.get(&session).is_some_and(|copy| copy.epoch <= epoch && !copy.parts.is_empty())
    }

    /// What is kept of a session's part.
    #[must_use]
    pub fn get(&self, session: SessionId, part: &Part) -> Option<&Encoded> {
        self.sessions.get(&session)?.parts.get(part)?.encoded()
    }

    /// All of them, in the order of their sessions.
    pub fn view(&self) -> impl Iterator<Item = CopyView<'_>> {
        self.sessions.iter().map(|(session, copy)| CopyView {
            session: *session,
            token: copy.token.as_ref(),
            from: &copy.from,
            epoch: copy.epoch,
            parts: copy.parts.len(),
            newest: copy.parts.values().filter_map(Held::stamp).max(),
            bytes: copy.bytes,
        })
    }

    /// A primary's update. Returns what it is answered.
    pub fn whole(
        &mut self,
        now: Instant,
        from: &HostName,
        (session, epoch): (SessionId, Epoch),
        token: Token,
        (part, object): (Part, Encoded),
    ) -> Message {
        if !self.takes(session, epoch, from) {
            return Message::Stale { session, epoch };
        }
        let held = self.sessions.get(&session).and_then(|copy| copy.parts.get(&part)?.encoded());
        // What was overtaken on its way.
        if let Some(held) = held.filter(|held| object.stamp() < held.stamp()) {
            return Message::Kept { session, stamp: held.stamp(), part };
        }
        let is_new_part = held.is_none();
        let parts = self.sessions.get(&session).map_or(0, |copy| copy.parts.len());
        let grows = object.as_bytes().len().saturating_sub(held.map_or(0, |held| held.as_bytes().len()));
        if (is_new_part && parts >= PARTS_MAX) || !self.has_room(session, from, grows) {
            return Message::Full { session, epoch };
        }
        self.belongs(now, session, epoch, from, Some(token));
        let stamp = object.stamp();
        let mut new = Held::default();
        // An empty one takes any.
        let _ = new.take_whole(object);
        self.put(session, part.clone(), new);
        Message::Kept { session, part, stamp }
    }

    /// The same of a difference.
    pub fn delta(
        &mut self,
        now: Instant,
        from: &HostName,
        (session, epoch): (SessionId, Epoch),
        (part, delta): (Part, &continuity::Delta),
    ) -> Message {
        if !self.takes(session, epoch, from) {
            return Message::Stale { session, epoch };
        }
        let copy = self.sessions.get(&session).filter(|copy| copy.from == *from);
        let Some(mut held) = copy.and_then(|copy| copy.parts.get(&part)).cloned() else {
            return Message::Want { session, part };
        };
        let before = held.encoded().map_or(0, |held| held.as_bytes().len());
        match held.take_delta(delta) {
            Ok(()) => {}
            Err(Refused::Stale { held: stamp, .. }) => return Message::Kept { session, part, stamp },
            Err(Refused::Gap { .. } | Refused::Corrupt { .. }) => return Message::Want { session, part },
        }
        let after = held.encoded().map_or(0, |held| held.as_bytes().len());
        if !self.has_room(session, from, after.saturating_sub(before)) {
            return Message::Full { session, epoch };
        }
        self.belongs(now, session, epoch, from, None);
        self.put(session, part.clone(), held);
        Message::Kept { session, part, stamp: delta.result() }
    }

    /// The primary says what there should be. What differs is not believed any longer, and asked for; what there should not
    /// be is given up.
    pub fn compare(
        &mut self,
        now: Instant,
        from: &HostName,
        (session, epoch): (SessionId, Epoch),
        parts: Vec<Standing>,
    ) -> Vec<Message> {
        if !self.takes(session, epoch, from) {
            return vec![Message::Stale { session, epoch }];
        }
        let mut wanted = Vec::new();
        let mut good = BTreeMap::new();
        for Standing { part, stamp, hash } in parts {
            let held = self.sessions.get(&session).and_then(|copy| copy.parts.get(&part));
            let is_same = |object: &Encoded| object.stamp() == stamp && object.hash() == hash;
            match held.filter(|held| held.encoded().is_some_and(is_same)) {
                Some(held) => drop(good.insert(part, held.clone())),
                None => wanted.push(Message::Want { session, part }),
            }
        }
        if let Some(copy) = self.sessions.get_mut(&session) {
            (copy.heard_at, copy.parts) = (now, good);
        }
        self.weigh(session);
        wanted
    }

    /// The copies of this epoch and of those before are no longer needed. Returns whether there were any.
    pub fn drop_session(&mut self, session: SessionId, epoch: Epoch) -> bool {
        let is_meant = |copy: &Copy| copy.epoch <= epoch && copy.fence.is_none_or(|fence| fence <= epoch);
        self.sessions.get(&session).is_some_and(is_meant) && self.remove(session)
    }

    /// A host takes over what was in this epoch: all objects of the session, and what is of this epoch from now on is
    /// refused.
    ///
    /// # Errors
    /// There is a primary of a later epoch.
    pub fn fetch(
        &mut self,
        now: Instant,
        by: &HostName,
        Wanted { session, epoch, floor }: Wanted,
    ) -> Result<BTreeMap<Part, Encoded>, Epoch> {
        if let Some(copy) = self.sessions.get(&session)
            && copy.epoch > epoch
        {
            return Err(copy.epoch);
        }
        if !self.sessions.contains_key(&session) {
            if !self.has_room(session, by, 0) {
                return Ok(BTreeMap::new());
            }
            self.belongs(now, session, epoch, by, None);
        }
        let Some(copy) = self.sessions.get_mut(&session) else { return Ok(BTreeMap::new()) };
        (copy.fence, copy.heard_at) = (Some(epoch), now);
        if copy.epoch < floor {
            return Ok(BTreeMap::new());
        }
        let object = |(part, held): (&Part, &Held)| Some((part.clone(), held.encoded()?.clone()));
        Ok(copy.parts.iter().filter_map(object).collect())
    }

    /// The primary hands a session over: nothing is taken of this epoch any more. Returns whose it is; none if it is not that
    /// host's to hand over, or nothing of it is kept.
    pub fn hand_over(
        &mut self,
        now: Instant,
        from: &HostName,
        (session, epoch): (SessionId, Epoch),
    ) -> Option<Token> {
        let copy =
            self.sessions.get_mut(&session).filter(|copy| copy.from == *from && copy.epoch == epoch)?;
        if copy.parts.is_empty() || copy.fence.is_some_and(|fence| fence >= epoch) {
            return None;
        }
        (copy.fence, copy.heard_at) = (Some(epoch), now);
        copy.token.clone()
    }

    /// The primary wants the session gone on with unasked.
    pub fn watch(&mut self, from: &HostName, (session, epoch): (SessionId, Epoch)) {
        let copy = self.sessions.get_mut(&session);
        if let Some(copy) = copy.filter(|copy| copy.from == *from && copy.epoch == epoch) {
            copy.is_watched = true;
        }
    }

    /// Whether a session is to be gone on with unasked.
    #[must_use]
    pub fn is_watched(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|copy| copy.is_watched)
    }

    /// The sessions of a host that are to be gone on with unasked, whose they are, and their epochs.
    pub fn watched(&self, of: &HostName) -> impl Iterator<Item = (SessionId, &Token, Epoch)> {
        let is_meant = move |copy: &&Copy| copy.is_watched && copy.from == *of;
        let copies = self.sessions.iter().filter(move |(_, copy)| is_meant(copy));
        copies.filter_map(|(session, copy)| Some((*session, copy.token.as_ref()?, copy.epoch)))
    }

    /// When [`Self::doubted`] has something to say. Only looked at now and then: not to the moment.
    #[must_use]
    pub const fn poll_at(&self) -> Option<Instant> {
        self.doubt_at
    }

    /// The first session that nobody has spoken of for [`DOUBTED_AFTER`]; it is asked about again after as long.
    pub fn doubted(&mut self, now: Instant) -> Option<SessionId> {
        if self.doubt_at.is_none_or(|at| now < at) {
            return None;
        }
        let is_doubted = |copy: &Copy| now.since(copy.heard_at) >= DOUBTED_AFTER;
        let found = self.sessions.iter_mut().find(|(_, copy)| is_doubted(copy));
        let Some((session, copy)) = found else {
            self.doubt_at = (!self.sessions.is_empty()).then(|| now + DOUBT_EVERY);
            return None;
        };
        copy.heard_at = now;
        Some(*session)
    }

    /// Gives up what is kept of a session of which the record names another keeper, or that has no record. Returns whether
    /// there was anything.
    pub fn remove(&mut self, session: SessionId) -> bool {
        let Some(copy) = self.sessions.remove(&session) else { return false };
        self.forget_token(copy.token.as_ref());
        self.shift(&copy.from, |share| {
            share.sessions -= 1;
            share.bytes -= copy.bytes;
        });
        self.bytes -= copy.bytes;
        true
    }

    /// Whether what a primary says in this epoch is taken.
    fn takes(&self, session: SessionId, epoch: Epoch, from: &HostName) -> bool {
        self.sessions.get(&session).is_none_or(|copy| {
            let is_fenced = copy.fence.is_some_and(|fence| epoch <= fence);
            !is_fenced && (epoch > copy.epoch || epoch == copy.epoch && *from == copy.from)
        })
    }

    fn has_room(&self, session: SessionId, from: &HostName, grows: usize) -> bool {
        let share = self.shares.get(from).copied().unwrap_or_default();
        let Limits { sessions, bytes, shares } = self.limits;
        let moves = self.sessions.get(&session).filter(|copy| copy.from != *from);
        let (is_new, brings) = (!self.sessions.contains_key(&session), moves.map_or(0, |copy| copy.bytes));
        (!is_new || self.sessions.len() < sessions)
            && (!(is_new || moves.is_some()) || share.sessions < sessions / shares)
            && self.bytes + grows <= bytes
            && share.bytes + brings + grows <= bytes / shares
    }

    /// The session is `from`'s in this epoch.
    fn belongs(
        &mut self,
        now: Instant,
        session: SessionId,
        epoch: Epoch,
        from: &HostName,
        token: Option<Token>,
    ) {
        let copy = self.sessions.entry(session);
        let is_new = matches!(copy, Entry::Vacant(_));
        let copy = copy.or_insert_with(|| Copy {
            token: None,
            from: from.clone(),
            epoch,
            fence: None,
            is_watched: false,
            parts: BTreeMap::new(),
            bytes: 0,
            heard_at: now,
        });
        (copy.heard_at, copy.epoch) = (now, epoch);
        self.doubt_at.get_or_insert(now + DOUBT_EVERY);
        let (before, bytes) = (core::mem::replace(&mut copy.from, from.clone()), copy.bytes);
        let was = token.filter(|token| copy.token.as_ref() != Some(token)).map(|token| {
            *self.tokens.entry(token.clone()).or_default() += 1;
            copy.token.replace(token)
        });
        self.forget_token(was.flatten().as_ref());
        if is_new || before != *from {
            if let Some(copy) = self.sessions.get_mut(&session) {
                copy.is_watched = false;
            }
            if !is_new {
                self.shift(&before, |share| {
                    share.sessions -= 1;
                    share.bytes -= bytes;
                });
            }
            self.shift(from, |share| {
                share.sessions += 1;
                share.bytes += bytes;
            });
        }
    }

    fn put(&mut self, session: SessionId, part: Part, held: Held) {
        if let Some(copy) = self.sessions.get_mut(&session) {
            copy.parts.insert(part, held);
        }
        self.weigh(session);
    }

    /// Counts the bytes of a session anew.
    fn weigh(&mut self, session: SessionId) {
        let Some(copy) = self.sessions.get_mut(&session) else { return };
        let held = copy.parts.values().filter_map(Held::encoded);
        let bytes = held.map(|object| object.as_bytes().len()).sum();
        let (before, from) = (core::mem::replace(&mut copy.bytes, bytes), copy.from.clone());
        self.bytes = self.bytes + bytes - before;
        self.shift(&from, |share| share.bytes = share.bytes + bytes - before);
    }

    fn forget_token(&mut self, token: Option<&Token>) {
        let Some(token) = token else { return };
        if let Some(count) = self.tokens.get_mut(token) {
            *count -= 1;
            if *count == 0 {
                self.tokens.remove(token);
            }
        }
    }

    fn shift(&mut self, host: &HostName, change: impl FnOnce(&mut Share)) {
        let share = self.shares.entry(host.clone()).or_default();
        change(share);
        if share.sessions == 0 {
            self.shares.remove(host);
        }
    }
}

#[cfg(test)]
mod tests;
