//! What one commit carries of the batches that it appends: bounded, however many they are.
//!
//! Batches of many workers have a small part each, in memory. As they are, each would lie in the shard's state, and be read,
//! by itself; so those of one commit become one, which is inline if it is small enough, and else objects. Statistics are
//! shortened to `config.write.entry_stats_bytes_max`. What is too much for an entry all the same is refused here.
//!
//! Always: the batches stay as they are, to be offered again. Rows outside the commit's interval stay too: which those are is
//! only known when it is committed, and then its description leaves them out, as of any part.

use std::sync::Arc;

use timely::progress::Antichain;

use crate::machine::Machine;
use timely_persist_core::part::{EncodeOptions, EncodedPart, PartMeta, combine};
use timely_persist_core::state::{self, Description, Location, Part, Run, StagedTypes, entry_bytes, shorten_stats};
use timely_persist_io::life::guarded;
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::config::WriteConfig;
use timely_persist_types::error::Error;

use super::Batch;

/// So many bytes of inline parts are merged by whoever commits, in a fraction of a millisecond. More take a thread.
const MERGED_HERE_BYTES_MAX: usize = 64 << 10;

/// What to say where merging, which runs code of the rows' types, did not come to an end.
const STOPPED: &str = "merging the parts of a commit was stopped";

/// What an append adds to the shard.
pub(super) struct Carried<T: Time> {
    pub(super) runs: Vec<Run<T>>,
    /// Whose the objects are that came of inline parts: removed where they are not needed, as those of any batch.
    pub(super) merged: Option<Batch<T>>,
}

/// What a commit of these batches carries. No I/O, unless inline parts have become too large together: then it writes an
/// object, or several.
///
/// `Invalid` if it is too much for an entry; `Corrupt` if an inline part is not what was staged; `Unavailable` where an
/// object could not be written. Cancelled, or after an error, what was written is removed.
pub(super) async fn carried<K: Data, V: Data, T: Time, D: Diff>(
    machine: &Arc<Machine<T>>,
    config: &WriteConfig,
    types: &StagedTypes,
    batches: &[&mut Batch<T>],
) -> Result<Carried<T>, Error> {
    let all = batches.iter().flat_map(|batch| &batch.runs);
    // Those of an older schema stay as they are.
    let merges = |run: &Run<T>| is_inline(run) && run.iter().all(|part| part.meta.schema == types.id);
    let (inline, mut runs): (Vec<Run<T>>, Vec<Run<T>>) = all.cloned().partition(merges);
    let merged = if inline.len() < 2 {
        runs.extend(inline);
        None
    } else {
        let merging = merge::<K, V, T, D>(machine, config, types, inline);
        let merged = machine.life().within(merging).await.map_err(|error| error.of_shard(machine.shard()))?;
        runs.extend(merged.runs.iter().cloned());
        Some(merged)
    };
    shorten_stats(&mut runs, config.entry_stats_bytes_max);
    check_size(machine, &runs)?;
    Ok(Carried { runs, merged })
}

fn is_inline<T: Time>(run: &Run<T>) -> bool {
    run.iter().all(|part| part.blob().is_none())
}

fn check_size<T: Time>(machine: &Machine<T>, runs: &[Run<T>]) -> Result<(), Error> {
    let (bytes, most) = (entry_bytes(runs), machine.entry_bytes_max());
    if bytes <= most {
        return Ok(());
    }
    let parts = runs.iter().map(Vec::len).sum::<usize>();
    let message = format!(
        "an append of {parts} parts takes up to {bytes} bytes of a log entry; `config.log.entry_bytes_max` is {most}"
    );
    let advice = "append the rows in several steps, or in larger parts (`config.write.part_bytes_max`, `run_bytes_max`), or \
                  raise that limit";
    Err(Error::invalid(message).of_shard(machine.shard()).advise(advice))
}

/// A batch of all rows of these runs.
async fn merge<K: Data, V: Data, T: Time, D: Diff>(
    machine: &Arc<Machine<T>>,
    config: &WriteConfig,
    types: &StagedTypes,
    runs: Vec<Run<T>>,
) -> Result<Batch<T>, Error> {
    let parts: Vec<EncodedPart<T>> = runs.into_iter().flatten().filter_map(encoded).collect();
    let bytes: usize = parts.iter().map(|part| part.bytes.len()).sum();
    let (options, config) = (EncodeOptions::of(config), *config);
    let combine = move || combine::<K, V, T, D>(&parts, &options, config.inline_part_bytes_max, config.part_bytes_max);
    let combined = match bytes <= MERGED_HERE_BYTES_MAX {
        true => guarded(combine),
        false => machine.life().block(STOPPED, combine).await?,
    };
    let advice =
        "the bytes of a staged batch were changed on their way, or its rows are of other types: stage it again";
    let combined = combined.map_err(|error| error.advise(advice))?;
    let desc = Description::new(Antichain::from_elem(T::minimum()), Antichain::new());
    let empty = state::Batch { desc, runs: Vec::new(), digest: None };
    let mut batch = Batch::new(machine, machine.shard(), types.clone(), empty);
    let is_small = |part: &EncodedPart<T>| part.bytes.len() <= config.inline_part_bytes_max;
    let inline = combined.len() == 1 && combined.iter().all(is_small);
    for EncodedPart { bytes, meta } in combined {
        let meta = PartMeta { schema: types.id, ..meta };
        let location = if inline {
            Location::Inline(bytes)
        } else {
            let name = machine.part_name();
            machine.blobs().write(machine.shard(), &name, bytes).await?;
            Location::Blob(name)
        };
        batch.push(Part { location, meta });
    }
    Ok(batch)
}

fn encoded<T: Time>(part: Part<T>) -> Option<EncodedPart<T>> {
    match part.location {
        Location::Inline(bytes) => Some(EncodedPart { bytes, meta: part.meta }),
        Location::Blob(_) => None,
    }
}
