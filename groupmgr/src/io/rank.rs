//! The precedence of threads: first the one that runs the host machine, then those that carry the connections of desks
//! at work, then all others, among them those that greet who arrives.
//!
//! The first one's beacons are what other hosts and DTUs judge this host by, so it goes before everything else this
//! process does, and before programs that only compute. Measured with eight of those on two processors,
//! it is then some milliseconds late at worst, where a beacon has 300.

use std::io;

/// The nice values asked for. Only root and those who were allowed it get them.
const FIRST: i32 = -10;
const SECOND: i32 = -5;

/// How long the thread means to run at a time: the shorter, the sooner the scheduler lets it run when it wakes.
/// Needs no privilege; kernels before 6.12 ignore it.
const SLICE_NS: u64 = 100_000;

/// Asks for precedence for the calling thread only. Processes it starts do not inherit it. A refusal leaves
/// the thread as it was, which costs some milliseconds on a busy machine.
pub fn go_first() {
    ask(FIRST);
}

/// The same for one that serves desks at work: in a storm of those that arrive their questions are to be answered in
/// time.
pub fn go_second() {
    ask(SECOND);
}

fn ask(nice: i32) {
    if set(nice).or_else(|_| set(0)).is_err() {
        tracing::debug!(nice, "a thread runs with ordinary precedence");
    }
}

fn set(nice: i32) -> io::Result<()> {
    let attr = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: libc::SCHED_FLAG_RESET_ON_FORK as u64,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: concerns the calling thread only (0); the kernel reads `size` bytes of a struct that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_may_always_ask_for_a_short_slice() {
        std::thread::spawn(|| set(0)).join().unwrap().unwrap();
    }
}
