//! Building a batch: rows in, sorted parts out, in bounded memory.
//!
//! Rows collect in columns until they make a run; then threads of the client's runtime sort it, cut it into parts and
//! encode and upload those, `uploads_max` at a time, while the next run collects. One run is on that way at once: then
//! `add` waits.

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use timely::PartialOrder;
use timely::progress::Antichain;
use tokio::task::JoinHandle;

use crate::machine::Machine;
use timely_persist_core::part::{EncodeOptions, PartBuilder};
use timely_persist_core::state::{self, CodecNames, Description, Location, Part, Run, storable};
use timely_persist_io::life::{KeepAlive, guarded, unfinished};
use timely_persist_types::codec::{Data, Diff, Digest, Time};
use timely_persist_types::config::{WriteConfig, piece_bytes};
use timely_persist_types::error::Error;

use super::Batch;
use super::batch::names;

/// The rows for which room is made because an iterator says that it has them. What it says need not be true.
const RESERVED_ROWS_MAX: usize = 1 << 16;

/// Fewer rows are collected in memory of their own: the allocator has that at hand.
const SPARE_ROWS_MIN: usize = 1 << 12;

/// What to say where sorting or encoding, which run code of the rows' types, did not come to an end.
const STOPPED: &str = "writing a batch was stopped";

/// Collects rows into a [`Batch`].
///
/// Dropping it half-way removes what it has uploaded, as far as storage lets it.
pub struct BatchBuilder<K: Data, V: Data, T: Time, D: Diff> {
    machine: Arc<Machine<T>>,
    config: WriteConfig,
    codecs: Arc<CodecNames>,
    lower: Antichain<T>,
    /// The least upper that the rows so far allow: their times, to be checked against the real one at the end.
    latest: Vec<T>,
    rows: PartBuilder<K, V, T, D>,
    /// Of all rows, if it is asked for.
    digest: Option<Digest>,
    /// The bytes of the runs before these rows.
    sealed_bytes: usize,
    /// The run on its way to storage.
    upload: Option<JoinHandle<Result<Run<T>, Error>>>,
    done: Vec<Run<T>>,
    /// Whether code of the rows' types panicked in the middle of adding one.
    broken: bool,
    _client: Option<KeepAlive>,
}

impl<K: Data, V: Data, T: Time, D: Diff> BatchBuilder<K, V, T, D> {
    pub(super) fn new(
        machine: Arc<Machine<T>>,
        config: WriteConfig,
        codecs: Arc<CodecNames>,
        lower: Antichain<T>,
    ) -> Self {
        let (latest, rows) = (Vec::new(), PartBuilder::new());
        let _client = machine.life().keep_alive();
        Self {
            machine,
            config,
            codecs,
            lower,
            latest,
            rows,
            digest: None,
            sealed_bytes: 0,
            upload: None,
            done: Vec::new(),
            broken: false,
            _client,
        }
    }

    /// Has the digest of the rows added up, for [`Batch::digest`]: before the first row is added, or the batch has none. It
    /// takes about as long as hashing the rows' bytes does, and no I/O.
    pub fn digested(mut self) -> Self {
        let no_rows_yet = self.latest.is_empty();
        self.digest = no_rows_yet.then(Digest::new);
        self
    }

    /// Adds a row. A zero diff is left out.
    ///
    /// `Invalid` for a time not beyond the batch's lower, for a row larger than `config.write.row_bytes_max`, and for one that
    /// does not read back; then the row is not in the batch and the builder goes on. `Invalid` also if code of the row's
    /// types panics; then the builder is of no use any more, and says so. `Unavailable` where an upload failed. Cancelling
    /// may leave the row out.
    pub async fn add(&mut self, key: &K, value: &V, time: &T, diff: &D) -> Result<(), Error> {
        if self.push(key, value, time, diff)? {
            self.seal().await?;
        }
        Ok(())
    }

    /// The bytes that the rows so far take in memory, with those that are on their way to storage or there. For whoever
    /// begins another batch when this one is large.
    pub fn bytes(&self) -> usize {
        self.sealed_bytes.saturating_add(self.rows.bytes())
    }

    /// Makes room for so many rows, or some of them: more are more than anyone counts on.
    pub(super) fn reserve(&mut self, rows: usize) {
        if rows >= SPARE_ROWS_MIN
            && let Some(spare) = self.machine.spare_rows().take()
        {
            self.rows = spare;
        }
        self.rows.reserve(rows.min(RESERVED_ROWS_MAX));
    }

    /// Adds a row without waiting; whether the rows make a run now. Who does not wait for that run, as [`BatchBuilder::add`]
    /// does, holds the rows in memory until the batch is finished.
    ///
    /// Errors as in [`BatchBuilder::add`], but for `Unavailable`.
    pub fn push(&mut self, key: &K, value: &V, time: &T, diff: &D) -> Result<bool, Error> {
        self.check_whole()?;
        self.broken = true; // unless it returns
        let pushed = guarded(|| {
            let pushed = self.push_row(key, value, time, diff);
            self.broken = false;
            pushed
        });
        pushed.map_err(|error| error.of_shard(self.machine.shard()))
    }

    fn push_row(&mut self, key: &K, value: &V, time: &T, diff: &D) -> Result<bool, Error> {
        if !self.lower.less_equal(time) {
            let message = format!("a row at {time:?} is not beyond the lower {:?} of its batch", self.lower.elements());
            return Err(Error::invalid(message));
        }
        if diff.is_zero() {
            return Ok(false);
        }
        // A row whose size is unknown cannot be encoded: `push` says why.
        let size = K::size(key.as_ref()).unwrap_or(0).saturating_add(V::size(value.as_ref()).unwrap_or(0));
        let most = self.config.row_bytes_max;
        if size > most {
            return Err(Error::invalid(format!("a row of {size} bytes; `config.write.row_bytes_max` is {most}")));
        }
        let before = self.rows.bytes();
        self.rows.push(key.as_ref(), value.as_ref(), time, diff)?;
        if let Some(digest) = &mut self.digest {
            digest.add::<K, V, T, D>(key.as_ref(), value.as_ref(), time, diff);
        }
        self.note_time(time);
        debug_assert!(self.rows.bytes() >= before);
        Ok(self.rows.bytes() >= piece_bytes(self.config.run_bytes_max, self.sealed_bytes))
    }

    fn check_whole(&self) -> Result<(), Error> {
        if !self.broken {
            return Ok(());
        }
        let message = "code of the rows' types panicked while a row was added before: begin the batch again";
        Err(Error::invalid(message).of_shard(self.machine.shard()))
    }

    /// Hands the rows collected so far over to be sorted, encoded and uploaded, once the run before is.
    pub(super) async fn seal(&mut self) -> Result<(), Error> {
        self.await_upload().await?;
        self.begin_upload()?;
        self.rows = self.machine.spare_rows().take().unwrap_or_default();
        Ok(())
    }

    /// The same where no more rows come, unless they are so few that they may stay inline.
    pub(super) async fn seal_rest(&mut self) -> Result<(), Error> {
        if self.rows.rows() == 0 || self.is_small() {
            return Ok(());
        }
        self.await_upload().await?;
        self.begin_upload()
    }

    fn begin_upload(&mut self) -> Result<(), Error> {
        self.machine.life().check().map_err(|error| error.of_shard(self.machine.shard()))?;
        self.sealed_bytes = self.sealed_bytes.saturating_add(self.rows.bytes());
        let rows = std::mem::take(&mut self.rows);
        let (machine, config) = (Arc::clone(&self.machine), self.config);
        // What this thread allocates for the task is small: asked for 1 KiB or more, glibc first puts together all small
        // pieces that the thread has freed, the caller's rows, and that takes as long as sorting does.
        let upload = async move { Box::pin(upload_run(&machine, &config, rows)).await };
        self.upload = Some(self.machine.life().work().spawn(upload));
        Ok(())
    }

    fn is_small(&self) -> bool {
        let only = self.upload.is_none() && self.done.is_empty();
        only && self.rows.bytes() <= self.config.inline_part_bytes_max
    }

    async fn await_upload(&mut self) -> Result<(), Error> {
        let Some(upload) = self.upload.as_mut() else {
            return Ok(());
        };
        let joined = upload.await;
        self.upload = None;
        let run = joined.map_err(|error| unfinished(error, STOPPED).of_shard(self.machine.shard()))??;
        self.done.extend((!run.is_empty()).then_some(run));
        Ok(())
    }

    /// The batch `[lower, upper)` of all rows.
    ///
    /// `Invalid` if a row is at a time beyond `upper`, or `upper` is not beyond the lower, or the diffs of a row add up
    /// beyond what their type holds, or code of the rows' types panicked; `Unavailable` where an upload failed. In both cases, and when cancelled, what was uploaded is removed.
    pub async fn finish(mut self, upper: Antichain<T>) -> Result<Batch<T>, Error> {
        self.check_whole()?;
        self.check_upper(&upper)?;
        let machine = Arc::clone(&self.machine);
        machine.life().within(self.collect()).await?;
        let runs = std::mem::take(&mut self.done);
        let (codecs, lower) = (Arc::clone(&self.codecs), self.lower.clone());
        let digest = self.digest.as_ref().and_then(Digest::sum);
        let staged = state::Batch { desc: Description::new(lower, upper), runs, digest };
        Ok(Batch::new(&machine, machine.shard(), codecs, staged))
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

    /// Waits for what is under way and encodes the rest, inline where it is small.
    async fn collect(&mut self) -> Result<(), Error> {
        let inline_bytes_max = self.config.inline_part_bytes_max;
        if self.is_small() {
            // A small batch: no thread, no upload, no wait.
            let (rows, options) = (std::mem::take(&mut self.rows), EncodeOptions::of(&self.config));
            let encode = || {
                let sorted = rows.sort()?;
                Ok((sorted.encode_small(&options)?, sorted))
            };
            let (small, sorted) = guarded(encode).map_err(|error| error.of_shard(self.machine.shard()))?;
            let Some(small) = small else {
                return Ok(());
            };
            if small.bytes.len() <= inline_bytes_max {
                self.done.push(vec![Part { location: Location::Inline(small.bytes), meta: small.meta }]);
            } else if let Some(encoded) = guarded(|| sorted.encode(0..sorted.rows(), &options))? {
                // With what Arrow adds it is too large: an object, and so a file.
                let name = self.machine.part_name();
                self.machine.blobs().write(self.machine.shard(), &name, encoded.bytes).await?;
                self.done.push(vec![Part { location: Location::Blob(name), meta: encoded.meta }]);
            }
            return Ok(());
        }
        self.seal_rest().await?;
        self.await_upload().await
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
        machine.blobs().delete_later(machine.shard(), names(self.done.iter().flatten()));
        if let Some(upload) = self.upload.take() {
            self.machine.life().note(async move {
                if let Ok(Ok(run)) = upload.await {
                    machine.blobs().delete_later(machine.shard(), names(&run));
                }
            });
        }
    }
}

/// Sorts rows and puts them into storage, in parts. After an error it removes what it wrote, as a drop does.
async fn upload_run<K: Data, V: Data, T: Time, D: Diff>(
    machine: &Arc<Machine<T>>,
    config: &WriteConfig,
    rows: PartBuilder<K, V, T, D>,
) -> Result<Run<T>, Error> {
    let shard = machine.shard();
    let (part_bytes_max, part_bytes_min) = (config.part_bytes_max, config.part_bytes_min);
    let uploads_max = config.uploads_max.max(1);
    let may_keep = rows.bytes() <= config.spare_rows_bytes_max;
    let sort = move || {
        let sorted = rows.sort().map_err(|error| error.of_shard(shard))?;
        let ranges = sorted.cut(part_bytes_max, part_bytes_min, uploads_max);
        Ok((Arc::new(sorted), ranges))
    };
    let (sorted, ranges) = machine.life().block(STOPPED, sort).await.map_err(|error| error.of_shard(shard))??;
    let upload = |range| {
        let sorted = Arc::clone(&sorted);
        let options = EncodeOptions::of(config);
        let encoding = machine.life().block(STOPPED, move || sorted.encode(range, &options));
        async move {
            let Some(encoded) = encoding.await.map_err(|error| error.of_shard(shard))?? else {
                return Ok(None);
            };
            let name = machine.part_name();
            machine.blobs().write(shard, &name, encoded.bytes).await?;
            Ok(Some(Part { location: Location::Blob(name), meta: encoded.meta }))
        }
    };
    let uploads = stream::iter(ranges).map(upload).buffered(uploads_max);
    let uploads: Vec<Result<Option<Part<T>>, Error>> = uploads.collect().await;
    if let Some(sorted) = Arc::into_inner(sorted).filter(|_| may_keep) {
        machine.spare_rows().keep(sorted.into_empty());
    }
    let mut run = Run::new();
    let mut failed = None;
    for uploaded in uploads {
        match uploaded {
            Ok(part) => run.extend(part),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let Some(error) = failed else {
        return Ok(run);
    };
    machine.blobs().delete_later(shard, names(&run));
    Err(error)
}
