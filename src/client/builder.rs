//! Opening a client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use object_store::ObjectStore;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;

use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::error::Error;
use crate::machine::{Context, Life};
use crate::store::{Consensus, HedgingStore, ObjectCache, ObjectLog, qualify};

use super::url::{self, LogPlace, Place};
use super::{Client, InflightPool, Runtimes, Shared};

/// Collects what a [`Client`] is made of.
pub struct ClientBuilder {
    store: Arc<dyn ObjectStore>,
    consensus: Option<Arc<dyn Consensus>>,
    database: Option<String>,
    config: Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    runtime: Option<Handle>,
}

impl Client {
    /// Opens the store at `url` with the default limits.
    ///
    /// * `memory:`: this process's memory, gone with the client.
    /// * `file:///data/app`: a local directory, made if it is missing. Several processes of one machine may share it.
    /// * `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`: a bucket, with credentials, region and
    ///   endpoint from the environment as `object_store` reads it (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, …). At first use
    ///   it is tried out whether it keeps the promises that a log needs; the verdict is kept there.
    ///
    /// With `?consensus=postgres://user:password@host/database` behind any of them the logs are kept in PostgreSQL. A
    /// `&`, `#` or `%` in that parameter is written `%26`, `%23`, `%25`.
    ///
    /// `Invalid` for a URL of another kind, a directory that holds something else, a bucket that is missing or that the
    /// credentials do not open, before anything is written; `UnsafeStore` for a bucket that lets two writers win;
    /// `Unavailable` where the store does not answer. Cancelling leaves nothing, or an empty directory.
    pub async fn open(url: &str) -> Result<Client, Error> {
        let Place { store, log, remote } = url::parse(url)?;
        let builder = Self::builder(Arc::clone(&store));
        let client = match log {
            LogPlace::Here(log) => builder.consensus(log).open().await?,
            LogPlace::Database(url) => builder.database(url).open().await?,
        };
        if remote {
            let tried = async { qualify(&*store).await };
            client.context().within(tried).await?;
        }
        Ok(client)
    }

    /// A client on any object store. Its log lies in the store too, unless [`ClientBuilder::consensus`] says otherwise.
    pub fn builder(store: Arc<dyn ObjectStore>) -> ClientBuilder {
        ClientBuilder {
            store,
            consensus: None,
            database: None,
            config: Config::default(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            runtime: None,
        }
    }
}

impl ClientBuilder {
    /// Keeps the shards' logs there.
    pub fn consensus(mut self, consensus: Arc<dyn Consensus>) -> Self {
        self.consensus = Some(consensus);
        self
    }

    /// Keeps the shards' logs in the PostgreSQL database of this connection string
    /// (`postgres://user:password@host:port/database`). The tables are made at first use.
    ///
    /// [`ClientBuilder::open`] then says `Invalid` for a string, credentials or a database that are wrong, `Unavailable`
    /// for a server that does not answer, and never repeats the string.
    pub fn database(mut self, url: impl Into<String>) -> Self {
        self.database = Some(url.into());
        self
    }

    /// With these limits.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// With this wall clock: for simulations.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// With this source of randomness: for simulations.
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// With all work, heartbeats too, on a runtime of the caller's, which outlives the client: for simulations. Without
    /// it the client makes a runtime of its own, threads that compact, and a thread that only renews leases.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Opens the client. `Unavailable` if no threads could be started; `Invalid` for a cache directory that cannot be used.
    /// No I/O, unless the logs are in a database or there is a cache on disk.
    pub async fn open(self) -> Result<Client, Error> {
        let mut runtimes = Runtimes::default();
        let (runtime, upkeep, pulse) = match self.runtime {
            Some(handle) => (handle.clone(), handle.clone(), handle),
            None => {
                let threads = self.config.runtime_threads.max(1);
                let work = start(threads, "timely-persist")?;
                let upkeep = start(self.config.compaction_threads.max(1), "timely-persist-upkeep")?;
                let pulse = start(1, "timely-persist-pulse")?;
                let handles = (work.handle().clone(), upkeep.handle().clone(), pulse.handle().clone());
                runtimes.0.extend([work, upkeep, pulse]);
                handles
            }
        };
        let consensus = match (self.database, self.consensus) {
            (Some(url), _) => open_database(&runtime, url).await?,
            (None, Some(consensus)) => consensus,
            (None, None) => Arc::new(ObjectLog::new(Arc::clone(&self.store))),
        };
        let cache = open_cache(&runtime, &self.config).await?;
        // Behind the log was made: what is in that may change.
        let store = match self.config.hedge_delay {
            Some(delay) => Arc::new(HedgingStore::new(self.store, delay, self.config.hedge_budget)),
            None => self.store,
        };
        let context = Arc::new(Context {
            cache,
            fetches: Semaphore::new(self.config.fetches_max.clamp(1, Semaphore::MAX_PERMITS)),
            consensus,
            store,
            config: self.config,
            clock: self.clock,
            entropy: self.entropy,
            runtime,
            upkeep,
            pulse,
            life: Life::default(),
        });
        let inflight = InflightPool::new(context.config.inflight_bytes_max);
        let (shards, runtimes) = (Mutex::new(HashMap::new()), Mutex::new(runtimes));
        let client = Client { shared: Arc::new(Shared { context, shards, runtimes, inflight }) };
        client.context().life.belongs_to(&client.keep_alive());
        Ok(client)
    }
}

/// The log in a database. Its tasks run on the client's runtime.
#[cfg(feature = "postgres")]
async fn open_database(runtime: &Handle, url: String) -> Result<Arc<dyn Consensus>, Error> {
    let opening = runtime.spawn(async move { crate::store::PostgresLog::open(&url).await });
    let opened = opening.await.map_err(|error| Error::unavailable("opening the log was stopped").because(error))?;
    Ok(Arc::new(opened?))
}

#[cfg(not(feature = "postgres"))]
async fn open_database(_runtime: &Handle, _url: String) -> Result<Arc<dyn Consensus>, Error> {
    Err(Error::invalid("this build has no PostgreSQL: use the feature postgres of this crate"))
}

/// Opens the cache that the configuration asks for, where blocking for a disk holds nobody up.
async fn open_cache(runtime: &Handle, config: &Config) -> Result<Option<ObjectCache>, Error> {
    if config.cache_directory.is_none() {
        return ObjectCache::open(config);
    }
    let config = config.clone();
    let opening = runtime.spawn_blocking(move || ObjectCache::open(&config));
    opening.await.map_err(|error| Error::unavailable("opening the cache was stopped").because(error))?
}

fn start(threads: usize, name: &str) -> Result<Runtime, Error> {
    let runtime = Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build();
    runtime.map_err(|error| Error::unavailable("the client's threads could not be started").because(error))
}

/// Names the store, and no credentials.
impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder").field("store", &self.store.to_string()).finish_non_exhaustive()
    }
}
