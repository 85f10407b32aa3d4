//! The permissions this host has given to send a DTU here, and the memory that each is used once.
//!
//! Expiry and single use of a ticket are the target's own memory and clock (DESIGN 4.4): no clock of another
//! host is trusted, and a stolen or repeated ticket finds its grant used.

use std::collections::{BTreeMap, BTreeSet};

use proto::time::Duration;
use proto::{GrantId, Instant, TokenTag};

use crate::entropy::Entropy;

/// How long a DTU has to follow a redirect.
pub const GRANT_LIFETIME: Duration = Duration::from_secs(10);

/// Grants remembered: one is given per tokenQ, few are used. At the bound the oldest goes; a DTU that brings it is
/// then treated as if it came by itself.
pub const GRANTS_MAX: usize = 65_536;

#[derive(Debug)]
struct Given {
    token: TokenTag,
    until: Instant,
}

/// The grants given and not yet used.
#[derive(Debug, Default)]
pub struct Grants {
    given: BTreeMap<GrantId, Given>,
    /// In the order they were given, which is that of their ends.
    ends: BTreeSet<(Instant, GrantId)>,
}

impl Grants {
    /// None given.
    #[must_use]
    pub const fn new() -> Self {
        Self { given: BTreeMap::new(), ends: BTreeSet::new() }
    }

    /// Gives a permission to bring the token `tag` here once.
    pub fn give(&mut self, now: Instant, tag: TokenTag, entropy: &mut Entropy) -> GrantId {
        self.expire(now);
        if self.given.len() >= GRANTS_MAX
            && let Some((_, oldest)) = self.ends.pop_first()
        {
            self.given.remove(&oldest);
        }
        let grant = GrantId(entropy.u128());
        let until = now + GRANT_LIFETIME;
        self.given.insert(grant, Given { token: tag, until });
        self.ends.insert((until, grant));
        grant
    }

    /// Uses a permission up. `true` once, when it was given for this token and has not expired.
    pub fn redeem(&mut self, now: Instant, grant: GrantId, tag: TokenTag) -> bool {
        self.expire(now);
        let Some(given) = self.given.remove(&grant) else { return false };
        self.ends.remove(&(given.until, grant));
        given.token == tag
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(until, grant)) = self.ends.first()
            && until <= now
        {
            self.ends.pop_first();
            self.given.remove(&grant);
        }
    }

    /// How many are outstanding.
    #[must_use]
    pub fn len(&self) -> usize {
        self.given.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_good_once_for_its_token_and_for_ten_seconds() {
        let (mut grants, mut entropy) = (Grants::new(), Entropy::new([0; 32]));
        let now = Instant::ZERO;
        let [a, b, c] = [1, 2, 3].map(|tag| grants.give(now, TokenTag(tag), &mut entropy));
        assert!(grants.redeem(now, a, TokenTag(1)));
        assert!(!grants.redeem(now, a, TokenTag(1)), "used");
        assert!(!grants.redeem(now, b, TokenTag(9)), "another token's");
        assert!(!grants.redeem(now + GRANT_LIFETIME, c, TokenTag(3)), "expired");
        assert!(grants.is_empty());
    }

    #[test]
    fn grants_that_nobody_uses_do_not_pile_up() {
        let (mut grants, mut entropy) = (Grants::new(), Entropy::new([0; 32]));
        for n in 0..GRANTS_MAX + 10 {
            grants.give(Instant::from_micros(n as u64), TokenTag(0), &mut entropy);
        }
        assert_eq!(grants.len(), GRANTS_MAX);
    }
}
