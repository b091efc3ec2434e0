//! How a task ends that an operator listens to.

use timely_persist::{Error, ShardId};

use crate::common::foreign::{TYPES, finish};
use crate::common::mailbox::{Closed, Sender};

/// Why a task's work ended early.
pub(crate) enum End {
    Failed(Error),
    /// Nobody listens any more.
    Closed,
}

impl From<Closed> for End {
    fn from(_: Closed) -> Self {
        End::Closed
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        End::Failed(error)
    }
}

/// Works until the end, or until nobody listens any more. If the work fails, or panics, the letter that `failed` makes of the
/// error is the last.
pub(crate) async fn until_closed<M>(
    shard: ShardId,
    mailbox: &Sender<M>,
    work: impl Future<Output = Result<(), End>>,
    failed: impl FnOnce(Error) -> M,
) {
    let work = finish(TYPES, work);
    tokio::select! {
        biased;
        () = mailbox.closed() => {}
        ended = work => {
            let ended = ended.unwrap_or_else(|panic| Err(End::Failed(panic.of_shard(shard))));
            if let Err(End::Failed(error)) = ended {
                let _ = mailbox.send(failed(error.of_shard(shard))).await;
            }
        }
    }
}
