//! The few things asked of the operating system that have no safe call.

use std::io::{Error, Result};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use proto::frame::Size;

/// Closes every file descriptor above the standard three but `kept`, whatever it is and whoever opened it: a
/// session process that held another one's socket would keep it from ever seeing its end.
pub(super) fn close_all_but(kept: BorrowedFd<'_>) -> Result<()> {
    let kept = u32::try_from(kept.as_raw_fd()).map_err(Error::other)?;
    close_range(3, kept.saturating_sub(1))?;
    close_range(kept + 1, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: the caller owns nothing in this range that is used afterwards: it runs in a process just forked,
    // which leaves by `_exit` and never drops what the parent had open, or in one that has just begun.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// Makes the calling process continue in two. The child gets `None`.
///
/// # Safety
/// The process has a single thread.
pub(super) unsafe fn fork() -> Result<Option<nix::unistd::Pid>> {
    // SAFETY: as promised by the caller; so no lock is held by a thread that the child has not got.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Some(child)),
        nix::unistd::ForkResult::Child => Ok(None),
    }
}

/// Ends this process without running anything that the process it was forked from has left to be run.
pub(super) fn leave(status: i32) -> ! {
    // SAFETY: always safe; that is what it is for.
    unsafe { libc::_exit(status) }
}

/// Blocks `signals` and has them read from a file descriptor. A program that is started later has them unblocked
/// again (the standard library sees to that).
pub(super) fn signals(signals: &[Signal]) -> Result<SignalFd> {
    let mask: SigSet = signals.iter().copied().collect();
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Undoes what whoever started us may have had ignored (`nohup`): a shell would inherit it.
pub(super) fn default_signals() -> Result<()> {
    use nix::sys::signal::{SigHandler, signal};
    for which in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGCHLD] {
        // SAFETY: the default needs no handler, so nothing can run at an unfit moment.
        unsafe { signal(which, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// A terminal: the end that a session holds, which never waits, and the end of the programs in it.
pub(super) fn terminal(size: Size) -> Result<OpenptyResult> {
    let ends = openpty(&winsize(size), None)?;
    for end in [&ends.master, &ends.slave] {
        set_flags(end, libc::F_SETFD, libc::FD_CLOEXEC)?;
    }
    set_flags(&ends.master, libc::F_SETFL, libc::O_NONBLOCK)?;
    Ok(ends)
}

fn set_flags(fd: impl AsFd, command: i32, flags: i32) -> Result<()> {
    // SAFETY: it is an open descriptor, and these commands touch no memory.
    let result = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), command, flags) };
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

fn winsize(size: Size) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Gives a terminal another size; its programs are sent SIGWINCH.
pub(super) fn resize(terminal: impl AsFd, size: Size) -> Result<()> {
    let size = winsize(size);
    // SAFETY: the request reads one winsize, which outlives the call.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// In a child that is about to run a program: makes its standard input its controlling terminal. Only what may be
/// called between fork and exec.
pub(super) fn take_terminal() -> Result<()> {
    nix::unistd::setsid()?;
    // SAFETY: descriptor 0 is the terminal, and the request takes no memory.
    let result = unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// How much output may wait in the kernel before a display counts as full. Small, so that a slow DTU is repainted
/// rather than sent what it should have shown long ago; what is on its way to it comes on top.
const UNSENT_MAX: libc::c_int = 64 * 1024;

/// A DTU that acknowledges nothing for this long is gone, in milliseconds; the daemon mostly knows before.
const SILENT_MAX_MS: libc::c_int = 30_000;

/// Sets up a display connection. What a socket of another kind refuses does not matter to what follows.
pub(super) fn tune(socket: impl AsFd) {
    for (option, value) in [
        (libc::TCP_NODELAY, 1),
        (libc::TCP_NOTSENT_LOWAT, UNSENT_MAX),
        (libc::TCP_USER_TIMEOUT, SILENT_MAX_MS),
    ] {
        // SAFETY: the kernel reads one integer of the size said, which outlives the call.
        unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                option,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_the_size_it_is_given() {
        let ends = terminal(Size { cols: 81, rows: 25 }).unwrap();
        let read = || {
            let mut size = winsize(Size::default());
            // SAFETY: the request writes one winsize, which outlives the call.
            unsafe { libc::ioctl(ends.slave.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
            (size.ws_col, size.ws_row)
        };
        assert_eq!(read(), (81, 25));
        resize(&ends.master, Size { cols: 7, rows: 3 }).unwrap();
        assert_eq!(read(), (7, 3));
    }
}
