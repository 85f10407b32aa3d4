//! How the daemon's memory is handed out.

use super::vitals;

/// With more processors than this, threads that wait for each other's memory would cost more than is gained.
const CPUS_MAX: u16 = 4;

/// Bytes by which the heap grows, and which it keeps when they are free.
const STEP: libc::c_int = 1 << 20;
const KEPT: libc::c_int = 64 << 20;

/// Has all threads of a machine with few processors share one heap that grows in large steps.
///
/// glibc gives each thread a heap that grows page by page, with a system call and a page fault each, while the other
/// threads wait for the kernel. In a storm that was an eighth of the processor time of a host. For the daemon alone:
/// the processes of sessions stay as small as they are. To be called before any thread is started: one that was would have
/// a heap already, which others are given as well.
pub(crate) fn share_heap() {
    if vitals::cpus() > CPUS_MAX {
        return;
    }
    #[cfg(target_env = "gnu")]
    for (option, value) in [(libc::M_ARENA_MAX, 1), (libc::M_TOP_PAD, STEP), (libc::M_TRIM_THRESHOLD, KEPT)] {
        // SAFETY: sets a number that the allocator reads, under its own lock; no memory of ours is touched.
        unsafe { libc::mallopt(option, value) };
    }
}
