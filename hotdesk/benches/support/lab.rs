//! A lab whose hosts have their sockets in memory, as real ones have: `/run` is. On a disk a storm of sessions would
//! measure how long its file system takes to make and to forget their sockets.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use lab::backend::Ground;
use lab::plan::Plan;
use lab::world::World;
use tempfile::TempDir;

use super::{Ending, Outcome, binary, cannot};

/// Where files are in memory, on every Linux of today.
const MEMORY: &str = "/dev/shm";

/// The lab. Its files and processes go when it is dropped.
pub(crate) struct Lab {
    // Before the directory that its hosts write into.
    world: World,
    _sockets: Option<TempDir>,
}

impl Lab {
    /// Makes machines and keys; nothing runs yet.
    pub(crate) fn new(plan: Plan, ground: Ground, ending: &Ending) -> Outcome<Self> {
        let world = World::new(plan, ground, binary()).map_err(cannot("make a lab"))?;
        let sockets = sockets_in_memory(&world.files().join("run"))?;
        let memory = sockets.as_ref().map(|dir| dir.path().to_owned());
        ending
            .watch([Some(world.files().to_owned()), memory].into_iter().flatten().collect::<Vec<PathBuf>>());
        Ok(Self { world, _sockets: sockets })
    }
}

fn sockets_in_memory(run: &Path) -> Outcome<Option<TempDir>> {
    let Ok(dir) = tempfile::Builder::new().prefix("hotdesk-run-").tempdir_in(MEMORY) else {
        println!("no {MEMORY} here: sockets are made on the disk, which takes time");
        return Ok(None);
    };
    // As the lab's own directory: whoever has sessions passes through.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    fs::set_permissions(dir.path(), open).map_err(cannot("open a directory"))?;
    fs::remove_dir(run)
        .and_then(|()| std::os::unix::fs::symlink(dir.path(), run))
        .map_err(cannot("move the sockets into memory"))?;
    Ok(Some(dir))
}

impl Deref for Lab {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Lab {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}
