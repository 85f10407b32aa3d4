//! The data store, as the host machine sees it: requests and answers that carry the machine's own numbers.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use authmgr::admission::watched;
use datastore::client::Patience;
use datastore::io::{LinkState, Remote, SledStore, Store, Target};
use datastore::{Request, StoreError, WatchEvent};
use proto::BootId;
use proto::host_message::Label;
use proto::io::{KeyDir, KeyDirError};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::inbox::{Event, Inbox};
use crate::host::{Followed, Input, StoreReq};

/// Pause before a watch that ended is begun again.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// Why there is no data store to start with.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    /// The keys do not allow a connection.
    #[error(transparent)]
    Keys(#[from] KeyDirError),
    /// The host's own one cannot be opened.
    #[error("the host's own data store in {}: {source}", path.display())]
    Own {
        /// The file or directory concerned.
        path: PathBuf,
        /// What its engine says.
        source: datastore::io::OpenError,
    },
}

/// The data store of one host.
pub(crate) struct StoreDriver {
    store: Arc<dyn Store>,
    link: Option<watch::Receiver<LinkState>>,
    label: Label,
}

impl StoreDriver {
    /// A data store that hosts share. It need not be there yet.
    pub(crate) fn shared(at: SocketAddrV4, keys: &KeyDir) -> Result<Self, StoreOpenError> {
        let remote = Remote::connect(Target::tcp(at.into(), keys)?, Patience::default());
        let link = Some(remote.link());
        let label = at.to_string().parse().unwrap_or_default();
        Ok(Self { store: Arc::new(remote), link, label })
    }

    /// A data store of this host alone, in `path`.
    pub(crate) fn own(path: &Path, boot: BootId) -> Result<Self, StoreOpenError> {
        let store =
            SledStore::open(path).map_err(|source| StoreOpenError::Own { path: path.into(), source })?;
        let label = format!("own-{boot}").parse().unwrap_or_default();
        Ok(Self { store: Arc::new(store), link: None, label })
    }

    /// What hosts call it.
    pub(crate) const fn label(&self) -> &Label {
        &self.label
    }

    /// The store itself, for what does not pass through the host machine.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// Begins to tell the machine whether the store can be reached. An own one always can.
    pub(crate) fn watch_link(&mut self, runtime: &Handle, inbox: Inbox) {
        let (link, own) = (self.link.take(), self.store.id());
        runtime.spawn(async move {
            let Some(mut link) = link else {
                inbox.send(Event::Input(Input::StoreLink { up: true, store: own })).await;
                return;
            };
            let mut told = None;
            loop {
                let state = *link.borrow_and_update();
                if told.replace(state) != Some(state) {
                    let LinkState { up, store } = state;
                    inbox.send(Event::Input(Input::StoreLink { up, store })).await;
                }
                if link.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Begins to tell the machine of every change of the login policy and the registry.
    pub(crate) fn follow(&self, runtime: &Handle, inbox: Inbox) {
        let store = Arc::clone(&self.store);
        runtime.spawn(async move {
            loop {
                follow(&*store, &inbox).await;
                inbox.send(Event::Input(Input::Followed(Followed::Lost))).await;
                tokio::time::sleep(WATCH_AGAIN).await;
            }
        });
    }

    /// Asks, and tells the machine the answer.
    pub(crate) fn ask(&self, runtime: &Handle, inbox: &Inbox, req: StoreReq, request: Request) {
        let (store, inbox) = (Arc::clone(&self.store), inbox.clone());
        runtime.spawn(async move {
            let outcome: Result<_, StoreError> = store.call(request).await;
            inbox.send(Event::Input(Input::Store { req, outcome })).await;
        });
    }
}

/// Watches login policy and registry until one of the watches ends.
async fn follow(store: &dyn Store, inbox: &Inbox) {
    let [policy, tokens, dtus] = watched().map(|prefix| store.watch(prefix));
    // While the data store is away this fails as any request does.
    let Ok((mut policy, mut tokens, mut dtus)) = tokio::try_join!(policy, tokens, dtus) else { return };
    inbox.send(Event::Input(Input::Followed(Followed::Anew))).await;
    loop {
        let event = tokio::select! {
            event = policy.next() => event,
            event = tokens.next() => event,
            event = dtus.next() => event,
        };
        let news = match event {
            Some(WatchEvent::Changed(event)) => Followed::Changed(event),
            Some(WatchEvent::Lagged) => Followed::Anew,
            None => return,
        };
        inbox.send(Event::Input(Input::Followed(news))).await;
    }
}
