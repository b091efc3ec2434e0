//! Spilled batches, until they are asked for: they can be appended then, however long that takes.
//!
//! What no commit refers to is swept when it is old (`config.limits.orphan_age_min`), and these rows are nowhere else. A time
//! may take longer than that to be complete, and an input may stand still. So each batch has a task, which renews it whenever
//! that may be due and gives it up when it is asked for; the operator and its protocol know no clock.

use timely_persist::{Batch, Error, ErrorKind, Time};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::sink::staging::Task;

/// A batch that is kept. Dropping it removes the batch.
pub(crate) struct Kept<T: Time> {
    asked: oneshot::Sender<()>,
    batch: JoinHandle<Result<Batch<T>, Error>>,
    /// Ends what nobody will ask for.
    _task: Task,
}

impl<T: Time> Kept<T> {
    /// Keeps what `keep` gives when it is asked to.
    pub(crate) fn new<R>(runtime: &Handle, keep: impl FnOnce(oneshot::Receiver<()>) -> R) -> Self
    where
        R: Future<Output = Result<Batch<T>, Error>> + Send + 'static,
    {
        let (asked, hears) = oneshot::channel();
        let batch = runtime.spawn(keep(hears));
        let _task = Task::of(&batch);
        Self { asked, batch, _task }
    }

    /// The batch, once what is done for it is done.
    pub(crate) async fn into_batch(self) -> Result<Batch<T>, Error> {
        let _ = self.asked.send(()); // or it has ended, and says why
        let ended = |_| Error::new(ErrorKind::Closed, "the client was shut down under what a sink has spilled");
        self.batch.await.map_err(ended)?
    }
}
