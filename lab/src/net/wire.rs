//! The thread that moves frames between ports: it reads, asks the LAN's [`Fabric`] where each frame goes, and
//! writes.
//!
//! One thread serves all LANs of a network. Rules are set under the same lock that a batch of frames is moved
//! under, so a rule holds for every frame read after it was set.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use proto::Instant;

use super::fabric::{Fabric, Held, PortId};
use super::packet::{FRAME_LEN_MAX, PacketPort};

/// Frames taken from one port before the next one has its turn.
const BATCH: usize = 64;

/// What epoll reports for the wake-up; no port has this number.
const WAKE: u64 = u64::MAX;

/// The LANs of a network and the thread behind them. Ends with its last owner.
#[derive(Debug)]
pub(super) struct Wire {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    epoll: Epoll,
    wake: EventFd,
}

/// What the thread and the rules' setters share.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The LANs, by number.
    pub(super) lans: Vec<Fabric>,
    ports: BTreeMap<PortId, (usize, PacketPort)>,
    stopping: bool,
}

impl Wire {
    /// Starts the thread, with no LAN yet.
    pub(super) fn start() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let shared = Arc::new(Shared { state: Mutex::default(), epoll, wake });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("lab-wire".into()).spawn(move || theirs.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The LANs, held still while the guard lives.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// Adds a port to a LAN.
    pub(super) fn add_port(&self, lan: usize, id: PortId, port: PacketPort) -> io::Result<()> {
        let mut state = self.shared.lock();
        let fabric = state.lans.get_mut(lan).ok_or(io::ErrorKind::NotFound)?;
        fabric.add_port(id);
        self.shared.epoll.add(port.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, u64::from(id)))?;
        state.ports.insert(id, (lan, port));
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        // A counter that cannot take one more is readable already.
        let _ = self.shared.wake.write(1);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed, and there is nothing left that it could harm.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        run_before_others();
        let origin = std::time::Instant::now();
        let clock = || Instant::from_micros(u64::try_from(origin.elapsed().as_micros()).unwrap_or(u64::MAX));
        let mut mover = Mover::default();
        let mut events = [EpollEvent::empty(); 64];
        let mut due = None;
        loop {
            let ready = match self.epoll.wait(&mut events, timeout(due, clock())) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(_) => return,
            };
            let mut state = self.lock();
            if state.stopping {
                return;
            }
            for event in &events[..ready] {
                if let Ok(port) = PortId::try_from(event.data()) {
                    mover.move_batch(&mut state, port, clock());
                }
            }
            mover.move_held(&mut state, clock());
            due = state.lans.iter().filter_map(Fabric::poll_at).min();
        }
    }
}

/// Asks to be scheduled ahead of ordinary threads: a real wire does not wait for the hosts' processors. Only
/// root may have that; for others frames are late by some milliseconds while all processors are busy.
fn run_before_others() {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: concerns the calling thread only; the kernel reads the struct during the call. A refusal changes
    // nothing.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const lowest) };
}

/// How long to wait: rounded up, since epoll counts milliseconds and a frame must not arrive early.
fn timeout(due: Option<Instant>, now: Instant) -> EpollTimeout {
    let Some(due) = due else { return EpollTimeout::NONE };
    let millis = due.since(now).as_micros().div_ceil(1_000);
    EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
}

/// Buffers that are used again for every batch.
struct Mover {
    buffer: Box<[u8]>,
    to: Vec<PortId>,
    held: Vec<Held>,
}

impl Default for Mover {
    fn default() -> Self {
        Self { buffer: vec![0; FRAME_LEN_MAX].into(), to: Vec::new(), held: Vec::new() }
    }
}

impl Mover {
    fn move_batch(&mut self, state: &mut State, from: PortId, now: Instant) {
        let State { lans, ports, .. } = state;
        let Some((lan, port)) = ports.get(&from) else { return };
        let Some(fabric) = lans.get_mut(*lan) else { return };
        for _ in 0..BATCH {
            let Some(frame) = port.receive(&mut self.buffer) else { break };
            self.to.clear();
            fabric.on_frame(now, from, frame, &mut self.to);
            for to in &self.to {
                if !ports.get(to).is_some_and(|(_, port)| port.send(frame)) {
                    fabric.counts.overflow += 1;
                }
            }
        }
    }

    fn move_held(&mut self, state: &mut State, now: Instant) {
        for fabric in &mut state.lans {
            fabric.on_timeout(now, &mut self.held);
            for (to, frame) in self.held.drain(..) {
                if !state.ports.get(&to).is_some_and(|(_, port)| port.send(&frame)) {
                    fabric.counts.overflow += 1;
                }
            }
        }
    }
}
