//! Threads that ask hosts and DTUs how they are, one for each: one that stands still holds up nobody else.

use std::time::Duration;

use super::view::Shared;
use crate::world::{Power, World, standings};

/// How old what is shown of a host may be, unless something happens to it.
const HOST_EVERY: Duration = Duration::from_millis(500);

/// How old a screen may be.
const SCREEN_EVERY: Duration = Duration::from_millis(100);

/// Starts the threads. They end with the program.
pub(super) fn start(world: &World, shared: &Shared) {
    for host in world.hosts().map(str::to_owned) {
        let (asker, timeline, shared) = (world.asker(), world.timeline().clone(), shared.clone());
        std::thread::spawn(move || {
            loop {
                let end = timeline.end();
                if shared.update(|view| view.host_mut(&host).is_some_and(|host| answers(host.power))) {
                    let table = asker.topology(&host).ok();
                    shared.update(|view| {
                        // A slow answer may come when the host is gone already.
                        if let Some(seen) = view.host_mut(&host).filter(|host| answers(host.power)) {
                            let own = table.iter().flatten().find(|row| row.own);
                            seen.sessions = own.map(|row| row.sessions);
                            seen.thinks = table.as_deref().map(standings).unwrap_or_default();
                        }
                    });
                }
                let _ = timeline.wait(end, HOST_EVERY, |event| event.host.is_some() && event.dtu.is_none());
            }
        });
    }
    for desk in world.desks().map(str::to_owned) {
        let (asker, timeline, shared) = (world.asker(), world.timeline().clone(), shared.clone());
        std::thread::spawn(move || {
            loop {
                let end = timeline.end();
                if shared.update(|view| view.desk_mut(&desk).is_some_and(|desk| answers(desk.power)))
                    && let Ok(look) = asker.look(&desk)
                {
                    shared
                        .update(|view| view.desk_mut(&desk).map(|desk| desk.screen = look.lines.join("\n")));
                }
                let _ = timeline.wait(end, SCREEN_EVERY, |event| event.at(&desk));
            }
        });
    }
}

/// Whether a machine can answer: one that is cut off still does, for the question does not come over its network.
fn answers(power: Power) -> bool {
    matches!(power, Power::On | Power::Cut)
}
