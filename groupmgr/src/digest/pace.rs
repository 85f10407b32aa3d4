//! When digests are of use, how quickly they are said, and the tags they hold.

use proto::KeyId;
use proto::digest::ShortTag;
use proto::time::Duration;

/// Up to so many hosts are simply all asked: sixteen short datagrams cost less than every host's hearing of every
/// new session, and are right at once. Only in larger groups do hosts tell each other their digests.
pub const ASK_ALL_MAX: usize = 16;

/// Parts that a host says within one beacon interval, which the size of the group stretches: a LAN carries at
/// most five times as many of them as beacons, and that only while every host makes sessions all the time.
const PARTS_PER_BEACON: u32 = 5;

/// A token as each key of the ring tags it: hosts may sign with different keys while one is replaced.
pub type Tags = Vec<(KeyId, ShortTag)>;

/// How long to wait between two parts, in a group whose beacons come `every` so often.
pub(super) const fn pause(every: Duration) -> Duration {
    Duration::from_micros(every.as_micros() as u64 / PARTS_PER_BEACON as u64)
}
