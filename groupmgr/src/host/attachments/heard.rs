//! When tokens were last connected elsewhere, as other hosts announced it.
//!
//! Also of tokens without sessions here: one that is made later must be connected later than all that were announced
//! before, or a recording of such an announcement would take it off its desk.

use std::collections::{BTreeMap, BTreeSet};

use proto::keys::KeyRing;
use proto::{KeyId, Last, Token, TokenTag, WallTime};

/// Announcements remembered; beyond it the oldest are forgotten.
pub(in crate::host) const HEARD_MAX: usize = 65_536;

/// A token as others name it.
type Tag = (KeyId, TokenTag);

/// The latest time that was announced for each token.
#[derive(Debug, Default)]
pub(super) struct Heard {
    lasts: BTreeMap<Tag, Last>,
    oldest: BTreeSet<(Last, Tag)>,
}

impl Heard {
    pub(super) fn len(&self) -> usize {
        self.lasts.len()
    }

    pub(super) fn note(&mut self, tag: Tag, last: Last) {
        let before = self.lasts.get(&tag).copied();
        if before.is_some_and(|before| before >= last) {
            return;
        }
        if let Some(before) = before {
            self.oldest.remove(&(before, tag));
        } else if self.lasts.len() >= HEARD_MAX
            && let Some((_, oldest)) = self.oldest.pop_first()
        {
            self.lasts.remove(&oldest);
        }
        self.lasts.insert(tag, last);
        self.oldest.insert((last, tag));
    }

    /// The latest time that was announced for a token, under whichever key.
    pub(super) fn of(&self, ring: &KeyRing, token: &Token) -> Last {
        let tag = |kid: KeyId| self.lasts.get(&(kid, ring.tag(kid, token)?)).copied();
        ring.keys().iter().filter_map(|key| tag(key.id())).max().unwrap_or_default()
    }

    /// Forgets times that are far ahead of `time`.
    pub(super) fn forget_absurd(&mut self, time: WallTime) {
        self.lasts.retain(|_, last| last.is_plausible(time));
        self.oldest.retain(|(last, _)| last.is_plausible(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_time_of_each_token_counts_and_the_oldest_makes_room() {
        let mut heard = Heard::default();
        let tag = |n: usize| (KeyId(1), TokenTag(n as u128));
        for n in 0..=HEARD_MAX {
            heard.note(tag(n), Last(n as u64 + 10));
        }
        heard.note(tag(5), Last(3));
        assert_eq!((heard.len(), heard.oldest.len()), (HEARD_MAX, HEARD_MAX));
        assert_eq!((heard.lasts.get(&tag(0)), heard.lasts.get(&tag(5))), (None, Some(&Last(15))));
    }
}
