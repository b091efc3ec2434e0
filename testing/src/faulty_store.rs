//! An object store in which things go wrong as [`Faults`] say: for tests of what is built upon stores.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, Result};

use crate::faults::{Fault, Faults, Operation};
use crate::hooked_store::{HookedStore, StoreAnswer, StoreHook, StoreRequest};

/// A store with faults. Operations that a gate holds run in tasks of the current tokio runtime; they end with it, or
/// when the gate opens. Of a listing that fails after its effect, the last item is an error.
pub type FaultyStore = HookedStore<StoreFaults>;

#[derive(Clone, Debug)]
pub struct StoreFaults(Faults);

impl FaultyStore {
    /// `store` with these faults.
    pub fn new(store: Arc<dyn ObjectStore>, faults: Faults) -> Self {
        Self::with_hook(store, StoreFaults(faults))
    }
}

#[async_trait]
impl StoreHook for StoreFaults {
    fn name(&self) -> &'static str {
        "FaultyStore"
    }

    async fn ask(&self, store: &Arc<dyn ObjectStore>, request: StoreRequest) -> Result<StoreAnswer> {
        let (operation, at) = match request {
            StoreRequest::Put(ref at, _, ref options) if options.mode == PutMode::Create => {
                (Operation::Create, at.clone())
            }
            StoreRequest::Put(ref at, ..) | StoreRequest::Upload(ref at, _) => (Operation::Put, at.clone()),
            StoreRequest::Get(ref at, _) | StoreRequest::GetRanges(ref at, _) => (Operation::Get, at.clone()),
            StoreRequest::List(ref prefix, _) | StoreRequest::ListFolder(ref prefix) => {
                (Operation::List, prefix.clone().unwrap_or_default())
            }
            StoreRequest::Copy(_, ref to, _) | StoreRequest::Rename(_, ref to, _) => (Operation::Copy, to.clone()),
            // One by one, so that the faults of each deletion are its own.
            StoreRequest::Delete(locations) => {
                let (faults, store) = (self.clone(), Arc::clone(store));
                let deleted = locations.and_then(move |at| faults.clone().delete(Arc::clone(&store), at));
                return Ok(StoreAnswer::Deleted(deleted.boxed()));
            }
        };
        let store = Arc::clone(store);
        match self.0.befall(operation, at.as_ref()) {
            None => request.send(&store).await,
            Some(Fault::ClaimExists) if operation == Operation::Create => {
                Err(Error::AlreadyExists { path: at.to_string(), source: "injected, and not true".into() })
            }
            Some(Fault::FailAfter) => match request.send(&store).await? {
                StoreAnswer::Listing(objects) => {
                    let failure = stream::once(async { Err(injected("after its effect")) });
                    Ok(StoreAnswer::Listing(objects.chain(failure).boxed()))
                }
                _ => Err(injected("after its effect")),
            },
            Some(fault) => fault.befall(async move { Ok(request.send(&store).await?.settled().await) }, injected).await,
        }
    }
}

impl StoreFaults {
    async fn delete(self, store: Arc<dyn ObjectStore>, at: Path) -> Result<Path> {
        let fault = self.0.befall(Operation::Delete, at.as_ref());
        let effect = async move { store.delete(&at).await.map(|()| at) };
        match fault {
            None => effect.await,
            Some(fault) => fault.befall(effect, injected).await,
        }
    }
}

fn injected(when: &str) -> Error {
    Error::Generic { store: "FaultyStore", source: format!("injected failure {when}").into() }
}
