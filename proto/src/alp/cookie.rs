//! What a DTU is told of where a replicated session would go on.

use crate::ids::{Epoch, HostName};

/// Who runs a session and who keeps copies of it (`cookie=epoch/version:primary:secondary`). For a DTU it is a hint about
/// where to go when the primary is dead, and it proves nothing: whoever is presented the token finds out by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// The epoch of the primary.
    pub epoch: Epoch,
    /// How many versions of the session's parts the primary had sent in this epoch: of two cookies of one epoch, the one
    /// with more is newer.
    pub version: u64,
    /// The host that runs the session.
    pub primary: HostName,
    /// The host that has all of it; `None` when nobody does.
    pub secondary: Option<HostName>,
}

impl Cookie {
    /// Whether it was written before `other`, as far as one can tell.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        (self.epoch, self.version) < (other.epoch, other.version)
    }
}

impl core::fmt::Display for Cookie {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}:{}", self.epoch, self.version, self.primary)?;
        self.secondary.as_ref().map_or(Ok(()), |secondary| write!(f, ":{secondary}"))
    }
}

impl core::str::FromStr for Cookie {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        let (stamp, hosts) = s.split_once(':').ok_or(())?;
        let (epoch, version) = stamp.split_once('/').ok_or(())?;
        let (primary, secondary) = match hosts.split_once(':') {
            Some((primary, secondary)) => (primary, Some(secondary.parse().map_err(|_| ())?)),
            None => (hosts, None),
        };
        Ok(Self {
            epoch: epoch.parse().map_err(|_| ())?,
            version: version.parse().map_err(|_| ())?,
            primary: primary.parse().map_err(|_| ())?,
            secondary,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_reads_back_and_an_odd_one_is_none() {
        for text in ["1.7/0:h1", "1.7/42:h1:h2", "0.1/18446744073709551615:a.b-c_d:h2"] {
            assert_eq!(text.parse::<Cookie>().unwrap().to_string(), text);
        }
        let huge = format!("1.7/42:h1:{}", "h".repeat(64));
        let many = format!("1.7/42:{}", "h:".repeat(500));
        let odd =
            ["", "1.7/42", "1.7:h1:h2", "1.7/42:", "1.7/42:h1:", "1.7/42:h1:h2:h3", "1.7/-1:h1", "1/2:h1"];
        for text in odd.into_iter().chain([huge.as_str(), many.as_str(), "1.7/18446744073709551616:h1"]) {
            assert_eq!(text.parse::<Cookie>(), Err(()), "{text}");
        }
    }

    #[test]
    fn of_two_cookies_the_later_epoch_is_newer_and_then_the_higher_version() {
        let cookie = |text: &str| text.parse::<Cookie>().unwrap();
        assert!(cookie("1.7/9:h1:h2").is_older_than(&cookie("1.8/0:h2")));
        assert!(cookie("1.7/9:h1:h2").is_older_than(&cookie("1.7/10:h1")));
        assert!(!cookie("1.7/9:h1").is_older_than(&cookie("1.7/9:h1:h2")), "struck without a new version");
    }
}
