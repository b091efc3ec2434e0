//! Building a batch: rows in, sorted parts out, in bounded memory.
//!
//! Rows collect in columns until they make a run; then threads of the client's runtime sort it, cut it into parts and
//! encode and upload those, `uploads_max` at a time, while the next run collects (`upload.rs`). One run is on that way at
//! once: then `add` waits, and `try_add` says so. What storage does not take stays here, to be offered again.

use std::sync::Arc;

use futures::FutureExt;
use timely::PartialOrder;
use timely::progress::Antichain;
use tokio::task::{JoinError, JoinHandle};

use crate::machine::Machine;
use timely_persist_core::part::PartBuilder;
use timely_persist_core::state::{self, Description, Run, StagedTypes, storable};
use timely_persist_io::life::{KeepAlive, guarded, unfinished};
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::config::{WriteConfig, piece_bytes};
use timely_persist_types::error::Error;

use super::batch::names;
use super::upload::{STOPPED, Stored, Unsent, Uploaded, sort, upload};
use super::{Batch, renewal};

/// The rows for which room is made because an iterator says that it has them. What it says need not be true.
const RESERVED_ROWS_MAX: usize = 1 << 16;

/// Fewer rows are collected in memory of their own: the allocator has that at hand.
const SPARE_ROWS_MIN: usize = 1 << 12;

/// So many bytes of rows are sorted and encoded by whoever finishes the batch, in a fraction of a millisecond. More take a
/// thread, though the part may stay inline: whoever waits may have other things to do.
const SORTED_HERE_BYTES_MAX: usize = 64 << 10;

/// Why a builder is of no use any more.
#[derive(Clone, Copy)]
enum Broken {
    /// Code of the rows' types did, in the middle of adding one.
    Panicked,
    /// Rows cannot be encoded, or the client was shut down under them.
    Lost,
}

/// Collects rows into a [`Batch`].
///
/// Who may wait, adds with [`add`](Self::add) or [`add_rows`](Self::add_rows). Who must not, an operator for one, adds with
/// [`try_add`](Self::try_add), and where that has no room moves the builder into a task, which waits for
/// [`ready`](Self::ready) and gives it back. Whoever builds for hours lets [`renew`](Self::renew) come to its turn now and then.
///
/// Memory: the rows collected, `config.write.run_bytes_max` at most, as many that are sorted meanwhile, and those once more as
/// they are encoded; with what columns have in reserve that is three to five times that limit. Sorting
/// and encoding take a thread of the client's, never the one that adds or waits, but for at most 64 KiB of rows.
///
/// `Unavailable` leaves the builder as good as it was: what was not stored is kept, and the same call goes on. After any other
/// error but one about a single row, it says that it is of no use any more, and nothing comes of it. Dropping it half-way
/// removes what it has uploaded, as far as storage lets it.
///
/// ```
/// use timely::progress::Antichain;
/// use timely_persist::{Client, ShardId};
///
/// # async fn example() -> Result<(), timely_persist::Error> {
/// let client = Client::open("memory:").await?;
/// let shard = client.shard::<String, u64, u64, i64>(ShardId::new());
/// let mut writer = shard.open_writer("example").await?;
/// let mut builder = writer.batch_builder(Antichain::from_elem(0));
/// let mut rows = (0..1_000).map(|id| ((format!("order {id}"), id), 0, 1));
/// while !builder.try_add(&mut rows)? {
///     // Not here: in a task that has the builder, and gives it back.
///     builder.ready().await?;
/// }
/// let mut batch = builder.finish(Antichain::from_elem(1)).await?;
/// writer.compare_and_append_batch(&mut [&mut batch], Antichain::from_elem(0), Antichain::from_elem(1)).await?;
/// # client.shutdown().await
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
pub struct BatchBuilder<K: Data, V: Data, T: Time, D: Diff> {
    machine: Arc<Machine<T>>,
    config: WriteConfig,
    /// What its rows look like in the shard.
    types: StagedTypes,
    lower: Antichain<T>,
    /// The least upper that the rows so far allow: their times, to be checked against the real one at the end.
    latest: Vec<T>,
    rows: PartBuilder<K, V, T, D>,
    /// Of the rows that are in storage, if it is asked for and there is one.
    digest: Option<u64>,
    /// The bytes of the runs before these rows.
    sealed_bytes: usize,
    /// The run on its way to storage.
    upload: Option<JoinHandle<Uploaded<K, V, T, D>>>,
    /// What is left of a run that storage did not take.
    unsent: Option<Unsent<K, V, T, D>>,
    done: Vec<Run<T>>,
    /// Why it is of no use any more, if so.
    broken: Option<Broken>,
    _client: Option<KeepAlive>,
}

impl<K: Data, V: Data, T: Time, D: Diff> BatchBuilder<K, V, T, D> {
    pub(super) fn new(machine: Arc<Machine<T>>, config: WriteConfig, types: StagedTypes, lower: Antichain<T>) -> Self {
        let (latest, rows) = (Vec::new(), PartBuilder::new());
        let _client = machine.life().keep_alive();
        Self {
            machine,
            config,
            types,
            lower,
            latest,
            rows,
            digest: None,
            sealed_bytes: 0,
            upload: None,
            unsent: None,
            done: Vec::new(),
            broken: None,
            _client,
        }
    }

    /// Has the digest of the rows added up, for [`Batch::digest`]: before the first row is added, or the batch has none. It
    /// takes about as long as hashing the rows' bytes does, on the thread that sorts them, and no I/O.
    pub fn digested(mut self) -> Self {
        let no_rows_yet = self.latest.is_empty();
        self.digest = no_rows_yet.then_some(0);
        self
    }

    /// Adds a row, once there is room for it. A zero diff is left out.
    ///
    /// `Invalid` for a time not beyond the batch's lower, for a row larger than `config.write.row_bytes_max`, and for one that
    /// does not read back; then the row is not in the batch and the builder goes on. `Invalid` also if code of the row's
    /// types panics; then the builder is of no use any more, and says so. `Unavailable` where an upload failed: then the row
    /// is not in the batch. Cancelling leaves the row out.
    pub async fn add(&mut self, key: &K, value: &V, time: &T, diff: &D) -> Result<(), Error> {
        if self.is_full() {
            self.ready().await?;
        }
        self.push(key, value, time, diff).map(drop)
    }

    /// Adds rows, and waits for room as often as it takes.
    ///
    /// Errors as of [`add`](Self::add): the rows before the one that it is about are in the batch, the others are not. So it
    /// is for whoever gives up the batch then, or when it is cancelled. To go on, keep the rows and use
    /// [`try_add`](Self::try_add).
    pub async fn add_rows(&mut self, rows: impl IntoIterator<Item = ((K, V), T, D)>) -> Result<(), Error> {
        let mut rows = rows.into_iter();
        while !self.try_add(&mut rows)? {
            self.ready().await?;
        }
        Ok(())
    }

    /// The bytes that the rows so far take in memory, with those that are on their way to storage or there. For whoever
    /// begins another batch when this one is large.
    pub fn bytes(&self) -> usize {
        self.sealed_bytes.saturating_add(self.rows.bytes())
    }

    /// Adds rows for as long as there is room, without waiting. `true` if all were taken; `false` if the rest stays in the
    /// iterator: to be offered again after [`ready`](Self::ready).
    ///
    /// It copies rows into columns, and where they make a run hands that to other threads. No I/O, no sorting.
    ///
    /// Errors as of [`add`](Self::add), and of an upload that failed meanwhile. `Invalid` is about the last row that was taken
    /// from the iterator, which is not in the batch; after `Unavailable` each row that was taken is.
    pub fn try_add(&mut self, rows: &mut impl Iterator<Item = ((K, V), T, D)>) -> Result<bool, Error> {
        loop {
            self.check_whole()?;
            if self.is_full() && !self.begin_if_idle()? {
                return Ok(false);
            }
            if self.whole(|builder| builder.take_rows(rows))? {
                return Ok(true);
            }
        }
    }

    /// Waits until there is room for rows, and on the way renews what is due (see [`renew`](Self::renew)).
    ///
    /// `Unavailable` where an upload failed: nothing is lost, and the same call tries again. Cancelling leaves the builder as
    /// it was.
    pub async fn ready(&mut self) -> Result<(), Error> {
        self.check_whole()?;
        self.renew().await?;
        if self.is_full() { self.seal().await } else { self.resend().await }
    }

    /// Waits until all rows so far are in storage; so few that they are to stay inline are encoded. Then
    /// [`finish`](Self::finish) has nothing to wait for.
    ///
    /// Errors and cancelling as of [`ready`](Self::ready): for whoever cannot make the rows again, and so must not lose them
    /// with a `finish` that fails.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.check_whole()?;
        self.renew().await?;
        self.await_upload().await?;
        if self.rows.rows() > 0 {
            self.begin_rest()?;
            self.await_upload().await?;
        }
        Ok(())
    }

    /// Gives the staged objects that have grown old fresh names, as [`Batch::renew`] does. [`ready`](Self::ready),
    /// [`flush`](Self::flush), [`finish`](Self::finish) and an `add` that waits do this by themselves; whoever holds a builder
    /// for `config.limits.orphan_age_min / 8` without any of these calls it. No I/O where nothing is due.
    pub async fn renew(&mut self) -> Result<(), Error> {
        if !renewal::is_due(&self.machine, &self.done) {
            return Ok(());
        }
        let machine = Arc::clone(&self.machine);
        machine.life().within(renewal::renew(&machine, &mut self.done, false)).await
    }

    /// Makes room for so many more rows, or some of them: for whoever knows that they come. Growing while they come costs as
    /// much time as adding them.
    pub fn reserve(&mut self, rows: usize) {
        if self.rows.rows() == 0
            && rows >= SPARE_ROWS_MIN
            && let Some(spare) = self.machine.spare_rows().take()
        {
            self.rows = spare;
        }
        self.rows.reserve(rows.min(RESERVED_ROWS_MAX));
    }

    /// Adds rows without waiting, all of them: who does not wait for the runs that they make, as [`add_rows`](Self::add_rows)
    /// does, holds them in memory until the batch is finished.
    ///
    /// Errors as in [`add_rows`](Self::add_rows), but for `Unavailable`.
    pub fn push_rows(&mut self, rows: impl IntoIterator<Item = ((K, V), T, D)>) -> Result<(), Error> {
        self.whole(|builder| {
            rows.into_iter().try_for_each(|((key, value), time, diff)| builder.push_row(&key, &value, &time, &diff))
        })
    }

    /// Adds a row without waiting; whether the rows make a run now.
    pub(super) fn push(&mut self, key: &K, value: &V, time: &T, diff: &D) -> Result<bool, Error> {
        self.whole(|builder| builder.push_row(key, value, time, diff))?;
        Ok(self.is_full())
    }

    /// Runs what calls code of the rows' types, after whose panic the builder is of no use any more.
    fn whole<R>(&mut self, add: impl FnOnce(&mut Self) -> Result<R, Error>) -> Result<R, Error> {
        self.check_whole()?;
        self.broken = Some(Broken::Panicked); // unless it returns
        let added = guarded(|| {
            let added = add(self);
            self.broken = None;
            added
        });
        added.map_err(|error| error.of_shard(self.machine.shard()))
    }

    /// Takes rows until there are none, or those collected make a run; whether there are none.
    fn take_rows(&mut self, rows: &mut impl Iterator<Item = ((K, V), T, D)>) -> Result<bool, Error> {
        while !self.is_full() {
            let Some(((key, value), time, diff)) = rows.next() else {
                return Ok(true);
            };
            self.push_row(&key, &value, &time, &diff)?;
        }
        Ok(false)
    }

    fn push_row(&mut self, key: &K, value: &V, time: &T, diff: &D) -> Result<(), Error> {
        if !self.lower.less_equal(time) {
            let message = format!("a row at {time:?} is not beyond the lower {:?} of its batch", self.lower.elements());
            return Err(Error::invalid(message));
        }
        if diff.is_zero() {
            return Ok(());
        }
        // A row whose size is unknown cannot be encoded: `push` says why.
        let size = K::size(key.as_ref()).unwrap_or(0).saturating_add(V::size(value.as_ref()).unwrap_or(0));
        let most = self.config.row_bytes_max;
        if size > most {
            return Err(Error::invalid(format!("a row of {size} bytes; `config.write.row_bytes_max` is {most}")));
        }
        self.rows.push(key.as_ref(), value.as_ref(), time, diff)?;
        self.note_time(time);
        Ok(())
    }

    /// Whether the rows collected make a run.
    fn is_full(&self) -> bool {
        self.rows.bytes() >= piece_bytes(self.config.run_bytes_max, self.sealed_bytes)
    }

    fn check_whole(&self) -> Result<(), Error> {
        let Some(broken) = self.broken else {
            return Ok(());
        };
        let message = match broken {
            Broken::Panicked => "code of the rows' types panicked while a row was added before: begin the batch again",
            Broken::Lost => "rows of this batch could not be stored before: begin the batch again",
        };
        Err(Error::invalid(message).of_shard(self.machine.shard()))
    }

    /// Hands the rows collected so far over to be sorted, encoded and uploaded, once the run before is.
    pub(super) async fn seal(&mut self) -> Result<(), Error> {
        self.renew().await?;
        self.await_upload().await?;
        self.begin_run()
    }

    /// The same where no more rows come, unless they are so few that they may stay inline.
    pub(super) async fn seal_rest(&mut self) -> Result<(), Error> {
        if self.rows.rows() == 0 || self.is_small() {
            return Ok(());
        }
        self.await_upload().await?;
        self.begin_upload()
    }

    /// The same where nobody may wait: whether that was possible.
    fn begin_if_idle(&mut self) -> Result<bool, Error> {
        if self.unsent.is_some() || renewal::is_due(&self.machine, &self.done) {
            return Ok(false); // for whoever waits
        }
        if let Some(upload) = &mut self.upload {
            let Some(joined) = upload.now_or_never() else { return Ok(false) };
            self.take_upload(joined)?;
        }
        self.begin_run()?;
        Ok(true)
    }

    /// Sends the rows so far on their way, and makes room for the next.
    fn begin_run(&mut self) -> Result<(), Error> {
        self.begin_upload()?;
        self.rows = self.machine.spare_rows().take().unwrap_or_default();
        Ok(())
    }

    fn begin_upload(&mut self) -> Result<(), Error> {
        self.check_life()?;
        let rows = self.take_collected();
        self.send(Unsent::Rows(rows));
        Ok(())
    }

    /// Begins with the last rows of the batch, or of those so far.
    fn begin_rest(&mut self) -> Result<(), Error> {
        if !self.is_small() {
            return self.begin_upload();
        }
        self.check_life()?;
        let here = self.rows.bytes() <= SORTED_HERE_BYTES_MAX;
        let rows = Unsent::All(self.take_collected());
        if !here {
            self.send(rows);
            return Ok(());
        }
        // A small batch: no thread, no upload, no wait.
        match guarded(|| sort(rows, &self.config, self.digest.is_some())) {
            Ok(Ok(inline)) => self.keep(inline),
            Ok(Err(sorted)) => self.send(Unsent::Sorted(sorted)),
            Err(error) => {
                self.broken = Some(Broken::Lost);
                return Err(error.of_shard(self.machine.shard()));
            }
        }
        Ok(())
    }

    fn take_collected(&mut self) -> PartBuilder<K, V, T, D> {
        self.sealed_bytes = self.sealed_bytes.saturating_add(self.rows.bytes());
        std::mem::take(&mut self.rows)
    }

    fn check_life(&self) -> Result<(), Error> {
        self.machine.life().check().map_err(|error| error.of_shard(self.machine.shard()))
    }

    fn send(&mut self, unsent: Unsent<K, V, T, D>) {
        let (machine, config, digested) = (Arc::clone(&self.machine), self.config, self.digest.is_some());
        // What this thread allocates for the task is small: asked for 1 KiB or more, glibc first puts together all small
        // pieces that the thread has freed, the caller's rows, and that takes as long as sorting does.
        let upload = async move { Box::pin(upload(&machine, &config, digested, unsent)).await };
        self.upload = Some(self.machine.life().work().spawn(upload));
    }

    fn is_small(&self) -> bool {
        let only = self.upload.is_none() && self.unsent.is_none() && self.done.is_empty();
        only && self.rows.bytes() <= self.config.inline_part_bytes_max
    }

    /// Tries again with what storage did not take, if there is any.
    async fn resend(&mut self) -> Result<(), Error> {
        if self.unsent.is_some() { self.await_upload().await } else { Ok(()) }
    }

    async fn await_upload(&mut self) -> Result<(), Error> {
        if self.unsent.is_some() {
            self.check_life()?;
        }
        if let Some(unsent) = self.unsent.take() {
            self.send(unsent);
        }
        let Some(upload) = self.upload.as_mut() else {
            return Ok(());
        };
        let joined = upload.await;
        self.take_upload(joined)
    }

    /// Takes what an upload came to.
    fn take_upload(&mut self, joined: Result<Uploaded<K, V, T, D>, JoinError>) -> Result<(), Error> {
        self.upload = None;
        let failed = match joined {
            Ok(Ok(stored)) => {
                self.keep(stored);
                return Ok(());
            }
            Ok(Err(failed)) => *failed,
            Err(error) => unfinished(error, STOPPED).of_shard(self.machine.shard()).into(),
        };
        self.unsent = failed.unsent;
        if self.unsent.is_none() {
            self.broken = Some(Broken::Lost);
        }
        Err(failed.error)
    }

    /// Keeps what has come into storage.
    fn keep(&mut self, Stored { mut run, digest }: Stored<T>) {
        run.iter_mut().for_each(|part| part.meta.schema = self.types.id);
        self.digest = self.digest.zip(digest).map(|(sum, digest)| sum.wrapping_add(digest));
        self.done.extend((!run.is_empty()).then_some(run));
    }

    /// The batch `[lower, upper)` of all rows.
    ///
    /// `Invalid` if a row is at a time beyond `upper`, or `upper` is not beyond the lower, or the diffs of a row add up
    /// beyond what their type holds, or code of the rows' types panicked; `Unavailable` where an upload failed. In both
    /// cases, and when cancelled, what was uploaded is removed: see [`flush`](Self::flush).
    pub async fn finish(mut self, upper: Antichain<T>) -> Result<Batch<T>, Error> {
        self.check_whole()?;
        self.check_upper(&upper)?;
        let machine = Arc::clone(&self.machine);
        machine.life().within(self.flush()).await?;
        let runs = std::mem::take(&mut self.done);
        let (types, lower) = (self.types.clone(), self.lower.clone());
        let staged = state::Batch { desc: Description::new(lower, upper), runs, digest: self.digest };
        Ok(Batch::new(&machine, machine.shard(), types, staged))
    }

    fn check_upper(&self, upper: &Antichain<T>) -> Result<(), Error> {
        [&self.lower, upper].into_iter().try_for_each(|frontier| storable(frontier, self.machine.shard()))?;
        if !PartialOrder::less_equal(&self.lower, upper) {
            let (lower, upper) = (self.lower.elements(), upper.elements());
            let message = format!("the upper {upper:?} of a batch is not beyond its lower {lower:?}");
            return Err(Error::invalid(message).of_shard(self.machine.shard()));
        }
        match self.latest.iter().find(|time| upper.less_equal(time)) {
            None => Ok(()),
            Some(time) => {
                let message = format!("a row at {time:?} is beyond the upper {:?} of its batch", upper.elements());
                Err(Error::invalid(message).of_shard(self.machine.shard()))
            }
        }
    }

    /// Remembers the maximal times.
    fn note_time(&mut self, time: &T) {
        if self.latest.iter().any(|known| time.less_equal(known)) {
            return;
        }
        self.latest.retain(|known| !known.less_equal(time));
        self.latest.push(time.clone());
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> std::fmt::Debug for BatchBuilder<K, V, T, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BatchBuilder from {:?}, {:?}", self.lower.elements(), self.rows)
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> Drop for BatchBuilder<K, V, T, D> {
    fn drop(&mut self) {
        let machine = Arc::clone(&self.machine);
        let unsent = self.unsent.iter().flat_map(Unsent::names);
        machine
            .blobs()
            .delete_later(machine.shard(), names(self.done.iter().flatten()).into_iter().chain(unsent).collect());
        if let Some(upload) = self.upload.take() {
            self.machine.life().note(async move {
                let names = match upload.await {
                    Ok(Ok(stored)) => names(&stored.run),
                    Ok(Err(failed)) => failed.unsent.iter().flat_map(Unsent::names).collect(),
                    Err(_stopped) => Vec::new(), // a sweep finds it
                };
                machine.blobs().delete_later(machine.shard(), names);
            });
        }
    }
}
