//! The part of the loop that has to do with what another host keeps of the session, and with what comes back from there.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;

use continuity::restore::{DirectoryResolver, FileResolver};
use continuity::{Encoded, Missing, Object, PathName, Resolvers, Restored};
use nix::unistd::{AccessFlags, access};
use proto::ServiceName;

use super::Shell;
use crate::control::{Beginning, Bytes, Kind, PARTS_MAX, Part};
use crate::io::session::services::Running;

/// Looks for files and directories as the session's user, since this process is one of that user's.
struct OwnEyes;

fn missing(error: &io::Error) -> Missing {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => Missing::Gone,
        ErrorKind::PermissionDenied => Missing::Denied,
        _ => Missing::Unavailable,
    }
}

impl DirectoryResolver for OwnEyes {
    fn directory(&mut self, path: &PathName) -> Result<(), Missing> {
        let kind = std::fs::metadata(path.as_str()).map_err(|error| missing(&error))?;
        if !kind.is_dir() {
            return Err(Missing::Gone);
        }
        access(path.as_str(), AccessFlags::X_OK).map_err(|errno| missing(&errno.into()))
    }
}

impl FileResolver for OwnEyes {
    fn file(&mut self, path: &PathName) -> Result<(), Missing> {
        // A pipe that nobody writes must not keep the session waiting.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path.as_str());
        let kind = file.and_then(|file| file.metadata()).map_err(|error| missing(&error))?;
        if kind.is_file() { Ok(()) } else { Err(Missing::Gone) }
    }
}

fn look_up(object: &Object, beginning: &Beginning) -> Restored {
    let (mut directory, mut file) = (OwnEyes, OwnEyes);
    let mut resolvers =
        Resolvers { directory: Some(&mut directory), file: Some(&mut file), ..Resolvers::default() };
    Restored { from: beginning.lost.clone(), ..object.restore(&mut resolvers) }
}

impl Shell {
    /// Something was kept of the session elsewhere.
    pub(super) fn restore(&mut self, part: Part, object: Bytes) {
        if self.restoring.len() < PARTS_MAX {
            self.restoring.insert(part, object);
        }
    }

    /// All that was kept is here.
    pub(super) fn begin(&mut self, beginning: &Beginning) {
        let now = self.clock.now();
        self.state.begin(beginning.epoch);
        let mut states: Vec<(ServiceName, Encoded)> = Vec::new();
        for (part, bytes) in std::mem::take(&mut self.restoring) {
            match (self.core.open_kept(&part, &bytes), part.kind) {
                (Err(error), _) => {
                    tracing::warn!("{part} is not restored: {error}");
                    self.core.not_returned(&part);
                }
                (Ok(object), Kind::State) => {
                    let restored = look_up(&object, beginning);
                    match self.state.restore(object, restored) {
                        Ok(version) => states.push((part.service, version)),
                        Err(error) => tracing::warn!("{part} is not restored: {error}"),
                    }
                }
                (Ok(object), Kind::Screen) => {
                    let is_there = look_up(&object, beginning).is_whole();
                    let instead =
                        || self.core.service(&part.service).map(|own| self.surroundings.directory(own));
                    let elsewhere = if is_there { None } else { instead() };
                    let elsewhere =
                        elsewhere.map(|instead| instead.unwrap_or_default().display().to_string());
                    self.core.returned(beginning, &object, elsewhere.as_deref());
                }
            }
        }
        self.core.begin_kept(now, beginning, &mut self.effects);
        for (service, version) in states {
            self.core.committed(now, &service, version, &mut self.effects);
        }
    }

    /// Hands over what programs have committed and what they want done once, and makes those versions of screens for which
    /// it is time. Returns whether programs had anything: they may say more when they are answered.
    pub(super) fn keep(&mut self) -> bool {
        let now = self.clock.now();
        let has_called = self.state.carry_calls(now, proto::io::wall_now());
        let committed = self.state.take_committed();
        let had_any = self.ask_store() || has_called || !committed.is_empty();
        for (service, version, at) in committed {
            self.core.committed(at, &service, version, &mut self.effects);
        }
        for name in self.core.screens_due(now) {
            let whereabouts = self.services.get(&name).map(Running::whereabouts).unwrap_or_default();
            self.core.screen_is(now, &name, whereabouts, &mut self.effects);
        }
        had_any
    }
}
