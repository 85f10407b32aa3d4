//! A watcher's queue: bounded, so that a watcher that never reads costs the store no more than this.

use std::collections::VecDeque;

use crate::message::WatchEvent;

/// Events waiting for a watcher. When it overflows, everything in it is replaced by one
/// [`WatchEvent::Lagged`]: the watcher must read anew anyway.
#[derive(Debug, Default)]
pub struct Mailbox {
    queue: VecDeque<WatchEvent>,
    bytes: usize,
}

impl Mailbox {
    /// Most events that wait.
    pub const EVENTS_MAX: usize = 1024;
    /// Most bytes of keys and values that wait, before the last event.
    pub const BYTES_MAX: usize = 1024 * 1024;

    /// Takes in an event.
    pub fn push(&mut self, event: WatchEvent) {
        let is_full = self.queue.len() >= Self::EVENTS_MAX || self.bytes >= Self::BYTES_MAX;
        if is_full || event == WatchEvent::Lagged {
            self.queue.clear();
            self.queue.push_back(WatchEvent::Lagged);
            self.bytes = 0;
        }
        if event != WatchEvent::Lagged {
            self.bytes += size(&event);
            self.queue.push_back(event);
        }
    }

    /// The next event.
    pub fn pop(&mut self) -> Option<WatchEvent> {
        let event = self.queue.pop_front()?;
        self.bytes -= size(&event);
        Some(event)
    }
}

fn size(event: &WatchEvent) -> usize {
    match event {
        WatchEvent::Changed(event) => {
            event.change.key.as_str().len()
                + event.change.value.as_ref().map_or(0, |value| value.as_bytes().len())
        }
        WatchEvent::Lagged => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Change, Event, Revision};
    use crate::value::Value;

    fn event(revision: u64, bytes: usize) -> WatchEvent {
        let value = Some(Value::new(&vec![0; bytes]).unwrap());
        WatchEvent::Changed(Event {
            revision: Revision(revision),
            change: Change { key: "k".parse().unwrap(), value },
        })
    }

    fn drain(mailbox: &mut Mailbox) -> Vec<WatchEvent> {
        std::iter::from_fn(|| mailbox.pop()).collect()
    }

    #[test]
    fn a_watcher_too_slow_is_told_so_before_anything_newer() {
        let mut mailbox = Mailbox::default();
        for n in 0..Mailbox::EVENTS_MAX as u64 + 2 {
            mailbox.push(event(n, 1));
        }
        let last = Mailbox::EVENTS_MAX as u64 + 1;
        assert_eq!(drain(&mut mailbox), [WatchEvent::Lagged, event(last - 1, 1), event(last, 1)]);
        mailbox.push(event(9, 1));
        assert_eq!(drain(&mut mailbox), [event(9, 1)]);
    }

    #[test]
    fn large_values_are_bounded_by_their_bytes() {
        let mut mailbox = Mailbox::default();
        for n in 0..=17 {
            mailbox.push(event(n, Value::LEN_MAX));
        }
        assert_eq!(drain(&mut mailbox).len(), 3);
    }
}
