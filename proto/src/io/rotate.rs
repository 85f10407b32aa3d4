//! Replacing the group key while the group runs, in three steps that each have to be on every host before the next:
//!
//! ```text
//!   [old]  ── add ──▶  [old, new]  ── promote ──▶  [new, old]  ── retire ──▶  [new]
//!           all verify both next     hosts sign with the new,         the old is worth
//!           before any signs with it  those not yet there verify it    nothing any more
//! ```
//!
//! Which step is next is read from the ring itself, so that nobody has to remember it.

use std::fs;
use std::path::Path;

use zeroize::Zeroizing;

use super::keydir::{KeyDirError, RING, key_line, read_ring, read_secret, write_new};
use crate::ids::KeyId;
use crate::keys::{GroupKey, KeyRing};

/// What a step has done. All hosts must have it before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// A new key verifies from now on; the old one still signs.
    Added(KeyId),
    /// The new key signs from now on; the old one still verifies.
    Promoted(KeyId),
    /// Only this key is left.
    Retired(KeyId),
}

/// Takes the next step in a key directory. The ring is replaced as a whole or not at all.
///
/// # Errors
/// See [`KeyDirError`]; nothing was changed.
pub fn rotate(dir: &Path) -> Result<Rotation, KeyDirError> {
    let path = dir.join(RING);
    // What cannot be used is not rotated either.
    read_ring(&path)?;
    let text = read_secret(&path)?;
    let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let (mut remarks, mut keys): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with('#'));
    let is_retiring = remarks.contains(&RETIRING);
    remarks.retain(|line| *line != RETIRING);
    let made = Zeroizing::new(key_line());
    let step: fn(KeyId) -> Rotation = if keys.len() < 2 {
        keys.push(&made);
        Rotation::Added
    } else if is_retiring {
        keys.truncate(1);
        Rotation::Retired
    } else {
        // The last one is the newest, as this program and people add them.
        keys.rotate_right(1);
        remarks.push(RETIRING);
        Rotation::Promoted
    };
    remarks.append(&mut keys);
    let new = Zeroizing::new(remarks.join("\n") + "\n");
    let ring = replace(&path, &new)?;
    let signing = ring.signing();
    let other = ring.keys().iter().map(GroupKey::id).find(|id| *id != signing);
    // Only a key that was just added does not sign yet.
    Ok(step(if step(signing) == Rotation::Added(signing) { other.unwrap_or(signing) } else { signing }))
}

/// Puts a new ring in the place of the old one.
fn replace(path: &Path, text: &str) -> Result<KeyRing, KeyDirError> {
    let beside = path.with_extension("new");
    drop(fs::remove_file(&beside));
    write_new(&beside, text.as_bytes(), 0o600)?;
    let ring = read_ring(&beside)?;
    let remedy = "choose a directory you may write to";
    fs::rename(&beside, path).map_err(|source| KeyDirError::File { path: path.into(), source, remedy })?;
    Ok(ring)
}

/// Stands in a ring whose further keys only verify until every host has the first.
const RETIRING: &str = "# The keys after the first are of before: they go with the next step.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::KeyDir;

    #[test]
    fn three_steps_replace_a_key_and_between_them_old_and_new_hosts_understand_each_other() {
        let dir = tempfile::tempdir().unwrap();
        KeyDir::generate(dir.path()).unwrap();
        let ids = || {
            let ring = KeyDir::open(dir.path()).unwrap().ring;
            ring.keys().iter().map(GroupKey::id).collect::<Vec<_>>()
        };
        for _ in 0..2 {
            let old = ids()[0];
            let Rotation::Added(new) = rotate(dir.path()).unwrap() else { panic!("not added") };
            assert_eq!(ids(), [old, new], "the old one signs, both verify");
            assert_eq!(rotate(dir.path()).unwrap(), Rotation::Promoted(new));
            assert_eq!(ids(), [new, old], "the new one signs, both verify");
            assert_eq!(rotate(dir.path()).unwrap(), Rotation::Retired(new));
            assert_eq!(ids(), [new]);
        }
    }

    #[test]
    fn a_damaged_ring_is_not_rotated() {
        let dir = tempfile::tempdir().unwrap();
        KeyDir::generate(dir.path()).unwrap();
        let ring = dir.path().join(RING);
        fs::write(&ring, "key secret=00\n").unwrap();
        assert!(rotate(dir.path()).is_err());
        assert_eq!(fs::read_to_string(&ring).unwrap(), "key secret=00\n");
    }
}
