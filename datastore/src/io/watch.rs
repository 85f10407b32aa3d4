//! Watches: who is told what, and the queue in between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::confine::Confinement;
use crate::key::Prefix;
use crate::mailbox::Mailbox;
use crate::message::{Event, Revision, WatchEvent};

/// A running watch. Dropping it ends it.
pub struct Watch {
    since: Revision,
    inbox: Arc<Inbox>,
    /// Applied in order: a part of a part of a store is fine.
    confinements: Vec<Confinement>,
    /// Runs when the watch is dropped: tells a remote store.
    on_drop: Option<Box<dyn FnOnce() + Send + Sync>>,
}

#[derive(Debug, Default)]
struct Inbox(Mutex<InboxState>);

#[derive(Debug, Default)]
struct InboxState {
    mailbox: Mailbox,
    is_closed: bool,
    waker: Option<Waker>,
}

impl Inbox {
    fn with<T>(&self, f: impl FnOnce(&mut InboxState) -> T) -> T {
        // A panic elsewhere leaves a mailbox whole: every change to it is a single call.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wake(&self, f: impl FnOnce(&mut InboxState)) {
        let waker = self.with(|state| {
            f(state);
            state.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Watch {
    /// A watch from `since` on, and the end that feeds it.
    pub(super) fn new(since: Revision) -> (Self, Feed) {
        let inbox = Arc::new(Inbox::default());
        let feed = Feed(Arc::downgrade(&inbox));
        (Self { since, inbox, confinements: Vec::new(), on_drop: None }, feed)
    }

    pub(super) fn on_drop(mut self, f: impl FnOnce() + Send + Sync + 'static) -> Self {
        self.on_drop = Some(Box::new(f));
        self
    }

    pub(super) fn confined(mut self, confinement: Confinement) -> Self {
        self.confinements.push(confinement);
        self
    }

    /// Every change after this revision is told.
    #[must_use]
    pub const fn since(&self) -> Revision {
        self.since
    }

    /// The next event; `None` when the store is gone for good. Cancel-safe.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next event that is here already.
    pub fn try_next(&mut self) -> Option<WatchEvent> {
        loop {
            let event = self.inbox.with(|state| state.mailbox.pop())?;
            if let Some(event) = self.shown(event) {
                return Some(event);
            }
        }
    }

    /// As [`Watch::next`], for a hand-written future.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        loop {
            let polled = self.inbox.with(|state| match state.mailbox.pop() {
                Some(event) => Poll::Ready(Some(event)),
                None if state.is_closed => Poll::Ready(None),
                None => {
                    state.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            });
            match polled {
                Poll::Ready(Some(event)) => match self.shown(event) {
                    None => {}
                    shown => return Poll::Ready(shown),
                },
                other => return other,
            }
        }
    }

    fn shown(&self, event: WatchEvent) -> Option<WatchEvent> {
        self.confinements.iter().try_fold(event, |event, confinement| confinement.event(event))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(f) = self.on_drop.take() {
            f();
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watch(since {})", self.since)
    }
}

/// The end of a [`Watch`] that a store keeps. Closes the watch when dropped.
#[derive(Debug)]
pub(super) struct Feed(Weak<Inbox>);

impl Feed {
    /// Whether anybody still watches.
    pub(super) fn push(&self, event: WatchEvent) -> bool {
        let inbox = self.0.upgrade();
        if let Some(inbox) = &inbox {
            inbox.wake(|state| state.mailbox.push(event));
        }
        inbox.is_some()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(inbox) = self.0.upgrade() {
            inbox.wake(|state| state.is_closed = true);
        }
    }
}

/// The watches of one store.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    feeds: BTreeMap<u64, (Prefix, Feed)>,
    next: u64,
}

impl Watchers {
    /// Watches of one store at once. Each connection has a bound of its own below it.
    const MAX: usize = 16 * 1024;

    /// Begins a watch; `None` at the bound.
    pub(super) fn begin(&mut self, prefix: Prefix, since: Revision) -> Option<Watch> {
        if self.feeds.len() >= Self::MAX {
            self.feeds.retain(|_, (_, feed)| feed.0.strong_count() > 0);
        }
        if self.feeds.len() >= Self::MAX {
            return None;
        }
        let (watch, feed) = Watch::new(since);
        self.feeds.insert(self.next, (prefix, feed));
        self.next += 1;
        Some(watch)
    }

    /// Tells everybody whom it concerns, and forgets who is gone.
    pub(super) fn tell(&mut self, events: &[Event]) {
        self.feeds.retain(|_, (prefix, feed)| {
            let mut concerned = events.iter().filter(|event| prefix.holds(&event.change.key));
            feed.0.strong_count() > 0 && concerned.all(|event| feed.push(WatchEvent::Changed(event.clone())))
        });
    }

    /// Tells everybody that changes may have been missed.
    pub(super) fn tell_lagged(&mut self) {
        self.feeds.retain(|_, (_, feed)| feed.push(WatchEvent::Lagged));
    }
}
