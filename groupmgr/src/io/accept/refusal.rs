//! How a connection is refused: one plain line says why, so that a DTU knows to come back later and need not guess.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::Instant;
use proto::alp::{BusyReason, FromHost};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::io::clock;

/// Refused connections that are kept until the other end has read why. Further ones are closed at once, and what was
/// written to them may be lost.
const LINGERING_MAX: usize = 128;
/// And for how long.
const LINGER: Duration = Duration::from_secs(1);
/// What the other end may still send meanwhile, in bytes.
const LINGER_BYTES: usize = 16 * 1024;

/// An address is logged at most once in this time.
const LOG_EVERY: proto::time::Duration = proto::time::Duration::from_secs(1);
/// Addresses of which is remembered when they were logged.
const LOGGED_MAX: usize = 256;

/// Tells connections that are one too many why they are closed.
#[derive(Debug)]
pub(super) struct Refusals {
    log: Mutex<Log>,
    lingering: Arc<Semaphore>,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self { log: Mutex::default(), lingering: Arc::new(Semaphore::new(LINGERING_MAX)) }
    }

    /// Says why and closes. With `linger` the line gets through although the other end has sent something.
    pub(super) fn refuse(&self, stream: TcpStream, address: Ipv4Addr, why: BusyReason, linger: bool) {
        let refused = self.log.lock().unwrap_or_else(PoisonError::into_inner).note(clock::now(), address);
        if let Some(refused) = refused {
            tracing::warn!(%address, reason = %why, refused, "connections are refused");
        }
        let line = format!("{}\n", FromHost::BusyInf { reason: Some(why) }.to_line());
        // A new connection takes a few bytes at once; if it does not, it has ended.
        if stream.try_write(line.as_bytes()).is_err() || !linger {
            return;
        }
        if let Ok(permit) = Arc::clone(&self.lingering).try_acquire_owned() {
            tokio::spawn(async move {
                drop(tokio::time::timeout(LINGER, let_read(stream)).await);
                drop(permit);
            });
        }
    }
}

/// Closing a connection of which something was not read makes the kernel forget what was written to it.
async fn let_read(mut stream: TcpStream) -> std::io::Result<()> {
    socket2::SockRef::from(&stream).shutdown(std::net::Shutdown::Write)?;
    let (mut space, mut left) = ([0; 1024], LINGER_BYTES);
    while left > 0 {
        match stream.read(&mut space).await? {
            0 => break,
            n => left = left.saturating_sub(n),
        }
    }
    Ok(())
}

/// When each address was last logged, and how many of its connections were refused since.
#[derive(Debug, Default)]
struct Log(BTreeMap<Ipv4Addr, (Instant, u64)>);

impl Log {
    /// One more is refused. Returns how many to log, if it is time to.
    fn note(&mut self, now: Instant, address: Ipv4Addr) -> Option<u64> {
        if let Some((at, refused)) = self.0.get_mut(&address) {
            *refused += 1;
            let due = now.since(*at) >= LOG_EVERY;
            return due.then(|| {
                *at = now;
                std::mem::take(refused)
            });
        }
        if self.0.len() >= LOGGED_MAX {
            self.0.retain(|_, (at, _)| now.since(*at) < LOG_EVERY);
        }
        if self.0.len() >= LOGGED_MAX {
            return None;
        }
        self.0.insert(address, (now, 0));
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_logged_once_a_second_with_how_many_were_refused_and_few_are_remembered() {
        let mut log = Log::default();
        let at = |ms: u64| Instant::from_micros(1_000_000 + ms * 1000);
        let ip = Ipv4Addr::from_bits;
        assert_eq!(log.note(at(0), ip(1)), Some(1));
        assert_eq!(log.note(at(0), ip(2)), Some(1));
        let noted: Vec<_> = (1..=1000).filter_map(|ms| log.note(at(ms), ip(1))).collect();
        assert_eq!(noted, [1000]);
        for n in 0..10_000 {
            log.note(at(1000 + u64::from(n)), ip(n));
        }
        assert!(log.0.len() <= LOGGED_MAX);
        assert_eq!(log.note(at(20_000), ip(7)), Some(1), "there is room again");
    }
}
