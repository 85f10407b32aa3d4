//! Who user 0 is: the machine's root, or an ordinary user that is called so in a user namespace.
//!
//! In a rootless container, and in the namespaces of the lab, user 0 stands for the ordinary user who made them, and
//! has no rights that this user has not. `/proc/self/uid_map` says which; where it cannot be read, user 0 is root.

use nix::unistd::{Uid, geteuid};

/// Whether user 0 is root outside of this process's user namespace too.
#[must_use]
pub fn is_uid_0_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").ok();
    map.and_then(|map| outside(&map, 0)).is_none_or(|uid| uid == 0)
}

/// Whether this process is root, and not merely called so.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root() && is_uid_0_root()
}

/// Whether a process of user `uid` is root, and not merely called so.
pub(super) fn is_root_uid(uid: Uid) -> bool {
    uid.is_root() && is_uid_0_root()
}

/// Who the user `uid` of a namespace is outside, by its map: lines of three numbers, the first user inside, the first
/// outside, and how many.
fn outside(map: &str, uid: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return None;
        };
        let at = uid.checked_sub(inside).filter(|at| *at < count)?;
        outside.checked_add(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_0_is_root_where_it_is_mapped_to_user_0_outside() {
        assert_eq!(outside("         0          0 4294967295\n", 0), Some(0), "no namespace");
        assert_eq!(
            outside("         0       1000          1\n", 0),
            Some(1000),
            "the lab of an ordinary user"
        );
        let rootless = "0 1000 1\n1 100000 65536\n";
        assert_eq!(outside(rootless, 0), Some(1000));
        assert_eq!(outside(rootless, 7), Some(100_006));
        assert_eq!(outside(rootless, 65_537), None);
        assert_eq!(outside("0 100000 65536", 0), Some(100_000));
        for nothing in ["", "garbage", "1 0 1", "0 0", "0 4294967295 2x"] {
            assert_eq!(outside(nothing, 0), None, "{nothing:?}");
        }
    }
}
