//! A user's part of a store, as a store.

use std::sync::Arc;

use proto::StoreId;

use super::store::{Pending, Store};
use super::watch::Watch;
use crate::confine::Confinement;
use crate::key::Prefix;
use crate::message::{Request, Response};

/// What a session gets: a store that holds its user's own data only. See [`Confinement`].
#[derive(Clone)]
pub struct Confined {
    store: Arc<dyn Store>,
    confinement: Confinement,
}

impl Confined {
    /// The part of `store` that `confinement` says.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, confinement: Confinement) -> Self {
        Self { store, confinement }
    }
}

impl Store for Confined {
    fn call(&self, request: Request) -> Pending<'_, Response> {
        Box::pin(async move {
            let request = self.confinement.inward(request)?;
            Ok(self.confinement.outward(self.store.call(request).await?))
        })
    }

    fn id(&self) -> Option<StoreId> {
        self.store.id()
    }

    fn watch(&self, prefix: Prefix) -> Pending<'_, Watch> {
        Box::pin(async move {
            let prefix = self.confinement.prefix(&prefix)?;
            Ok(self.store.watch(prefix).await?.confined(self.confinement.clone()))
        })
    }
}
