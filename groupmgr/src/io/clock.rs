//! The monotonic clock of this process, with one origin for all that is measured in it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use proto::Instant;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();

fn origin() -> std::time::Instant {
    *ORIGIN.get_or_init(std::time::Instant::now)
}

/// The present, in microseconds since this process first asked.
#[must_use]
pub fn now() -> Instant {
    Instant::from_micros(u64::try_from(origin().elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// Waits until `at`; for ever when there is no such moment.
pub async fn until(at: Option<Instant>) {
    match at {
        Some(at) => {
            let since_origin = Duration::from_micros(at.as_micros());
            tokio::time::sleep_until((origin() + since_origin).into()).await;
        }
        None => std::future::pending().await,
    }
}

/// A timer of the kernel (timerfd_create(2)), for a loop that has a next moment all the time. The runtime wakes up twice
/// or three times for each of its own timers, and to the millisecond only.
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
    at: Option<Instant>,
}

impl Alarm {
    /// One that is set to no moment.
    ///
    /// # Errors
    /// When there is no descriptor for it.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: the descriptor is owned by what is registered, and is its only one.
        Ok(Self { timer: unsafe { AsyncFd::register(fd) }?, at: None })
    }

    /// Waits until `at`, or not as long; for ever when there is no such moment.
    pub async fn until(&mut self, at: Option<Instant>) {
        let Some(moment) = at else { return std::future::pending().await };
        let wait = moment.since(now());
        if wait.is_zero() {
            return;
        }
        if self.at != at {
            self.at = at.filter(|_| self.set(wait).is_ok());
        }
        if let Ok(mut ready) = self.timer.readable().await {
            ready.clear_ready();
            self.at = None;
        }
    }

    fn set(&self, wait: Duration) -> io::Result<()> {
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec::try_from(wait).map_err(io::Error::other)?;
        let spec = Itimerspec { it_interval: once, it_value };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &spec)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_alarm_goes_off_at_the_moment_it_was_set_to_last_and_not_before() {
        let (began, mut alarm) = (now(), Alarm::new().unwrap());
        let after = |ms| Some(began + Duration::from_millis(ms));
        for (first, then) in [(10_000, 20), (25, 40)] {
            tokio::select! {
                biased;
                () = alarm.until(after(first)) => panic!("the first moment is not yet there"),
                () = std::future::ready(()) => {}
            }
            while now() < after(then).unwrap() {
                alarm.until(after(then)).await;
            }
            assert!(now() < after(5_000).unwrap(), "it went off at {}", now());
        }
    }
}
