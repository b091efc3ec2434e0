//! An object store as a distributed system sees it: requests take their time, fail before or after they took effect,
//! take effect after their caller has given up; and those of a process that has crashed do nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use object_store::{Error, ObjectStore, ObjectStoreExt, Result};
use timely_persist_testing::{StoreAnswer, StoreHook, StoreRequest};

use crate::random::Random;

/// Whether a process still runs. Its requests have no effect once it does not.
#[derive(Clone, Debug, Default)]
pub struct Crashed(Arc<AtomicBool>);

impl Crashed {
    pub fn crash(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How bad things are for one process: so many of 600 requests fail before their effect, so many after it, and so many
/// take effect late.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub before: usize,
    pub after: usize,
    pub late: usize,
    /// How late, in milliseconds.
    pub late_ms: usize,
}

/// With all three rates at this no request comes through as it should.
pub const OUTAGE: usize = 200;

/// The rates of one process, which change.
#[derive(Clone, Debug, Default)]
pub struct Trouble(Arc<Mutex<Rates>>);

impl Trouble {
    pub fn set(&self, rates: Rates) {
        *self.0.lock().unwrap() = rates;
    }

    fn now(&self) -> Rates {
        *self.0.lock().unwrap()
    }
}

/// One process's way to what it asks.
#[derive(Clone, Debug)]
pub struct Way {
    random: Arc<Mutex<Random>>,
    trouble: Trouble,
    crashed: Crashed,
}

impl Way {
    pub fn new(random: Random, trouble: Trouble, crashed: Crashed) -> Self {
        Self { random: Arc::new(Mutex::new(random)), trouble, crashed }
    }

    fn below(&self, bound: usize) -> usize {
        self.random.lock().unwrap().below(bound.max(1))
    }

    async fn pause(&self, most_ms: usize) {
        tokio::time::sleep(Duration::from_millis(self.below(most_ms) as u64)).await;
    }

    /// Carries out a request, as well as things stand; `failure` is what a caller hears who hears nothing of use.
    pub async fn run<R: Send + 'static, E: Send + 'static>(
        &self,
        effect: impl Future<Output = std::result::Result<R, E>> + Send + 'static,
        failure: impl Fn(&str) -> E,
    ) -> std::result::Result<R, E> {
        self.pause(20).await;
        let lot = self.below(3 * OUTAGE);
        let Rates { before, after, late, late_ms } = self.trouble.now();
        // A process that has crashed asks for nothing more.
        if self.crashed.is() {
            return std::future::pending().await;
        }
        let result = match lot {
            lot if lot < before => return Err(failure("before its effect")),
            lot if lot < before + after => {
                effect.await?;
                return Err(failure("after its effect"));
            }
            lot if lot < before + after + late => {
                // It was sent: it takes effect some time, whoever is left to hear of it.
                let late = Duration::from_millis(self.below(late_ms) as u64);
                let sent = tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    effect.await
                });
                sent.await.unwrap_or_else(|_| Err(failure("that nobody saw")))
            }
            _ => effect.await,
        };
        self.pause(10).await;
        if self.crashed.is() {
            return std::future::pending().await;
        }
        result
    }
}

/// A store at the end of one process's way.
#[async_trait]
impl StoreHook for Way {
    fn name(&self) -> &'static str {
        "SimStore"
    }

    async fn ask(&self, store: &Arc<dyn ObjectStore>, request: StoreRequest) -> Result<StoreAnswer> {
        let (way, store) = (self.clone(), Arc::clone(store));
        match request {
            StoreRequest::Upload(..) | StoreRequest::Copy(..) | StoreRequest::Rename(..) => request.send(&store).await,
            StoreRequest::Delete(locations) => {
                let deleted = locations.and_then(move |at| {
                    let (way, store) = (way.clone(), Arc::clone(&store));
                    async move { way.run(async move { store.delete(&at).await.map(|()| at) }, failure).await }
                });
                Ok(StoreAnswer::Deleted(deleted.boxed()))
            }
            // A listing is as the store was at one moment.
            request => way.run(async move { Ok(request.send(&store).await?.settled().await) }, failure).await,
        }
    }
}

fn failure(when: &str) -> Error {
    Error::Generic { store: "SimStore", source: format!("simulated failure {when}").into() }
}
