//! Places to keep shards in: a store with a log, each of every kind, with what stands behind it.

use std::any::Any;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use timely_persist::{Client, ClientBuilder};

use crate::postgres;
use crate::proxy::Proxy;
use crate::servers::{Kind, Server};

/// A place that any number of clients can be opened on.
pub struct Place {
    open: Box<dyn Fn() -> ClientBuilder + Send + Sync>,
    /// Servers and directories, for as long as the place is used.
    _stands_on: Box<dyn Any + Send + Sync>,
}

impl Place {
    fn new(stands_on: impl Any + Send + Sync, open: impl Fn() -> ClientBuilder + Send + Sync + 'static) -> Self {
        Self { open: Box::new(open), _stands_on: Box::new(stands_on) }
    }

    pub fn client(&self) -> ClientBuilder {
        (self.open)()
    }

    pub fn memory() -> Self {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        Self::new((), move || Client::builder(Arc::clone(&store)))
    }

    pub fn directory() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}", directory.path().display());
        Self::new(directory, move || Client::at(&url))
    }

    pub async fn bucket(kind: Kind) -> Self {
        Self::of(Arc::new(Server::start(kind).await))
    }

    /// The bucket of this server.
    pub fn of(server: Arc<Server>) -> Self {
        Self::new((), move || server.client())
    }

    /// The same, by way of a proxy.
    pub fn behind(server: Arc<Server>, proxy: Arc<Proxy>) -> Self {
        Self::new((), move || server.client_at(server.url(), proxy.port()))
    }

    /// The same, with its logs in a database of its own.
    pub async fn with_postgres(self) -> Self {
        let database = tokio::task::spawn_blocking(postgres::Server::start).await.unwrap();
        let url = database.url();
        let Self { open, _stands_on } = self;
        Self::new((database, _stands_on), move || open().database(&url))
    }
}
