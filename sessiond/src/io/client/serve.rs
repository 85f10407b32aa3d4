//! The tasks that read what the spawner and the sessions say.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::SessionId;
use tokio::sync::mpsc;

use super::link::PacketLink;
use super::{Entry, Event, SESSION_QUEUE, Shared};
use crate::control::{Exit, FromSession, FromSpawner, ToSession, ToSpawner, short};

/// How often a spawner is asked whether it still answers.
const PING_EVERY: Duration = Duration::from_secs(1);
/// After so many of these times without a word it is said to be stuck.
const STUCK_AFTER: u32 = 2;
/// And after so many it is killed, so that another one can take its place: it may be stopped for good.
const KILL_AFTER: u32 = 5;

/// Whether the spawner still answers. One that forks many sessions says so by that.
#[derive(Default)]
struct Watch {
    /// Spawners of an older version do not answer pings.
    answers: bool,
    pings: u32,
    silent_for: u32,
}

impl Watch {
    /// It said something. Returns whether it was stuck before.
    fn hear(&mut self) -> bool {
        core::mem::take(&mut self.silent_for) >= STUCK_AFTER
    }

    /// So much time has passed without a word. Returns whether it is stuck from now on.
    fn tick(&mut self, link: &mut PacketLink<ToSpawner>, pid: Option<Pid>) -> bool {
        let is_news = self.silent_for == STUCK_AFTER;
        if self.silent_for == KILL_AFTER
            && let Some(pid) = pid
        {
            // Its socket is open, so the number is still its own.
            match kill(pid, Signal::SIGKILL) {
                Ok(()) => tracing::error!(%pid, "the spawner does not answer and was killed"),
                Err(error) => {
                    tracing::error!(%pid, %error, "the spawner does not answer and cannot be killed");
                }
            }
        }
        if self.silent_for < STUCK_AFTER {
            self.pings = self.pings.wrapping_add(1).max(1);
            link.send_if_idle(ToSpawner::Ping(self.pings));
        }
        self.silent_for = self.silent_for.saturating_add(1);
        is_news
    }
}

/// Takes what the spawner says apart into events and new sessions.
pub(super) async fn serve_spawner(
    mut link: PacketLink<ToSpawner>,
    pid: Option<Pid>,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
) {
    let mut watch = Watch::default();
    let mut ticks = tokio::time::interval(PING_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let said = tokio::select! {
            said = link.next::<FromSpawner>(&events) => said,
            _ = ticks.tick(), if watch.answers => {
                if watch.tick(&mut link, pid) && events.send(Event::SpawnerStuck).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let Some((message, fd)) = said else { break };
        if watch.hear() && events.send(Event::SpawnerBack).await.is_err() {
            return;
        }
        let event = match message {
            FromSpawner::Spawned(session) => Event::Spawned { session, kept: false },
            FromSpawner::Kept(session) => Event::Spawned { session, kept: true },
            FromSpawner::SpawnFailed { session, reason } => Event::SpawnFailed { session, reason },
            FromSpawner::Exited { session, exit } => Event::Exited { session, exit },
            FromSpawner::Pong(_) => {
                watch.answers = true;
                shared.answers.store(true, Ordering::Relaxed);
                continue;
            }
            FromSpawner::Ahead(count) => {
                shared.ahead.store(count, Ordering::Relaxed);
                continue;
            }
            FromSpawner::Hello { .. } | FromSpawner::Busy | FromSpawner::Failed(_) => continue,
        };
        if !take(event, fd, &shared, &events).await {
            return;
        }
    }
    lose_spawner(&shared, &events).await;
}

/// The spawner is gone: what it was asked for will not come, and what it would have said of its sessions has to be
/// found out from them.
async fn lose_spawner(shared: &Arc<Shared>, events: &mpsc::Sender<Event>) {
    shared.answers.store(false, Ordering::Relaxed);
    shared.ahead.store(0, Ordering::Relaxed);
    shared.generation.fetch_add(1, Ordering::Relaxed);
    let _ = events.send(Event::SpawnerGone).await;
    for session in shared.take_asked() {
        let reason = short("the spawner ended before it made the session".to_owned());
        let _ = events.send(Event::SpawnFailed { session, reason }).await;
    }
}

/// Hands an event on, and begins to serve a session that it is the first word of. `false` when nobody listens.
async fn take(event: Event, fd: Option<OwnedFd>, shared: &Arc<Shared>, events: &mpsc::Sender<Event>) -> bool {
    if let Event::Spawned { session, .. } | Event::SpawnFailed { session, .. } = &event {
        shared.forget_asked(*session);
    }
    let (Event::Spawned { session, .. }, Some(fd)) = (&event, fd) else {
        return events.send(event).await.is_ok();
    };
    let session = *session;
    let (sender, queue) = mpsc::channel(SESSION_QUEUE);
    let link = match PacketLink::new(fd, queue, shared) {
        Ok(link) => link,
        Err(error) => {
            let reason = format!("its socket cannot be used: {error}");
            return events.send(Event::SpawnFailed { session, reason }).await.is_ok();
        }
    };
    let generation = shared.generation.load(Ordering::Relaxed);
    shared.lock().insert(session, Entry { sender, generation, task: None });
    // Nothing the session says may come before this, so its own task starts after it.
    if events.send(event).await.is_err() {
        return false;
    }
    let task = tokio::spawn(serve_session(session, generation, link, Arc::clone(shared), events.clone()));
    if let Some(entry) = shared.lock().get_mut(&session) {
        entry.task = Some(task.abort_handle());
    }
    true
}

async fn serve_session(
    session: SessionId,
    generation: u64,
    mut link: PacketLink<ToSession>,
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
) {
    while let Some((message, _)) = link.next::<FromSession>(&events).await {
        if events.send(Event::Session { session, message }).await.is_err() {
            break;
        }
    }
    shared.lock().remove(&session);
    if shared.generation.load(Ordering::Relaxed) != generation {
        // The spawner that would have told of its end is gone.
        let exit = Exit::Signal(Signal::SIGKILL as i32);
        let _ = events.send(Event::Exited { session, exit }).await;
    }
}
