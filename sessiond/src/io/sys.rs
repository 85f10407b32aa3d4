//! The few things asked of the operating system that have no safe call.

use std::io::{Error, Result};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{InputFlags, SetArg, tcgetattr, tcsetattr};
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

/// Blocks `signals` and has them read from a file descriptor. Programs inherit what is blocked, and the standard
/// library does not unblock it for them: whoever starts one calls [`default_signals`] in the child.
pub(super) fn signals(signals: &[Signal]) -> Result<SignalFd> {
    let mask: SigSet = signals.iter().copied().collect();
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Gives every signal its default disposition and blocks none, as in a process that `login` has started: a program
/// inherits both from whoever starts it, and one that inherits an ignored SIGINT or a blocked SIGTERM cannot be
/// interrupted or ended. Only makes system calls, so it may be called between fork and exec.
pub(super) fn default_signals() -> Result<()> {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: the default needs no handler, so nothing can run at an unfit moment. What cannot be changed
        // (SIGKILL, SIGSTOP, and the two signals the C library keeps for itself) is refused without any effect.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// Undoes what whoever started this process may have had ignored or blocked (`nohup`), except that writing to somebody
/// who is gone stays an error, as the runtime of this language has it.
pub(super) fn own_signals() -> Result<()> {
    default_signals()?;
    // SAFETY: ignoring needs no handler either.
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, nix::sys::signal::SigHandler::SigIgn) }?;
    Ok(())
}

/// A terminal: the end that a session holds, which never waits, and the end of the programs in it. It is set up as
/// the kernel does, and told that its text is UTF-8, so that erasing a character erases all its bytes.
pub(super) fn terminal(size: Size) -> Result<OpenptyResult> {
    let ends = openpty(&winsize(size), None)?;
    let mut settings = tcgetattr(&ends.slave)?;
    settings.input_flags |= InputFlags::IUTF8;
    tcsetattr(&ends.slave, SetArg::TCSANOW, &settings)?;
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

/// In a child that is about to run a program: makes it the leader of a session of the kernel's and of that
/// session's foreground process group, with its standard input as the controlling terminal and no signal ignored or
/// blocked, as `login` leaves it. Only makes system calls, so it may be called between fork and exec.
pub(super) fn become_login() -> Result<()> {
    default_signals()?;
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
