//! The permissions this host has given to send a DTU here, and the memory that each is used once.
//!
//! Expiry and single use of a ticket are the target's own memory and clock: no clock of another
//! host is trusted, and a stolen or repeated ticket finds its grant used. What a grant may be used for is
//! bound by the ticket made from it ([`proto::ticket`]), not here.

use std::collections::{BTreeMap, BTreeSet};

use proto::time::Duration;
use proto::{GrantId, Instant};

use proto::rng::SecretRng;

/// How long a DTU has to follow a redirect: longer than it waits in the line of a host to which all come at once,
/// or the storm would begin anew with those who had waited longest.
pub const GRANT_LIFETIME: Duration = Duration::from_secs(45);

/// Grants remembered: one is given per tokenQ, few are used. At the bound the oldest goes; a DTU that brings it is
/// then treated as if it came by itself.
pub const GRANTS_MAX: usize = 65_536;

/// The grants given and not yet used.
#[derive(Debug, Default)]
pub struct Grants {
    until: BTreeMap<GrantId, Instant>,
    /// In the order of their ends.
    ends: BTreeSet<(Instant, GrantId)>,
}

impl Grants {
    /// Remembers no grant yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { until: BTreeMap::new(), ends: BTreeSet::new() }
    }

    /// Gives a permission to bring a token here once.
    pub fn give(&mut self, now: Instant, entropy: &mut SecretRng) -> GrantId {
        self.expire(now);
        if self.until.len() >= GRANTS_MAX
            && let Some((_, oldest)) = self.ends.pop_first()
        {
            self.until.remove(&oldest);
        }
        let grant = GrantId(entropy.u128());
        let until = now + GRANT_LIFETIME;
        self.until.insert(grant, until);
        self.ends.insert((until, grant));
        grant
    }

    /// Uses a permission up: `true` once, until it expires.
    pub fn redeem(&mut self, now: Instant, grant: GrantId) -> bool {
        self.expire(now);
        let Some(until) = self.until.remove(&grant) else { return false };
        self.ends.remove(&(until, grant))
    }

    /// Whether it was given, and is neither used nor expired.
    pub fn is_good(&mut self, now: Instant, grant: GrantId) -> bool {
        self.expire(now);
        self.until.contains_key(&grant)
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(until, grant)) = self.ends.first()
            && until <= now
        {
            self.ends.pop_first();
            self.until.remove(&grant);
        }
    }

    /// How many are outstanding.
    #[must_use]
    pub fn len(&self) -> usize {
        self.until.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.until.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_good_once_and_for_ten_seconds() {
        let (mut grants, mut entropy) = (Grants::new(), SecretRng::new([0; 32]));
        let now = Instant::ZERO;
        let [a, b] = [(); 2].map(|()| grants.give(now, &mut entropy));
        assert!(grants.redeem(now, a));
        assert!(!grants.redeem(now, a), "used");
        assert!(!grants.redeem(now + GRANT_LIFETIME, b), "expired");
        assert!(!grants.redeem(now, GrantId(1)), "never given");
        assert!(grants.is_empty());
    }

    #[test]
    fn grants_that_nobody_uses_do_not_pile_up() {
        let (mut grants, mut entropy) = (Grants::new(), SecretRng::new([0; 32]));
        for n in 0..GRANTS_MAX + 10 {
            grants.give(Instant::from_micros(n as u64), &mut entropy);
        }
        assert_eq!(grants.len(), GRANTS_MAX);
    }
}
