//! Opening a client.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use object_store::ObjectStore;
use tokio::runtime::Handle;

use crate::machine::{Context, Log, Spare, SpareBytes};
use timely_persist_io::blobs::{Agreement, Blobs};
use timely_persist_io::life::{Life, Task, start_threads};
use timely_persist_io::store::{Consensus, HedgingStore, ObjectCache, ObjectLog, qualify};
use timely_persist_types::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use timely_persist_types::config::{CacheConfig, Config, ReadConfig};
use timely_persist_types::error::Error;
use timely_persist_types::record::Recorder;

use super::url::{self, LogPlace, Place};
use super::{Client, InflightPool, Shared};

/// Collects what a [`Client`] is made of.
pub struct ClientBuilder {
    store: Storage,
    options: Vec<(String, String)>,
    consensus: Option<Arc<dyn Consensus>>,
    database: Option<String>,
    config: Config,
    agreement: Agreement,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    runtime: Option<Handle>,
    recorder: Option<Arc<dyn Recorder>>,
}

/// Where objects are to be kept.
enum Storage {
    /// In this store.
    Given(Arc<dyn ObjectStore>),
    /// In the one that this URL names.
    Named(String),
    /// In the local directory at this path.
    Directory(PathBuf),
}

impl Client {
    /// Opens the store at `url` with the default limits.
    ///
    /// * `memory:`: this process's memory, gone with the client.
    /// * `file:///data/app`: a local directory, made if it is missing. Several processes of one machine may share it.
    /// * `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`: a bucket, with credentials, region and
    ///   endpoint from the environment as `object_store` reads it (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, …). At first
    ///   use it is tried out whether it keeps the promises that a log needs; the verdict is kept there.
    ///
    /// With `?consensus=postgres://user:password@host/database` behind any of them the logs are kept in PostgreSQL. A
    /// `&`, `#` or `%` in that parameter is written `%26`, `%23`, `%25`.
    ///
    /// What would be left out of a URL, or mean something else, is `Invalid`: control characters, spaces around it, a `%`
    /// or `\\` in a `file:` URL that is no escape. [`Client::in_directory`] takes a path as it is.
    ///
    /// `Invalid` for a URL of another kind, a directory that holds something else, a bucket that is missing or that the
    /// credentials do not open, before anything is written, and for a store that keeps other limits than the default ones
    /// ([`ClientBuilder::config`]); `Newer` for what a later version of this library made; `UnsafeStore` for a bucket that
    /// lets two writers win; `Unavailable` where the store does not answer. No credentials are in an error. Cancelling
    /// leaves nothing, or an empty directory.
    pub async fn open(url: &str) -> Result<Client, Error> {
        Self::at(url).open().await
    }

    /// A client of the store at `url`, as [`Client::open`] takes it, with other limits, or with options for its bucket.
    /// Nothing is looked at before [`ClientBuilder::open`].
    pub fn at(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(Storage::Named(url.into()))
    }

    /// A client of the local directory at `path`, made if it is missing, as [`Client::open`] takes it in a `file:` URL. The
    /// path is taken as it is: no character in it has a meaning of its own, and it need not be UTF-8.
    ///
    /// ```
    /// # use timely_persist::Client;
    /// # async fn example(path: &std::path::Path) -> Result<(), timely_persist::Error> {
    /// let client = Client::in_directory(path.join("100% of it")).open().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_directory(path: impl Into<PathBuf>) -> ClientBuilder {
        ClientBuilder::new(Storage::Directory(path.into()))
    }

    /// A client on any object store. Its log lies in the store too, unless [`ClientBuilder::consensus`] says otherwise.
    pub fn builder(store: Arc<dyn ObjectStore>) -> ClientBuilder {
        ClientBuilder::new(Storage::Given(store))
    }
}

impl ClientBuilder {
    fn new(store: Storage) -> Self {
        Self {
            store,
            options: Vec::new(),
            consensus: None,
            database: None,
            config: Config::default(),
            agreement: Agreement::default(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            runtime: None,
            recorder: None,
        }
    }

    /// An option of the bucket that the URL names, over what the environment says: the names are those of
    /// `object_store`, such as `aws_endpoint`, `aws_secret_access_key`, `azure_storage_account_key`,
    /// `google_service_account` or `allow_http`.
    ///
    /// [`ClientBuilder::open`] says `Invalid` for one that this kind of store does not have, and never repeats a value
    /// that is secret.
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.push((name.into(), value.into()));
        self
    }

    /// Keeps the shards' logs there.
    pub fn consensus(mut self, consensus: Arc<dyn Consensus>) -> Self {
        self.consensus = Some(consensus);
        self
    }

    /// Keeps the shards' logs in the PostgreSQL database of this connection string
    /// (`postgres://user:password@host:port/database`). The tables are made at first use.
    ///
    /// [`ClientBuilder::open`] then says `Invalid` for a string, credentials or a database that are wrong,
    /// `Unavailable` for a server that does not answer, and never repeats the string.
    pub fn database(mut self, url: impl Into<String>) -> Self {
        self.database = Some(url.into());
        self
    }

    /// With these limits. Those of them that are the store's ([`StoreLimits`](crate::StoreLimits)) must be what the store keeps, unless
    /// one of the next three methods is called too; the first to open a store writes them there.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// With the limits that the store keeps, whatever those of the configuration are ([`StoreLimits`](crate::StoreLimits)); with the
    /// configuration's if it keeps none yet. [`Client::config`] says which they are.
    pub fn adopt_limits(mut self) -> Self {
        self.agreement = Agreement::Adopt;
        self
    }

    /// Changes the limits that the store keeps to those of the configuration ([`StoreLimits`](crate::StoreLimits)), if they differ. Other
    /// processes may be running; who opens the store from now on must have the new limits.
    ///
    /// * A larger `orphan_age_min` counts at once for all: every sweep asks the store first.
    /// * A smaller `orphan_age_min` counts at once for the commits of this client, and of those that open later. Sweeps go
    ///   on by the larger one, because a process that runs since before may still commit what is nearly half as old.
    /// * A larger `writer_retention` counts as soon as the processes have ended that were running before.
    /// * With a smaller `writer_retention` records are kept as long as before.
    ///
    /// To have smaller ones count for what is deleted, too: [`ClientBuilder::change_limits_alone`].
    pub fn change_limits(mut self) -> Self {
        self.agreement = Agreement::Change;
        self
    }

    /// The same, where the caller vouches that no other process has the store open: what was in force before is forgotten.
    ///
    /// If one has it open all the same, and the limits are smaller than its own, what it commits may be deleted.
    pub fn change_limits_alone(mut self) -> Self {
        self.agreement = Agreement::ChangeAlone;
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
    ///
    /// That it has threads for what blocks is then the caller's business: `tokio` panics where the system gives none.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Tells this recorder what the client does, for metrics: see [`Recorder`]. Nobody is told without it, and nothing is
    /// measured.
    pub fn recorder(mut self, recorder: Arc<dyn Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Opens the client, and agrees with the store on its limits: one listing and one get there, and a create the first
    /// time.
    ///
    /// Errors as [`Client::open`] and [`ClientBuilder::database`] have them; `Unavailable` if no threads could be
    /// started; `Invalid` for a cache directory that cannot be used, for a limit that cannot be, before anything is looked
    /// at, and for limits that are not those that the store keeps; `Corrupt` or `Missing` if what it keeps cannot be read.
    pub async fn open(self) -> Result<Client, Error> {
        self.config.check().map_err(Error::invalid)?;
        let (store, named_log, remote) = match self.store {
            Storage::Given(_) | Storage::Directory(_) if !self.options.is_empty() => {
                return Err(Error::invalid("options are for a bucket that is named by a URL"));
            }
            Storage::Directory(path) => {
                let Place { store, log, remote } = url::directory(&path)?;
                (store, Some(log), remote)
            }
            Storage::Given(store) => (store, None, false),
            Storage::Named(url) => {
                let Place { store, log, remote } = url::parse(&url, &self.options, &self.config)?;
                (store, Some(log), remote)
            }
        };
        let (runtimes, threads) = start_threads(self.runtime, &self.config.threads)?;
        let life = Life::new(threads, &self.config.store, Arc::clone(&self.entropy), self.recorder);
        if remote {
            let tried = Arc::clone(&store);
            on(&life, async move { qualify(&*tried).await }).await?;
        }
        let consensus = match (self.database, self.consensus, named_log) {
            (Some(url), _, _) | (None, None, Some(LogPlace::Database(url))) => open_database(&life, url).await?,
            (None, Some(consensus), _) | (None, None, Some(LogPlace::Here(consensus))) => consensus,
            (None, None, None) => Arc::new(ObjectLog::new(Arc::clone(&store))),
        };
        let cache = open_cache(&life, &self.config.cache).await?;
        let blobs = Arc::new(Blobs::new(
            hedged(store, &self.config.read), // behind the log was made: what is in that may change
            cache,
            Arc::clone(&life),
            self.config.store.deadline,
            self.config.read.fetches_max,
        ));
        let (mut config, agreeing, agreement) = (self.config, Arc::clone(&blobs), self.agreement);
        let wanted = config.limits.in_whole_millis();
        config.limits = on(&life, async move { agreeing.agree(wanted, agreement).await }).await?;
        config.check_relations().map_err(Error::invalid)?; // with the store's, if they were adopted
        let context = Arc::new(Context {
            log: Log::new(consensus, Arc::clone(&life), config.log, config.store.deadline),
            blobs,
            life,
            limits: config.limits,
            lease: config.lease,
            upkeep: config.upkeep,
            clock: self.clock,
            entropy: self.entropy,
            spare_rows: Spare::default(),
            spare_parts: SpareBytes::default(),
        });
        let inflight = InflightPool::new(config.read.inflight_bytes_max);
        let (shards, runtimes) = (Mutex::new(HashMap::new()), Mutex::new(runtimes));
        let client = Client { shared: Arc::new(Shared { config, context, shards, runtimes, inflight }) };
        client.context().life.belongs_to(&client.keep_alive());
        Ok(client)
    }
}

/// Does part of the opening on the client's runtime. Dropping it stops the work at its next await.
async fn on<R: Send + 'static>(
    life: &Life,
    work: impl Future<Output = Result<R, Error>> + Send + 'static,
) -> Result<R, Error> {
    Task::start(life.work(), "opening the client was stopped", work).join().await?
}

/// The log in a database. Its tasks run on the client's runtime.
#[cfg(feature = "postgres")]
async fn open_database(life: &Life, url: String) -> Result<Arc<dyn Consensus>, Error> {
    Ok(Arc::new(on(life, async move { timely_persist_io::store::PostgresLog::open(&url).await }).await?))
}

#[cfg(not(feature = "postgres"))]
async fn open_database(_life: &Life, _url: String) -> Result<Arc<dyn Consensus>, Error> {
    Err(Error::invalid("this build has no PostgreSQL: use the feature postgres of this crate"))
}

/// The store, asked a second time for what is slow to come, if that is wanted.
fn hedged(store: Arc<dyn ObjectStore>, config: &ReadConfig) -> Arc<dyn ObjectStore> {
    match config.hedge_delay {
        Some(delay) => Arc::new(HedgingStore::new(store, delay, config.hedge_budget)),
        None => store,
    }
}

/// Opens the cache that the configuration asks for, where blocking for a disk holds nobody up.
async fn open_cache(life: &Life, config: &CacheConfig) -> Result<Option<ObjectCache>, Error> {
    if config.directory.is_none() {
        return ObjectCache::open(config);
    }
    let config = config.clone();
    life.block("opening the cache was stopped", move || ObjectCache::open(&config)).await?
}

/// Names a store that was given, and no URL: that may have credentials in it.
impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut builder = f.debug_struct("ClientBuilder");
        if let Storage::Given(store) = &self.store {
            builder.field("store", &store.to_string());
        }
        builder.finish_non_exhaustive()
    }
}
