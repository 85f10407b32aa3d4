//! What the host machine says to other hosts: a queue for each, which their link empties.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::HostName;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::admin::service::AdminService;
use crate::keep::Message;

/// Messages that wait for one host. The host machine has at most one on the way for each object it has kept elsewhere, so
/// a queue this long is one of a host that takes nothing.
const WAITING_MAX: usize = 4096;

/// The queues of all hosts that something was said to.
pub(crate) struct Peers {
    admin: Arc<AdminService>,
    runtime: Handle,
    queues: BTreeMap<HostName, mpsc::Sender<Box<Message>>>,
}

impl Peers {
    pub(crate) const fn new(admin: Arc<AdminService>, runtime: Handle) -> Self {
        Self { admin, runtime, queues: BTreeMap::new() }
    }

    /// Says something to a host. Returns whether it is on its way: if not, nor is what was said before and not answered.
    pub(crate) fn say(&mut self, host: HostName, mut message: Box<Message>) -> bool {
        if let Some(queue) = self.queues.get(&host) {
            match queue.try_send(message) {
                Ok(()) => return true,
                Err(TrySendError::Full(_)) => {
                    self.queues.remove(&host);
                    return false;
                }
                // Its link is over, which the host machine is told elsewhere.
                Err(TrySendError::Closed(back)) => message = back,
            }
        }
        self.queues.retain(|_, queue| !queue.is_closed());
        let (queue, outgoing) = mpsc::channel(WAITING_MAX);
        let is_queued = queue.try_send(message).is_ok();
        self.queues.insert(host.clone(), queue);
        self.runtime.spawn(Arc::clone(&self.admin).carry(host, outgoing));
        is_queued
    }
}
