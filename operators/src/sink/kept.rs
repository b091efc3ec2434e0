//! Spilled batches, until they are asked for: they can be appended then, however long that takes.
//!
//! What no commit refers to is swept when it is old (`config.limits.orphan_age_min`), and these rows are nowhere else. A time
//! may take longer than that to be complete, and an input may stand still. So each batch has a task, which renews it whenever
//! that may be due and gives it up when it is asked for; the operator and its protocol know no clock.

use timely_persist::{Batch, Error, ErrorKind, Time};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A batch that is kept. Dropping it removes the batch.
pub(crate) struct Kept<T: Time> {
    /// Dropping this asks for the batch.
    unasked: Option<oneshot::Sender<()>>,
    batch: JoinHandle<Result<Batch<T>, Error>>,
}

impl<T: Time> Kept<T> {
    /// Keeps what `keep` gives once it is asked to: when what it is given ends.
    pub(crate) fn new<R>(runtime: &Handle, keep: impl FnOnce(oneshot::Receiver<()>) -> R) -> Self
    where
        R: Future<Output = Result<Batch<T>, Error>> + Send + 'static,
    {
        let (unasked, asked) = oneshot::channel();
        Self { unasked: Some(unasked), batch: runtime.spawn(keep(asked)) }
    }

    /// The batch, once what is under way for it is done.
    pub(crate) async fn into_batch(mut self) -> Result<Batch<T>, Error> {
        self.unasked = None;
        let ended = |_| Error::new(ErrorKind::Closed, "the client was shut down under what a sink has spilled");
        (&mut self.batch).await.map_err(ended)?
    }
}

impl<T: Time> Drop for Kept<T> {
    fn drop(&mut self) {
        self.batch.abort(); // unless it was given up
    }
}
