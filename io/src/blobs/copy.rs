//! Copying an object within the store, without its bytes coming here.

use object_store::ObjectStoreExt;

use crate::store::keys;
use timely_persist_types::error::Error;
use timely_persist_types::ids::ShardId;
use timely_persist_types::record::{ObjectKind, Stored};

use super::Blobs;
use super::request::Tried;

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// The store says that it is there. Some say so before it is: look.
    Done,
    /// There is no such object.
    Missing,
    /// The store does not copy, or not for this client, which may read and write all the same.
    Unsupported,
}

impl Blobs {
    /// Copies an object to a name that nobody has used.
    ///
    /// Cancelling, and an error, leave the copy there or not: the leak sweep finds it.
    pub async fn copy(&self, shard: ShardId, from: &str, to: &str) -> Result<Copied, Error> {
        let (source, target) = (keys::blob(shard, from), keys::blob(shard, to));
        let asked = self.persist(|| self.store.copy(&source, &target)).await;
        self.life.tell(|to_whom| {
            let (object, outcome) = (ObjectKind::of(to), asked.outcome());
            to_whom.stored(shard, &Stored { object, outcome, bytes: 0, tries: asked.tries, elapsed: asked.elapsed });
        });
        match asked.answer {
            Ok(()) => Ok(Copied::Done),
            Err(Tried::Failed(object_store::Error::NotFound { .. })) => Ok(Copied::Missing),
            Err(Tried::Failed(
                object_store::Error::NotSupported { .. }
                | object_store::Error::NotImplemented { .. }
                | object_store::Error::PermissionDenied { .. },
            )) => Ok(Copied::Unsupported),
            Err(tried) => Err(tried.into_error("could not be copied", shard, &source)),
        }
    }
}
