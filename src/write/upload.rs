//! A run on its way to storage: sorted, cut into parts, encoded and stored, several parts at a time.
//!
//! Always: sorting and encoding, which keep a processor busy and run code of the rows' types, are on threads for that. What
//! storage does not take is given back, with what it took: nothing but a row that cannot be stored loses rows.

use std::ops::Range;
use std::sync::Arc;

use futures::stream::{self, StreamExt};

use crate::machine::Machine;
use timely_persist_core::part::{EncodeOptions, EncodedPart, PartBuilder, SortedRows};
use timely_persist_core::state::{Location, Part, Run};
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::config::WriteConfig;
use timely_persist_types::error::{Error, ErrorKind};

use super::batch::names;

/// What to say where sorting or encoding, which run code of the rows' types, did not come to an end.
pub(super) const STOPPED: &str = "writing a batch was stopped";

/// Rows that are not in storage yet, or not all.
pub(super) enum Unsent<K: Data, V: Data, T: Time, D: Diff> {
    /// As they came.
    Rows(PartBuilder<K, V, T, D>),
    /// As they came; all of a batch, so that they may stay inline if they are few.
    All(PartBuilder<K, V, T, D>),
    /// Sorted.
    Sorted(Sorted<K, V, T, D>),
}

/// Sorted rows, of which some are in storage.
pub(super) struct Sorted<K: Data, V: Data, T: Time, D: Diff> {
    rows: Arc<SortedRows<K, V, T, D>>,
    /// Whether their memory is for the next rows.
    spare: bool,
    /// The parts that are not, by their place in the run.
    left: Vec<(usize, Range<usize>)>,
    /// The parts that are.
    stored: Vec<(usize, Part<T>)>,
    /// Of all the rows.
    digest: Option<u64>,
}

/// Rows that are in storage, or as good as that: inline.
pub(super) struct Stored<T: Time> {
    pub(super) run: Run<T>,
    /// Of all the rows, if it was asked for.
    pub(super) digest: Option<u64>,
}

/// Why a run is not in storage, and what is left of it; nothing, if that cannot be stored.
pub(super) struct Failed<K: Data, V: Data, T: Time, D: Diff> {
    pub(super) error: Error,
    pub(super) unsent: Option<Unsent<K, V, T, D>>,
}

impl<K: Data, V: Data, T: Time, D: Diff> From<Error> for Failed<K, V, T, D> {
    fn from(error: Error) -> Self {
        Self { error, unsent: None }
    }
}

/// What a run came to.
pub(super) type Uploaded<K, V, T, D> = Result<Stored<T>, Box<Failed<K, V, T, D>>>;

impl<K: Data, V: Data, T: Time, D: Diff> Unsent<K, V, T, D> {
    /// The objects that it has in storage.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Unsent::Rows(_) | Unsent::All(_) => Vec::new(),
            Unsent::Sorted(sorted) => names(sorted.stored.iter().map(|(_, part)| part)),
        }
    }
}

/// Sorts rows, and encodes them inline where they may stay there and are small; `digested`: and adds up their digest. Keeps a
/// processor busy.
pub(super) fn sort<K: Data, V: Data, T: Time, D: Diff>(
    unsent: Unsent<K, V, T, D>,
    config: &WriteConfig,
    digested: bool,
) -> Result<Result<Stored<T>, Sorted<K, V, T, D>>, Error> {
    let (rows, all) = match unsent {
        Unsent::Rows(rows) => (rows, false),
        Unsent::All(rows) => (rows, true),
        Unsent::Sorted(sorted) => return Ok(Err(sorted)),
    };
    let spare = rows.bytes() <= config.spare_rows_bytes_max;
    let digest = if digested { rows.digest() } else { None };
    let rows = rows.sort()?;
    let mut ranges = rows.cut(config.part_bytes_max, config.part_bytes_min, config.uploads_max.max(1));
    if all {
        match rows.encode_small(&EncodeOptions::of(config))? {
            None => return Ok(Ok(Stored { run: Run::new(), digest })),
            Some(EncodedPart { bytes, meta }) if bytes.len() <= config.inline_part_bytes_max => {
                let run = vec![Part { location: Location::Inline(bytes), meta }];
                return Ok(Ok(Stored { run, digest }));
            }
            // With what Arrow adds it is too large: an object, and so a file.
            Some(_) => ranges = std::iter::once(0..rows.rows()).collect(),
        }
    }
    let left = ranges.into_iter().enumerate().collect();
    Ok(Err(Sorted { rows: Arc::new(rows), spare, left, stored: Vec::new(), digest }))
}

/// Brings rows into storage.
///
/// Cancelled, it leaves objects that a sweep finds: it is to be run to its end.
pub(super) async fn upload<K: Data, V: Data, T: Time, D: Diff>(
    machine: &Arc<Machine<T>>,
    config: &WriteConfig,
    digested: bool,
    unsent: Unsent<K, V, T, D>,
) -> Uploaded<K, V, T, D> {
    let (shard, limits) = (machine.shard(), *config);
    let named = |error: Error| Box::new(Failed::from(error.of_shard(shard)));
    let sorted = match unsent {
        Unsent::Sorted(sorted) => sorted,
        unsent => match machine.life().block(STOPPED, move || sort(unsent, &limits, digested)).await.map_err(named)? {
            Ok(Ok(inline)) => return Ok(inline),
            Ok(Err(sorted)) => sorted,
            Err(error) => return Err(named(error)),
        },
    };
    store(machine, config, sorted).await
}

/// Encodes and stores the parts that are left.
async fn store<K: Data, V: Data, T: Time, D: Diff>(
    machine: &Arc<Machine<T>>,
    config: &WriteConfig,
    mut sorted: Sorted<K, V, T, D>,
) -> Uploaded<K, V, T, D> {
    let shard = machine.shard();
    let upload = |(place, range): (usize, Range<usize>)| {
        let (rows, options) = (Arc::clone(&sorted.rows), EncodeOptions::of(config));
        let encoded = range.clone();
        let memory = machine.spare_parts().take(rows.encoded_bytes(range.clone()));
        let encoding = machine.life().block(STOPPED, move || rows.encode(encoded, &options, memory));
        async move {
            let stored = async {
                let Some(encoded) = encoding.await.map_err(|error| error.of_shard(shard))?? else {
                    return Ok(None);
                };
                let name = machine.part_name();
                machine.blobs().write(shard, &name, encoded.bytes.clone()).await?;
                machine.spare_parts().keep(encoded.bytes, config.spare_rows_bytes_max);
                Ok(Some(Part { location: Location::Blob(name), meta: encoded.meta }))
            };
            (place, range, stored.await)
        }
    };
    let left = std::mem::take(&mut sorted.left);
    let uploads: Vec<_> = stream::iter(left).map(upload).buffered(config.uploads_max.max(1)).collect().await;
    let mut failed: Option<Error> = None;
    for (place, range, stored) in uploads {
        match stored {
            Ok(part) => sorted.stored.extend(part.map(|part| (place, part))),
            Err(error) => {
                sorted.left.push((place, range));
                // What asking again would not change counts more.
                let final_before = failed.as_ref().is_some_and(|before| before.kind() != ErrorKind::Unavailable);
                failed = failed.filter(|_| final_before).or(Some(error));
            }
        }
    }
    match failed {
        None => Ok(done(machine, sorted)),
        Some(error) if error.kind() == ErrorKind::Unavailable => {
            Err(Box::new(Failed { error, unsent: Some(Unsent::Sorted(sorted)) }))
        }
        Some(error) => {
            machine.blobs().delete_later(shard, Unsent::Sorted(sorted).names());
            Err(Box::new(Failed::from(error)))
        }
    }
}

/// The run; the memory of its rows is for the next.
fn done<K: Data, V: Data, T: Time, D: Diff>(machine: &Machine<T>, sorted: Sorted<K, V, T, D>) -> Stored<T> {
    let Sorted { rows, spare, mut stored, digest, .. } = sorted;
    if let Some(rows) = Arc::into_inner(rows).filter(|_| spare) {
        machine.spare_rows().keep(rows.into_empty());
    }
    stored.sort_by_key(|(place, _)| *place);
    Stored { run: stored.into_iter().map(|(_, part)| part).collect(), digest }
}
