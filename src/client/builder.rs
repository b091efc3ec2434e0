//! Opening a client.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::error::Error;
use crate::machine::{Context, Life};
use crate::store::{Consensus, Directory, ObjectLog};

use super::{Client, InflightPool, Shared};

/// Collects what a [`Client`] is made of.
#[derive(Debug)]
pub struct ClientBuilder {
    store: Arc<dyn ObjectStore>,
    consensus: Option<Arc<dyn Consensus>>,
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
    ///
    /// `Invalid` for a URL of another kind or a directory that holds something else, before anything is written;
    /// `Unavailable` where the directory cannot be used. Cancelling leaves nothing, or an empty directory.
    pub async fn open(url: &str) -> Result<Client, Error> {
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        match scheme {
            "memory" => Self::builder(Arc::new(InMemory::new())).open().await,
            "file" => Self::open_directory(directory_of(url, rest)?).await,
            _ => Err(Error::invalid(format!("{scheme:?} is no store this client knows: use memory: or file:///…"))),
        }
    }

    async fn open_directory(path: String) -> Result<Client, Error> {
        let directory = Directory::open(Path::new(&path))?;
        let root = directory.root().to_owned();
        let store: Arc<dyn ObjectStore> = Arc::new(directory);
        let log = ObjectLog::new(Arc::clone(&store)).watching_directory(root);
        Self::builder(store).consensus(Arc::new(log)).open().await
    }

    /// A client on any object store. Its log lies in the store too, unless [`ClientBuilder::consensus`] says otherwise.
    pub fn builder(store: Arc<dyn ObjectStore>) -> ClientBuilder {
        ClientBuilder {
            store,
            consensus: None,
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

    /// Opens the client. `Unavailable` if no threads could be started. No I/O on the store.
    pub async fn open(self) -> Result<Client, Error> {
        let mut runtimes = Vec::new();
        let (runtime, upkeep, pulse) = match self.runtime {
            Some(handle) => (handle.clone(), handle.clone(), handle),
            None => {
                let threads = self.config.runtime_threads.max(1);
                let work = start(threads, "timely-persist")?;
                let upkeep = start(self.config.compaction_threads.max(1), "timely-persist-upkeep")?;
                let pulse = start(1, "timely-persist-pulse")?;
                let handles = (work.handle().clone(), upkeep.handle().clone(), pulse.handle().clone());
                runtimes.extend([work, upkeep, pulse]);
                handles
            }
        };
        let consensus = self.consensus.unwrap_or_else(|| Arc::new(ObjectLog::new(Arc::clone(&self.store))));
        let context = Arc::new(Context {
            consensus,
            store: self.store,
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
        Ok(Client { shared: Arc::new(Shared { context, shards, runtimes, inflight }) })
    }
}

fn start(threads: usize, name: &str) -> Result<Runtime, Error> {
    let runtime = Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_time().build();
    runtime.map_err(|error| Error::unavailable("the client's threads could not be started").because(error))
}

/// The path of a `file:` URL.
fn directory_of(url: &str, rest: &str) -> Result<String, Error> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(Error::invalid(format!("{url:?} names no absolute directory: write file:///path/to/directory")));
    }
    percent_decode(path).ok_or_else(|| Error::invalid(format!("{url:?} has a % that is not followed by two digits")))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}
